"""Names for map nodes: concept terms that cover a node's documents and are rare elsewhere.

A term *holds* for a node when at least half of its documents use it, at three times the rate of the whole corpus or
more. Terms are ranked by document coverage x log lift (against the corpus, and against the parent, so that a child
does not repeat it) x presence in titles, kept disjoint in words, three at most. Counting documents rather than uses
keeps a long document from naming its neighbourhood. A term counts as used where a longer concept contains it
("type" in "type variable").
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy as np
    from scipy.sparse import csr_array

    from tori.modules.hierarchy.graph import Terms

MIN_COVERAGE = 0.5
MIN_LIFT = 3.0
ROUNDING = 1e-9
"""Three times a third is one: sums of thirds must not miss it."""
TITLE_WEIGHT = 2.0
"""A term in every title of a node counts three times one in none: authors choose titles as names."""
CANDIDATES = 12
"""Ranked terms handed on a node, of which the label keeps those that stand literally in the texts."""
SHORTEST = 3
"""Terms of one or two letters name nothing to a stranger."""
_WORD = re.compile(r"\w+")


class Vocabulary:
    """Which term stands in which document, longer terms lending their documents to the terms inside them."""

    def __init__(self, terms: Terms, titles: Sequence[str], synonyms: Iterable[tuple[str, str]] = ()) -> None:
        import numpy as np

        self.labels = terms.labels
        self.words = [frozenset(_stem(w) for w in _WORD.findall(label.lower())) for label in terms.labels]
        self.presence = _inclusive(terms)
        self.titles = _in_titles(terms.labels, titles)
        self.count = self.presence.shape[0]
        self.base = np.asarray(self.presence.sum(axis=0)).ravel() / max(self.count, 1)
        column = {concept_id: j for j, concept_id in enumerate(terms.ids)}
        self.synonyms = {frozenset((column[a], column[b])) for a, b in synonyms if a in column and b in column}
        self.able = np.asarray([len(t) >= SHORTEST and any(map(str.isalpha, t)) for t in terms.labels], bool)

    def coverage(self, members: np.ndarray) -> np.ndarray:
        """Return the share of ``members`` each term stands in."""
        import numpy as np

        return np.asarray(self.presence[members].sum(axis=0)).ravel() / max(len(members), 1)

    def holds(self, members: np.ndarray) -> bool:
        """Return whether some term holds for ``members``."""
        coverage = self.coverage(members)
        return bool((self._holding(coverage) & self.able).any())

    def _holding(self, coverage: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.asarray((coverage >= MIN_COVERAGE) & (coverage >= MIN_LIFT * self.base - ROUNDING), dtype=bool)

    def rank(self, members: np.ndarray, parent: np.ndarray | None) -> list[tuple[int, bool]]:
        """Return (term, whether it holds by the reader's counts), best first, at most ``CANDIDATES``."""
        import numpy as np

        coverage = self.coverage(members)
        present = (coverage > 0) & self.able
        with np.errstate(divide="ignore", invalid="ignore"):
            score = coverage * np.log(coverage / self.base)
            if parent is not None:
                score = score + coverage * np.log(coverage / self.coverage(parent))
        titles = np.asarray(self.titles[members].sum(axis=0)).ravel() / max(len(members), 1)
        score = score * (1 + TITLE_WEIGHT * titles)
        score = np.where(present, np.round(score, 6), -np.inf)
        holding = self._holding(coverage)
        order = np.lexsort((np.arange(len(score)), -score, ~holding))[:CANDIDATES]
        return [(int(j), bool(holding[j])) for j in order if present[j]]

    def clash(self, a: int, b: int) -> bool:
        """Return whether two terms may not stand in one label: they share a word, or mean the same."""
        return bool(self.words[a] & self.words[b]) or frozenset((a, b)) in self.synonyms


def _inclusive(terms: Terms) -> csr_array:
    """Return the documents x terms matrix (1.0 = stands) in which a term also has the documents of longer terms around it."""
    import numpy as np
    from scipy.sparse import csr_array

    column = {label.lower(): j for j, label in enumerate(terms.labels)}
    rows, columns = [], []
    for j, label in enumerate(terms.labels):
        words = label.lower().split()
        parts = {" ".join(words[s:e]) for s in range(len(words)) for e in range(s + 1, len(words) + 1)}
        for part in parts | {label.lower()}:
            rows.append(j)
            columns.append(column.get(part, j))
    size = len(terms.labels)
    contains = csr_array((np.ones(len(rows)), (rows, columns)), shape=(size, size))
    inclusive = csr_array(terms.present @ contains)
    inclusive.data[:] = 1.0
    return inclusive


def _in_titles(labels: Sequence[str], titles: Sequence[str]) -> csr_array:
    """Return the documents x terms matrix of terms that stand in the title, word for word up to inflection."""
    import numpy as np
    from scipy.sparse import csr_array

    columns_of: dict[tuple[str, ...], list[int]] = {}
    for j, label in enumerate(labels):
        columns_of.setdefault(tuple(_stem(w) for w in _WORD.findall(label.lower())), []).append(j)
    longest = max((len(words) for words in columns_of), default=0)
    rows, columns = [], []
    for row, title in enumerate(titles):
        words = [_stem(w) for w in _WORD.findall(title.lower())]
        spans = {tuple(words[s:e]) for s in range(len(words)) for e in range(s + 1, min(len(words), s + longest) + 1)}
        for span in spans:
            for column in columns_of.get(span, ()):
                rows.append(row)
                columns.append(column)
    return csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(titles), len(labels)))


def _stem(word: str) -> str:
    """Return what inflections of a word share, roughly: its first six letters, no plural s."""
    return (word[:-1] if len(word) > 3 and word.endswith("s") else word)[:6]
