"""Cosine search by brute force: exact, and fast enough to 200,000 rows (float32, 200 MB at 256 dimensions)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


class DenseIndex:
    """Unit vectors by row number, in order of addition; grows by doubling."""

    def __init__(self, dimensions: int) -> None:
        import numpy as np

        self._rows: np.ndarray = np.zeros((0, dimensions), dtype=np.float32)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, vectors: np.ndarray) -> None:
        """Add unit rows, float (n, dimensions)."""
        import numpy as np

        needed = self._size + len(vectors)
        if needed > len(self._rows):
            grown = np.zeros((max(needed, 2 * len(self._rows)), self._rows.shape[1]), dtype=np.float32)
            grown[: self._size] = self._rows[: self._size]
            self._rows = grown
        self._rows[self._size : needed] = vectors
        self._size = needed

    def scores(self, vector: np.ndarray) -> np.ndarray:
        """Return the cosine of every row to a unit ``vector``, float32; the same bytes wherever a row stands."""
        import numpy as np

        scores: np.ndarray = np.einsum("ij,j->i", self._rows[: self._size], vector.astype(np.float32))
        return scores
