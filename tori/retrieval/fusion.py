"""Fuses rankings by rank, not by score: scores of different kinds have no common scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

RRF_K = 10


def top_rows(scores: np.ndarray, limit: int, keys: np.ndarray | None = None) -> np.ndarray:
    """Return the ``limit`` rows with the highest positive scores, best first; ties by ``keys`` (else by row), ascending."""
    import numpy as np

    rows = np.flatnonzero(scores > 0)
    if len(rows) > limit:
        least = np.partition(scores[rows], len(rows) - limit)[len(rows) - limit]
        rows = rows[scores[rows] >= least]
    order = np.lexsort((rows if keys is None else keys[rows], -scores[rows]))
    return rows[order[:limit]]


def reciprocal_rank(rankings: Sequence[tuple[np.ndarray, np.ndarray, float]], k: int = RRF_K) -> np.ndarray:
    """Return the fused score of every row: the sum over (rows, scores, weight) of weight / (k + rank), rank from 1.

    ``scores`` are those of every row, ``rows`` the ones that take part, best first. Rows with equal scores share the
    better rank, so what breaks ties has no say here. Cormack, Clarke & Buettcher, *Reciprocal rank fusion* (SIGIR
    2009), there with k = 60.
    """
    import numpy as np

    fused = np.zeros(len(rankings[0][1]))
    for rows, scores, weight in rankings:
        held = scores[rows]
        ranks = np.arange(1, len(rows) + 1)
        ranks[1:][held[1:] == held[:-1]] = 0
        fused[rows] += weight / (k + np.maximum.accumulate(ranks))
    return fused
