"""Following a journal: which frames come next, urgent ones first, and where the cursor stands.

A follower's cursor is a low-water offset plus the urgent frames above it that were taken early. A *run* is a stretch of
frames taken in order; the runs of a batch are what its commit unit records, so a replay reads the same frames in the
same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import msgspec

from tori.errors import JournalTruncated
from tori.journal.frame import EVENTS
from tori.journal.reader import FrameView, Visibility

MAX_OVERTAKEN = 64


class Readable(Protocol):
    """What a follower needs of a journal, on disk or in memory."""

    name: str

    @property
    def epoch(self) -> int: ...
    def limit(self, visibility: Visibility = "durable") -> int: ...
    def sequence(self, visibility: Visibility = "durable") -> int: ...
    def urgent(self, seen: int) -> tuple[int, list[int]]: ...
    def frame(self, at: int) -> FrameView: ...
    def frames(self, start: int, limit: int) -> Iterator[FrameView]: ...
    def first_offset(self) -> int: ...
    def close(self) -> None: ...


class Run(msgspec.Struct, array_like=True, gc=False):
    """Frames of one journal taken one after the other: offsets [start, end)."""

    journal: str
    start: int
    end: int
    held: tuple[int, ...] = ()
    """Sequences of the wanted events inside that this unit does not apply: a later one delivers or dead-letters them."""
    only: tuple[int, ...] = ()
    """When not empty: the frame at ``start`` was passed before, and exactly these held events are applied now."""


class Cursor(msgspec.Struct, array_like=True):
    """How far a follower is in one journal."""

    offset: int = 0
    """Everything below was taken."""
    sequence: int = 0
    """Sequence that follows the last entry below ``offset``."""
    overtaken: dict[int, int] = {}
    """Urgent frames at or above ``offset`` that were taken early: start to end offset."""
    epoch: int = 0
    """The latest epoch that any frame taken was written in."""

    @property
    def reached(self) -> int:
        """Where the furthest frame that was taken ends, early ones among them."""
        return max([self.offset, *self.overtaken.values()])

    def overtake(self, frame: FrameView) -> None:
        """Take a frame above ``offset`` early."""
        self.overtaken[frame.offset] = frame.end
        self.epoch = max(self.epoch, frame.header.epoch)


class Follower:
    """Reads one journal from a cursor on. ``type_bits`` has a bit for every type number that is wanted."""

    def __init__(
        self,
        reader: Readable,
        cursor: Cursor | None = None,
        *,
        type_bits: int = -1,
        visibility: Visibility = "durable",
    ) -> None:
        self.reader = reader
        self.cursor = cursor or Cursor(offset=reader.first_offset())
        self._type_bits = type_bits
        self._visibility: Visibility = visibility
        self._urgent_seen = 0
        self._epoch = -1
        self.urgent_missed = 0
        """Urgent frames that the ring had lost when this follower looked; they came in order."""
        self._limit()

    def want(self, type_bits: int) -> None:
        """Take frames with these types from here on."""
        self._type_bits = type_bits

    def _limit(self) -> int:
        """Return how far may be read; raises JournalTruncated when a new epoch begins before the cursor."""
        limit = self.reader.limit(self._visibility)
        if self.reader.epoch != self._epoch:
            if limit and self.cursor.offset > limit:
                raise JournalTruncated(
                    f"the cursor of journal {self.reader.name} is at offset {self.cursor.offset}, past its end at {limit}.",
                    remedy="The journal lost data or was replaced: restore it, or restore this module from a checkpoint.",
                    journal=self.reader.name,
                    offset=self.cursor.offset,
                    limit=limit,
                )
            self._epoch = self.reader.epoch
        return limit

    @property
    def has_work(self) -> bool:
        return self._limit() > self.cursor.offset

    @property
    def lag(self) -> int:
        """Return how many entries it has not taken yet."""
        return max(0, self.reader.sequence(self._visibility) - self.cursor.sequence)

    def take(self, runs: list[Run], max_events: int = 256, max_bytes: int = 1 << 20) -> list[FrameView]:
        """Return the next event frames that are wanted, and add what was passed to ``runs``; moves the cursor.

        Whole frames only; stops after ``max_events`` events or ``max_bytes`` of bodies.
        """
        taken: list[FrameView] = []
        limit = self._limit()
        events = size = 0
        while self.cursor.offset < limit and events < max_events and size < max_bytes:
            frame = self._next_urgent(limit) or self._next_in_order()
            self._extend(runs, frame)
            if frame.header.kind == EVENTS and frame.has_any(self._type_bits):
                taken.append(frame)
                events += frame.header.count
                size += frame.header.body_bytes
        return taken

    def _next_urgent(self, limit: int) -> FrameView | None:
        cursor = self.cursor
        count, offsets = self.reader.urgent(self._urgent_seen)
        if count == self._urgent_seen:
            return None
        self.urgent_missed += max(0, count - self._urgent_seen - len(offsets))
        first = count - len(offsets)
        for index, offset in enumerate(offsets):
            if offset >= limit:
                return None  # not visible yet: look again at the next frame
            self._urgent_seen = first + index + 1
            if offset <= cursor.offset or offset in cursor.overtaken or len(cursor.overtaken) >= MAX_OVERTAKEN:
                continue
            frame = self.reader.frame(offset)
            if not frame.has_any(self._type_bits):
                continue
            cursor.overtake(frame)
            return frame
        return None

    def _next_in_order(self) -> FrameView:
        frame = self.reader.frame(self.cursor.offset)
        self._advance(frame)
        return frame

    def _advance(self, frame: FrameView) -> None:
        """Move the low-water offset over ``frame``, and over what was overtaken right behind it."""
        cursor = self.cursor
        while True:
            cursor.sequence = frame.header.first_sequence + frame.header.count
            cursor.epoch = max(cursor.epoch, frame.header.epoch)
            cursor.offset = frame.end
            if cursor.overtaken.pop(cursor.offset, None) is None:
                return
            frame = self.reader.frame(cursor.offset)

    def pass_by(self, frame: FrameView) -> bool:
        """Take a frame that a recorded run names; return False when the cursor has it already."""
        cursor = self.cursor
        if frame.offset == cursor.offset:
            self._advance(frame)
            return True
        if frame.offset < cursor.offset or frame.offset in cursor.overtaken:
            return False
        cursor.overtake(frame)
        return True

    def _extend(self, runs: list[Run], frame: FrameView) -> None:
        name = self.reader.name
        if runs and runs[-1].journal == name and runs[-1].end == frame.offset:
            runs[-1].end = frame.end
        else:
            runs.append(Run(name, frame.offset, frame.end))
