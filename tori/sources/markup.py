"""What light markup says about a text: its front matter, headings and links. Markdown and reStructuredText.

Only structure is read; the text itself stays as it is, so every offset here counts characters of that text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tori.events.document import Section

MARKDOWN, REST, PLAIN, HTML, PDF = "markdown", "rest", "plain", "html", "pdf"
MOST_SECTIONS = 4_096
"""Headings beyond this many do not open sections."""

LONGEST_TITLE = 300
"""A longer line is no heading."""

# Every repetition is bounded or begins at something rare: reading a text takes time in its length only.
_FRONT_MATTER = re.compile(r"\A(---|\+\+\+)[ \t]*\n(.*?)^\1[ \t]*(?:\n|\Z)", re.S | re.M)
_FIELD = re.compile(r"^([A-Za-z][\w -]{0,40}?)[ \t]{0,20}[:=](.*)$", re.M)
_DOCINFO = re.compile(r"^:([A-Za-z][\w -]{0,40}):(.*)$", re.M)
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}#{1,6}[ \t]+(.+?)(?:[ \t]+#+)?[ \t]*$")
_ATX_SOMEWHERE = re.compile(r"^#{1,6} \S", re.M)
_SETEXT = re.compile(r" {0,3}(?:=+|-{2,})[ \t]*$")
_ADORNMENT = re.compile(r"([=\-~^\"'`#*+.:_<>])\1{2,}[ \t]*$")
_NOT_A_TITLE = re.compile(r"[ \t]|[-*+>|][ \t]|\.\. ")
_MARKDOWN_LINK = re.compile(
    r"(?<!!)\[[^\]\n]{0,300}\]\(\s{0,4}<?([^)\s>]{1,400})>?[^)\n]{0,300}\)"
    r"|^ {0,3}\[[^\]\n]{1,300}\]:[ \t]{0,20}<?([^\s>]{1,400})>?(?=\s|$)",
    re.M,
)
_WIKI_LINK = re.compile(r"\[\[([^\]|#\n]{1,400})")
_REST_LINK = re.compile(r"`[^`<]{0,300}<([^`>\s]{1,400})>`__?|^\.\. _[^:\n]{1,300}:[ \t]{1,20}(\S{1,400})", re.M)
_REST_DOC = re.compile(r":doc:`(?:[^`<]{0,300}<([^`>]{1,400})>|([^`<]{1,400}))`")
_INLINE = re.compile(
    r"(?:`{1,2}|\*{1,2}|__)([^`*\n]+?)(?:`{1,2}|\*{1,2}|__)|!?\[([^\]]*)\]\([^)]*\)|:[a-z:]+:`([^`<]+)[^`]*`"
)


class Heading(NamedTuple):
    """A heading and where its first line (an overline included) begins."""

    start: int
    title: str


class FrontMatter(NamedTuple):
    """Fields a file states about itself, keys in lower case, and the length of the block that states them."""

    fields: dict[str, str]
    length: int


def front_matter(text: str) -> FrontMatter:
    """Return the YAML or TOML block at the start of ``text`` as plain strings (one line a field); empty without one."""
    block = _FRONT_MATTER.match(text)
    if not block:
        return FrontMatter({}, 0)
    fields = {m[1].lower(): m[2].strip(" \t\"'") for m in _FIELD.finditer(block[2])}
    return FrontMatter(fields, block.end())


def docinfo(text: str) -> dict[str, str]:
    """Return the reStructuredText fields (``:date: 2018-01-02``) before the first blank line after the title."""
    return {m[1].lower(): m[2].strip() for m in _DOCINFO.finditer(text[:2_000])}


def sniff(text: str) -> str:
    """Return the kind of markup a text without a file name most likely has."""
    if any(_rest_headings(text)):
        return REST
    return MARKDOWN if _ATX_SOMEWHERE.search(text) else PLAIN


def headings(text: str, kind: str) -> list[Heading]:
    """Return the headings of ``text`` in order; headings inside fenced or indented code are none."""
    if kind == MARKDOWN:
        return list(_markdown_headings(text))
    return list(_rest_headings(text))


def sections(text: str, kind: str, title: str) -> tuple[Section, ...]:
    """Return one section a heading, up to the next; text before the first heading belongs to one named ``title``."""
    return between(headings(text, kind), text, title)


def between(found: Sequence[Heading], text: str, title: str) -> tuple[Section, ...]:
    """Return one section a heading, as ``sections`` does, for headings that are known."""
    found = list(found[:MOST_SECTIONS])
    if not found:
        return ()
    if text[: found[0].start].strip():
        found.insert(0, Heading(0, title))
    ends = [h.start for h in found[1:]] + [len(text)]
    return tuple(Section(h.start, end, h.title) for h, end in zip(found, ends, strict=True))


def links(text: str, kind: str) -> list[str]:
    """Return the targets of explicit links in order of their first use, as written (relative paths, URLs)."""
    patterns = [_MARKDOWN_LINK, _WIKI_LINK] if kind != REST else []
    patterns += [_REST_LINK, _REST_DOC] if kind != MARKDOWN else []
    hits = [(m.start(), next(g for g in m.groups() if g)) for p in patterns for m in p.finditer(text)]
    return list(dict.fromkeys(target for _, target in sorted(hits)))


def plain_title(title: str) -> str:
    """Return a heading without its inline markup."""
    return " ".join(_INLINE.sub(lambda m: next((g for g in m.groups() if g), ""), title).split())


def _lines(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for line in text.split("\n"):
        yield start, line
        start += len(line) + 1


def _markdown_headings(text: str) -> Iterator[Heading]:
    fence = ""
    previous_start, previous = 0, ""
    for start, line in _lines(text):
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            previous = ""
            continue
        if mark:
            fence = mark[1]
            previous = ""
            continue
        atx = _ATX.match(line) if len(line) <= LONGEST_TITLE else None
        if atx:
            yield Heading(start, plain_title(atx[1]))
            line = ""
        elif 0 < len(previous) <= LONGEST_TITLE and not _NOT_A_TITLE.match(previous) and _SETEXT.match(line):
            yield Heading(previous_start, plain_title(previous))
            line = ""
        # A setext heading is one line here: the second line of a paragraph is not a title.
        previous_start, previous = start, line if not previous else ("    " if line else "")


def _rest_headings(text: str) -> Iterator[Heading]:
    before, title_start, title = "", 0, ""
    for start, line in _lines(text):
        adorned = _ADORNMENT.match(line) if 0 < len(title) <= LONGEST_TITLE else None
        if adorned and not _ADORNMENT.match(title):
            length, name = len(line.rstrip()), title.strip()
            overlined = before.startswith(adorned[1] * 3) and bool(_ADORNMENT.match(before))
            can_be = overlined or (not before.strip() and not _NOT_A_TITLE.match(title))
            if can_be and length >= min(len(name), 4) and length >= len(name) - 1:
                yield Heading(title_start - (len(before) + 1 if overlined else 0), plain_title(name))
                before, title = "", ""
                continue
        before, title_start, title = title, start, line
