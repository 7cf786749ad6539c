"""Personalised PageRank over a graph with several kinds of edges.

Jeh & Widom, *Scaling personalized web search* (WWW 2003); rows are normalised within each kind of edge first, so a kind
with many edges does not drown one with few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array


def transition(kinds: Sequence[tuple[csr_array, float]]) -> csr_array:
    """Return the transposed transition matrix of square ``(weights, share)`` kinds: columns sum to 1, or 0 without edges.

    A node follows each kind that has an edge at it in proportion to ``share``.
    """
    import numpy as np
    from scipy.sparse import csr_array

    size = kinds[0][0].shape[0]
    total = csr_array((size, size), dtype=np.float64)
    mass = np.zeros(size)
    for weights, share in kinds:
        sums = np.asarray(weights.sum(axis=1)).ravel()
        has = sums > 0
        scale = np.zeros(size)
        scale[has] = share / sums[has]
        total = total + _scaled(weights, scale)
        mass += share * has
    inverse = np.divide(1.0, mass, out=np.zeros(size), where=mass > 0)
    return csr_array(_scaled(total, inverse).T.tocsr())


def _scaled(rows: csr_array, scale: np.ndarray) -> csr_array:
    """Return ``diag(scale) @ rows``."""
    import numpy as np

    scaled = rows.tocsr().astype(np.float64)
    scaled.data *= np.repeat(scale, np.diff(scaled.indptr))
    return scaled


def pagerank(
    transposed: csr_array, seeds: np.ndarray, damping: float = 0.5, tolerance: float = 1e-5, most_steps: int = 60
) -> np.ndarray:
    """Return the stationary distribution of a walk that restarts at ``seeds`` (>= 0, not all 0) with 1 - damping.

    What reaches a node without edges restarts too. Error in the 1-norm <= tolerance unless ``most_steps`` came first.
    """
    import numpy as np

    restart = seeds / seeds.sum()
    rank: np.ndarray = restart.copy()
    for _ in range(most_steps):
        walked = damping * (transposed @ rank)
        following = walked + (1.0 - walked.sum()) * restart
        change = float(np.abs(following - rank).sum())
        rank = following
        if change * damping <= tolerance * (1 - damping):
            break
    return rank
