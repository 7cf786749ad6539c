"""Cosine search by brute force: exact, and fast enough to 200,000 rows (float16, 100 MB at 256 dimensions)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_BLOCK = 2_048
"""Rows widened to float32 at a time: they stay in the processor's cache."""


class DenseIndex:
    """Unit vectors by row number, in order of addition; grows by doubling."""

    def __init__(self, dimensions: int) -> None:
        import numpy as np

        self._rows: np.ndarray = np.zeros((0, dimensions), dtype=np.float16)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, vectors: np.ndarray) -> None:
        """Add unit rows, float (n, dimensions)."""
        import numpy as np

        needed = self._size + len(vectors)
        if needed > len(self._rows):
            grown = np.zeros((max(needed, 2 * len(self._rows)), self._rows.shape[1]), dtype=np.float16)
            grown[: self._size] = self._rows[: self._size]
            self._rows = grown
        self._rows[self._size : needed] = vectors
        self._size = needed

    def scores(self, vector: np.ndarray) -> np.ndarray:
        """Return the cosine of every row to a unit ``vector``, float32; the same bytes wherever a row stands."""
        import numpy as np

        out = np.empty(self._size, dtype=np.float32)
        for start in range(0, self._size, _BLOCK):
            block = self._rows[start : min(start + _BLOCK, self._size)].astype(np.float32)
            block *= vector
            out[start : start + len(block)] = block.sum(axis=1)
        return out
