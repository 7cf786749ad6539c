"""The wormhole scan: from a corpus to its bridges. A pure function of what ``ScanInput`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tori.ids import content_name
from tori.modules.corpus import Corpus
from tori.modules.rewiring import matrix_rng
from tori.modules.wormhole import pair as pairs
from tori.modules.wormhole.settings import WormholeSettings
from tori.modules.wormhole.significance import Tested, benjamini_hochberg, pair_significance

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_SHARED = 8
"""Shared concepts kept for the evidence of a pair."""
_COPY = 8
"""Fewest shared concepts of two copies; two tiny documents with the same word are none."""
_NEAR = 2000
"""Most similar pairs reported besides the bridges, strongest first."""
_NEAR_SHARE = 0.9
"""A pair this close to the threshold is close enough to be suggested."""
NOT_CONNECTED = -1.0
"""``distance`` of two documents that no chain of explicit links joins."""


def wormhole_id(a: str, b: str) -> str:
    """Return the id of the bridge between two documents; the order of the ends does not matter."""
    return content_name("wormhole", *sorted((a, b)))


class Pair(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Two documents that are similar and far."""

    a: str
    b: str
    """Document ids, a < b."""
    strength: float
    p_value: float
    distance: float
    """Explicit links between them, or ``NOT_CONNECTED``."""
    shared: tuple[str, ...] = ()
    """Labels of concepts both hold, those that make them similar first: rare elsewhere, frequent in both."""

    @property
    def id(self) -> str:
        return wormhole_id(self.a, self.b)


class ScanInput(msgspec.Struct, array_like=True, frozen=True):
    """Everything a scan depends on."""

    corpus: bytes
    communities: dict[str, tuple[str, ...]]
    """The top map nodes over each document; empty before there is a map, and then no pair is ruled out by it."""
    threshold: float
    accepted: list[tuple[str, str]]
    """Pairs a person accepted: reported in ``held`` as long as they may be bridges at all."""
    suggested: list[tuple[str, str]]
    """Pairs that stand as suggestions: reported in ``held`` as long as they are similar."""
    rejected: list[str]
    """Ids a person rejected: never reported."""
    settings: WormholeSettings


class ScanResult(msgspec.Struct, array_like=True, frozen=True):
    """What a scan found. ``reason`` says why ``bridges`` is empty, when it is."""

    tested: int = 0
    significant: int = 0
    threshold: float = 0.0
    reason: str = ""
    bridges: list[Pair] = []
    near: list[Pair] = []
    held: list[Pair] = []
    scanned: int = 0
    """Documents compared; fewer than the corpus has beyond ``WormholeSettings.documents``."""


class _Scene(NamedTuple):
    """The corpus as matrices, rows in the order of ``ids``."""

    ids: list[str]
    labels: list[str]
    binary: csr_array
    profiles: csr_array
    """Unit tf-idf rows with the same entries as ``binary``."""
    eligible: NDArray[np.bool_]
    strength: NDArray[np.float32]
    neighbour: NDArray[np.bool_]
    graph: csr_array


