"""The one writer of a journal.

Appending writes a commit unit with one ``pwrite`` into reserved space and moves the *written* position; committing syncs everything
written so far and moves the *durable* position. Whoever must wait commits inline and the others ride along (leader
commit). Between the store of a position and its announcement the epoch is read again, so a fenced writer can neither
publish nor ack.

A failing disk. After a failed sync the kernel may have dropped the pages and says OK the next time, so the file is never
synced or written again: what was not durable is written again from memory, at the same offsets and with the same bytes,
into a file of the next *generation*, which is synced before anybody is answered. After a failed write the file may hold a part of the
refused unit, so the next unit begins in a new generation too.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tori.errors import JournalError, JournalFenced, JournalRefused, JournalUnsynced, ToriError
from tori.journal import control as words
from tori.journal.control import URGENT_COUNT, URGENT_RING, URGENT_SLOTS
from tori.journal.fallback import FallbackCommit
from tori.journal.files import SYSTEM_FILES, Files, OpenFile, lacks_room, write_all
from tori.journal.frame import HEADER_BYTES, OPEN, Frame, encode_frame, padded
from tori.journal.ownership import Ownership
from tori.journal.recovery import Remains, read_remains
from tori.journal.reserve import FIRST_BYTES, SPARE_SUFFIX, Reserve, Segment
from tori.journal.retention import RetentionDecision, remove
from tori.journal.segment import SegmentName, split_segments
from tori.journal.wake import bell_for
from tori.journal.warning import Warnings

SEGMENT_BYTES = 32 * 1024 * 1024
UNSYNCED_BYTES = 16 * 1024 * 1024
"""What is kept in memory in case a sync fails; an append beyond it commits first."""
REWRITE_ATTEMPTS = 3
"""New files tried in a row before a disk counts as dead."""
URGENT_LANES = (0, 1)
_REFUSED_FOR_GOOD = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR)


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
        unsynced_bytes: int = UNSYNCED_BYTES,
        fallback_s: float | None = 0.002,
        files: Files = SYSTEM_FILES,
    ) -> None:
        self.directory = directory
        self.name = directory.name
        self.warnings = Warnings(self.name)
        self._segment_bytes = segment_bytes
        self._unsynced_bytes = unsynced_bytes
        self._files = files
        try:
            self._owner = Ownership.take(directory, files=files)
            try:
                small_bytes = min(FIRST_BYTES, segment_bytes) // 2
                remains = read_remains(directory, self._owner.journal_id, files, small_bytes=small_bytes)
                self.recovered = remains.tail
                self._begin_epoch(remains)
            except BaseException:
                self._owner.release()
                raise
        except OSError as error:
            raise self._refusal("cannot be opened", error) from error
        self._fallback = FallbackCommit(self.commit, fallback_s) if fallback_s is not None else None

    def _begin_epoch(self, remains: Remains) -> None:
        """Open the epoch with a segment that holds what the last process left and nobody knows to be on the disk.

        A small last segment goes into it whole, so that restarts leave no trail of files.
        """
        tail = remains.tail
        self.journal_id = self._owner.journal_id
        self.epoch = self._owner.epoch
        self._epoch_words = self._owner.words
        self._append_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._reserve = Reserve(self.directory, self._files, self.epoch, self._segment_bytes)
        self._generation = 0
        self._urgent = 0
        self._pending: deque[tuple[int, bytes]] = deque()
        """(end, bytes) of the units that are not durable yet."""
        self._older: list[OpenFile] = []
        """Segments left by a roll and not synced since."""
        self._suspect: OSError | None = None
        """A sync failed and the rewrite is still to be done: the files at hand are not to be touched."""
        self._poison: OSError | None = None
        """The rewrite failed for good: nothing is accepted any more."""
        self._must_cut = False
        """A write failed: the next unit begins in a new generation."""
        self.next_sequence = self.durable_sequence = tail.sequence
        self._durable = tail.offset  # true as soon as anybody can read the frame that says so
        self._commit_number = tail.commit + 1
        opening = Frame(OPEN, b"", first_time_ns=tail.last_time_ns, last_time_ns=tail.last_time_ns)
        content = remains.content + self._encode(opening, tail.sequence, self._commit_number, is_last=True)
        with ExitStack() as opened:  # whoever waits for room on this disk opens it again and again
            self._use(self._rewritten(remains.begin, content))
            opened.callback(self._file.close)
            self._written = self._durable = remains.begin + len(content)
            self._control = words.open_control(self.directory, self.epoch, create=True, files=self._files)
            opened.callback(self._control.close)
            # Before the first position is told: readers have to find it after a power cut.
            words.stamp_boot(self.directory, self.epoch, self._control, self._files)
            self._bell = bell_for(self.directory, self._files)
            opened.callback(self._bell.close)
            self._publish_written()
            self._publish_durable(self._written, self.next_sequence)
            self._owner.announce()
            self._sweep()
            opened.pop_all()

    def _sweep(self) -> None:
        """Remove what nobody needs now: spares and control files of older epochs, segments that are hidden whole."""
        _, hidden = split_segments(self.directory, self._files)
        left = [name.file(self.directory) for name in hidden]
        left += [self.directory / n for n in self._files.names(self.directory) if n.endswith(SPARE_SUFFIX)]
        controls = words.control_epochs(self.directory, self._files)
        left += [words.control_path(self.directory, e) for e in controls if e < self.epoch]
        try:
            for path in left:
                self._files.unlink(path)
        except OSError as error:
            self.warnings.add("leftovers", "files of older epochs were not removed", error)

    # -- appending ---------------------------------------------------------------------------------------------

    @property
    def written_offset(self) -> int:
        return self._written

    @property
    def durable_offset(self) -> int:
        return self._durable

    def append(self, frames: Sequence[Frame]) -> Ticket:
        """Write ``frames`` as one commit unit; visible to ``written`` readers at once, durable after a commit.

        Raises JournalRefused when the disk takes no more for now: nothing of the unit is accepted then.
        """
        if self._suspect is not None or self._written - self._durable > self._unsynced_bytes:
            self._commit_first()
        with self._append_lock:
            first = self.next_sequence
            self._write(frames)
            self._publish_written()
            ticket = Ticket(first, self.next_sequence, self._written)
        if self._fallback is not None:
            self._fallback.poke()
        return ticket

    def _commit_first(self) -> None:
        try:
            self.commit()
        except JournalUnsynced as error:
            raise JournalRefused(error.message, remedy=error.remedy, **error.fields) from error

    def _write(self, frames: Sequence[Frame]) -> None:
        if self._poison is not None or self._suspect is not None:
            raise self._stopped()
        size = sum(HEADER_BYTES + padded(len(f.body)) for f in frames)
        if self._must_cut or self._written + size > self._end:
            self._next_segment(size)
        elif self._written > self._prepare_at:
            self._prepare()
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
        unit = b"".join(parts) if len(parts) > 1 else parts[0]
        try:
            done = self._file.pwrite(unit, self._written - self._base)
            if done < len(unit):
                write_all(self._file, memoryview(unit)[done:], self._written - self._base + done)
        except OSError as error:
            self._must_cut = True
            raise self._refusal("cannot be written", error) from error
        self._pending.append((at, unit))
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
            durable_offset=self._durable,
        )

    def _stopped(self) -> ToriError:
        if self._poison is not None:
            return JournalError(
                f"journal {self.name} stopped after a failed sync: {self._poison.strerror}.",
                remedy="Check the disk and restart the module; everything acknowledged is safe.",
                errno=self._poison.errno,
            )
        return JournalRefused(
            f"journal {self.name} has to write again what a failed sync may have lost: {self._suspect}.",
            remedy="Nothing of this batch was accepted; try again.",
            errno=None if self._suspect is None else self._suspect.errno,
        )

    def _refusal(self, what: str, error: OSError) -> ToriError:
        kind = JournalError if error.errno in _REFUSED_FOR_GOOD else JournalRefused
        return kind(
            f"journal {self.name} {what}: {error.strerror or error}.",
            remedy="Nothing of this batch was accepted; free disk space or check the disk, then try again.",
            journal=self.name,
            errno=error.errno,
        )

    # -- segments ----------------------------------------------------------------------------------------------

    def _use(self, segment: Segment) -> None:
        """Append to ``segment`` from now on; half-way the next one is made."""
        self._segment, self._file = segment, segment.file
        self._base, self._end = segment.name.base, segment.end
        self._prepare_at = self._base + segment.size // 2

    def _next_segment(self, size: int) -> None:
        """Go on in a new segment that begins at the written offset; the one at hand ends there."""
        old = self._segment
        is_empty = old.name.base == self._written
        try:
            spare = self._reserve.take(size)
        except OSError as error:
            raise self._refusal(
                f"has no room for a segment of {max(size, self._segment_bytes)} bytes", error
            ) from error
        if self._must_cut or is_empty:
            self._generation += 1
        try:
            self._use(self._reserve.place(spare, SegmentName(self._written, self.epoch, self._generation)))
        except OSError as error:
            self._must_cut = True  # the name may be there: the next generation hides it
            raise self._refusal("cannot begin a segment", error) from error
        self._must_cut = False
        self._control.words[words.GENERATION] = self._generation
        if is_empty:
            old.file.close()
            with contextlib.suppress(OSError):  # hidden: the next writer sweeps it
                self._files.unlink(old.name.file(self.directory))
        else:
            self._older.append(old.file)

    def _prepare(self) -> None:
        """Make the next segment ahead; a disk without room for it is told of, and asked again later."""
        self._prepare_at = self._end
        try:
            self._reserve.prepare()
        except OSError as error:
            self._prepare_at = self._written + self._segment.size // 8
            self.warnings.add("no_reserve", "there is no room for the next segment", error, self._written)

    def _rewritten(self, base: int, content: bytes) -> Segment:
        """Return a new segment with ``content`` on the disk; raises OSError when the disk is full or dead."""
        failure = OSError()
        for _ in range(REWRITE_ATTEMPTS):
            try:
                spare = self._reserve.take(len(content))
                name = SegmentName(base, self.epoch, self._generation)
                return self._reserve.place(spare, name, content)
            except OSError as error:
                self._generation += 1
                failure = error
                if lacks_room(error):
                    break
        raise failure

    def remove(self, decision: RetentionDecision) -> int:
        """Unlink old segments and tell readers, which let go of what is gone; return how many went. Raises OSError, JournalFenced."""
        self._check_epoch()
        try:
            return remove(self.directory, decision, self._files)
        finally:
            with self._append_lock:
                self._generation += 1
                self._control.words[words.GENERATION] = self._generation

    # -- positions ---------------------------------------------------------------------------------------------

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
        self._bell.ring(is_durable=False)

    def _publish_durable(self, offset: int, sequence: int) -> None:
        self._check_epoch()
        self.durable_sequence = sequence
        table = self._control.words
        table[words.DURABLE_SEQUENCE] = sequence
        table[words.DURABLE_OFFSET] = offset
        self._durable = offset
        self._bell.ring()

    def check_owner(self) -> None:
        """Raise JournalFenced when a newer epoch owns the journal."""
        self._check_epoch()

    def _check_epoch(self) -> None:
        if self._epoch_words.words[0] != self.epoch:
            raise JournalFenced(
                f"journal {self.name} belongs to epoch {self._epoch_words.words[0]} now, this writer is epoch {self.epoch}.",
                remedy="This process was taken for dead; it must stop.",
            )

    # -- committing --------------------------------------------------------------------------------------------

    def commit(self, offset: int | None = None) -> None:
        """Return when everything up to ``offset`` (default: all that is written) is on disk.

        Raises JournalUnsynced when it is not yet, and a later commit may bring it there; JournalError when it cannot be.
        """
        wanted = self._written if offset is None else offset
        while self._durable < wanted:
            with self._sync_lock:
                if self._durable >= wanted:
                    return
                self._lead()

    def _lead(self) -> None:
        with self._append_lock:
            if self._poison is not None:
                raise self._stopped()
            target, sequence = self._written, self.next_sequence
            older, self._older = self._older, []
            file = self._segment.file
        if self._suspect is None:
            try:
                for one in (*older, file):
                    one.fdatasync()
            except OSError as error:
                self._suspect = error
        if self._suspect is not None:
            with self._append_lock:
                self._older += older
                self._rewrite(self._suspect)
                target, sequence = self._written, self.next_sequence
        else:
            for one in older:
                one.close()
        self._publish_durable(target, sequence)
        while self._pending and self._pending[0][0] <= target:
            self._pending.popleft()

    def _rewrite(self, error: OSError) -> None:
        """Write everything that is not durable into a new segment, synced; the old files are never looked at again."""
        self._generation += 1
        try:
            segment = self._rewritten(self._durable, b"".join(unit for _, unit in self._pending))
        except OSError as again:
            if lacks_room(again):
                raise JournalUnsynced(
                    f"journal {self.name} cannot be synced ({error.strerror}), and there is no room to write it again.",
                    remedy="Free disk space; what was written is kept in memory and goes to disk with the next commit.",
                    journal=self.name,
                    errno=again.errno,
                ) from again
            self._poison = again
            raise JournalError(
                f"journal {self.name} cannot be synced: {error.strerror}; nor could {REWRITE_ATTEMPTS} new files: "
                f"{again.strerror}.",
                remedy="Nothing since the last acknowledgement is promised; check the disk and restart the module.",
                journal=self.name,
                errno=again.errno,
            ) from again
        for file in (*self._older, self._segment.file):
            with contextlib.suppress(OSError):  # nothing more is asked of it
                file.close()
        self._older = []
        self._use(segment)
        self._must_cut, self._suspect = False, None
        self._control.words[words.GENERATION] = self._generation
        kept = self._written - self._durable
        self.warnings.add("sync_failed", f"a sync failed; {kept} bytes were written again", error, self._durable)

    def close(self) -> None:
        """Commit, then give the journal up."""
        if self._fallback is not None:
            self._fallback.close()
        try:
            if self._poison is None:
                self.commit()
        finally:
            for file in (*self._older, self._segment.file):
                file.close()
            self._older = []
            self._reserve.close()
            self._bell.close()
            self._control.close()
            self._owner.release()
