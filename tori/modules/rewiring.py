"""Null models of a document x concept matrix: what chance does when every row and column keeps its sum.

Two views of one null. ``rewire`` draws 0/1 matrices with exactly the observed sums (microcanonical); ``DegreeModel`` is
the maximum-entropy ensemble with these sums on average (canonical) and gives means and variances in closed form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

MIXING_ROUNDS = 20
"""Global trades before the first draw; on the PEPs the overlap with the start is flat after 14."""


def content_rng(*parts: str) -> np.random.Generator:
    """Return a generator seeded by the sha256 of ``parts``: the same content, the same numbers, on every machine."""
    import numpy as np

    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "big")))


def matrix_rng(purpose: str, document_ids: Iterable[str], concept_ids: Iterable[str]) -> np.random.Generator:
    """Return the generator of one purpose for one corpus."""
    return content_rng(purpose, *document_ids, "\x1e", *concept_ids)


class Rewiring:
    """A Markov chain over 0/1 matrices with fixed row and column sums: global curveball trades.

    Carstens, Berger and Strona, "A unifying framework for fast randomization of ecological networks with fixed
    (node) degrees", MethodsX 5 (2018): in one global trade all rows are paired at random, and every pair deals the
    columns that only one of the two holds anew; the chain's stationary law is uniform. One trade costs two sorts of
    the entries.
    """

    def __init__(self, matrix: csr_array, rng: np.random.Generator) -> None:
        import numpy as np

        self.shape: tuple[int, int] = (int(matrix.shape[0]), int(matrix.shape[1]))
        self._rng = rng
        self._sizes = np.diff(matrix.indptr).astype(np.int64)
        self._rows = np.repeat(np.arange(self.shape[0], dtype=np.int64), self._sizes)
        self._columns = matrix.indices.astype(np.int64)
        self._is_mixed = False

    def draw(self, rounds: int = 4) -> csr_array:
        """Return the next matrix of the chain, float32; ``rounds`` trades after the previous one."""
        import numpy as np
        from scipy.sparse import csr_array

        for _ in range(rounds if self._is_mixed else MIXING_ROUNDS):
            self._trade()
        self._is_mixed = True
        order = np.argsort(self._rows * self.shape[1] + self._columns)
        starts = np.concatenate([[0], np.cumsum(self._sizes)])
        ones = np.ones(len(order), dtype=np.float32)
        return csr_array((ones, self._columns[order], starts), shape=self.shape)

    def _trade(self) -> None:
        import numpy as np

        count = self.shape[0]
        pair_of = np.empty(count, dtype=np.int64)
        seat_of = np.empty(count, dtype=np.int64)
        shuffled = self._rng.permutation(count)
        pair_of[shuffled] = np.arange(count) // 2
        seat_of[shuffled] = np.arange(count) % 2
        pairs = pair_of[self._rows]
        key = pairs * self.shape[1] + self._columns
        order = np.argsort(key)
        is_same = key[order][1:] == key[order][:-1]
        is_shared = np.zeros(len(key), dtype=bool)
        is_shared[order[1:][is_same]] = True
        is_shared[order[:-1][is_same]] = True

        free = np.flatnonzero(~is_shared)
        dealt = free[np.argsort(pairs[free] + self._rng.random(len(free)))]
        first_row = shuffled[0::2]
        second_row = np.full(len(first_row), -1, dtype=np.int64)
        second_row[: count // 2] = shuffled[1::2]
        is_first = seat_of[self._rows[free]] == 0
        share = np.bincount(pairs[free][is_first], minlength=len(first_row))
        held = np.bincount(pairs[free], minlength=len(first_row))
        start = np.concatenate([[0], np.cumsum(held)[:-1]])
        pair = pairs[dealt]
        rank = np.arange(len(dealt)) - start[pair]
        self._rows[dealt] = np.where(rank < share[pair], first_row[pair], second_row[pair])


class DegreeModel:
    """The bipartite configuration model: independent entries, P(i, k) = x_i y_k / (1 + x_i y_k), sums kept on average.

    Saracco, Di Clemente, Gabrielli and Squartini, "Randomizing bipartite networks: the case of the World Trade Web",
    Sci. Rep. 5 (2015). Rows with equal sums share x, columns with equal sums share y, so everything is computed once
    per class: a few hundred classes for any corpus.
    """

    def __init__(self, matrix: csr_array, tolerance: float = 1e-6, rounds: int = 500) -> None:
        import numpy as np

        row_sums = np.diff(matrix.indptr)
        column_sums = np.bincount(matrix.indices, minlength=int(matrix.shape[1]))
        self.row_degree, self.row_class, row_count = np.unique(row_sums, return_inverse=True, return_counts=True)
        self.column_degree, self.column_class, self.column_count = np.unique(
            column_sums, return_inverse=True, return_counts=True
        )
        self.probability = _solve(self.row_degree, row_count, self.column_degree, self.column_count, tolerance, rounds)

    def overlap_moments(self, weight: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return (mean, variance) of the weighted overlap sum_k w_k B_ik B_jk, i != j, for each pair of row classes.

        ``weight`` has one value per column class. Shapes: classes x classes.
        """
        p = self.probability
        mean = (p * (self.column_count * weight)) @ p.T
        square = self.column_count * weight**2
        variance = (p * square) @ p.T - (p**2 * square) @ (p**2).T
        return mean, variance


def _solve(rows: Any, row_count: Any, columns: Any, column_count: Any, tolerance: float, rounds: int) -> Any:
    """Return P (row classes x column classes) by fixed-point iteration on the likelihood equations."""
    import numpy as np

    total = max(float((rows * row_count).sum()), 1.0)
    x = rows / np.sqrt(total)
    y = columns / np.sqrt(total)
    for _ in range(rounds):
        denominator = 1.0 + np.outer(x, y)
        x_next = rows / np.maximum((column_count * y / denominator).sum(axis=1), 1e-12)
        denominator = 1.0 + np.outer(x_next, y)
        y_next = columns / np.maximum((row_count[:, None] * x_next[:, None] / denominator).sum(axis=0), 1e-12)
        moved = max(float(np.abs(x_next - x).max(initial=0)), float(np.abs(y_next - y).max(initial=0)))
        x, y = np.minimum(x_next, 1e9), np.minimum(y_next, 1e9)
        if moved <= tolerance * max(float(x.max(initial=0)), 1e-12):
            break
    product = np.outer(x, y)
    return product / (1.0 + product)


def scaled_poisson_tail(
    value: NDArray[np.float64], mean: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return P(X >= value) for a weighted sum of rare independent 0/1 variables with this mean and variance.

    X is taken as s N, N Poisson with s = variance / mean, so that both moments agree (Fay and Feuer, "Confidence
    intervals for directly standardized rates", Stat. Med. 16 (1997)); the tail of N is a regularised gamma function.
    """
    import numpy as np
    from scipy.special import gammainc

    mean = np.maximum(mean, 1e-12)
    scale = np.maximum(variance, 1e-12) / mean
    return np.asarray(np.where(value > 0, gammainc(np.maximum(value / scale, 1e-12), mean / scale), 1.0))
