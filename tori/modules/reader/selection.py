"""Which phrases of a corpus are concepts: a pure function of every document's candidates.

Normalised pointwise mutual information (Bouma 2009) keeps phrases that hold together, tf-idf lets each document name
its best, two documents must agree, and a phrase that mostly lives inside a longer one gives way to it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from tori.modules.reader.association import associations
from tori.modules.reader.person import People
from tori.modules.reader.phrase import Candidates
from tori.modules.reader.stop_word import EDGE_WORDS
from tori.modules.reader.variant import clear_acronyms, representatives, spelling_key

LEAST_NPMI = 0.1
CHOSEN = 12
"""Phrases a document may name."""
LEAST_CHOOSERS = 2
TITLE_BONUS = 2.0
LENGTH_BONUS = (1.0, 1.35, 1.5, 1.5)
"""Weight of a phrase of 1, 2, 3, 4 words."""
MOST_COMMON_SHARE = 0.5
"""A phrase in more than this share of the documents says nothing of any (in a corpus of ``COMMON_FROM`` or more)."""
MOST_COMMON_WORD_SHARE = 0.3
"""The same for single words."""
COMMON_FROM = 12
LARGE_FROM = 100
"""A corpus of so many documents says everything that matters more than once, so there:"""
LEAST_USES = 4
"""a phrase used less often is an accident, unless a title says it;"""
LEAST_LONG_FREQUENCY = 3
"""so is a phrase of three or four words in fewer documents;"""
LEAST_WORD_CHOOSERS = 3
"""and a plain word (no identifier, no acronym) needs so many choosers."""
ABSORBED_SHARE = 0.7
HEADING_SHARE = 0.02
"""A heading of at least this share of the documents is the form of the corpus, not its matter ..."""
HEADING_USES = 0.25
"""... if at least this share of the documents that use the phrase use it as a heading."""
LEAST_HEADINGS = 4

_PARTICIPLE = re.compile(r"[a-z]{3}(?<!e)ed$")
"""``annotated``, ``installed``: no noun, so no phrase ends with it (``embed`` pays for it)."""
_ADVERB = re.compile(r"[a-z]{4}ly$")


class Found(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One concept of a selection."""

    label: str
    forms: tuple[str, ...]
    """Every spelling that counts for it, the label among them; sorted."""
    documents: tuple[int, ...]
    """Rows of ``Selection.documents``, rising."""
    uses: tuple[int, ...]


