"""Names of people, told by where they stand: thanked, credited, with an address, or saying something."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tori.events.document import Section
from tori.modules.reader.clean import heading_key

MOST_PEOPLE = 64
PERSON_SHARE = 0.15
"""A pair of words is a person when this share of the documents that use it tell so."""

_GIVEN = r"[A-Z][a-zà-ÿ]{1,30}(?: [A-Z]\.){0,3}"
_FAMILY = r"(?: (?:van|von|der|den|de|da|di|la|le)){0,3} [A-Z][\w'’-]{0,30}[a-zà-ÿ]"
_NAME = f"({_GIVEN}{_FAMILY})"
_CREDIT = r"(?:\b[Bb]y|[Tt]hanks?(?: \w{1,20})? to|[Tt]hank|[Cc]redits? to|[Aa]uthors?:|[Mm]anager:?|-) "
_DEED = (
    r"(?: <|['’]s?\b| \([a-z@]| (?:has|wrote|suggested|proposed|said|pointed|asked|noted|created|first|provided|contributed"
    r"|implemented|posted|made|did|came|argued|reviewed|helped|is|was)\b)"
)
_ENTRY = r"^(?:[-*+] {1,4}|\.\. \[[^\]\n]{0,80}\] {1,4})"
_CUES = (re.compile(_CREDIT + _NAME), re.compile(_NAME + _DEED), re.compile(_ENTRY + _NAME + r"(?:,|$| [(<])", re.M))
_ANY = re.compile(_NAME)
_CREDIT_SECTIONS = frozenset(
    "acknowledgement acknowledgements acknowledgment acknowledgments author authors contributors copyright credits"
    " references references-and-footnotes footnotes sponsors thanks".split()
)
_WORD = re.compile(r"[^\W\d_]+")


def people(text: str, sections: Sequence[Section]) -> list[str]:
    """Return the given and family names found, lower case, one string a person, sorted; none whose words are common here."""
    found: set[str] = set()
    for cue in _CUES:
        found.update(cue.findall(text))
    for section in sections:
        if heading_key(section.title) in _CREDIT_SECTIONS:
            found.update(_ANY.findall(text[section.start : section.end]))
    if not found:
        return []
    common = {w for w in _WORD.findall(text) if w.islower()}
    names = {" ".join(w.lower() for w in name.split() if not w.endswith(".")) for name in found}
    return sorted(n for n in names if not {w for w in n.split() if len(w) > 3} & common)[:MOST_PEOPLE]


class People:
    """The people of a corpus, told from phrases that only look like names."""

    def __init__(self, told: Iterable[Sequence[str]], frequency: Mapping[str, int]) -> None:
        names: Counter[str] = Counter()
        words: Counter[str] = Counter()
        for document in told:
            names.update(document)
            words.update({w for name in document for w in name.split()})
        self._names = [n.split() for n, hits in names.items() if hits >= PERSON_SHARE * frequency.get(n, 0)]
        self._pairs = {tuple(pair) for words in self._names for pair in pairwise(words)}
        self._words = {w for w, hits in words.items() if hits >= PERSON_SHARE * frequency.get(w, 0)}
        self._words &= {w for name in self._names for w in name}

    def are_named(self, words: Sequence[str]) -> bool:
        """Return whether a phrase of these words names a person."""
        if len(words) == 1:
            return words[0] in self._words
        return any(pair in self._pairs for pair in pairwise(words))
