"""The weighted graph of documents the map is drawn from.

Edges are explicit links (weight 1, less at hubs), the eight nearest documents by concept tf-idf (weight = cosine) and the eight
nearest by embedding (weight = half the cosine); an edge both ends name keeps the larger weight of each kind.
In a corpus of threads (packages, conversations) half of a document's places are kept for neighbours outside its own
thread, so that topics can reach across; otherwise a map of modules would only repeat the list of packages.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from scipy.sparse import csr_array

    from tori.modules.corpus import Corpus, DocumentMeta

NEIGHBOURS = 8
"""Nearest documents an edge is drawn to, a kind; half of them outside the own thread."""
LINK_WEIGHT = 1.0
EMBEDDING_WEIGHT = 0.5
MIN_EMBEDDING_COSINE = 0.2
"""Static embeddings of unrelated English texts lie at 0 to 0.2: below, nearness says nothing."""
UBIQUITOUS_SHARE = 0.5
"""A concept in more than half of all documents draws no edge."""
BLOCK_CELLS = 4_000_000
"""Similarities held at once (16 MB): bounds the memory of a nearest-neighbour pass."""
DECIMALS = 4
"""Similarities are rounded: what differs by less is a tie."""
GRID = 2.0**20
"""Unit vectors are put on multiples of 1 / GRID: their products and all sums of these are exact in float64, so nothing depends on the order
in which a library adds, its threads or the machine. Rounding alone does not do it: of millions of similarities some lie on a border."""


class Terms(NamedTuple):
    """Which concept stands in which document."""

    ids: list[str]
    labels: list[str]
    present: csr_array
    """Documents x concepts, 1.0 where the concept stands."""
    tfidf: csr_array
    """Documents x concepts, rows of unit norm (or zero)."""


def canonical_order(documents: Sequence[DocumentMeta]) -> list[DocumentMeta]:
    """Return the documents in an order that depends on what they say before it depends on what they are called."""
    return sorted(documents, key=lambda d: (d.title, d.thread, d.size, -1 if d.time_ns is None else d.time_ns, d.id))


def content_seed(documents: Sequence[DocumentMeta], salt: str = "") -> int:
    """Return a 31-bit seed made of the documents' titles and sizes, in the order given."""
    digest = hashlib.sha256(salt.encode())
    for document in documents:
        digest.update(f"{document.title}\x1f{document.size}\x1e".encode())
    return int.from_bytes(digest.digest()[:4], "big") >> 1


def terms_of(corpus: Corpus, order: Sequence[DocumentMeta]) -> Terms:
    """Return the concepts that stand in at least one document, columns by label; tf = 1 + ln uses, idf = ln(n / df)."""
    import numpy as np
    from scipy.sparse import csr_array, diags_array

    row_of = {d.id: i for i, d in enumerate(order)}
    concepts = sorted(corpus.concepts.values(), key=lambda c: (c.label, c.id))
    ids, labels = [], []
    rows: list[int] = []
    starts = [0]
    uses: list[float] = []
    for concept in concepts:
        here = [(row_of[s], w) for s, w in zip(concept.sources, concept.weights, strict=True) if s in row_of and w > 0]
        if here:
            ids.append(concept.id)
            labels.append(concept.label)
            rows += [row for row, _ in here]
            uses += [weight for _, weight in here]
            starts.append(len(rows))
    counts = csr_array((np.asarray(uses, dtype=np.float64), rows, starts), shape=(len(ids), len(order)))
    present = counts.copy()
    present.data[:] = 1.0
    frequency = np.diff(counts.indptr)
    weights = np.log((1 + len(order)) / np.maximum(frequency, 1))
    weights[frequency > max(2.0, UBIQUITOUS_SHARE * len(order))] = 0.0
    counts.data = 1 + np.log(np.maximum(counts.data, 1.0))
    tfidf = (diags_array(weights) @ counts).T.tocsr() if ids else csr_array((len(order), 0))
    norms = np.sqrt(np.asarray(tfidf.multiply(tfidf).sum(axis=1)).ravel())
    tfidf = diags_array(1 / np.where(norms > 0, norms, 1.0)) @ tfidf if ids else tfidf
    return Terms(ids, labels, present.T.tocsr().astype(np.float64), csr_array(tfidf).astype(np.float32))


