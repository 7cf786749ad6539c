"""Text to index terms: lower-case words without stop words, stemmed (Porter 2, snowballstem.org, by PyStemmer)."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from Stemmer import Stemmer

_WORD = re.compile(r"\w+")
STOP_WORDS = frozenset(
    """
    a about after all also am an and any are as at be because been before being both but by can could did do does
    doing for from had has have having he her here him his how i if in into is it its me my no not of on one or other
    our out over she should so some such than that the their them then there these they this those through to too
    under us very was we were what when where which while who whom whose why will with would you your
    """.split()
)


def terms(text: str) -> list[str]:
    """Return the stems of ``text`` in order, with repeats."""
    return _stemmer().stemWords([w for w in _WORD.findall(text.lower()) if w not in STOP_WORDS])  # type: ignore[no-any-return]  # PyStemmer has no annotations


@cache
def _stemmer() -> Stemmer:
    from Stemmer import Stemmer

    return Stemmer("english")