def scan(given: ScanInput) -> ScanResult:
    """Find the bridges of a corpus: similar, far, significant at the stated false discovery rate."""
    import numpy as np

    settings = given.settings
    corpus = Corpus.from_snapshot(given.corpus)
    if len(corpus.documents) < settings.fewest_documents:
        count = len(corpus.documents)
        return ScanResult(reason=f"fewer than {settings.fewest_documents} documents" if count else "no documents")
    ids, labels, counts = _matrix(corpus, settings)
    if not counts.nnz:
        return ScanResult(reason=_nothing_to_compare(corpus, settings))
    scene = _scene(corpus, given, ids, labels, counts)
    if not scene.eligible.any():
        return ScanResult(reason="every pair of documents is linked, in one community or in one series")
    rng = matrix_rng("wormhole", ids, labels)
    tested = pair_significance(scene.binary, scene.eligible, settings.draws, rng)
    cut = benjamini_hochberg(tested.p_values, tested.tested, settings.fdr)
    p_values = _p_matrix(tested, len(ids))
    is_significant = p_values <= cut
    similar = np.triu(scene.neighbour, 1)
    strong = similar & (scene.strength >= given.threshold)
    rejected = frozenset(given.rejected)
    titles = {d: frozenset(pairs.title_words(corpus.documents[d].title)) for d in ids}
    listed = [p for p in _listed(scene, p_values, strong & is_significant) if p.id not in rejected]
    bridges = _capped(listed, titles, settings)
    close = similar & (scene.strength >= _NEAR_SHARE * given.threshold) & ~(strong & is_significant)
    near = [p for p in _listed(scene, p_values, close)[:_NEAR] if p.id not in rejected]
    held = _held(scene, p_values, given)
    reason = "" if bridges else _reason(tested.tested, int(is_significant.sum()), given.threshold)
    significant = int(is_significant.sum())
    return ScanResult(tested.tested, significant, given.threshold, reason, bridges, near, held, len(ids))


def _nothing_to_compare(corpus: Corpus, settings: WormholeSettings) -> str:
    shared = sum(len(c.sources) >= 2 for c in corpus.concepts.values())
    if not shared:
        return "no concept stands in two documents"
    return f"all {shared} concepts that documents share stand in more than {settings.common:.0%} of them: too common to tell any apart"


def _matrix(corpus: Corpus, settings: WormholeSettings) -> tuple[list[str], list[str], csr_array]:
    """Return (document ids, concept labels, uses) of the documents and concepts that a scan compares."""
    import numpy as np

    ids, concept_ids, counts = corpus.matrix()
    if len(ids) > settings.documents:
        richest = np.argsort(-np.diff(counts.indptr), kind="stable")[: settings.documents]
        rows = np.sort(richest)
        ids, counts = [ids[i] for i in rows.tolist()], counts[rows]
    spread = np.bincount(counts.indices, minlength=len(concept_ids))
    columns = np.flatnonzero((spread >= 2) & (spread <= max(2.0, settings.common * len(ids))))
    return ids, [corpus.concepts[concept_ids[k]].label for k in columns.tolist()], counts[:, columns].tocsr()


def _scene(corpus: Corpus, given: ScanInput, ids: list[str], labels: list[str], counts: csr_array) -> _Scene:
    import numpy as np
    from scipy.sparse import csr_array

    settings = given.settings
    documents = [corpus.documents[d] for d in ids]
    ones = np.ones(counts.nnz, dtype=np.float32)
    binary = csr_array((ones, counts.indices, counts.indptr), shape=counts.shape)
    eligible = pairs.eligible_mask(documents, given.communities, settings.distance, settings.title_overlap)
    eligible &= ~pairs.overlap_mask(binary, settings.text_overlap, _COPY)
    profiles = pairs.concept_profiles(counts)
    cosine = (profiles @ profiles.T).toarray()
    strength = pairs.similarity(cosine, pairs.vector_cosine(ids, *corpus.vector_matrix()))
    neighbour = pairs.neighbour_mask(strength, eligible, settings.neighbours)
    return _Scene(ids, labels, binary, profiles, eligible, strength, neighbour, pairs.link_graph(documents))


def _p_matrix(tested: Tested, size: int) -> NDArray[np.float64]:
    import numpy as np

    p_values = np.ones((size, size))
    p_values[tested.rows, tested.columns] = tested.p_values
    return p_values


