"""Names checked against the texts: a label keeps only terms that literally stand in half of the node's documents.

The scan ranks terms by the reader's uses, which count normalised concepts (singular, resolved acronyms). What a person
reads in a label must be findable in the documents as it is written there, so ``conclude`` counts again, in the texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from tori.events.mind import Evidence
from tori.modules.hierarchy.draft import UNCONNECTED, DraftNode

if TYPE_CHECKING:
    from tori.modules.corpus import DocumentMeta

MAX_TERMS = 3
WEAK_TERMS = 2
"""Terms of a label none of which holds."""
MIN_COVERAGE = 0.5
SEPARATOR = " / "
MAX_QUOTES = 3
QUOTE_READS = 8
"""Documents looked into, a node, for quotations."""
QUOTE_CHARACTERS = 240
UNNAMED = "unnamed"

ReadText = Callable[[str], str | None]
"""Returns the text of a document id; None when no journal here holds it."""


def phrase(term: str) -> re.Pattern[str]:
    """Return the pattern of ``term`` as a whole phrase, in any case."""
    return re.compile(rf"(?<!\w){re.escape(term)}(?!\w)", re.IGNORECASE)


def labels(nodes: Sequence[DraftNode], titles: Mapping[str, str], read: ReadText) -> dict[str, str]:
    """Return {node id: label} for ``nodes``, parents before children.

    Every document is read once; those no journal here holds do not count.
    """
    readable = dict.fromkeys((n.id for n in nodes), 0)
    found: dict[str, list[int]] = {n.id: [0] * len(n.candidates) for n in nodes}
    places: dict[str, list[DraftNode]] = {}
    for node in nodes:
        if node.candidates:
            for document in node.documents:
                places.setdefault(document, []).append(node)
    patterns: dict[str, re.Pattern[str]] = {}
    for document in sorted(places):
        body = read(document)
        if body is None:
            continue
        text = f"{titles.get(document, '')}\n{body}".lower()
        known: dict[str, bool] = {}
        for node in places[document]:
            readable[node.id] += 1
            for position, candidate in enumerate(node.candidates):
                term = candidate.term.lower()
                if term not in known:
                    pattern = patterns.get(term) or patterns.setdefault(term, phrase(term))
                    known[term] = term in text and pattern.search(text) is not None
                found[node.id][position] += known[term]
    named: dict[str, str] = {}
    for node in nodes:
        above = named.get(node.parent or "", "").split(SEPARATOR)
        named[node.id] = _label(node, found[node.id], readable[node.id], above)
    return named


def _label(node: DraftNode, found: Sequence[int], readable: int, above: Sequence[str]) -> str:
    """Return up to three terms that hold, those of the parent's label (``above``) only where no other does.

    When none holds, the best two that stand in the texts at all. ``found`` counts, a candidate, the documents it literally
    stands in, among ``readable`` ones; with none to read the reader's counts are believed.
    """
    if not node.connected:
        return UNCONNECTED
    holding = [i for i, c in enumerate(node.candidates) if c.holds and found[i] >= MIN_COVERAGE * readable]
    chosen = _disjoint(node, [i for i in holding if node.candidates[i].term not in above] or holding, MAX_TERMS)
    if not chosen:
        standing = sorted(
            (i for i in range(len(found)) if found[i] or not readable), key=lambda i: (-min(found[i], 2), i)
        )
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
