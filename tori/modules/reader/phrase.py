"""Candidate phrases of one document: n-grams of 1 to 4 words inside runs between stop words and punctuation."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from tori.events.document import Section
from tori.modules.reader.clean import heading_key, prose
from tori.modules.reader.person import people
from tori.modules.reader.stop_word import STOP_WORDS

LONGEST_PHRASE = 4
MOST_PHRASES = 700
"""Phrases of two to four words kept of one document, the most used first."""
MOST_WORDS = 500
"""Single words kept of one document besides those inside its phrases."""
MOST_HEADINGS = 64
MOST_ACRONYMS = 16
LEAD_CHARACTERS = 1_200

_TOKEN = re.compile(r"\w+(?:[-.'’]\w+)*(?:\+\+)?|\n\s*\n|[^\w\s]")
_ACRONYM = re.compile(r"\(([A-Z][A-Za-z0-9]{1,7}?)s?\)")
_ADDRESS = re.compile(r"\.(?:org|com|net|io|edu|html?|txt|rst|md|gz|zip)$")
_LETTER = re.compile(r"[^\W\d_]")
_HUMP = re.compile(r"[a-z0-9][A-Z]|^[A-Z]{2}|_|[^\W\d_]\.[^\W\d_]|\d[A-Za-z]|[A-Za-z]\d")


class Candidates(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What selection needs to know of a document; a function of its title, text and sections only."""

    phrases: tuple[str, ...]
    """Distinct, sorted: phrases, and every word inside one."""
    counts: tuple[int, ...]
    titled: tuple[str, ...]
    """Those of the phrases that stand in the title."""
    headings: tuple[str, ...]
    """Distinct headings in phrase form, sorted."""
    acronyms: tuple[tuple[str, str], ...]
    """(short, long) pairs the document defines: ``("GIL", "global interpreter lock")``."""
    people: tuple[str, ...]
    """Names of people it thanks, credits or quotes, lower case."""
    words: int
    """Words of prose outside stop words."""


def word_form(token: str) -> str:
    """Return ``token`` as it enters phrases: lower case unless it is an identifier or acronym; empty if it ends a run."""
    for tail in ("'s", "’s"):
        token = token.removesuffix(tail)
    if token.endswith("_") and not token.endswith("__"):
        token = token.rstrip("_")
    lower = token.lower()
    if lower in STOP_WORDS or "'" in token or "’" in token or not _LETTER.search(token):
        return ""
    if len(token) == 1:
        return token if token.isupper() else ""
    if len(token) > 48 or _ADDRESS.search(lower):
        return ""
    return token if _HUMP.search(token) else lower


class _Forms(dict[str, str]):
    """``word_form`` remembered for the tokens of one document."""

    def __missing__(self, token: str) -> str:
        form = self[token] = word_form(token)
        return form


def runs(text: str, forms: _Forms | None = None) -> Iterator[list[str]]:
    """Yield the runs of words between stop words, numbers, punctuation and blank lines."""
    known = _Forms() if forms is None else forms
    run: list[str] = []
    for token in _TOKEN.findall(text):
        form = known[token]
        if form:
            run.append(form)
        elif run:
            yield run
            run = []
    if run:
        yield run


def count_phrases(text: str, forms: _Forms | None = None) -> tuple[Counter[str], set[str]]:
    """Return (counts, whole): the n-grams of every run in order of first use, and those that are a run of their own."""
    found: Counter[str] = Counter()
    whole: set[str] = set()
    for run in runs(text, forms):
        length = len(run)
        if length == 1:
            found[run[0]] += 1
            continue
        if length <= LONGEST_PHRASE:
            whole.add(" ".join(run))
        for start in range(length):
            phrase = run[start]
            found[phrase] += 1
            for end in range(start + 1, min(start + LONGEST_PHRASE, length)):
                phrase = f"{phrase} {run[end]}"
                found[phrase] += 1
    return found, whole


def candidates(title: str, text: str, sections: Sequence[Section]) -> tuple[Candidates, str]:
    """Return (candidates, lead): the phrases of a document, and the beginning of its prose for the embedder."""
    body, headings = prose(text, sections)
    forms = _Forms()
    counts, whole = count_phrases(body, forms)
    words = sum(n for phrase, n in counts.items() if " " not in phrase)
    titled, _ = count_phrases(title, forms)
    counts.update(titled)
    kept = _pruned(counts, titled, whole)
    order = sorted(kept)
    keys = {_heading_phrase(h, forms) for h in headings[: 4 * MOST_HEADINGS]} - {""}
    found = Candidates(
        phrases=tuple(order),
        counts=tuple(kept[p] for p in order),
        titled=tuple(sorted(p for p in titled if p in kept)),
        headings=tuple(sorted(keys)[:MOST_HEADINGS]),
        acronyms=tuple(acronyms(body)),
        people=tuple(people(text, sections)),
        words=words,
    )
    return found, body[:LEAD_CHARACTERS]


def _pruned(counts: Counter[str], titled: Counter[str], whole: set[str]) -> dict[str, int]:
    """Return the counts worth keeping; a long phrase used once must be a run of its own or stand in the title."""
    ranked = sorted(counts.items(), key=lambda item: (item[0] not in titled, -item[1]))
    able = ((p, n) for p, n in ranked if n > 1 or p.count(" ") == 1 or p in whole or p in titled)
    phrases = [(p, n) for p, n in able if " " in p][:MOST_PHRASES]
    words = [(p, n) for p, n in ranked if " " not in p][:MOST_WORDS]
    kept = dict(phrases)
    kept.update(words)
    for phrase, _ in phrases:
        for word in phrase.split(" "):
            kept[word] = counts[word]
    return kept


def _heading_phrase(heading: str, forms: _Forms) -> str:
    return max((" ".join(run) for run in runs(heading, forms)), key=len, default=heading_key(heading).replace("-", " "))


def acronyms(text: str) -> list[tuple[str, str]]:
    """Return the (short, long) pairs that ``text`` defines as ``long form (LF)``, sorted; ambiguous ones left out.

    The long form is the words before the bracket whose initials spell the short form (Schwartz & Hearst 2003, in its
    strictest reading).
    """
    found: dict[str, set[str]] = {}
    for match in _ACRONYM.finditer(text):
        short = match[1]
        if sum(map(str.isupper, short)) < 2:
            continue
        words = re.findall(r"[^\W_]+", text[max(0, match.start() - 120) : match.start()])[-len(short) :]
        if len(words) == len(short) >= 2 and "".join(w[0] for w in words).lower() == short.lower():
            found.setdefault(short, set()).add(" ".join(words).lower())
    pairs = [(short, longs.pop()) for short, longs in sorted(found.items()) if len(longs) == 1]
    return pairs[:MOST_ACRONYMS]
