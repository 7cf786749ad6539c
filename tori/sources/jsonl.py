"""JSON Lines as a source: one document a line, plain or gzip-compressed, read as a stream.

Fields: ``id`` and ``text``; optional ``title``, ``time`` (ISO 8601 or epoch seconds), ``source``, ``links``, ``thread``,
``sections`` (objects or triples of start, end, title). Others are ignored. Without ``sections`` the headings of the text
make them. Of lines with the same id the last one counts; the others are named as replaced.
"""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from tori.events.document import Document, Section
from tori.sources import markup
from tori.sources.base import LARGEST_TEXT_BYTES, Refusal, Source, flaw_of, flaw_of_id, flaw_of_text
from tori.sources.moment import time_ns_of

LONGEST_LINE = 3 * LARGEST_TEXT_BYTES
"""Bytes a line may have: a text of full size with every second character escaped."""
MOST_WITHOUT = 200_000
"""Lines in a row without a document, empty ones included, after which a file is given up: it is something else."""
LARGEST_RATIO = 300
"""A compressed file that grows by more than this, past ``LONGEST_LINE``, is taken for a bomb and given up."""

_SHAPE = 'A line is one JSON object with at least "id" and "text".'


class _Span(msgspec.Struct):
    start: int
    end: int
    title: str = ""


class _Row(msgspec.Struct):
    id: str | int
    text: str
    title: str | None = None
    time: str | int | float | None = None
    source: str | None = None
    links: list[str] | None = None
    thread: str | None = None
    sections: list[_Span | tuple[int, int, str]] | None = None


class _Name(msgspec.Struct):
    id: str | int
    text: str


class JsonLines(Source):
    """The documents of one ``.jsonl`` or ``.jsonl.gz`` file, in the order of its lines."""

    unit = "bytes"

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path
        self._decoder = msgspec.json.Decoder(_Row)
        self._replaced: dict[int, int] = {}

    def total(self) -> int | None:
        return self.path.stat().st_size

    def documents(self) -> Iterator[Document | Refusal]:
        self.position = 0
        self._replaced = self._replaced_lines()
        with self.path.open("rb") as raw:
            lines = self._lines(raw)
            try:
                yield from self._walk(raw, lines)
            except (OSError, EOFError, zlib.error) as error:
                yield self._refusal(None, f"reading stopped: {error}.", "The file is damaged or cut; get it again.")
            self.position = raw.tell()

    def _lines(self, raw: IO[bytes]) -> IO[bytes]:
        return cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if self.path.suffix == ".gz" else raw

    def _replaced_lines(self) -> dict[int, int]:
        """Return {line: the last line with the same id}: only the last one counts, so that reading a file twice changes nothing.

        What is wrong with a line, or with the file, is said when it is read.
        """
        last: dict[str, int] = {}
        replaced: dict[int, int] = {}
        decoder, left = msgspec.json.Decoder(_Name), LARGEST_RATIO * self.path.stat().st_size + LONGEST_LINE
        with self.path.open("rb") as raw, contextlib.suppress(OSError, EOFError, zlib.error):
            lines = self._lines(raw)
            number, is_whole = 1, True
            while (line := lines.readline(LONGEST_LINE)) and left > 0:
                left -= len(line)
                if is_whole and (line.endswith(b"\n") or len(line) < LONGEST_LINE):
                    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                        row = decoder.decode(line.removeprefix(b"\xef\xbb\xbf"))
                        name = str(row.id)
                        if row.text.strip():
                            if name in last:
                                replaced[last[name]] = number
                            last[name] = number
                is_whole = line.endswith(b"\n")
                number += is_whole
        return replaced

    def _walk(self, raw: IO[bytes], lines: IO[bytes]) -> Iterator[Document | Refusal]:
        produced = number = without = 0
        most = LONGEST_LINE + LARGEST_RATIO * self.path.stat().st_size
        while line := lines.readline(LONGEST_LINE):
            number += 1
            produced += len(line)
            self.position = raw.tell()
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                yield self._refusal(number, f"longer than {LONGEST_LINE} bytes.", "Split the document.")
                while line and not line.endswith(b"\n") and produced <= most:
                    line = lines.readline(LONGEST_LINE)
                    produced += len(line)
                without += 1
            elif line.strip():
                found = self._read(number, line)
                without = without + 1 if isinstance(found, Refusal) else 0
                yield found
            else:
                without += 1
            if without >= MOST_WITHOUT:
                yield self._refusal(number, f"{without} lines in a row hold no document: given up here.", _SHAPE)
                return
            if produced > most:
                yield self._refusal(number, "expands far beyond its size.", "Unpack it and look inside first.")
                return

    def _read(self, number: int, line: bytes) -> Document | Refusal:
        try:
            row = self._decoder.decode(line.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return self._refusal(number, f"not a document: {error}.", _SHAPE)
        document_id = str(row.id)
        if number in self._replaced:
            reason = f"line {self._replaced[number]} has the same id {document_id!r} and replaces it."
            return self._refusal(number, reason, "Give every document an id of its own, if both are wanted.")
        flaw = flaw_of_id(document_id) or flaw_of_text(row.text)
        if flaw:
            return self._refusal(number, flaw, "Correct the line or leave it out.")
        try:
            time_ns = time_ns_of(row.time)
        except ValueError as error:
            return self._refusal(number, f"field time: {error}.", "Give an ISO 8601 date or seconds since 1970.")
        title = (row.title or "").strip() or _first_line(row.text, document_id)
        sections = _checked_sections(row, title)
        if sections is None:
            return self._refusal(
                number, "field sections: a span lies outside the text.", "Count characters of text: 0 <= start <= end."
            )
        document = Document(
            id=document_id,
            title=title,
            text=row.text,
            time_ns=time_ns,
            source=row.source or f"{self.path.name}:{number}",
            thread=row.thread or "",
            links=tuple(dict.fromkeys(link for link in row.links or () if link and link != document_id)),
            sections=sections,
        )
        flaw = flaw_of(document)
        return self._refusal(number, flaw, "Correct the line or leave it out.") if flaw else document

    def _refusal(self, line: int | None, reason: str, remedy: str) -> Refusal:
        return Refusal(str(self.path), reason, remedy, line)


def _first_line(text: str, document_id: str) -> str:
    kind = markup.sniff(text)
    found = markup.headings(text, kind)
    return found[0].title if found else document_id


def _checked_sections(row: _Row, title: str) -> tuple[Section, ...] | None:
    if row.sections is None:
        return markup.sections(row.text, markup.sniff(row.text), title)
    spans: list[Any] = [(s.start, s.end, s.title) if isinstance(s, _Span) else s for s in row.sections]
    if any(not 0 <= start <= end <= len(row.text) for start, end, _ in spans):
        return None
    return tuple(Section(start, end, name) for start, end, name in spans)
