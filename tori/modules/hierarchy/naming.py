"""Names checked against the texts: a label keeps only terms that literally hold (``label``) for the node.

The scan ranks terms by the reader's uses, which count normalised concepts (singular, resolved acronyms) where a document
chose them. What a person reads in a label must be findable as it is written there, and rare where it is not
claimed, so ``conclude`` counts again, in the texts of all documents.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tori.events.mind import Evidence
from tori.modules.hierarchy.draft import UNCONNECTED, DraftNode
from tori.modules.hierarchy.label import MIN_COVERAGE, MIN_LIFT, ROUNDING

if TYPE_CHECKING:
    from tori.modules.corpus import DocumentMeta

MAX_TERMS = 3
WEAK_TERMS = 2
"""Terms of a label none of which holds."""
MAX_READ_CHARACTERS = 64_000_000
"""Text read to name one map (about 6 s): what lies beyond, by document id, is not counted."""
SEPARATOR = " / "
MAX_QUOTES = 3
QUOTE_READS = 8
"""Documents looked into, a node, for quotations."""
QUOTE_CHARACTERS = 240
UNNAMED = "unnamed"
_WORD = re.compile(r"\w+")

ReadText = Callable[[str], str | None]
"""Returns the text of a document id; None when no journal here holds it."""


def phrase(term: str) -> re.Pattern[str]:
    """Return the pattern of ``term`` as a whole phrase, in any case, over any white space."""
    words = r"\s+".join(map(re.escape, term.split()))
    return re.compile(rf"(?<!\w){words}(?!\w)", re.IGNORECASE)


def labels(nodes: Sequence[DraftNode], titles: Mapping[str, str], read: ReadText) -> dict[str, str]:
    """Return {node id: label} for ``nodes``, parents before children.

    Every document is read once, up to ``MAX_READ_CHARACTERS`` in all; those not read do not count.
    """
    index = TermIndex({c.term for n in nodes for c in n.candidates})
    room = MAX_READ_CHARACTERS
    for document in sorted({d for n in nodes for d in n.documents}):
        text = read(document) if room > 0 else None
        if text is not None:
            room -= len(text)
            index.add(document, f"{titles.get(document, '')}\n{text}")
    named: dict[str, str] = {}
    for node in nodes:
        above = named.get(node.parent or "", "").split(SEPARATOR)
        named[node.id] = _label(node, index, above) if node.connected else UNCONNECTED
    return named


class TermIndex:
    """Which of a set of terms stands in which text, as a whole phrase, in any case, over any white space."""

    def __init__(self, terms: Iterable[str]) -> None:
        self.documents: set[str] = set()
        self.having: dict[str, set[str]] = {}
        self._by_word: dict[str, list[tuple[str, str]]] = {}
        for term in sorted(terms):
            self.having[term] = set()
            sought = " ".join(term.lower().split())
            key = max(_WORD.findall(sought), key=lambda w: (len(w), w), default="")
            self._by_word.setdefault(key, []).append((term, sought))

    def add(self, document: str, text: str) -> None:
        """Look for the terms in ``text``: one pass over its words, then only phrases whose longest word it has."""
        self.documents.add(document)
        lower = " ".join(text.lower().split())
        for word in self._by_word.keys() & set(_WORD.findall(lower)):
            for term, sought in self._by_word[word]:
                if sought == word or _stands(sought, lower):
                    self.having[term].add(document)


def _stands(sought: str, text: str) -> bool:
    """Return whether ``sought`` stands in ``text`` with no word character on either side (a search without a pattern: 20x)."""
    at = text.find(sought)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(sought) : at + len(sought) + 1]
        if not _WORD.match(before) and not _WORD.match(after):
            return True
        at = text.find(sought, at + 1)
    return False


def _label(node: DraftNode, index: TermIndex, above: Sequence[str]) -> str:
    """Return up to three terms that hold, those of the parent's label (``above``) only where no other does.

    When none holds, the best two by coverage x log lift as counted in the texts. Without any text to read, the
    reader's counts are believed.
    """
    members = index.documents.intersection(node.documents)
    found = [len(index.having[c.term] & members) for c in node.candidates]
    lift = [
        count * len(index.documents) / max(len(members) * len(index.having[c.term]), 1)
        for count, c in zip(found, node.candidates, strict=True)
    ]
    holding = [
        i
        for i, c in enumerate(node.candidates)
        if (found[i] >= MIN_COVERAGE * len(members) and lift[i] >= MIN_LIFT - ROUNDING if members else c.holds)
    ]
    chosen = _disjoint(node, [i for i in holding if node.candidates[i].term not in above] or holding, MAX_TERMS)
    if not chosen:
        worth = [round(f * math.log(x), 6) if x > 1 else 0.0 for f, x in zip(found, lift, strict=True)]
        standing = sorted((i for i in range(len(found)) if found[i] or not members), key=lambda i: (-worth[i], i))
        chosen = _disjoint(node, standing, WEAK_TERMS)
    return SEPARATOR.join(node.candidates[i].term for i in chosen) or UNNAMED


def _disjoint(node: DraftNode, positions: Iterable[int], most: int) -> list[int]:
    kept: list[int] = []
    for i in positions:
        clashes = any(i in node.candidates[k].clashes or k in node.candidates[i].clashes for k in kept)
        if not clashes and len(kept) < most:
            kept.append(i)
    return kept


def quotes(
    label: str, central: Sequence[str], documents: Mapping[str, DocumentMeta], read: ReadText
) -> tuple[Evidence, ...]:
    """Return one to three sentences with the label's first term, from the most central documents that have it.

    Without such a sentence, the first sentence of the most central document with any text. ``central`` is ordered.
    """
    pattern = phrase(label.split(SEPARATOR, maxsplit=1)[0])
    evidence: list[Evidence] = []
    fallback: list[Evidence] = []
    for document in central[:QUOTE_READS]:
        text = read(document) or ""
        match = pattern.search(text)
        start, end = sentence(text, *(match.span() if match else (0, 0)))
        if start == end:
            continue
        quotation = Evidence(document, documents[document].event_id, text[start:end], start)
        (evidence if match else fallback).append(quotation)
        if len(evidence) == MAX_QUOTES:
            break
    return tuple(evidence or fallback[:1])


def sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the bounds of the sentence around ``text[start:end]``, at most ``QUOTE_CHARACTERS`` long, whitespace trimmed."""
    room = max((QUOTE_CHARACTERS - (end - start)) // 2, 0)
    left, right = max(0, start - room), min(len(text), end + room)
    breaks = [m.end() for m in re.finditer(r"[.!?]\s|\n\s*\n", text[left:start])]
    begin = left + breaks[-1] if breaks else left
    stop = re.search(r"[.!?](?=\s|$)|\n\s*\n", text[end:right])
    finish = end + stop.end() if stop else _last_word(text, end, right)
    if not breaks and left > 0:
        begin += _to_word(text[begin:start])
    while begin < finish and text[begin].isspace():
        begin += 1
    while finish > begin and text[finish - 1].isspace():
        finish -= 1
    return begin, finish


def _last_word(text: str, end: int, right: int) -> int:
    """Return the last position in ``end..right`` that cuts no word."""
    if right == len(text):
        return right
    return max((m.start() for m in re.finditer(r"\s", text[: right + 1][end:])), default=0) + end


def _to_word(before: str) -> int:
    """Return how many characters of a word cut in half stand at the start of ``before``."""
    space = re.search(r"\s", before)
    return space.end() if space else 0
