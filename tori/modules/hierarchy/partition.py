"""Communities that are stable between seeds, over a profile of resolutions.

Leiden (Traag, Waltman, van Eck 2019) maximises modularity at a resolution; one run from one seed may be an accident.
At every resolution of a geometric profile several seeds run; *stability* is their mean pairwise agreement (adjusted
mutual information, below), and the medoid of the runs, the one that agrees best with the others, stands for them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from scipy.sparse import csr_array

RUNS = 5
"""Seeds a resolution: 10 pairs, enough to tell .80 from .90."""
LEIDEN_ITERATIONS = 2
"""Leiden cycles a run; more no longer change the partition of graphs of a few thousand nodes."""


class Partition(NamedTuple):
    """A partition of n nodes, numbered 0..size-1 by first appearance, and how stable it is."""

    community: np.ndarray
    size: int
    stability: float
    resolution: float


def profile(graph: csr_array, resolutions: Sequence[float], seed: int, smallest: int) -> Iterator[Partition]:
    """Yield the medoid partition of each resolution, communities below ``smallest`` merged, with its stability."""
    import numpy as np

    for step, resolution in enumerate(resolutions):
        runs = [_leiden(graph, resolution, (seed + 7919 * step + run) % 2**31) for run in range(RUNS)]
        agreement = np.ones((RUNS, RUNS))
        for i in range(RUNS):
            for j in range(i):
                agreement[i, j] = agreement[j, i] = adjusted_mutual_information(runs[i], runs[j])
        means = np.round((agreement.sum(axis=0) - 1) / (RUNS - 1), 6)
        medoid = merge_small(graph, runs[int(np.argmax(means))], smallest)
        yield Partition(medoid, int(medoid.max()) + 1, float(means.mean()), resolution)


def _leiden(graph: csr_array, resolution: float, seed: int) -> np.ndarray:
    import numpy as np
    from graspologic_native import leiden_csr

    count = graph.shape[0]
    if not graph.nnz:
        return np.arange(count)
    _, found = leiden_csr(
        graph.indptr.astype(np.int64),
        graph.indices.astype(np.int32),
        graph.data.astype(np.float64),
        count,
        resolution=resolution,
        seed=seed,
        iterations=LEIDEN_ITERATIONS,
    )
    return renumber(np.fromiter((found[i] for i in range(count)), dtype=np.int64, count=count))


def renumber(labels: np.ndarray) -> np.ndarray:
    """Return the same partition with communities numbered by first appearance."""
    import numpy as np

    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def merge_small(graph: csr_array, labels: np.ndarray, smallest: int) -> np.ndarray:
    """Merge each community of less than ``smallest`` nodes into the one it has most weight with.

    The smallest goes first; one that touches no other stays. Ties go to the community that comes first.
    """
    import numpy as np
    from scipy.sparse import csr_array

    labels = renumber(labels)
    sizes = np.bincount(labels)
    indicator = csr_array((np.ones(len(labels)), (np.arange(len(labels)), labels)))
    between = np.round((indicator.T @ graph @ indicator).toarray(), 6)
    np.fill_diagonal(between, 0.0)
    target = np.arange(len(sizes))
    while True:
        able = np.flatnonzero((sizes > 0) & (sizes < smallest) & (between.max(axis=1) > 0))
        if not len(able):
            return renumber(target[labels])
        small = int(able[np.argmin(sizes[able])])
        host = int(np.argmax(between[small]))
        target[target == small] = host
        sizes[host] += sizes[small]
        sizes[small] = 0
        between[host] += between[small]
        between[:, host] += between[:, small]
        between[small] = between[:, small] = 0.0
        between[host, host] = 0.0


def adjusted_mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Return the agreement of two partitions, 1 = equal, about 0 = chance (arithmetic normalisation).

    AMI = (I - E) / (mean(Ha, Hb) - E) (Vinh, Epps, Bailey 2010, JMLR 11, eq. 11 with the arithmetic mean), with the expectation
    under chance E taken to first order in 1/n, (ra - 1)(rb - 1) / 2n (Miller 1955), which costs nothing and errs by
    less than .02 for the sizes used here. Two partitions into one community each agree fully.
    """
    import numpy as np

    count = len(a)
    rows, columns = int(a.max()) + 1, int(b.max()) + 1
    joint = np.bincount(a * columns + b, minlength=rows * columns).reshape(rows, columns) / count
    entropy_a, entropy_b, entropy_joint = (_entropy(p) for p in (joint.sum(1), joint.sum(0), joint.ravel()))
    mean = (entropy_a + entropy_b) / 2
    information = entropy_a + entropy_b - entropy_joint
    expected = min((rows - 1) * (columns - 1) / (2 * count), information)
    if mean - information < 1e-12:
        return 1.0
    return float((information - expected) / (mean - expected))


def _entropy(shares: np.ndarray) -> float:
    import numpy as np

    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
