"""The scar scan: from a corpus to its gaps. A pure function of what ``ScanInput`` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tori.ids import content_name
from tori.modules.corpus import Corpus
from tori.modules.rewiring import Rewiring, matrix_rng
from tori.modules.scars import cloud
from tori.modules.scars.homology import Loop, canonical_cycle, loops, short_cycle, widest
from tori.modules.scars.settings import ScarSettings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_SHARED = 6
"""Shared concepts kept for each step of a loop."""
_OWN = 3
"""Concepts that name one side of a gap."""
_SAME = 0.5
"""Loops whose members overlap this much (Jaccard) are one gap; the widest speaks for it."""
_CLOSERS = 3
"""Most documents named as having closed a gap."""


def scar_id(cycle: Sequence[str]) -> str:
    """Return the id of the gap with this canonical cycle."""
    return content_name("scar", *cycle)


class Gap(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A loop of documents, each related to the next, that nothing fills."""

    cycle: tuple[str, ...]
    """Document ids, canonical: from the smallest on, towards its smaller neighbour."""
    birth: float
    """Chord distance (0..2) at which the loop closes."""
    death: float
    """Chord distance at which it is filled."""
    p_value: float
    chord: tuple[str, str]
    """The two members that are closest of those that are neither neighbours nor linked: relating them cuts the loop
    most cheaply."""
    shared: tuple[tuple[str, ...], ...] = ()
    """For each member, labels of concepts it shares with the next, the most telling first."""
    sides: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """For each end of the chord, labels of its own that the other end lacks."""

    @property
    def id(self) -> str:
        return scar_id(self.cycle)

    @property
    def persistence(self) -> float:
        return self.death - self.birth

    @property
    def severity(self) -> float:
        """Share of the loop's width that is empty, 0..1."""
        return 1.0 - self.birth / self.death


