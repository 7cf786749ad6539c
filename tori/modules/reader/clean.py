"""The prose of a document: its text without code, apparatus, addresses and markup."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tori.events.document import Section
from tori.modules.reader.stop_word import APPARATUS, PARAMETER_HEADINGS

LEAST_SHARE = 0.3
"""When less than this share of a text survives cleaning, the raw text is used instead."""

_INDENT = re.compile(r"[ \t]*")
_ADORNMENT = re.compile(r"\s*([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_ATX = re.compile(r"\s{0,3}#{1,6}\s+")
_TYPED_PARAMETER = re.compile(r"\s*\*{0,2}\w+(?:, ?\*{0,2}\w+)* : \S")
_FIELD = re.compile(r"\s*:(?:param|parameter|arg|type|return|returns|rtype|raise|raises|var|ivar|cvar)\b[^:]*:")
_HEADER = re.compile(r"(?:author|authors|maintainer|contact|bdfl-delegate|sponsor|editor|by)s?:\s", re.I)
_NOISE = re.compile(
    r"(?:https?|ftp)://\S+|\bwww\.\S+|\S+@\S+\.\w+|\[(?:\d+|[#*]\w*|[A-Z]\w+)\]_?|\]\([^)\s]*\)|:[a-z]+(?::[a-z]+)?:(?=`)"
    r"|<[^<>\s`]*>`__?|\\ |^\s*\.\. (?:_[^\n]*|\[[^\]]*\]|[\w-]+::)|</?[a-z][^<>\n]{0,80}>|&[a-z]+;",
    re.M,
)
_MARKS = re.compile(r"[`*]+")
_KEY = re.compile(r"[^\w]+")


def heading_key(title: str) -> str:
    """Return a heading as lower-case words joined by hyphens, without numbering."""
    return "-".join(w for w in _KEY.split(title.lower()) if w and not w.isdigit())


def prose(text: str, sections: Sequence[Section]) -> tuple[str, list[str]]:
    """Return (prose, headings): what is left to read, blank lines between blocks, and the heading lines found.

    Falls back to the raw text when more than 70 % of it would vanish.
    """
    found: list[str] = []
    kept = "\n".join(_body_lines(_without_apparatus(text, sections), found))
    cleaned = _MARKS.sub("", _NOISE.sub(" ", kept))
    if _size(cleaned) < LEAST_SHARE * _size(text):
        return text, found
    return cleaned, found


def _size(text: str) -> int:
    return len("".join(text.split()))


def _without_apparatus(text: str, sections: Sequence[Section]) -> str:
    parts, end = [], 0
    for section in sections:
        if heading_key(section.title) in APPARATUS and section.start >= end:
            parts.append(text[end : section.start])
            end = section.end
    parts.append(text[end:])
    return "\n\n".join(parts)


def _body_lines(text: str, found: list[str]) -> Iterator[str]:
    """Yield the lines that are prose; headings go to ``found`` and become blank lines."""
    code_indent = -1
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
        indent = len(_INDENT.match(line)[0])  # type: ignore[index]  # matches always
        if in_fence or (code_indent >= 0 and indent > code_indent):
            continue
        code_indent = -1
        in_session = in_session or stripped.startswith(">>>")
        if in_session or _ADORNMENT.match(line):
            continue
        follower = lines[number + 1] if number + 1 < len(lines) else ""
        title = _heading(line, stripped, follower)
        if title:
            found.append(title)
            in_apparatus = heading_key(title) in APPARATUS and _ADORNMENT.match(follower) is not None
            yield ""
        elif not in_apparatus:
            if stripped.endswith("::"):
                code_indent = indent
            yield from _prose_line(line, stripped)


def _heading(line: str, stripped: str, follower: str) -> str:
    if _ATX.match(line):
        return _ATX.sub("", line).strip("# \t")
    if _ADORNMENT.match(follower) and len(follower.strip()) >= len(stripped) - 1 and len(stripped) < 160:
        return stripped
    if stripped.endswith(":") and heading_key(stripped) in PARAMETER_HEADINGS:
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
