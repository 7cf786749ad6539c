"""Reading what nobody reads any more: finds damage in old segments before somebody needs them.

A scrub goes over everything below the durable position, a bounded piece a call, and checks headers, bodies and the row of
sequences. What it finds is below a promise, so it is damage and never a tail. It changes nothing; ``write_note`` leaves a file
beside the segments.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tori.journal.files import SYSTEM_FILES, Files, replace
from tori.journal.frame import HEADER_BYTES, MAGIC, Header, decode_header
from tori.journal.reader import JournalReader
from tori.journal.segment import MappedSegment, SegmentName, list_segments

PIECE_BYTES = 4 * 1024 * 1024
MAX_DAMAGES = 1_000
NOTE = "damage.json"


class Damage(msgspec.Struct, frozen=True):
    """A stretch of a segment that is not what was written."""

    journal: str
    segment: str
    offset: int
    end: int
    """Offset of the next frame that can be read, or the end of what was looked at."""
    first_sequence: int
    """Of the first entry that cannot be read; -1 when not even that is known."""
    entries: int
    """How many cannot be read; -1 when nothing after them in this journal could be."""
    reason: str


class Scrub:
    """A walk over one journal, again and again. Not thread-safe."""

    def __init__(self, directory: Path, *, files: Files = SYSTEM_FILES) -> None:
        self._reader = JournalReader(directory, files=files)
        self._directory = directory
        self._files = files
        self._at = -1
        self._sequence: int | None = None
        self.passes = 0
        """Times it came to the end."""
        self.checked_bytes = 0
        self.frames = 0

    @property
    def position(self) -> int:
        """Return the offset up to which this pass has come."""
        return max(self._at, 0)

    def run(self, max_bytes: int = PIECE_BYTES) -> list[Damage]:
        """Check the next piece of at least a frame and about ``max_bytes``; return what is wrong with it."""
        limit = self._reader.limit()
        names = list_segments(self._directory, self._files)
        first = names[0].base if names else 0
        if self._at < first:
            self._at, self._sequence = first, None
        found: list[Damage] = []
        if not names and limit:
            self.passes += 1
            return [Damage(self._reader.name, "", 0, limit, 0, -1, "every segment is missing")]
        stop = min(limit, self._at + max_bytes)
        for index, name in enumerate(names):
            end = min(limit, names[index + 1].base if index + 1 < len(names) else limit)
            if end <= self._at or self._at >= stop:
                continue
            try:
                segment = MappedSegment(self._directory, name, self._files)
            except FileNotFoundError:
                return found  # removed by retention or hidden meanwhile: the next call lists again
            try:
                self._segment(segment, end, stop, found)
            finally:
                segment.close()
        if self._at >= limit:
            self._at, self._sequence = -1, None
            self.passes += 1
        return found

    def run_whole(self) -> list[Damage]:
        """Finish this pass; return what is wrong with the rest of it."""
        found: list[Damage] = []
        passes = self.passes
        while self.passes == passes and len(found) < MAX_DAMAGES:
            found += self.run()
        return found

    def _segment(self, segment: MappedSegment, end: int, stop: int, found: list[Damage]) -> None:
        name, begin = segment.name, self._at
        while self._at < min(end, stop):
            header, reason = self._frame(segment, self._at - name.base)
            if header is None:
                self._skip(segment, end, reason, found)
                continue
            if self._sequence is not None and header.first_sequence != self._sequence:
                found.append(self._damage(name, self._at, header.first_sequence, "entries are missing"))
            self.frames += 1
            self._at += header.size
            self._sequence = header.first_sequence + header.count
        self.checked_bytes += self._at - begin

    def _frame(self, segment: MappedSegment, local: int) -> tuple[Header | None, str]:
        if local >= segment.size:
            return None, "the segment is shorter than what was promised"
        header = decode_header(segment.view, local)
        if header is None:
            return None, "a header fails its checksum"
        if header.journal_id != self._reader.journal_id or header.epoch > segment.name.epoch:
            return None, "a frame of another journal or epoch"
        start = local + HEADER_BYTES
        body = segment.view[start : start + header.body_bytes]
        if len(body) != header.body_bytes or zlib.crc32(body) != header.body_crc:
            return None, "a body fails its checksum"
        return header, ""

    def _skip(self, segment: MappedSegment, end: int, reason: str, found: list[Damage]) -> None:
        """Go on at the next frame of this segment that can be read, or at its end."""
        name, start = segment.name, self._at
        local = start - name.base
        position = segment.find(MAGIC, local + 4, end - name.base) if local < segment.size else -1
        while position >= 0:
            header, _ = self._frame(segment, position)
            if header is not None and position % 8 == 0:
                self._at = name.base + position
                found.append(self._damage(name, start, header.first_sequence, reason))
                self._sequence = header.first_sequence
                return
            position = segment.find(MAGIC, position + 4, end - name.base)
        self._at = end
        found.append(self._damage(name, start, None, reason))
        self._sequence = None

    def _damage(self, name: SegmentName, start: int, following: int | None, reason: str) -> Damage:
        first = -1 if self._sequence is None else self._sequence
        entries = -1 if following is None or first < 0 else following - first
        return Damage(self._reader.name, name.file_name, start, self._at, first, entries, reason)

    def close(self) -> None:
        self._reader.close()


def write_note(directory: Path, damages: Sequence[Damage], found_ns: int, files: Files = SYSTEM_FILES) -> Path:
    """Leave a note of damage beside the segments, over an older one; the segments stay as they are."""
    path = directory / NOTE
    note = {"found_ns": found_ns, "damages": list(damages)}
    replace(files, path, msgspec.json.format(msgspec.json.encode(note)))
    return path
