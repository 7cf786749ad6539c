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
from tori.journal.recovery import Tail, begun_after, recover
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
        self._generation = 0
        self._boot = files.processes.boot
        self._left: Tail | None = None
        self._segments: list[SegmentName] = []
        self._bases: list[int] = []
        self._mapped: dict[SegmentName, MappedSegment] = {}
        self._refresh_epoch()

    # -- positions ---------------------------------------------------------------------------------------------

    def _refresh_epoch(self) -> None:
        epoch = int(self._epoch_words.words[0])
        if epoch == self._epoch:
            return
        control = self._open_control(epoch)
        if control is None:  # a take-over is under way, or failed: what the last writer promised stands
            begun = (e for e in words.control_epochs(self.directory, self._files) if self._epoch < e < epoch)
            older = sorted(begun, reverse=True)
            epoch, control = next(((e, c) for e in older if (c := self._open_control(e)) is not None), (epoch, None))
        if control is None:
            return  # there is none, or it is the one at hand
        if self._control is not None:
            self._control.close()
        self._control, self._epoch, self._left = control, epoch, None
        self._refresh_segments()

    def _is_past(self, table: memoryview) -> bool:
        """Say whether position words are of an earlier run of the machine: they may have any older value."""
        return bool(table[words.BOOT]) and table[words.BOOT] != self._boot

    def _what_is_left(self) -> Tail:
        """Return the end of what the last run of the machine left: all of it is on the disk, or it would not be there.

        Of this run may be what a take-over wrote that did not come to its end: that is not looked at.
        """
        if self._left is None:
            left = recover(self.directory, self.journal_id, newest_epoch=self._epoch, files=self._files)
            self._left = self._sealed(left)
        return self._left

    def _sealed(self, left: Tail) -> Tail:
        """Return what is left before the place where a later take-over went on, though it came to nothing.

        A fenced writer may have written on behind that place; the next one will not look there.
        """
        begun = begun_after(self.directory, self.journal_id, self._epoch, self._files)
        if begun is None or begun.offset >= left.offset:
            return left
        return left._replace(offset=begun.offset, sequence=begun.sequence)

    def _open_control(self, epoch: int) -> words.Words | None:
        try:
            control = words.open_control(self.directory, epoch, files=self._files)
        except (FileNotFoundError, ValueError):
            return None
        if control.words[words.DURABLE_OFFSET] or self._is_past(control.words):
            return control
        control.close()
        return None

    @property
    def epoch(self) -> int:
        return self._epoch

    def limit(self, visibility: Visibility = "durable") -> int:
        """Return the offset up to which bytes may be read."""
        if self._epoch_words.words[0] != self._epoch:
            self._refresh_epoch()
        if self._control is None:
            return 0
        table = self._control.words
        if self._is_past(table):
            return self._what_is_left().offset
        limit = int(table[words.DURABLE_OFFSET if visibility == "durable" else words.WRITTEN_OFFSET])
        if (
            table[words.GENERATION] != self._generation
        ):  # stored before the offset: bytes below it may lie elsewhere now
            self._refresh_segments()
        return limit

    def sequence(self, visibility: Visibility = "durable") -> int:
        """Return the sequence of the next entry, counting what may be read."""
        self.limit()
        if self._control is None:
            return 0
        if self._is_past(self._control.words):
            return self._what_is_left().sequence
        which = words.DURABLE_SEQUENCE if visibility == "durable" else words.WRITTEN_SEQUENCE
        return int(self._control.words[which])

    def urgent(self, seen: int) -> tuple[int, list[int]]:
        """Return (count of urgent frames so far, offsets of those after ``seen`` that the ring still holds)."""
        if self._control is None or self._is_past(self._control.words):
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
        """Return the frame at an offset below the limit; raises JournalDamaged, JournalTruncated."""
        frame = self._look(at)
        if frame is None:  # the segment list is old: a roll, a take-over or a failing disk made a new one
            self._refresh_segments()
            frame = self._look(at)
        if frame is None:
            raise self._damaged(at, "the frame there fails its checksum")
        return frame

    def _look(self, at: int) -> FrameView | None:
        index = bisect.bisect_right(self._bases, at) - 1
        if index < 0:
            self._check_kept(at)
            return None
        name = self._segments[index]
        segment = self._map(name)
        local = at - name.base
        if segment is None or local >= segment.size:
            return None
        header = decode_header(segment.view, local)
        if header is None or header.journal_id != self.journal_id or header.epoch > name.epoch:
            return None
        start = local + HEADER_BYTES
        body = segment.view[start : start + header.body_bytes]
        if len(body) != header.body_bytes or zlib.crc32(body) != header.body_crc:
            return None
        return FrameView(header, body, at, at + header.size)

    def _check_kept(self, at: int) -> None:
        if self._bases:
            raise JournalTruncated(
                f"offset {at} of journal {self.name} is before its first segment, which begins at {self._bases[0]}: what was "
                "there has been removed.",
                remedy="Start from a newer checkpoint, or read from the first offset on.",
                journal=self.name,
                offset=at,
                first_offset=self._bases[0],
            )

    def _refresh_segments(self) -> None:
        if self._control is not None:
            self._generation = int(self._control.words[words.GENERATION])
        self._segments = list_segments(self.directory, self._files)
        self._bases = [n.base for n in self._segments]
        for name in set(self._mapped) - set(self._segments):
            self._mapped.pop(name).close()

    def _map(self, name: SegmentName) -> MappedSegment | None:
        segment = self._mapped.get(name)
        if segment is None:
            try:
                segment = self._mapped[name] = MappedSegment(self.directory, name, self._files)
            except FileNotFoundError:
                return None  # hidden or removed since the list was made
        return segment

    def _damaged(self, at: int, what: str) -> JournalDamaged:
        return JournalDamaged(
            f"journal {self.name}, offset {at}: {what}.",
            remedy=f"Keep {self.directory} as it is and restore it from a copy.",
            journal=self.name,
            offset=at,
        )

    def first_offset(self) -> int:
        """Return the offset of the oldest frame kept, as far as the writer has told."""
        self.limit()
        return self._bases[0] if self._bases else 0

    def close(self) -> None:
        for segment in self._mapped.values():
            segment.close()
        self._mapped.clear()
        if self._control is not None:
            self._control.close()
        self._epoch_words.close()


CONTENT_FREE = (OPEN, ROLL)