class OpenScar(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A gap that stands, and the documents that arrived since it was found."""

    id: str
    chord: tuple[str, str]
    fresh: tuple[str, ...]


class ScanInput(msgspec.Struct, array_like=True, frozen=True):
    """Everything a scan depends on."""

    corpus: bytes
    open: list[OpenScar]
    settings: ScarSettings


class ScanResult(msgspec.Struct, array_like=True, frozen=True):
    """What a scan found. ``reason`` says why ``gaps`` is empty, when it is."""

    tested: int = 0
    """Loops in the complex."""
    points: int = 0
    """Landmarks of the complex."""
    chance: float = 0.0
    """Persistence that a loop must exceed at the stated level."""
    reason: str = ""
    gaps: list[Gap] = []
    closers: dict[str, list[str]] = {}
    """For each open scar, the new documents that join the ends of its chord, the best first."""


class _Scene(NamedTuple):
    ids: list[str]
    labels: list[str]
    links: frozenset[tuple[str, str]]
    """Pairs of documents one of which names the other, smaller id first."""
    profiles: list[dict[int, float]]
    """For each document, {concept: (1 + log uses) x idf}."""
    points: NDArray[np.float64]


def scan(given: ScanInput) -> ScanResult:
    """Find the gaps of a corpus: loops wider than any that chance makes, at the stated familywise level."""
    import numpy as np
    from scipy.sparse import csr_array

    settings = given.settings
    corpus = Corpus.from_snapshot(given.corpus)
    ids, labels, counts = _matrix(corpus, settings)
    if len(ids) < settings.fewest_documents:
        least = f"fewer than {settings.fewest_documents} documents with shared concepts"
        return ScanResult(reason=least if corpus.documents else "no documents")
    ones = np.ones(counts.nnz, dtype=np.float32)
    binary = csr_array((ones, counts.indices, counts.indptr), shape=counts.shape)
    rng = matrix_rng("scars", ids, labels)
    start = cloud.start_block(len(ids), settings.dimensions, rng)
    points = cloud.coordinates(binary, settings.dimensions, start)
    distance, kept = _complex(points, settings)
    found = loops(distance, cocycles=True)
    chance = _chance(binary, points, start, settings, rng)
    scene = _Scene(ids, labels, _links(corpus), _profiles(counts), points)
    allowed = max(1, int(settings.level * (settings.draws + 1) + 1e-9))
    least_wide = float(np.sort(chance, axis=1)[:, -allowed].max())
    gaps: list[Gap] = []
    for loop in found:
        p_value = float((1 + (chance >= loop.persistence).sum(axis=1)).max() / (settings.draws + 1))
        if p_value > settings.level or len(gaps) == settings.gaps:
            break
        gap = _gap(scene, loop, p_value, distance, kept, settings.longest)
        if gap is not None and all(_overlap(gap, other) < _SAME for other in gaps):
            gaps.append(gap)
    closers = {scar.id: _closers(scene, scar) for scar in given.open}
    reason = "" if gaps else _reason(found, least_wide, settings)
    return ScanResult(len(found), len(kept), least_wide, reason, gaps, closers)


def _matrix(corpus: Corpus, settings: ScarSettings) -> tuple[list[str], list[str], csr_array]:
    """Return (document ids, concept labels, uses); documents without a shared concept have no place and are out."""
    import numpy as np

    ids, concept_ids, counts = corpus.matrix()
    spread = np.bincount(counts.indices, minlength=len(concept_ids))
    columns = np.flatnonzero((spread >= 2) & (spread <= max(2.0, settings.common * len(ids))))
    counts = counts[:, columns].tocsr()
    sizes = np.diff(counts.indptr)
    rows = np.sort(np.argsort(-sizes, kind="stable")[: min(settings.documents, int((sizes > 0).sum()))])
    labels = [corpus.concepts[concept_ids[k]].label for k in columns.tolist()]
    return [ids[i] for i in rows.tolist()], labels, counts[rows].tocsr()


def _links(corpus: Corpus) -> frozenset[tuple[str, str]]:
    return frozenset((min(d.id, x), max(d.id, x)) for d in corpus.documents.values() for x in d.links)


def _profiles(counts: csr_array) -> list[dict[int, float]]:
    import numpy as np

    spread = np.bincount(counts.indices, minlength=int(counts.shape[1]))
    idf = np.log(counts.shape[0] / np.maximum(spread, 1))
    weight = (1.0 + np.log(np.maximum(counts.data, 1.0))) * idf[counts.indices]
    bounds = counts.indptr.tolist()
    columns, weights = counts.indices.tolist(), weight.tolist()
    return [dict(zip(columns[a:b], weights[a:b], strict=True)) for a, b in pairwise(bounds)]


def _complex(points: NDArray[np.float64], settings: ScarSettings) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return (distances between the landmarks, their rows) of the smoothed cloud."""
    import numpy as np

    distance = cloud.distances(cloud.smoothed(points, settings.neighbours))
    kept = cloud.landmarks(distance, settings.landmarks)
    return distance[np.ix_(kept, kept)], kept


def _chance(
    binary: csr_array,
    points: NDArray[np.float64],
    start: NDArray[np.float64],
    settings: ScarSettings,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Return the widest loop of each draw, shape 2 x draws, from two nulls.

    Row 0: the documents x concepts matrix rewired with its sums kept, then the same pipeline: no document has a topic.
    Row 1: a cloud with the observed covariance: topics of the same strength, but no shape beyond an ellipsoid. A gap
    must be wider than both allow, so its p-value is the larger of the two.
    """
    import numpy as np

    chain = Rewiring(binary, rng)
    found = np.zeros((2, settings.draws))
    for k in range(settings.draws):
        rewired = cloud.coordinates(chain.draw(), settings.dimensions, start)
        found[0, k] = widest(_complex(rewired, settings)[0])
        found[1, k] = widest(_complex(cloud.elliptical_twin(points, rng), settings)[0])
    return found


def _gap(
    scene: _Scene, loop: Loop, p_value: float, distance: NDArray[np.float32], kept: NDArray[np.int64], longest: int
) -> Gap | None:
    members = short_cycle(distance, loop, longest)
    if members is None:
        return None
    at = {scene.ids[kept[m]]: m for m in members}
    cycle = canonical_cycle([scene.ids[kept[m]] for m in members])
    count = len(cycle)
    pairs = [(i, j) for i in range(count) for j in range(i + 2, count) if (i, j) != (0, count - 1)]
    ends = [(cycle[i], cycle[j]) for i, j in pairs]
    open_ends = [e for e in ends if (min(e), max(e)) not in scene.links] or ends
    chord = min(open_ends, key=lambda e: (round(float(distance[at[e[0]], at[e[1]]]), 6), e))
    profile = {d: scene.profiles[k] for k, d in enumerate(scene.ids) if d in at}
    shared = tuple(
        _telling(scene, {k: w * profile[b][k] for k, w in profile[a].items() if k in profile[b]}, _SHARED)
        for a, b in zip(cycle, (*cycle[1:], cycle[0]), strict=True)
    )
    left, right = profile[chord[0]], profile[chord[1]]
    sides = (
        _telling(scene, {k: w for k, w in left.items() if k not in right}, _OWN),
        _telling(scene, {k: w for k, w in right.items() if k not in left}, _OWN),
    )
    return Gap(cycle, loop.birth, loop.death, p_value, chord, shared, sides)


def _telling(scene: _Scene, weights: Mapping[int, float], count: int) -> tuple[str, ...]:
    """Return the labels with the largest weights, ties by label."""
    ranked = sorted((-round(w, 6), scene.labels[k]) for k, w in weights.items())
    return tuple(label for _, label in ranked[:count])


def _overlap(gap: Gap, other: Gap) -> float:
    one, two = set(gap.cycle), set(other.cycle)
    return len(one & two) / len(one | two)


def _closers(scene: _Scene, scar: OpenScar) -> list[str]:
    """Return the fresh documents closer to both ends of the chord than the ends are to one another."""
    row_of = {d: k for k, d in enumerate(scene.ids)}
    a, b = (row_of.get(d) for d in scar.chord)
    if a is None or b is None:
        return []
    left, right = scene.points @ scene.points[a], scene.points @ scene.points[b]
    joining = [
        (-round(float(min(left[k], right[k])), 6), d)
        for d in scar.fresh
        if (k := row_of.get(d)) is not None and min(left[k], right[k]) > left[b]
    ]
    return [d for _, d in sorted(joining)[:_CLOSERS]]


def _reason(found: Sequence[Loop], least_wide: float, settings: ScarSettings) -> str:
    if not found:
        return "the documents form no loop"
    widest_found = found[0].persistence
    if widest_found < least_wide:
        return f"the widest of {len(found)} loops ({widest_found:.3g}) is no wider than chance ({least_wide:.3g})"
    return f"no loop wider than chance has at most {settings.longest} members"
