"""One-dimensional persistent homology of a finite metric space, and short loops that represent its classes.

Persistence is computed by Ripser (Bauer, "Ripser: efficient computation of Vietoris-Rips persistence barcodes",
J. Appl. Comput. Topol. 5 (2021)) over Z/2. Its compiled module is used without the scikit-learn wrapper around it, which
would cost 70 MB of memory for two conversions.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LEVELS = (0.0, 0.25, 0.5, 0.75, 0.95)
"""Scales tried for the loop of a class, as shares of the way from birth to death."""


class Loop(NamedTuple):
    """A class of H1: it is born with its last edge and dies when triangles fill it."""

    birth: float
    death: float
    cocycle: frozenset[tuple[int, int]]
    """Edges (i < j) of a representative cocycle over Z/2; empty when not asked for."""

    @property
    def persistence(self) -> float:
        return self.death - self.birth


def loops(distance: NDArray[np.float32], *, cocycles: bool) -> list[Loop]:
    """Return the H1 classes of the Vietoris-Rips filtration with a finite death, the most persistent first."""
    import numpy as np

    size = len(distance)
    upper = np.ascontiguousarray(distance[np.triu_indices(size, 1)], dtype=np.float32)
    answer = import_module("pyRipser").doRipsFiltrationDM(upper, 1, float("inf"), 2, cocycles)
    spans = np.asarray(answer["births_and_deaths_by_dim"][1], dtype=np.float64).reshape(-1, 2)
    found = []
    for k, (birth, death) in enumerate(spans.tolist()):
        edges: frozenset[tuple[int, int]] = frozenset()
        if cocycles:
            rows = np.asarray(answer["cocycles_by_dim"][1][k]).reshape(-1, 3).tolist()
            edges = frozenset((min(i, j), max(i, j)) for i, j, value in rows if value % 2)
        if np.isfinite(death):
            found.append(Loop(birth, death, edges))
    return sorted(found, key=lambda loop: (-loop.persistence, loop.birth))


def widest(distance: NDArray[np.float32]) -> float:
    """Return the largest persistence of any H1 class; 0 when there is none."""
    return max((loop.persistence for loop in loops(distance, cocycles=False)), default=0.0)


def short_cycle(distance: NDArray[np.float32], loop: Loop, longest: int) -> list[int] | None:
    """Return a shortest cycle, at most ``longest`` points, that the class cannot do without; None when none is so short.

    A closed walk represents the class when it crosses its cocycle an odd number of times. In the double cover of the
    graph of edges up to a scale in [birth, death), in which those edges change the sheet, it is a path from a point to
    itself on the other sheet; a shortest one visits no point twice. Scales rise until the cycle is short enough.
    """
    for share in _LEVELS:
        scale = loop.birth + share * loop.persistence
        cycle = _odd_cycle(distance, loop.cocycle, scale * (1 + 1e-6))
        if cycle is not None and len(cycle) <= longest:
            return cycle
    return None


def _odd_cycle(distance: NDArray[np.float32], cocycle: frozenset[tuple[int, int]], scale: float) -> list[int] | None:
    import numpy as np
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    size = len(distance)
    rows, columns = np.nonzero(np.triu(distance <= scale, 1))
    lengths = np.maximum(distance[rows, columns].astype(np.float64), 1e-9)
    crossing = np.asarray([(i, j) in cocycle for i, j in zip(rows.tolist(), columns.tolist(), strict=True)], dtype=bool)
    seeds = sorted(set(rows[crossing].tolist()))
    if not seeds:
        return None
    turn = np.where(crossing, size, 0)
    first = np.concatenate([rows, rows + size])
    second = np.concatenate([columns + turn, (columns + size + turn) % (2 * size)])
    cover = csr_array((np.tile(lengths, 2), (first, second)), shape=(2 * size, 2 * size))
    reach, before = dijkstra(cover, directed=False, indices=seeds, return_predecessors=True)
    totals = np.round([reach[k, seed + size] for k, seed in enumerate(seeds)], 6)
    best = int(np.argmin(totals))
    if not np.isfinite(totals[best]):
        return None
    path = []
    node = seeds[best] + size
    while node != seeds[best]:
        path.append(node % size)
        node = int(before[best, node])
    return path


def canonical_cycle(names: Sequence[str]) -> tuple[str, ...]:
    """Return the cycle from its smallest name on, towards the smaller neighbour."""
    start = names.index(min(names))
    forward = (*names[start:], *names[:start])
    backward = (forward[0], *reversed(forward[1:]))
    return min(forward, backward)
