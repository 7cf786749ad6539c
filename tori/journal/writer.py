"""The one writer of a journal.

Appending writes a commit unit with one ``pwrite`` into reserved space and moves the *written* position; committing syncs everything
written so far and moves the *durable* position. Whoever must wait commits inline and the others ride along (leader
commit). Between the store of a position and its announcement the epoch is read again, so a fenced writer can neither
publish nor ack.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tori.errors import JournalError, JournalFenced
from tori.journal import control as words
from tori.journal.control import URGENT_COUNT, URGENT_RING, URGENT_SLOTS
from tori.journal.fallback import FallbackCommit
from tori.journal.frame import HEADER_BYTES, OPEN, ROLL, Frame, encode_frame, padded
from tori.journal.ownership import Ownership
from tori.journal.recovery import Tail, recover
from tori.journal.segment import SegmentName, create_segment
from tori.journal.wake import Bell

SEGMENT_BYTES = 32 * 1024 * 1024
URGENT_LANES = (0, 1)


class Ticket(NamedTuple):
    """A unit that was written: durable once the journal's durable offset has reached ``end``."""

    first_sequence: int
    next_sequence: int
    end: int


class JournalWriter:
    """Appends commit units to one journal. Thread-safe; close it, or the next writer must wait for this process to die."""

    def __init__(
        self,
        directory: Path,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        fallback_s: float | None = 0.002,
        fdatasync: Callable[[int], None] = os.fdatasync,
    ) -> None:
        self.directory = directory
        self._segment_bytes = segment_bytes
        self._fdatasync = fdatasync
        self._owner = Ownership.take(directory)
        try:
            self.recovered = recover(directory, self._owner.journal_id)
            self._begin_epoch(self.recovered)
        except BaseException:
            if hasattr(self, "_bell"):
                self._bell.close()
                self._control.close()
            self._owner.release()
            raise
        self._fallback = FallbackCommit(self.commit, fallback_s) if fallback_s is not None else None

    def _begin_epoch(self, tail: Tail) -> None:
        self.journal_id = self._owner.journal_id
        self.name = self.directory.name
        self.epoch = self._owner.epoch
        self._epoch_words = self._owner.words
        self._control = words.open_control(self.directory, self.epoch, create=True)
        self._bell = Bell(self.directory)
        self._append_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._written = self._durable = tail.offset
        self.next_sequence = self.durable_sequence = tail.sequence
        self._commit_number = tail.commit
        self._urgent = 0
        self._poison: OSError | None = None
        self._unsynced: list[int] = []
        self._ready: tuple[int, Path] | None = None
        self._sync_recovered(tail)
        self._fd, self._base, self._size = self._new_segment(tail.offset, self._segment_bytes)
        self._write([Frame(OPEN, b"")])
        self._publish_written()
        self.commit()
        self._owner.announce()

    def _sync_recovered(self, tail: Tail) -> None:
        """Make what the last process wrote durable before anybody reads it as such."""
        if not tail.offset:
            return
        for path in self.directory.glob("*.seg"):
            fd = os.open(path, os.O_RDWR)
            try:
                self._fdatasync(fd)
            finally:
                os.close(fd)

    def _new_segment(self, base: int, size: int) -> tuple[int, int, int]:
        path = SegmentName(base, self.epoch).file(self.directory)
        return create_segment(path, size), base, size

    # -- appending ---------------------------------------------------------------------------------------------

    @property
    def written_offset(self) -> int:
        return self._written

    @property
    def durable_offset(self) -> int:
        return self._durable

    def append(self, frames: Sequence[Frame]) -> Ticket:
        """Write ``frames`` as one commit unit; visible to ``written`` readers at once, durable after a commit."""
        with self._append_lock:
            first = self.next_sequence
            self._write(frames)
            self._publish_written()
            ticket = Ticket(first, self.next_sequence, self._written)
        if self._fallback is not None:
            self._fallback.poke()
        return ticket

    def _write(self, frames: Sequence[Frame]) -> None:
        if self._poison is not None:
            raise JournalError(
                f"journal {self.name} stopped after a failed sync: {self._poison.strerror}.",
                remedy="Check the disk and restart the module; everything acknowledged is safe.",
            )
        size = sum(HEADER_BYTES + padded(len(f.body)) for f in frames)
        if self._written + size + HEADER_BYTES > self._base + self._size:
            self._roll(size)
        urgent = []
        at, sequence = self._written, self.next_sequence
        commit = self._commit_number + 1
        parts = []
        for index, frame in enumerate(frames):
            data = self._encode(frame, sequence, commit, is_last=index + 1 == len(frames))
            if frame.lane in URGENT_LANES and frame.count:
                urgent.append(at)
            parts.append(data)
            at += len(data)
            sequence += frame.count
        self._pwrite(b"".join(parts) if len(parts) > 1 else parts[0], self._written)
        self._commit_number = commit
        self._written, self.next_sequence = at, sequence
        for offset in urgent:
            self._announce_urgent(offset)

    def _encode(self, frame: Frame, sequence: int, commit: int, *, is_last: bool) -> bytes:
        return encode_frame(
            frame,
            journal_id=self.journal_id,
            epoch=self.epoch,
            first_sequence=sequence,
            commit=commit,
            durable_sequence=self.durable_sequence,
            is_last=is_last,
        )

    def _pwrite(self, data: bytes, offset: int) -> None:
        view = memoryview(data)
        at = offset - self._base
        while view:
            try:
                done = os.pwrite(self._fd, view, at)
            except OSError as error:
                raise JournalError(
                    f"journal {self.name} cannot be written: {error.strerror}.",
                    remedy="Nothing of this batch was accepted; free disk space or check the disk, then try again.",
                    errno=error.errno,
                ) from error
            view = view[done:]
            at += done

    def _roll(self, size: int) -> None:
        """Go on in a new segment, which begins right after a roll frame in the old one."""
        base = self._written + HEADER_BYTES
        wanted = max(self._segment_bytes, size + 2 * HEADER_BYTES)
        following = self._new_segment(base, wanted)
        self._commit_number += 1
        data = self._encode(Frame(ROLL, b""), self.next_sequence, self._commit_number, is_last=True)
        self._pwrite(data, self._written)
        self._unsynced.append(self._fd)
        self._fd, self._base, self._size = following
        self._written = base

    def _announce_urgent(self, offset: int) -> None:
        table = self._control.words
        table[URGENT_RING + self._urgent % URGENT_SLOTS] = offset
        self._urgent += 1
        table[URGENT_COUNT] = self._urgent

    def _publish_written(self) -> None:
        self._check_epoch()
        table = self._control.words
        table[words.WRITTEN_SEQUENCE] = self.next_sequence
        table[words.WRITTEN_OFFSET] = self._written
        self._bell.ring()

    def _check_epoch(self) -> None:
        if self._epoch_words.words[0] != self.epoch:
            raise JournalFenced(
                f"journal {self.name} belongs to epoch {self._epoch_words.words[0]} now, this writer is epoch {self.epoch}.",
                remedy="This process was taken for dead; it must stop.",
            )

    # -- committing --------------------------------------------------------------------------------------------

    def commit(self, offset: int | None = None) -> None:
        """Return when everything up to ``offset`` (default: all that is written) is on disk; raises when it cannot be."""
        wanted = self._written if offset is None else offset
        while self._durable < wanted:
            with self._sync_lock:
                if self._durable >= wanted:
                    return
                self._lead()

    def _lead(self) -> None:
        with self._append_lock:
            target, sequence = self._written, self.next_sequence
            old, self._unsynced = self._unsynced, []
            fd = self._fd
        try:
            for one in (*old, fd):
                self._fdatasync(one)
        except OSError as error:
            self._poison = error
            raise JournalError(
                f"journal {self.name} cannot be synced: {error.strerror}.",
                remedy="Nothing since the last acknowledgement is promised; check the disk and restart the module.",
                errno=error.errno,
            ) from error
        for one in old:
            os.close(one)
        self._check_epoch()
        self.durable_sequence = sequence
        table = self._control.words
        table[words.DURABLE_SEQUENCE] = sequence
        table[words.DURABLE_OFFSET] = target
        self._durable = target
        self._bell.ring()

    def close(self) -> None:
        """Commit, then give the journal up."""
        if self._fallback is not None:
            self._fallback.close()
        try:
            if self._poison is None:
                self.commit()
        finally:
            for fd in (*self._unsynced, self._fd):
                os.close(fd)
            self._unsynced = []
            self._bell.close()
            self._control.close()
            self._owner.release()
