"""Documents as points: PPMI profiles, their leading spectral coordinates, chord distances on the unit sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

_OVERSAMPLING = 8
_POWER_ROUNDS = 4


def ppmi(binary: csr_array) -> csr_array:
    """Return positive pointwise mutual information of a 0/1 documents x concepts matrix.

    Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NIPS 2014: log(n_ik N / (n_i n_k)),
    negative values set to 0; here every n_ik that is stored is 1.
    """
    import numpy as np
    from scipy.sparse import csr_array

    rows = np.diff(binary.indptr).astype(np.float64)
    columns = np.bincount(binary.indices, minlength=int(binary.shape[1])).astype(np.float64)
    expected = np.repeat(rows, np.diff(binary.indptr)) * columns[binary.indices] / max(binary.nnz, 1)
    return csr_array((np.maximum(0.0, -np.log(expected)), binary.indices, binary.indptr), shape=binary.shape)


def coordinates(binary: csr_array, dimensions: int, start: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the leading spectral coordinates U S of the PPMI matrix, one unit row a document (0 for an empty one).

    Randomised subspace iteration (Halko, Martinsson and Tropp, SIAM Rev. 53 (2011), algorithm 4.4) from ``start``,
    documents x at least ``dimensions`` columns.
    """
    import numpy as np

    matrix = ppmi(binary)
    basis, _ = np.linalg.qr(start)
    for _ in range(_POWER_ROUNDS):
        basis, _ = np.linalg.qr(matrix @ (matrix.T @ basis))
    small = matrix.T @ basis
    values, vectors = np.linalg.eigh(small.T @ small)
    leading = np.argsort(-values, kind="stable")[:dimensions]
    points = basis @ vectors[:, leading] * np.sqrt(np.maximum(values[leading], 0.0))
    return unit_rows(points)


def start_block(rows: int, dimensions: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a random start for ``coordinates``."""
    return rng.standard_normal((rows, min(rows, dimensions + _OVERSAMPLING)))


def unit_rows(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rows scaled to length 1; a zero row stays zero."""
    import numpy as np

    norms = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(np.where(norms > 1e-9, points / np.maximum(norms, 1e-9), 0.0))


def smoothed(points: NDArray[np.float64], neighbours: int) -> NDArray[np.float64]:
    """Return each point moved to the mean of its nearest ``neighbours`` (one mean-shift step), back on the sphere."""
    import numpy as np

    count = min(neighbours, len(points))
    nearest = np.argpartition(-np.round(points @ points.T, 9), count - 1, axis=1)[:, :count]
    return unit_rows(points[np.sort(nearest, axis=1)].mean(axis=1))


def distances(points: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return chord distances 0..2 between unit rows, float32 as the persistence code works in it."""
    import numpy as np

    square = np.maximum(0.0, 2.0 - 2.0 * np.round(points @ points.T, 6))
    np.fill_diagonal(square, 0.0)
    return np.asarray(np.sqrt(square), dtype=np.float32)


def landmarks(distance: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Return rows that cover the cloud: farthest-point sampling from its centre, sorted.

    The sample is within twice the best covering radius (Gonzalez, Theor. Comput. Sci. 38 (1985)), so no loop wider
    than that is lost.
    """
    import numpy as np

    chosen = [int(np.argmin(distance.sum(axis=1)))]
    nearest = distance[chosen[0]].copy()
    while len(chosen) < min(count, len(distance)):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, distance[chosen[-1]])
    return np.sort(np.asarray(chosen, dtype=np.int64))


def elliptical_twin(points: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a cloud with the mean and covariance of ``points`` and no other structure: normal, back on the sphere."""
    import numpy as np

    covariance = np.cov(points.T) + 1e-9 * np.eye(points.shape[1])
    factor = np.linalg.cholesky(covariance)
    return unit_rows(rng.standard_normal(points.shape) @ factor.T + points.mean(axis=0))
