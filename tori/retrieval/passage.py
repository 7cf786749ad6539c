"""Cuts a document into passages: spans of its text that read by themselves and can be quoted by offset."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from tori.events.document import Section

LEAST_WORDS = 80
MOST_WORDS = 220
STUB_WORDS = 12
"""A section shorter than this (a bare heading) joins the one that follows it."""

_BLANK = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"[.!?][\"')\]]*\s+(?=[\"'(\[`*]*[A-Z0-9])")


class Passage(NamedTuple):
    """``text[start:end]`` of a document, without white space at its ends; ``section`` is the heading it stands under."""

    start: int
    end: int
    section: str


class _Span(NamedTuple):
    start: int
    end: int
    words: int


def split(text: str, sections: Sequence[Section] = ()) -> list[Passage]:
    """Return passages of ``LEAST_WORDS`` to ``MOST_WORDS`` words, in order, without overlap, covering every word.

    Cuts fall between sections first, then between paragraphs, then between sentences, at last between words. A
    section with fewer words makes a shorter passage. A text without words has none.
    """
    passages = []
    for start, end, title in _joined(text, _pieces(len(text), sections)):
        spans = [s for p in _paragraphs(text, start, end) for s in _cut(text, p)]
        passages += [Passage(s.start, s.end, title) for s in _packed(spans)]
    return passages


def sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the bounds of each sentence of ``text[start:end]``: ends at punctuation before a capital, or a blank line."""
    for paragraph in _paragraphs(text, start, end):
        left = paragraph.start
        for match in _SENTENCE_END.finditer(text, paragraph.start, paragraph.end):
            right = match.end()
            yield left, right - len(match.group()) + len(match.group().rstrip())
            left = right
        if left < paragraph.end:
            yield left, paragraph.end


def _pieces(size: int, sections: Sequence[Section]) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, title) covering 0..size; where sections overlap the one that began last names the piece."""
    ordered = sorted(sections, key=lambda s: (s.start, -s.end))
    borders = sorted({0, size, *(min(max(b, 0), size) for s in ordered for b in (s.start, s.end))})
    opened: list[Section] = []
    next_section = 0
    for start, end in pairwise(borders):
        while next_section < len(ordered) and ordered[next_section].start <= start:
            opened.append(ordered[next_section])
            next_section += 1
        opened = [s for s in opened if s.end > start]
        yield start, end, opened[-1].title if opened else ""


def _joined(text: str, pieces: Iterator[tuple[int, int, str]]) -> Iterator[tuple[int, int, str]]:
    """Yield the pieces that hold words, bare headings joined to what they introduce (their titles with a colon)."""
    held: tuple[int, str] | None = None
    last = (0, 0, "")
    for start, end, title in pieces:
        words = len(text[start:end].split())
        if not words:
            continue
        begin, full = held[0] if held else start, title
        if held and held[1] and held[1] != title:
            full = f"{held[1]}: {title}" if title else held[1]
        last = (begin, end, full)
        if words < STUB_WORDS and not held:
            held = (begin, full)
            continue
        held = None
        yield last
    if held:
        yield last


def _paragraphs(text: str, start: int, end: int) -> Iterator[_Span]:
    left = start
    for match in [*_BLANK.finditer(text, start, end), None]:
        right = match.start() if match else end
        body = text[left:right]
        words = len(body.split())
        if words:
            lead = len(body) - len(body.lstrip())
            yield _Span(left + lead, left + len(body.rstrip()), words)
        left = match.end() if match else end


def _cut(text: str, span: _Span) -> Iterator[_Span]:
    """Yield a paragraph in parts of at most ``MOST_WORDS`` words, cut after a sentence where one ends late enough."""
    if span.words <= MOST_WORDS:
        yield span
        return
    words = [m.span() for m in _WORD.finditer(text, span.start, span.end)]
    ends = {m.end() for m in _SENTENCE_END.finditer(text, span.start, span.end)}
    first = 0
    while first < len(words):
        stop = min(first + MOST_WORDS, len(words))
        if stop < len(words):
            stop = next((i for i in range(stop, first + LEAST_WORDS, -1) if words[i][0] in ends), stop)
        yield _Span(words[first][0], words[stop - 1][1], stop - first)
        first = stop


def _packed(spans: list[_Span]) -> list[_Span]:
    """Return neighbours joined until each has ``LEAST_WORDS`` words, then what is still short joined to the one before it.

    Never beyond ``MOST_WORDS``: a short span remains only where both neighbours are too long for it.
    """
    packed = _merged(spans, lambda before, _: before < LEAST_WORDS)
    return _merged(packed, lambda before, after: min(before, after) < LEAST_WORDS)


def _merged(spans: list[_Span], wanted: Callable[[int, int], bool]) -> list[_Span]:
    merged: list[_Span] = []
    for span in spans:
        words = merged[-1].words + span.words if merged else span.words
        if merged and wanted(merged[-1].words, span.words) and words <= MOST_WORDS:
            merged[-1] = _Span(merged[-1].start, span.end, words)
        else:
            merged.append(span)
    return merged