def _listed(scene: _Scene, p_values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> list[Pair]:
    """Return the chosen pairs (row < column), the strongest first, ties by id."""
    import numpy as np

    rows, columns = np.nonzero(chosen)
    strength = np.round(scene.strength[rows, columns].astype(np.float64), 6)
    order = np.lexsort((columns, rows, -strength))[: 10 * _NEAR]
    return _pairs(scene, p_values, [(int(rows[k]), int(columns[k])) for k in order])


def _pairs(scene: _Scene, p_values: NDArray[np.float64], ends: Sequence[tuple[int, int]]) -> list[Pair]:
    import numpy as np
    from scipy.sparse.csgraph import shortest_path

    if not ends:
        return []
    sources = sorted({i for i, _ in ends})
    row_of = {i: k for k, i in enumerate(sources)}
    hops = shortest_path(scene.graph, unweighted=True, directed=False, indices=sources)
    found = []
    for i, j in ends:
        hop = float(hops[row_of[i], j])
        distance = hop if np.isfinite(hop) else NOT_CONNECTED
        strength, p_value = float(scene.strength[i, j]), float(p_values[i, j])
        found.append(Pair(scene.ids[i], scene.ids[j], strength, p_value, distance, _shared(scene, i, j)))
    return found


def _shared(scene: _Scene, i: int, j: int) -> tuple[str, ...]:
    """Return the labels that make two documents similar: by their share of the cosine, ties by label."""
    import numpy as np

    rows = [slice(scene.profiles.indptr[k], scene.profiles.indptr[k + 1]) for k in (i, j)]
    both, at_i, at_j = np.intersect1d(*(scene.profiles.indices[r] for r in rows), return_indices=True)
    share = scene.profiles.data[rows[0]][at_i] * scene.profiles.data[rows[1]][at_j]
    ranked = sorted((-round(float(w), 6), scene.labels[k]) for w, k in zip(share, both.tolist(), strict=True))
    return tuple(label for _, label in ranked[:_SHARED])


def _capped(listed: Sequence[Pair], titles: Mapping[str, frozenset[str]], settings: WormholeSettings) -> list[Pair]:
    """Return the strongest pairs, at most ``per_document`` at one end and ``bridges`` in all.

    Of bridges between the same two series (titles alike at both ends, such as two versions of a format) only the
    strongest is told.
    """

    def is_same(a: str, b: str) -> bool:
        one, two = titles[a], titles[b]
        return a == b or (bool(one & two) and len(one & two) >= settings.title_overlap * len(one | two))

    uses: dict[str, int] = {}
    kept: list[Pair] = []
    for pair in listed:
        if len(kept) == settings.bridges:
            break
        if max(uses.get(pair.a, 0), uses.get(pair.b, 0)) >= settings.per_document:
            continue
        if any(
            (is_same(pair.a, k.a) and is_same(pair.b, k.b)) or (is_same(pair.a, k.b) and is_same(pair.b, k.a))
            for k in kept
        ):
            continue
        uses[pair.a] = uses.get(pair.a, 0) + 1
        uses[pair.b] = uses.get(pair.b, 0) + 1
        kept.append(pair)
    return kept


def _held(scene: _Scene, p_values: NDArray[np.float64], given: ScanInput) -> list[Pair]:
    """Return the accepted pairs that are still far, and the suggested ones that are still similar too."""
    row_of = {d: i for i, d in enumerate(scene.ids)}
    rejected = frozenset(given.rejected)
    least = _NEAR_SHARE * given.threshold
    ends = []
    asked = [(a, b, False) for a, b in given.suggested] + [(a, b, True) for a, b in given.accepted]
    for a, b, is_accepted in sorted(asked):
        i, j = row_of.get(a, -1), row_of.get(b, -1)
        if min(i, j) < 0 or not scene.eligible[i, j] or wormhole_id(a, b) in rejected:
            continue
        if is_accepted or (scene.neighbour[i, j] and scene.strength[i, j] >= least):
            ends.append((min(i, j), max(i, j)))
    return _pairs(scene, p_values, sorted(set(ends)))


def _reason(tested: int, significant: int, threshold: float) -> str:
    if not significant:
        return f"0 of {tested} tested pairs significant"
    return f"{significant} of {tested} tested pairs significant, none of them as similar as {threshold:.3g}"