def document_graph(corpus: Corpus, order: Sequence[DocumentMeta], terms: Terms) -> csr_array:
    """Return the symmetric n x n weights between documents (float64, no loops), rows in ``order``."""
    from scipy.sparse import csr_array

    count = len(order)
    if count < 2:
        return csr_array((count, count))
    groups = _groups(order)
    graph = LINK_WEIGHT * _links(order)
    graph = graph + _symmetric(nearest(terms.tfidf, groups, 0.0), count)
    known, vectors = _vectors(corpus, order)
    if len(known) > 1:
        edges = nearest(vectors, [groups[i] for i in known], MIN_EMBEDDING_COSINE)
        graph = graph + EMBEDDING_WEIGHT * _symmetric([(known[i], known[j], w) for i, j, w in edges], count)
    graph = csr_array(graph)
    graph.setdiag(0)
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def nearest(features: csr_array | np.ndarray, groups: Sequence[int], floor: float) -> list[tuple[int, int, float]]:
    """Return (row, neighbour, cosine) for the ``NEIGHBOURS`` nearest rows of each row above ``floor``.

    ``features`` has unit rows. ``groups`` numbers the threads, -1 for a document alone in its own. Ties go to the next
    rows in cyclic order, so that copies of one document form a ring and not a star.
    """
    import numpy as np

    count = features.shape[0]
    group = np.asarray(groups)
    block = max(1, BLOCK_CELLS // max(count, 1))
    across = features.T.tocsc() if hasattr(features, "tocsc") else features.T
    edges: list[tuple[int, int, float]] = []
    for start in range(0, count, block):
        product = features[start : start + block] @ across
        cosines = product.toarray() if hasattr(product, "toarray") else product
        cosines = np.round(cosines.astype(np.float64, copy=False), DECIMALS)
        for offset in range(cosines.shape[0]):
            row = start + offset
            line = cosines[offset]
            line[row] = 0.0
            line[line <= floor] = 0.0
            if group[row] < 0:
                chosen = _largest(line, NEIGHBOURS, row)
            else:
                abroad = np.where(group == group[row], 0.0, line)
                half = NEIGHBOURS // 2
                chosen = sorted({*_largest(line, half, row), *_largest(abroad, half, row)})
            edges += [(row, int(j), float(line[j])) for j in chosen]
    return edges


def _largest(line: np.ndarray, count: int, row: int) -> list[int]:
    """Return the positions of the ``count`` largest positive values; ties by cyclic distance from ``row``."""
    import numpy as np

    if count < line.size:
        threshold = np.partition(line, line.size - count)[line.size - count]
        able = np.flatnonzero(line >= max(threshold, np.finfo(float).tiny))
    else:
        able = np.flatnonzero(line > 0)
    if len(able) > count:
        able = able[np.lexsort(((able - row) % line.size, -line[able]))][:count]
    return [int(j) for j in able]


def _groups(order: Sequence[DocumentMeta]) -> list[int]:
    """Number the threads that hold more than one document; -1 for all others, and when there is only one thread."""
    sizes = Counter(d.thread for d in order if d.thread)
    threads = {t: i for i, t in enumerate(sorted(t for t, n in sizes.items() if n > 1))}
    if len(threads) < 2:
        return [-1] * len(order)
    return [threads.get(d.thread, -1) for d in order]


def _links(order: Sequence[DocumentMeta]) -> csr_array:
    """Return the links, each worth 1 up to ``NEIGHBOURS`` at either end and less beyond.

    A document that names a hundred others, or is named by a hundred, says little with each:
    weight = 1 / sqrt(max(1, out / 8) x max(1, in / 8)).
    """
    row_of = {d.id: i for i, d in enumerate(order)}
    pairs = [(i, row_of[t]) for i, d in enumerate(order) for t in sorted(set(d.links)) if t in row_of and t != d.id]
    out, into = Counter(i for i, _ in pairs), Counter(j for _, j in pairs)
    return _symmetric(
        [(i, j, (max(1.0, out[i] / NEIGHBOURS) * max(1.0, into[j] / NEIGHBOURS)) ** -0.5) for i, j in pairs], len(order)
    )


def _symmetric(edges: Sequence[tuple[int, int, float]], count: int) -> csr_array:
    """Return the undirected graph in which an edge keeps the larger of its two weights."""
    import numpy as np
    from scipy.sparse import csr_array

    if not edges:
        return csr_array((count, count))
    rows, columns, weights = zip(*edges, strict=True)
    directed = csr_array((np.asarray(weights), (np.asarray(rows), np.asarray(columns))), shape=(count, count))
    return directed.maximum(directed.T).tocsr()


def _vectors(corpus: Corpus, order: Sequence[DocumentMeta]) -> tuple[list[int], np.ndarray]:
    """Return (rows that have a usable vector, unit vectors); zero, non-finite and odd-sized vectors are left out."""
    import numpy as np

    sizes = Counter(len(v) for v in corpus.vectors.values())
    size = min(sizes, key=lambda s: (-sizes[s], s)) if sizes else 0
    known = [i for i, d in enumerate(order) if size and len(corpus.vectors.get(d.id, b"")) == size]
    if not known:
        return [], np.zeros((0, 0), dtype=np.float32)
    vectors = np.stack([np.frombuffer(corpus.vectors[order[i].id], dtype="<f2") for i in known]).astype(np.float64)
    norms = np.linalg.norm(vectors, axis=1)
    usable = np.isfinite(norms) & (norms > 0)
    return [i for i, ok in zip(known, usable, strict=True) if ok], np.rint(
        vectors[usable] / norms[usable, None] * GRID
    ) / GRID
