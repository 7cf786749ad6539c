"""Communities that are stable between seeds, over a profile of resolutions.

Leiden (Traag, Waltman, van Eck 2019) maximises modularity at a resolution; one run from one seed may be an accident.
At every resolution of a geometric profile several seeds run; *stability* is their mean pairwise agreement (adjusted
mutual information, below). What stands for them is a consensus (Lancichinetti and Fortunato 2012, Sci. Rep. 2:336, one
round): edges weighed by the share of runs that keep their ends together, Leiden again, and the run that agrees best
with the first ones. It moves less when documents come or go (docs/modules/hierarchy.md has the figures).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from scipy.sparse import csr_array

RUNS = 4
"""Seeds a resolution: 6 pairs, enough to tell .80 from .90."""
MIN_STABILITY = 0.4
"""A partition on which seeds agree less is an accident."""
CONSENSUS_RUNS = 2
MIN_WEIGHT = 1e-9
"""Weight an edge keeps when no run holds its ends together."""
LEIDEN_ITERATIONS = 2
"""Leiden cycles a run; more no longer change the partition of graphs of a few thousand nodes."""


class Partition(NamedTuple):
    """A partition of n nodes, numbered 0..size-1 by first appearance, and how far the seeds agreed on it."""

    community: np.ndarray
    size: int
    stability: float
    resolution: float


def profile(graph: csr_array, resolutions: Sequence[float], seed: int, most: int, smallest: int) -> Iterator[Partition]:
    """Yield a partition a resolution, from coarse to fine: 2 to ``most`` communities of at least ``smallest`` nodes.

    Resolutions on which the seeds agree less than ``MIN_STABILITY``, and those beyond ``most``, are left out; but when
    the graph falls into more than ``most`` parts at any resolution, the coarsest partition is given.
    """
    import numpy as np

    is_any = False
    for step, resolution in enumerate(resolutions):
        first = (seed + 7919 * step) % 2**30
        runs = [_leiden(graph, resolution, first + run) for run in range(RUNS)]
        is_beyond = merge_small(graph, runs[0], smallest).max() >= 1.5 * most
        if is_beyond and is_any:
            return
        stability = float(np.mean([adjusted_mutual_information(a, b) for i, a in enumerate(runs) for b in runs[:i]]))
        if stability >= MIN_STABILITY:
            merged = merge_small(graph, _consensus(graph, runs, resolution, first + RUNS), smallest)
            size = int(merged.max()) + 1
            if size >= 2 and (size <= most or not is_any):
                is_any = True
                yield Partition(merged, size, stability, resolution)
        if is_beyond:
            return


def _consensus(graph: csr_array, runs: Sequence[np.ndarray], resolution: float, seed: int) -> np.ndarray:
    """Return the partition of the edges weighed by co-membership in ``runs`` that agrees best with them."""
    import numpy as np

    rows = np.repeat(np.arange(graph.shape[0]), np.diff(graph.indptr))
    weighed = graph.copy()
    weighed.data = graph.data * np.mean([run[rows] == run[graph.indices] for run in runs], axis=0) + MIN_WEIGHT
    found = [_leiden(weighed, resolution, seed + i) for i in range(CONSENSUS_RUNS)]
    agreement = [round(sum(adjusted_mutual_information(f, run) for run in runs), 6) for f in found]
    return found[int(np.argmax(agreement))]


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
