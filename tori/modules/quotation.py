"""Choose the words of a document that show a term at work: verbatim, short, and with an offset that can be checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

QUOTE_LIMIT = 240
"""Most characters of a quotation."""
_OCCURRENCES = 60
"""Most occurrences of one term looked at in one text, the first ones."""
_SENTENCE_END = re.compile(r"[.!?:][\"')\]]*\s+|\n\s*\n")


class Quotation(NamedTuple):
    """``text[start : start + len(quote)] == quote``; ``term`` is the first term, in the order asked for, that it holds."""

    start: int
    quote: str
    term: str


class TermFinder:
    """Finds one term in running text: any case, any white space or hyphens for blanks, plural or not."""

    def __init__(self, term: str) -> None:
        words = [re.escape(w) for w in re.split(r"[\s\-]+", _lower(term).strip()) if w]
        self.term = term
        last = words[-1] if words else ""
        if last:
            is_y = last.endswith("y") and len(last) > 2
            words[-1] = f"{last[:-1]}(?:y|ies)" if is_y else f"{last}(?:s|es)?"
        self._pattern = re.compile(r"[\s\-]+".join(words) + r"(?!\w)" if words else r"(?!)")

    def spans(self, lowered: str) -> Iterator[tuple[int, int]]:
        """Yield (start, end) of each occurrence in a text given in lower case (``_lower``), at whole words.

        The pattern begins with a literal, which the regex engine looks for quickly; the left edge is checked after.
        """
        for match in self._pattern.finditer(lowered):
            before = lowered[match.start() - 1 : match.start()]
            if not (before.isalnum() or before == "_"):
                yield match.span()


def stands(term: str, text: str) -> bool:
    """Return whether ``term`` occurs in ``text``."""
    return next(TermFinder(term).spans(_lower(text)), None) is not None


def quotation(text: str, terms: Sequence[str]) -> Quotation | None:
    """Return the sentence of ``text`` that says most about ``terms`` (most important first), or None when it has none.

    Sentences with more of the terms win, earlier terms count more, prose wins over tables and code, then the earlier.
    """
    lowered = _lower(text)
    finders = [TermFinder(t) for t in terms]
    sentences: dict[tuple[int, int], None] = {}
    for finder in finders:
        for start, end in islice(finder.spans(lowered), _OCCURRENCES):
            sentences[_sentence(text, start, end)] = None
    best: tuple[float, int] | None = None
    found: Quotation | None = None
    for start, end in sentences:
        lowered_quote = lowered[start:end]
        held = [i for i, f in enumerate(finders) if next(f.spans(lowered_quote), None) is not None]
        score = (sum(1.0 / (1 + i) for i in held) * _prose(text[start:end]), -start)
        if held and (best is None or score > best):
            best, found = score, Quotation(start, text[start:end], terms[held[0]])
    return found


def opening(text: str) -> Quotation:
    """Return the first sentence of ``text``: what is quoted when no term stands in it."""
    start = len(text) - len(text.lstrip())
    begin, end = _sentence(text, start, min(start + 1, len(text)))
    return Quotation(begin, text[begin:end], "")


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the bounds of the sentence around ``text[start:end]``, at most ``QUOTE_LIMIT`` characters, whole words."""
    room = max(QUOTE_LIMIT - (end - start), 0)
    floor, ceiling = max(0, start - room // 2), min(len(text), end + room)
    left = floor
    for boundary in _SENTENCE_END.finditer(text, floor, start):
        left = boundary.end()
    if left == floor and floor > 0:
        blank = re.search(r"\s+", text[floor:start])
        left = floor + blank.end() if blank else start
    ceiling = min(ceiling, max(left + QUOTE_LIMIT, end))
    stop = _SENTENCE_END.search(text, end, ceiling)
    right = stop.start() + len(stop.group().rstrip()) if stop else ceiling
    if not stop and ceiling < len(text) and not text[ceiling].isspace():
        blank_at = max(text.rfind(" ", end, ceiling), text.rfind("\n", end, ceiling))
        right = blank_at if blank_at > end else (end if blank_at == end else ceiling)
    while right > end and text[right - 1].isspace():
        right -= 1
    while left < start and text[left].isspace():
        left += 1
    return left, right


def _prose(quote: str) -> float:
    """Return how much a passage reads like prose, 0.1..1: its share of letters and blanks, short ones discounted."""
    letters = sum(c.isalpha() or c == " " for c in quote) / max(len(quote), 1)
    return max(0.1, letters * min(1.0, len(quote) / 60))


def _lower(text: str) -> str:
    """Return ``text`` in lower case with every character in its place (a few lower cases are longer: then ASCII only)."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if c.isascii() else c for c in text)
