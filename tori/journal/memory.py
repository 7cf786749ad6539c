"""A journal in memory: the same frames, positions and rules, no disk. For tests, simulations and a notebook's `Mind`.

``commit`` is what makes units durable here too, so visibility and acks can be tested; nothing survives the process.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Iterator, Sequence

from tori.errors import JournalTruncated
from tori.journal.frame import Frame, decode_header, encode_frame
from tori.journal.reader import FrameView, Visibility
from tori.journal.recovery import Tail
from tori.journal.warning import Warnings
from tori.journal.writer import URGENT_LANES, Ticket

_ID = bytes(16)


class MemoryJournal:
    """Writer and reader in one; readers in other threads are fine."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.epoch = 1
        self.journal_id = _ID
        self.recovered = Tail(0, 0, 0, 0)
        self.next_sequence = self.durable_sequence = 0
        self.written_offset = self.durable_offset = 0
        self._commit_number = 0
        self._offsets: list[int] = []
        self._frames: list[FrameView] = []
        self._urgent: list[int] = []
        self._lock = threading.Lock()
        self.warnings = Warnings(name)
        self.listeners: list[Callable[[], None]] = []
        """Called after every change of a position; must not block."""

    def append(self, frames: Sequence[Frame]) -> Ticket:
        """Write ``frames`` as one commit unit."""
        with self._lock:
            first = self.next_sequence
            self._commit_number += 1
            for index, frame in enumerate(frames):
                self._append_one(frame, is_last=index + 1 == len(frames))
            ticket = Ticket(first, self.next_sequence, self.written_offset)
        self._tell()
        return ticket

    def _append_one(self, frame: Frame, *, is_last: bool) -> None:
        data = encode_frame(
            frame,
            journal_id=_ID,
            epoch=1,
            first_sequence=self.next_sequence,
            commit=self._commit_number,
            durable_sequence=self.durable_sequence,
            is_last=is_last,
            durable_offset=self.durable_offset,
        )
        header = decode_header(data)
        if header is None:
            raise AssertionError("an encoded frame does not decode")
        offset = self.written_offset
        self._offsets.append(offset)
        self._frames.append(FrameView(header, frame.body, offset, offset + len(data)))
        if frame.lane in URGENT_LANES and frame.count:
            self._urgent.append(offset)
        self.written_offset += len(data)
        self.next_sequence += frame.count

    def commit(self, offset: int | None = None) -> None:
        """Make everything written durable."""
        with self._lock:
            self.durable_offset, self.durable_sequence = self.written_offset, self.next_sequence
        self._tell()

    def _tell(self) -> None:
        for listener in self.listeners:
            listener()

    # -- the reader's half -------------------------------------------------------------------------------------

    def limit(self, visibility: Visibility = "durable") -> int:
        return self.durable_offset if visibility == "durable" else self.written_offset

    def sequence(self, visibility: Visibility = "durable") -> int:
        return self.durable_sequence if visibility == "durable" else self.next_sequence

    def urgent(self, seen: int) -> tuple[int, list[int]]:
        return len(self._urgent), self._urgent[seen:]

    def frames(self, start: int, limit: int) -> Iterator[FrameView]:
        at = start
        while at < limit:
            frame = self.frame(at)
            yield frame
            at = frame.end

    def frame(self, at: int) -> FrameView:
        index = bisect.bisect_left(self._offsets, at)
        if index == len(self._offsets) or self._offsets[index] != at:
            raise JournalTruncated(f"journal {self.name} has no frame at offset {at}.")
        return self._frames[index]

    def first_offset(self) -> int:
        return 0

    def check_owner(self) -> None:
        """Nobody else can own what is in this memory."""

    def close(self) -> None:
        """Nothing to give up: the frames live as long as the object."""
