"""Is the overlap of two documents more than their sizes and the spread of their concepts explain?

The statistic is the shared surprise S_ij = sum_k w_k B_ik B_jk, w_k = log(documents / documents with k). Its tail under
the bipartite configuration model is a scaled Poisson: quick, but only nearly right. So it is used as a pivot, and
calibrated: the same tail is computed for every eligible pair of rewired matrices (exact sums), and a pair's p-value is
the share of those that lie as deep. Benjamini-Hochberg then runs over *all* eligible pairs, not only the promising ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tori.modules.rewiring import DegreeModel, Rewiring, scaled_poisson_tail

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_BLOCK = 512
_CUT = 3.0
"""Pairs less than this many standard deviations above their mean count as p = 1, observed and rewired alike."""


class Tested(NamedTuple):
    """The pairs that stand out, row < column, with their p-values; every other eligible pair has p = 1."""

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    p_values: NDArray[np.float64]
    tested: int
    """How many pairs were eligible: the m of Benjamini-Hochberg."""


class OverlapTest:
    """The overlap statistic of one corpus and its tail; rewired matrices have the same sums, so they share it."""

    def __init__(self, binary: csr_array, eligible: NDArray[np.bool_]) -> None:
        import numpy as np

        self.model = DegreeModel(binary)
        degree = np.maximum(self.model.column_degree, 1)
        surprise = np.log(binary.shape[0] / degree)
        self.eligible = np.triu(eligible, 1)
        self.weight = surprise[self.model.column_class].astype(np.float32)
        self.mean, self.variance = self.model.overlap_moments(surprise)
        self._cut = (self.mean + _CUT * np.sqrt(np.maximum(self.variance, 0))).astype(np.float32)

    def tail(self, binary: csr_array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Return (rows, columns, raw tail probability) of the eligible pairs that stand out."""
        import numpy as np

        classes = self.model.row_class
        weighted = binary.multiply(self.weight[None, :]).tocsr()
        transposed = binary.T.tocsr()
        found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        for start in range(0, int(binary.shape[0]), _BLOCK):
            stop = start + _BLOCK
            overlap = (weighted[start:stop] @ transposed).toarray()
            cut = self._cut[np.ix_(classes[start:stop], classes)]
            rows, columns = np.nonzero((overlap > cut) & self.eligible[start:stop])
            a, b = classes[rows + start], classes[columns]
            values = overlap[rows, columns].astype(np.float64)
            found.append((rows + start, columns, scaled_poisson_tail(values, self.mean[a, b], self.variance[a, b])))
        rows, columns, tails = (np.concatenate(part) for part in zip(*found, strict=True))
        return rows, columns, tails


def pair_significance(binary: csr_array, eligible: NDArray[np.bool_], draws: int, rng: np.random.Generator) -> Tested:
    """Return calibrated p-values of the overlap of every eligible pair.

    p = (1 + rewired pairs with a tail as small) / (1 + draws x eligible pairs): the pooled permutation p-value, so the
    expected number of false pairs below p is p times the number tested, whatever the error of the closed form.
    """
    import numpy as np

    test = OverlapTest(binary, eligible)
    tested = int(test.eligible.sum())
    rows, columns, tails = test.tail(binary)
    chain = Rewiring(binary, rng)
    pooled = np.sort(np.concatenate([test.tail(chain.draw())[2] for _ in range(draws)]))
    as_deep = np.searchsorted(pooled, tails, side="right")
    p_values = np.asarray((1.0 + as_deep) / (1.0 + draws * tested), dtype=np.float64)
    return Tested(rows, columns, p_values, tested)


def benjamini_hochberg(p_values: NDArray[np.float64], tested: int, fdr: float) -> float:
    """Return the largest p-value that Benjamini and Hochberg (JRSS B 57, 1995) reject at ``fdr``; -1 for none.

    ``tested`` counts all hypotheses; those not listed in ``p_values`` have p = 1.
    """
    import numpy as np

    ordered = np.sort(p_values)
    passed = np.flatnonzero(ordered <= fdr * np.arange(1, len(ordered) + 1) / max(tested, 1))
    return float(ordered[passed[-1]]) if len(passed) else -1.0
