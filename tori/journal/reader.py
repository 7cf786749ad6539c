"""Reading a journal in place: mapped segments, position words, frames.

A reader looks at bytes below a limit that it is given: the *durable* offset for whoever stores a cursor or emits, the
*written* one for live views. Both lie at the end of a commit unit, so a unit is seen whole or not at all.
"""

from __future__ import annotations

import bisect
import zlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from tori.errors import JournalDamaged, JournalTruncated
from tori.events.codec import EventBody, LazyBody, decode_body, decode_lazily
from tori.events.envelope import Event
from tori.journal import control as words
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.frame import HEADER_BYTES, OPEN, ROLL, Header, decode_header
from tori.journal.ownership import read_identity
from tori.journal.segment import MappedSegment, SegmentName, list_segments

Visibility = Literal["durable", "written"]


class FrameView:
    """A frame where it lies. What outlives the batch must be decoded or copied."""

    __slots__ = ("__dict__", "body", "end", "header", "offset")

    def __init__(self, header: Header, body: bytes | memoryview, offset: int, end: int) -> None:
        self.header = header
        self.body = body
        self.offset = offset
        self.end = end

    @cached_property
    def decoded(self) -> EventBody:
        """Context and events; decoded once."""
        return decode_body(self.body)

    @property
    def events(self) -> list[Event]:
        return self.decoded.events

    def lazily(self) -> LazyBody:
        """Return context and events with raw payloads."""
        return decode_lazily(self.body)

    def records(self, decoder: msgspec.msgpack.Decoder[Any]) -> list[Any]:
        """Return the private records of a records frame."""
        return list(decoder.decode(self.body))

    def has_any(self, type_bits: int) -> bool:
        """Say whether an event of one of these types (bits of their numbers) is inside."""
        return bool(int.from_bytes(self.header.type_set, "little") & type_bits)


class JournalReader:
    """A read-only view of one journal on this node. Not thread-safe: one reader a thread."""

    def __init__(self, directory: Path, *, files: Files = SYSTEM_FILES) -> None:
        self.directory = directory
        self._files = files
        self.name = directory.name
        self.journal_id = read_identity(directory, files=files)
        self._epoch_words = words.open_epoch(directory, files=files)
        self._control: words.Words | None = None
        self._epoch = -1
        self._segments: list[SegmentName] = []
        self._bases: list[int] = []
        self._mapped: dict[SegmentName, MappedSegment] = {}
        self._refresh_epoch()

    # -- positions ---------------------------------------------------------------------------------------------

    def _refresh_epoch(self) -> None:
        epoch = int(self._epoch_words.words[0])
        if epoch == self._epoch:
            return
        try:
            control = words.open_control(self.directory, epoch, files=self._files)
        except (FileNotFoundError, ValueError):
            return  # a take-over is under way; the old positions hold until the new writer has its own
        if not control.words[words.DURABLE_OFFSET]:
            control.close()
            return
        if self._control is not None:
            self._control.close()
        self._control, self._epoch = control, epoch
        self._refresh_segments()

    @property
    def epoch(self) -> int:
        return self._epoch

    def limit(self, visibility: Visibility = "durable") -> int:
        """Return the offset up to which bytes may be read."""
        if self._epoch_words.words[0] != self._epoch:
            self._refresh_epoch()
        if self._control is None:
            return 0
        which = words.DURABLE_OFFSET if visibility == "durable" else words.WRITTEN_OFFSET
        return int(self._control.words[which])

    def sequence(self, visibility: Visibility = "durable") -> int:
        """Return the sequence of the next entry, counting what may be read."""
        self.limit()
        if self._control is None:
            return 0
        which = words.DURABLE_SEQUENCE if visibility == "durable" else words.WRITTEN_SEQUENCE
        return int(self._control.words[which])

    def urgent(self, seen: int) -> tuple[int, list[int]]:
        """Return (count of urgent frames so far, offsets of those after ``seen`` that the ring still holds)."""
        if self._control is None:
            return seen, []
        table = self._control.words
        count = int(table[words.URGENT_COUNT])
        first = max(seen if seen <= count else 0, count - words.URGENT_SLOTS)
        return count, [int(table[words.URGENT_RING + i % words.URGENT_SLOTS]) for i in range(first, count)]

    # -- frames ------------------------------------------------------------------------------------------------

    def frames(self, start: int, limit: int) -> Iterator[FrameView]:
        """Yield the frames in [start, limit), open and roll frames included; raises JournalDamaged, JournalTruncated."""
        at = start
        while at < limit:
            frame = self.frame(at)
            yield frame
            at = frame.end

    def frame(self, at: int) -> FrameView:
        """Return the frame at an offset below the limit."""
        found = self._look(at)
        if found is None:  # the segment list is old: a roll or a take-over made a new one
            self._refresh_segments()
            found = self._look(at)
        if found is None:
            raise self._damaged(at, "a frame header fails its checksum")
        header, segment, local = found
        start = local + HEADER_BYTES
        body = segment.view[start : start + header.body_bytes]
        if zlib.crc32(body) != header.body_crc:
            raise self._damaged(at, f"the frame of entries {header.first_sequence}.. fails its checksum")
        return FrameView(header, body, at, at + header.size)

    def _look(self, at: int) -> tuple[Header, MappedSegment, int] | None:
        index = bisect.bisect_right(self._bases, at) - 1
        if index < 0:
            if self._bases:
                raise JournalTruncated(
                    f"offset {at} of journal {self.name} is before its first segment.",
                    remedy="Start from a newer checkpoint.",
                )
            return None
        name = self._segments[index]
        segment = self._map(name)
        local = at - name.base
        header = decode_header(segment.view, local) if local < segment.size else None
        if header is None or header.journal_id != self.journal_id or header.epoch != name.epoch:
            return None
        return header, segment, local

    def _refresh_segments(self) -> None:
        self._segments = list_segments(self.directory, self._files)
        self._bases = [n.base for n in self._segments]
        for name in set(self._mapped) - set(self._segments):
            self._mapped.pop(name).close()

    def _map(self, name: SegmentName) -> MappedSegment:
        segment = self._mapped.get(name)
        if segment is None:
            segment = self._mapped[name] = MappedSegment(self.directory, name, self._files)
        return segment

    def _damaged(self, at: int, what: str) -> JournalDamaged:
        return JournalDamaged(
            f"journal {self.name}, offset {at}: {what}.",
            remedy=f"Keep {self.directory} as it is and restore it from a copy.",
            journal=self.name,
            offset=at,
        )

    def first_offset(self) -> int:
        """Return the offset of the oldest frame kept."""
        return self._bases[0] if self._bases else 0

    def close(self) -> None:
        for segment in self._mapped.values():
            segment.close()
        self._mapped.clear()
        if self._control is not None:
            self._control.close()
        self._epoch_words.close()


CONTENT_FREE = (OPEN, ROLL)
