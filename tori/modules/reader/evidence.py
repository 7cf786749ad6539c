"""The sentence of a text in which a phrase stands, verbatim and with its offset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

LONGEST_REACH = 220
"""Characters a quotation may reach to either side of the phrase."""
LEAST_WORDS = 6
MOST_MATCHES = 8

_GAP = r"[\s`*_-]{1,6}"
_BORDER = re.compile(r"[.!?][\"'’”)`]*\s+(?=[A-Z`*\"'“(:])|\n\s*\n|\n\s*(?:[-*•+]|\d+[.)])\s+|\n[=~^#-]{3,}\n|:\n")


class Quotation(NamedTuple):
    """``text[start:start + len(quote)] == quote``."""

    quote: str
    start: int


def pattern_of(forms: Sequence[str]) -> re.Pattern[str]:
    """Return what finds any of ``forms`` as whole words, whatever markup or line break stands between them.

    Case counts only for forms of at most four capitals: ``IT`` is not ``it``.
    """
    parts = []
    for form in sorted(forms, key=lambda f: (-len(f), f)):
        body = _GAP.join(re.escape(word) for word in form.split(" "))
        parts.append(f"(?-i:{body}s?)" if form.isupper() and len(form) <= 4 else body)
    return re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.I)


def quotation(text: str, pattern: re.Pattern[str]) -> Quotation | None:
    """Return the first real sentence around a match (the first match's line if there is none), or None without a match."""
    first: Quotation | None = None
    for number, match in enumerate(pattern.finditer(text)):
        found = _sentence(text, match.start(), match.end())
        if len(found.quote.split()) >= LEAST_WORDS:
            return found
        first = first or found
        if number == MOST_MATCHES:
            break
    return first


def _sentence(text: str, start: int, end: int) -> Quotation:
    floor = max(0, start - LONGEST_REACH)
    left = floor
    for border in _BORDER.finditer(text, floor, start):
        left = border.end()
    if left == floor and floor > 0:
        space = re.compile(r"\s").search(text, floor, start)
        left = space.end() if space else start
    ceiling = min(len(text), end + LONGEST_REACH)
    border_after = _BORDER.search(text, end, ceiling)
    if border_after:
        right = (
            border_after.start() + len(border_after[0].rstrip())
            if border_after[0][0] in ".!?"
            else border_after.start()
        )
    else:
        right = ceiling
        if ceiling < len(text):
            right = max(end, text.rfind(" ", end, ceiling), text.rfind("\n", end, ceiling))
    quote = text[left:right]
    left += len(quote) - len(quote.lstrip())
    return Quotation(quote.strip(), left)
