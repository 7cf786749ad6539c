"""Concepts that stand in the same documents more than chance explains."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_TOGETHER = 3
"""Documents two concepts must share."""
MOST_PARTNERS = 3
BLOCK = 512
"""Rows of the co-occurrence matrix held at a time."""


def associations(sources: Sequence[Sequence[int]], documents: int) -> list[tuple[int, int, float]]:
    """Return (a, b, weight), a < b, sorted: for each concept its best partners by positive pointwise mutual information.

    ``sources[a]`` are the distinct rows of the documents with concept a, of ``documents`` in all. The weight is
    ln(n n_ab / (n_a n_b)) times n_ab / (n_ab + 1) * m / (m + 1), m = min(n_a, n_b), the discount of rare events of
    Pantel & Lin (2002), to 3 significant digits.
    """
    import numpy as np
    from scipy.sparse import csr_array

    sizes = np.asarray([len(s) for s in sources], dtype=np.int64)
    if not len(sizes) or not sizes.sum():
        return []
    columns = np.concatenate([np.asarray(s, dtype=np.int32) for s in sources])
    borders = np.concatenate([[0], np.cumsum(sizes)])
    matrix = csr_array((np.ones(len(columns), dtype=np.int32), columns, borders), shape=(len(sizes), documents))
    other = matrix.T.tocsr()
    best: dict[tuple[int, int], float] = {}
    for start in range(0, len(sizes), BLOCK):
        block = (matrix[start : start + BLOCK] @ other).tocsr()
        block.sort_indices()
        for offset in range(block.shape[0]):
            row = start + offset
            span = slice(block.indptr[offset], block.indptr[offset + 1])
            partners, together = block.indices[span], block.data[span].astype(np.float64)
            able = (together >= LEAST_TOGETHER) & (partners != row)
            partners, together = partners[able], together[able]
            if not len(partners):
                continue
            smaller = np.minimum(sizes[row], sizes[partners])
            weights = np.log(documents * together / (sizes[row] * sizes[partners]))
            weights *= together / (together + 1) * smaller / (smaller + 1)
            for at in np.lexsort((partners, -np.round(weights, 9)))[:MOST_PARTNERS]:
                if weights[at] > 0:
                    partner = int(partners[at])
                    best[min(row, partner), max(row, partner)] = float(f"{weights[at]:.3g}")
    return [(a, b, weight) for (a, b), weight in sorted(best.items())]
