"""The prose of a document: its text without code, apparatus, addresses and markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tori.events.document import Section
from tori.modules.reader.stop_word import APPARATUS, LISTS, REMARKS

LEAST_SHARE = 0.3
"""When less than this share of a text survives cleaning, the raw text is used instead."""

_ADORNMENT = re.compile(r"\s*([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_ATX = re.compile(r"\s{0,3}#{1,6}\s+")
_TYPED_PARAMETER = re.compile(r"\s*\*{0,2}\w+(?:, ?\*{0,2}\w+)* : \S")
_FIELD = re.compile(r"\s*:(?:param|parameter|arg|type|return|returns|rtype|raise|raises|var|ivar|cvar)\b[^:]*:")
_CODE = re.compile(
    r"\s*\.\. (?:code|code-block|sourcecode|testcode|testsetup|doctest|testoutput|plot|math|parsed-literal|literalinclude"
    r"|autosummary|toctree|image|figure|ipython|csv-table|list-table|highlight|raw|versionadded|versionchanged)::"
)
_BLANK = re.compile(r"\n\s*\n")
_LICENCE = re.compile(
    r"WITHOUT WARRANT|WARRANTIES|AS IS|Permission (?:is hereby|to use)|Redistribution and use|[Ll]icensed under|[Aa]ll rights reserved"
)
_HEADER = re.compile(
    r":?(?:author|maintainer|contact|bdfl-delegate|sponsor|editor|by|copyright|licen[cs]e|post-history|discussions-to)s?:\s",
    re.I,
)
_NOISE = re.compile(
    r"(?:https?|ftp)://\S+|\bwww\.\S+|[\w.+-]{1,64}@[\w-]{1,64}\.\w[\w.-]{0,64}|\[(?:\d{1,9}|[#*]\w{0,40}|[A-Z]\w{1,40})\]_?"
    r"|\]\([^)\s]{0,400}\)|:[a-z]{1,20}(?:[+:][a-z]{1,20}){0,3}:(?=`)|<[^<>\s`]{0,400}>`__?|\\ "
    r"|^[ \t]{0,80}\.\. (?:_[^\n]*|\[[^\]\n]{0,80}\]|[\w-]{1,40}::)|</?[a-z][^<>\n]{0,80}>|&[a-z]{1,20};",
    re.M,
)
"""Every repetition is bounded or begins at something rare: the time to clean a text grows with its length only."""
_MARKS = re.compile(r"[`*]+")
_KEY = re.compile(r"[^\w]+")


def heading_key(title: str) -> str:
    """Return a heading as lower-case words joined by hyphens, without numbering."""
    return "-".join(w for w in _KEY.split(title.lower()) if w and not w.isdigit())


def prose(text: str, sections: Sequence[Section]) -> tuple[str, list[str]]:
    """Return (prose, headings): what is left to read, blank lines between blocks, and the heading lines found.

    When more than 70 % would vanish, lists of parameters and apparatus stay in; when code alone is more than 70 %,
    the raw text is returned.
    """
    least = LEAST_SHARE * _size(text)
    cleaned = ""
    for is_strict in (True, False):
        found: list[str] = []
        lines = (line for piece in _pieces(text, sections, is_strict) for line in _body_lines(piece, found, is_strict))
        cleaned = _MARKS.sub("", _NOISE.sub(" ", "\n".join(lines)))
        if is_strict and "\n" in cleaned:
            cleaned = "\n\n".join(p for p in _BLANK.split(cleaned) if not _LICENCE.search(p))
        if _size(cleaned) >= least:
            return cleaned, found
    return text, found


def _size(text: str) -> int:
    return len("".join(text.split()))


def _pieces(text: str, sections: Sequence[Section], is_strict: bool) -> Iterator[str]:
    """Yield the text section by section, apparatus left out if ``is_strict``."""
    end = 0
    for section in sections:
        if section.start < end:
            continue
        yield text[end : section.start]
        end = section.end
        if not (is_strict and heading_key(section.title) in APPARATUS):
            yield text[section.start : end]
    yield text[end:]


def _body_lines(text: str, found: list[str], is_strict: bool) -> Iterator[str]:
    """Yield the lines that are prose; headings go to ``found`` and become blank lines."""
    skipped_indent = -1
    lines = text.split("\n")
    in_fence = in_session = in_apparatus = False
    for number, line in enumerate(lines):
        stripped = line.strip()
        if not stripped:
            in_session = False
            yield ""
            continue
        if _FENCE.match(line):
            in_fence = not in_fence
            continue
        indent = len(line) - len(line.lstrip())
        if in_fence or (skipped_indent >= 0 and indent > skipped_indent):
            continue
        skipped_indent = -1
        in_session = in_session or stripped.startswith((">>>", "$ "))
        if in_session or _ADORNMENT.match(line):
            continue
        follower = lines[number + 1] if number + 1 < len(lines) else ""
        title = _heading(line, stripped, follower)
        if title:
            found.append(title)
            key = heading_key(title)
            is_underlined = _ADORNMENT.match(follower) is not None
            in_apparatus = is_strict and is_underlined and key in APPARATUS
            if is_strict and not is_underlined and key in LISTS:
                skipped_indent = indent
            yield ""
        elif not in_apparatus:
            if stripped.endswith("::") or _CODE.match(line):
                skipped_indent = indent
            yield from _prose_line(line, stripped)


def _heading(line: str, stripped: str, follower: str) -> str:
    if _ATX.match(line):
        return _ATX.sub("", line).strip("# \t")
    if _ADORNMENT.match(follower) and len(follower.strip()) >= len(stripped) - 1 and len(stripped) < 160:
        return stripped
    if stripped.endswith(":") and heading_key(stripped) in LISTS | REMARKS:
        return stripped[:-1]
    return ""


def _prose_line(line: str, stripped: str) -> Iterator[str]:
    if _TYPED_PARAMETER.match(line) or _HEADER.match(stripped):
        yield ""
        return
    field = _FIELD.match(line)
    if field:
        yield ""
        line = line[field.end() :]
    yield line
