"""Which pairs of documents may be bridges at all, and how similar they are. No chance in here, only geometry.

All masks and matrices are dense, documents x documents, in the order of the sorted document ids; bounded by
``WormholeSettings.documents``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from tori.modules.corpus import DocumentMeta

_WORD = re.compile(r"[^\W\d_]+")
_SMALL_WORDS = frozenset(("a", "an", "and", "by", "for", "from", "in", "of", "on", "or", "the", "to", "with"))


def incidence(groups: Sequence[Sequence[str]]) -> csr_array:
    """Return the 0/1 matrix rows x distinct names, for one list of names a row."""
    import numpy as np
    from scipy.sparse import csr_array

    names = sorted({name for group in groups for name in group})
    column = {name: j for j, name in enumerate(names)}
    entries = [(i, column[name]) for i, group in enumerate(groups) for name in sorted(set(group))]
    rows = [i for i, _ in entries]
    columns = [j for _, j in entries]
    ones = np.ones(len(entries), dtype=np.float32)
    return csr_array((ones, (rows, columns)), shape=(len(groups), max(len(names), 1)))


def link_graph(documents: Sequence[DocumentMeta]) -> csr_array:
    """Return the undirected graph of explicit links between ``documents``, float32 0/1 without loops."""
    import numpy as np
    from scipy.sparse import csr_array

    row_of = {d.id: i for i, d in enumerate(documents)}
    edges = {
        (min(i, row_of[link]), max(i, row_of[link]))
        for i, document in enumerate(documents)
        for link in document.links
        if link in row_of and row_of[link] != i
    }
    ends = sorted(edges | {(j, i) for i, j in edges})
    ones = np.ones(len(ends), dtype=np.float32)
    return csr_array((ones, ([i for i, _ in ends], [j for _, j in ends])), shape=(len(documents), len(documents)))


def near_mask(graph: csr_array, distance: int) -> NDArray[np.bool_]:
    """Return True where two documents are fewer than ``distance`` links apart (the diagonal included)."""
    import numpy as np

    near = np.eye(int(graph.shape[0]), dtype=bool)
    for _ in range(distance - 1):
        near |= (graph @ near.astype(np.float32)) > 0
    return near


def title_words(title: str) -> list[str]:
    """Return the distinct words of a title, numbers and small words aside, sorted."""
    return sorted({w for w in (m.casefold() for m in _WORD.findall(title)) if w not in _SMALL_WORDS})


def overlap_mask(words: csr_array, limit: float, least: int = 1) -> NDArray[np.bool_]:
    """Return True where two rows of a 0/1 matrix share ``least`` columns and have a Jaccard overlap of ``limit``."""
    import numpy as np

    both = (words @ words.T).toarray()
    sizes = np.asarray(words.sum(axis=1)).ravel()
    either = sizes[:, None] + sizes[None, :] - both
    return np.asarray((both >= least) & (both >= limit * either))


def eligible_mask(
    documents: Sequence[DocumentMeta],
    communities: Mapping[str, Sequence[str]],
    distance: int,
    title_overlap: float,
) -> NDArray[np.bool_]:
    """Return True where a pair may be tested: far, in different top communities and series, titles unlike.

    ``communities`` maps a document to its top map nodes; a document without one stands alone. Documents of one
    thread are one work as soon as any thread holds two. Nothing here looks at what the test measures.
    """
    near = near_mask(link_graph(documents), distance)
    tops = incidence([communities.get(d.id, ()) for d in documents])
    near |= (tops @ tops.T).toarray() > 0
    threads = incidence([(d.thread,) if d.thread else () for d in documents])
    near |= (threads @ threads.T).toarray() > 0
    near |= overlap_mask(incidence([title_words(d.title) for d in documents]), title_overlap)
    return ~near


def concept_profiles(counts: csr_array) -> csr_array:
    """Return (1 + log uses) x idf profiles as unit rows, float32; a document without concepts has an empty row."""
    import numpy as np
    from scipy.sparse import csr_array

    spread = np.bincount(counts.indices, minlength=int(counts.shape[1]))
    idf = np.log(counts.shape[0] / np.maximum(spread, 1))
    data = (1.0 + np.log(np.maximum(counts.data, 1.0))) * idf[counts.indices]
    weighted = csr_array((data, counts.indices, counts.indptr), shape=counts.shape)
    norms = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    scale = np.where(norms > 0, 1.0 / np.maximum(norms, 1e-12), 0.0)
    data = data * np.repeat(scale, np.diff(counts.indptr))
    return csr_array((data.astype(np.float32), counts.indices, counts.indptr), shape=counts.shape)


def vector_cosine(ids: Sequence[str], vector_ids: Sequence[str], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the cosine of centred document vectors; NaN where a document has none.

    Centring takes out the direction all documents share (Mu and Viswanath, "All-but-the-Top", ICLR 2018), which
    otherwise makes everything look similar.
    """
    import numpy as np

    cosine = np.full((len(ids), len(ids)), np.nan, dtype=np.float32)
    row_of = {d: i for i, d in enumerate(ids)}
    kept = [k for k, d in enumerate(vector_ids) if d in row_of]
    if len(kept) < 2:
        return cosine
    rows = np.asarray([row_of[vector_ids[k]] for k in kept])
    centred = vectors[kept] - vectors[kept].mean(axis=0)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = np.where(norms > 1e-6, centred / np.maximum(norms, 1e-6), 0.0).astype(np.float32)
    cosine[np.ix_(rows, rows)] = unit @ unit.T
    return cosine


def similarity(concept: NDArray[np.float32], vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the strength of each pair, 0..1: the mean of both cosines, the concepts' alone where a vector is missing."""
    import numpy as np

    mean = np.where(np.isnan(vector), concept, (concept + vector) / 2)
    return np.asarray(np.clip(mean, 0.0, 1.0), dtype=np.float32)


def neighbour_mask(strength: NDArray[np.float32], eligible: NDArray[np.bool_], count: int) -> NDArray[np.bool_]:
    """Return True where one end is among the ``count`` nearest eligible documents of the other, hubs corrected.

    The correction is CSLS, 2 s_ij - r_i - r_j with r the mean similarity to the nearest ``count`` (Conneau et al.,
    "Word translation without parallel data", ICLR 2018): a hub is near to all, so being near to it says little.
    """
    import numpy as np

    size = len(strength)
    count = min(count, size - 1)
    others = strength.copy()
    np.fill_diagonal(others, 0.0)
    hubness = np.partition(others, size - count, axis=1)[:, size - count :].mean(axis=1)
    corrected = np.where(eligible, 2 * others - hubness[:, None] - hubness[None, :], -np.inf)
    nearest = np.argsort(-corrected, axis=1, kind="stable")[:, :count]
    mask = np.zeros((size, size), dtype=bool)
    np.put_along_axis(mask, nearest, True, axis=1)
    mask &= eligible
    return np.asarray(mask | mask.T)