class Link(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Two concepts, as rows of ``Selection.concepts``, a < b."""

    a: int
    b: int
    weight: float
    kind: str


class Selection(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The outcome of one pass: concepts sorted by label, links sorted by rows."""

    documents: tuple[str, ...]
    concepts: tuple[Found, ...]
    links: tuple[Link, ...]


def select(table: Mapping[str, Candidates], *, with_links: bool = True) -> Selection:
    """Return the concepts of the documents in ``table`` (id -> candidates). Order of the mapping does not matter."""
    documents = tuple(sorted(table))
    rows = [table[d] for d in documents]
    clear, torn = clear_acronyms([row.acronyms for row in rows], Counter(p for row in rows for p in row.phrases))
    stands_for = _merged(rows, clear)
    counts = [_counts(row, stands_for, clear) for row in rows]
    titles = {stands_for[p] for row in rows for p in row.titled}
    spread = _Spread(rows, counts, titles)
    proposals: Counter[str] = Counter()
    for row, uses in zip(rows, counts, strict=True):
        proposals.update(_named(uses, {stands_for[p] for p in row.titled}, spread))
    form = _forms_of_the_corpus(rows, stands_for, spread)
    kept = _unabsorbed({p for p, n in proposals.items() if spread.is_chosen(p, n) and p not in form}, spread)
    concepts = _found(kept, counts, stands_for, clear)
    links = _links(concepts, len(documents), clear, torn) if with_links else ()
    return Selection(documents, concepts, links)


class _Spread:
    """Uses and documents of every phrase of the corpus, and how well a phrase holds together."""

    def __init__(self, rows: Sequence[Candidates], counts: Sequence[Mapping[str, int]], titles: set[str]) -> None:
        self.titles = titles
        self.uses: Counter[str] = Counter()
        self.frequency: Counter[str] = Counter()
        for uses in counts:
            self.frequency.update(uses.keys())
            for phrase, n in uses.items():
                self.uses[phrase] += n
        self.documents = len(counts)
        self.words = max(1, sum(row.words for row in rows))
        self._people = People([row.people for row in rows], self.frequency)
        self._is_able: dict[str, bool] = {}

    def is_able(self, phrase: str) -> bool:
        """Return whether ``phrase`` may be a concept anywhere."""
        known = self._is_able.get(phrase)
        if known is None:
            known = self._is_able[phrase] = self._judge(phrase)
        return known

    def _judge(self, phrase: str) -> bool:
        words = phrase.split(" ")
        if self.frequency[phrase] < LEAST_CHOOSERS or self._is_extreme(phrase, words):
            return False
        if self._people.are_named(words):
            return False
        if len(words) == 1:
            return (
                len(phrase) > 2
                and phrase not in EDGE_WORDS
                and not phrase[0].isdigit()
                and not _PARTICIPLE.search(phrase)
            )
        if len(set(words)) < len(words) or all(w in EDGE_WORDS or len(w) == 1 for w in words):
            return False
        if _PARTICIPLE.search(words[-1]) or _ADVERB.search(words[0]):
            return False
        return self.npmi(phrase, words) >= LEAST_NPMI

    def _is_extreme(self, phrase: str, words: Sequence[str]) -> bool:
        share = MOST_COMMON_WORD_SHARE if len(words) == 1 else MOST_COMMON_SHARE
        if self.documents >= COMMON_FROM and self.frequency[phrase] > share * self.documents:
            return True
        if self.documents < LARGE_FROM or phrase in self.titles:
            return False
        return self.uses[phrase] < LEAST_USES or (len(words) > 2 and self.frequency[phrase] < LEAST_LONG_FREQUENCY)

    def is_chosen(self, phrase: str, choosers: int) -> bool:
        """Return whether enough documents name ``phrase``."""
        is_plain = self.documents >= LARGE_FROM and phrase.isalpha() and phrase.islower()
        return choosers >= (LEAST_WORD_CHOOSERS if is_plain else LEAST_CHOOSERS)

    def npmi(self, phrase: str, words: Sequence[str]) -> float:
        """Return ln(p / prod p_i) / (-(n - 1) ln p), in [-1, 1]: pointwise mutual information of n words, normalised."""
        together = self.uses[phrase] / self.words
        if together >= 1:
            return 1.0
        apart = sum(math.log(max(self.uses[w], self.uses[phrase], 1) / self.words) for w in words)
        return (math.log(together) - apart) / (-(len(words) - 1) * math.log(together))


def _merged(rows: Sequence[Candidates], clear: Mapping[str, str]) -> dict[str, str]:
    totals: Counter[str] = Counter()
    for row in rows:
        for phrase, n in zip(row.phrases, row.counts, strict=True):
            totals[phrase] += n
    for long in clear.values():
        totals.setdefault(long, 0)
    for row in rows:
        for _, long in row.acronyms:
            totals.setdefault(long, 0)
    return representatives(totals)


def _counts(row: Candidates, stands_for: Mapping[str, str], clear: Mapping[str, str]) -> dict[str, int]:
    """Return one document's uses by representative; its acronyms count for what it says they mean."""
    words = set(row.phrases)
    meaning = {short: stands_for[long] for short, long in clear.items() if _is_spoken_of(long, words)}
    meaning |= {short: stands_for[long] for short, long in row.acronyms}
    uses: dict[str, int] = {}
    for phrase, n in zip(row.phrases, row.counts, strict=True):
        target = meaning.get(phrase) or stands_for[phrase]
        uses[target] = uses.get(target, 0) + n
    return uses


def _is_spoken_of(long: str, words: set[str]) -> bool:
    """Return whether a document that only says ``TLS`` also uses half of the words of ``thread local storage``."""
    parts = long.split(" ")
    return 2 * sum(part in words for part in parts) >= len(parts)


def _named(uses: Mapping[str, int], titled: set[str], spread: _Spread) -> list[str]:
    """Return the phrases a document names: the top ``CHOSEN`` by tf-idf, longer and titled ones preferred."""
    scored = []
    for phrase, n in uses.items():
        if spread.is_able(phrase):
            weight = (1 + math.log(n)) * math.log((1 + spread.documents) / spread.frequency[phrase])
            weight *= LENGTH_BONUS[min(phrase.count(" "), 3)]
            scored.append((-weight * (TITLE_BONUS if phrase in titled else 1.0), phrase))
    scored.sort()
    return [phrase for _, phrase in scored[:CHOSEN]]


def _forms_of_the_corpus(rows: Sequence[Candidates], stands_for: Mapping[str, str], spread: _Spread) -> set[str]:
    headed: Counter[str] = Counter()
    for row in rows:
        headed.update({stands_for.get(h, h) for h in row.headings})
    least = max(LEAST_HEADINGS, HEADING_SHARE * spread.documents)
    return {h for h, n in headed.items() if n >= least and n >= HEADING_USES * spread.frequency[h]}


def _unabsorbed(kept: set[str], spread: _Spread) -> list[str]:
    """Return ``kept`` without phrases of which a kept longer one holds ``ABSORBED_SHARE`` of the uses; sorted."""
    lost = set()
    for phrase in kept:
        words = phrase.split(" ")
        for size in range(1, len(words)):
            for start in range(len(words) - size + 1):
                part = " ".join(words[start : start + size])
                if part in kept and spread.uses[phrase] >= ABSORBED_SHARE * spread.uses[part]:
                    lost.add(part)
    return sorted(kept - lost)


def _found(
    kept: Sequence[str], counts: Sequence[Mapping[str, int]], stands_for: Mapping[str, str], clear: Mapping[str, str]
) -> tuple[Found, ...]:
    documents: dict[str, list[int]] = {p: [] for p in kept}
    uses: dict[str, list[int]] = {p: [] for p in kept}
    for row, found in enumerate(counts):
        for phrase in found.keys() & documents.keys():
            documents[phrase].append(row)
            uses[phrase].append(found[phrase])
    forms: dict[str, set[str]] = {p: {p} for p in kept}
    for phrase, target in stands_for.items():
        if target in forms:
            forms[target].add(phrase)
    for short, long in clear.items():
        if stands_for[long] in forms:
            forms[stands_for[long]].add(short)
    return tuple(Found(p, tuple(sorted(forms[p])), tuple(documents[p]), tuple(uses[p])) for p in kept)


def _links(
    concepts: Sequence[Found], documents: int, clear: Mapping[str, str], torn: Mapping[str, Sequence[tuple[str, float]]]
) -> tuple[Link, ...]:
    """Return associations, and ``synonym`` links between an acronym and its meanings, weighted by their share."""
    links = {
        (a, b): Link(a, b, w, "association") for a, b, w in associations([c.documents for c in concepts], documents)
    }
    row_of = {spelling_key(c.label): row for row, c in enumerate(concepts)}
    meanings = [(short, long, 1.0) for short, long in clear.items()]
    meanings += [(short, long, share) for short, longs in torn.items() for long, share in longs]
    for short, long, share in meanings:
        a, b = row_of.get(spelling_key(short)), row_of.get(spelling_key(long))
        if a is not None and b is not None and a != b:
            pair = min(a, b), max(a, b)
            links[pair] = Link(*pair, float(f"{share:.3g}"), "synonym")
    return tuple(links[pair] for pair in sorted(links))
