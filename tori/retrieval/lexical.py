"""BM25 over rows of terms that may be added and removed at any time.

Robertson & Zaragoza, *The Probabilistic Relevance Framework: BM25 and Beyond* (2009), eq. 3.15, with Lucene's
idf ln(1 + (N - df + .5) / (df + .5)). Postings hold counts, not scores: document frequency and mean length are taken
at query time, so an index that grew answers exactly like one built at once.

Rows wait in a tail until asked for; the tail becomes a segment, and segments of like size merge (a row is copied
O(log rows) times in all).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_MERGE_RATIO = 3


class _Segment:
    """Postings sorted by (term, row): ``rows[borders[t]:borders[t + 1]]`` are the rows that hold term ``t``."""

    def __init__(self, terms: np.ndarray, rows: np.ndarray, counts: np.ndarray, vocabulary: int) -> None:
        import numpy as np

        order = np.lexsort((rows, terms))
        self.terms, self.rows, self.counts = terms[order], rows[order], counts[order]
        self.borders = np.searchsorted(self.terms, np.arange(vocabulary + 1))

    def postings(self, term: int) -> tuple[np.ndarray, np.ndarray]:
        if term + 1 >= len(self.borders):
            return self.rows[:0], self.counts[:0]
        found = slice(self.borders[term], self.borders[term + 1])
        return self.rows[found], self.counts[found]


class LexicalIndex:
    """BM25 over rows numbered 0, 1, 2 ... in order of addition. Memory: 12 bytes a distinct term of a row."""

    def __init__(self, k1: float = 1.2, b: float = 0.75) -> None:
        self.k1 = k1
        self.b = b
        self._vocabulary: dict[str, int] = {}
        self._lengths: list[int] = []
        self._removed: set[int] = set()
        self._total = 0
        self._segments: list[_Segment] = []
        self._tail: list[tuple[int, int, int]] = []
        self._arrays: tuple[np.ndarray, np.ndarray] | None = None

    def __len__(self) -> int:
        """Return how many rows were ever added, removed ones included."""
        return len(self._lengths)

    def add(self, terms: Sequence[str]) -> int:
        """Add a row; return its number."""
        row = len(self._lengths)
        for term, count in Counter(terms).items():
            number = self._vocabulary.setdefault(term, len(self._vocabulary))
            self._tail.append((number, row, count))
        self._lengths.append(len(terms))
        self._total += len(terms)
        self._arrays = None
        return row

    def remove(self, row: int) -> None:
        """Leave a row out from now on; its number is not used again. Removing it twice changes nothing."""
        if row not in self._removed:
            self._removed.add(row)
            self._total -= self._lengths[row]
            self._arrays = None

    def rows_with_all(self, terms: Iterable[str]) -> np.ndarray:
        """Return the rows that hold every term, ascending; none for no terms."""
        import numpy as np

        found: np.ndarray | None = None
        for term in sorted(set(terms)):
            rows, _ = self._postings(term)
            found = rows if found is None else np.intersect1d(found, rows, assume_unique=True)
            if not len(found):
                break
        return np.zeros(0, dtype=np.int32) if found is None else np.sort(found)

    def alive(self) -> np.ndarray:
        """Return a mask of the rows that were not removed."""
        return self._state()[0]

    def idf(self, term: str) -> float:
        """Return the inverse document frequency of a term, > 0."""
        return self._idf(len(self._postings(term)[0]))

    def scores(self, terms: Iterable[str]) -> np.ndarray:
        """Return the BM25 score of every row, float64; 0 where no term stands or the row was removed."""
        import numpy as np

        _, norms = self._state()
        scores = np.zeros(len(self._lengths))
        for term, weight in sorted(Counter(terms).items()):
            rows, counts = self._postings(term)
            if len(rows):
                gain = counts * (self.k1 + 1) / (counts + norms[rows])
                scores[rows] += weight * self._idf(len(rows)) * gain
        return scores

    def _idf(self, frequency: int) -> float:
        rows = len(self._lengths) - len(self._removed)
        return math.log1p((rows - frequency + 0.5) / (frequency + 0.5))

    def _state(self) -> tuple[np.ndarray, np.ndarray]:
        """Return (alive, norms) a row: not removed, and k1 (1 - b + b length / mean length)."""
        import numpy as np

        if self._arrays is None:
            alive = np.ones(len(self._lengths), dtype=bool)
            alive[list(self._removed)] = False
            mean = self._total / max(len(self._lengths) - len(self._removed), 1) or 1.0
            lengths = np.asarray(self._lengths, dtype=np.float64)
            self._arrays = alive, self.k1 * (1 - self.b + self.b * lengths / mean)
        return self._arrays

    def _postings(self, term: str) -> tuple[np.ndarray, np.ndarray]:
        import numpy as np

        self._merge()
        alive, _ = self._state()
        number = self._vocabulary.get(term, len(self._vocabulary))
        parts = [s.postings(number) for s in self._segments]
        rows = np.concatenate([p[0] for p in parts]) if parts else np.zeros(0, dtype=np.int32)
        counts = np.concatenate([p[1] for p in parts]) if parts else np.zeros(0, dtype=np.int32)
        if self._removed and len(rows):
            kept = alive[rows]
            rows, counts = rows[kept], counts[kept]
        return rows, counts

    def _merge(self) -> None:
        """Turn the tail into a segment, then merge while a segment is not well smaller than the one before it."""
        import numpy as np

        if not self._tail:
            return
        terms, rows, counts = np.asarray(self._tail, dtype=np.int32).T
        self._tail = []
        while self._segments and len(self._segments[-1].rows) < _MERGE_RATIO * len(rows):
            last = self._segments.pop()
            terms = np.concatenate((last.terms, terms))
            rows = np.concatenate((last.rows, rows))
            counts = np.concatenate((last.counts, counts))
        self._segments.append(_Segment(terms, rows, counts, len(self._vocabulary)))
