"""A mirror: the byte-identical copy of a journal of another node, which every follower here reads in its place.

Frames arrive in order, as they stand at their source, with the same offsets. Everything is checked before it is written: journal
id, order of epochs, contiguous offsets and sequences, the checksums of header and body. Written frames are synced, and only then do
the mirror's own position words move, to the end of a commit unit. ``JournalReader`` and ``Follower`` read a mirror unchanged, so a
recorded run means the same frames on every node.

Resuming is asking again from the mirror's own durable end. A mirror is a copy: what is torn in it is fetched once more.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from tori.errors import JournalDamaged, JournalError, JournalFenced, JournalMissing, JournalTruncated
from tori.journal.files import SYSTEM_FILES, Files, OpenFile, write_all
from tori.journal.frame import HEADER_BYTES, OPEN, ROLL, Header, decode_header
from tori.journal.mirror_words import MirrorWords, Reached
from tori.journal.ownership import create_journal, read_identity
from tori.journal.reader import JournalReader
from tori.journal.recovery import valid_frame
from tori.journal.segment import MappedSegment, SegmentName, list_segments, split_segments
from tori.journal.writer import SEGMENT_BYTES, URGENT_LANES

LOCK_S = 5.0
_ATTEMPT_S = 0.01


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """How far a mirror is: everything below is on its disk. An offset of 0 asks for the journal from its beginning."""

    journal_id: bytes
    epoch: int = 0
    """Epoch of the last frame."""
    offset: int = 0
    sequence: int = 0


class _Piece(NamedTuple):
    """One checked frame of a chunk."""

    header: Header
    start: int
    end: int


def create_mirror(directory: Path, journal_id: bytes, *, files: Files = SYSTEM_FILES) -> None:
    """Make an empty mirror that can be followed at once; raises JournalMissing when another journal's lies there."""
    create_journal(directory, journal_id, files=files)
    found = read_identity(directory, files=files)
    if found != journal_id:
        raise JournalMissing(
            f"{directory} mirrors journal {found.hex()}, and its source is {journal_id.hex()} now.",
            remedy="The source was replaced: bring the old journal back, or remove the mirror and restore its readers.",
            journal=directory.name,
        )


def start_of(reader: JournalReader, mark: Mark) -> int:
    """Return the offset from which a source serves a mirror; raises when the two are not the same journal any more.

    JournalMissing: the source was replaced. JournalTruncated: the source lost data that the mirror holds, or keeps no longer what
    the mirror needs.
    """
    if reader.journal_id != mark.journal_id:
        raise JournalMissing(
            f"journal {reader.name} is {reader.journal_id.hex()}, and {mark.journal_id.hex()} was mirrored.",
            remedy="The journal was replaced: bring the old one back.",
            journal=reader.name,
        )
    limit = reader.limit()
    first = reader.first_offset()
    if not mark.offset:
        return first
    end = min(limit, _kept_of(reader, mark, limit))
    if mark.offset > end:
        raise JournalTruncated(
            f"a mirror of journal {reader.name} is at offset {mark.offset}, ahead of its source at {end}.",
            remedy="The source lost data: restore it from the mirror, which is a whole copy.",
            journal=reader.name,
        )
    if mark.offset < first:
        raise JournalTruncated(
            f"a mirror of journal {reader.name} is at offset {mark.offset}; the source keeps from {first} on.",
            remedy="Remove the mirror and restore its readers from a checkpoint.",
            journal=reader.name,
        )
    return mark.offset


def _kept_of(reader: JournalReader, mark: Mark, limit: int) -> int:
    """Return up to where a source still holds the bytes of the epochs that a mirror knows.

    A new epoch repeats what was not known to be durable and goes on behind it, so it may begin below the mark without a loss:
    what counts is where its first own frame stands.
    """
    for name in list_segments(reader.directory):
        if name.epoch <= mark.epoch or name.base >= mark.offset:
            continue
        for frame in reader.frames(name.base, limit):
            if frame.header.epoch > mark.epoch:
                return frame.offset
            if frame.end >= mark.offset:
                break
    return limit


class Mirror:
    """The one writer of a mirror. Not thread-safe; close it, or the next one must wait for this process to die."""

    def __init__(
        self,
        directory: Path,
        journal_id: bytes,
        *,
        segment_bytes: int = SEGMENT_BYTES,
        files: Files = SYSTEM_FILES,
    ) -> None:
        create_mirror(directory, journal_id, files=files)
        self.directory = directory
        self.name = directory.name
        self.journal_id = journal_id
        self._segment_bytes = segment_bytes
        self._files = files
        self._segment: SegmentName | None = None
        self._size = 0
        self._file: OpenFile | None = None
        self._unsynced: list[OpenFile] = []
        self._generations: dict[int, int] = {}
        """By epoch: the generation of the next new segment. A name is never given twice: readers may have the old file mapped."""
        self._last_kind = OPEN
        self._lock = _hold(directory, files)
        try:
            self._words = MirrorWords(directory, files)
            told, intact = self._words.told(), intact_end(directory, journal_id, files)
            is_cut = told is not None and told < intact.offset
            end = intact_end(directory, journal_id, files, told) if is_cut else intact
            self._mark = self._written = self._complete = end
            self._reopen(is_synced=told is not None, is_cut=is_cut)
        except BaseException:
            self._lock.close()
            raise

    @property
    def mark(self) -> Mark:
        """Return what is on disk."""
        return self._mark

    def _reopen(self, *, is_synced: bool, is_cut: bool) -> None:
        """Make what the last run of the machine left durable, then announce it and go on behind it; a file that was cut is left."""
        self._count_generations()
        self._drop_beyond()
        self._words.withdraw(self._mark.epoch)
        if not self._mark.offset:
            return
        names = list_segments(self.directory, self._files)
        if not is_synced:
            self._unsynced = [self._files.open(name.file(self.directory)) for name in names]
            self._sync()
        last = names[-1]
        size = self._files.size(last.file(self.directory))
        if self._mark.offset < last.base + size and not is_cut:
            self._segment, self._size = last, size
            self._file = self._files.open(last.file(self.directory))
        self._words.publish(self._reached(), ())

    def _count_generations(self) -> None:
        """Go on above every generation that the last process may have used, in files that are there or not any more."""
        live, hidden = split_segments(self.directory, self._files)
        used = self._words.generations()
        for name in (*live, *hidden):
            used[name.epoch] = max(used.get(name.epoch, 0), name.generation)
        self._generations = {epoch: generation + 1 for epoch, generation in used.items()}

    def resume(self) -> Mark:
        """Forget what was written past the durable end (it will come again, byte for byte) and return the mark to ask from."""
        self._written = self._complete = self._mark
        self._drop_beyond()
        return self._mark

    def _drop_beyond(self) -> None:
        """Unlink segments that hold nothing durable."""
        live, hidden = split_segments(self.directory, self._files)
        for name in (*live, *hidden):
            if name.base >= self._mark.offset:
                self._generations[name.epoch] = max(self._generations.get(name.epoch, 0), name.generation + 1)
                if name == self._segment:
                    self._leave()
                self._files.unlink(name.file(self.directory))

    def _leave(self) -> None:
        """Close the file at hand, unsynced."""
        if self._file is not None:
            self._file.close()
        self._file = self._segment = None

    # -- taking ------------------------------------------------------------------------------------------------

    def take(self, chunk: bytes, offset: int, begin: int | None = None) -> Mark:
        """Check, write and sync whole frames that stand at ``offset`` in their source; return the mark reached.

        ``begin``: where an empty mirror has to begin, None = anywhere.
        Raises JournalDamaged (torn or out of place), JournalFenced (of an older epoch), JournalMissing (of another journal) with
        nothing of the chunk written; JournalError when the disk refuses, with nothing of it published.
        """
        pieces = self._checked(chunk, offset, begin)
        if not self._written.offset:
            self._written = self._complete = msgspec.structs.replace(self._written, offset=offset)
        view = memoryview(chunk)
        for group in _by_epoch(pieces):
            self._write(view, group)
            self._commit(group)
        return self._mark

    def _checked(self, chunk: bytes, offset: int, begin: int | None) -> list[_Piece]:
        if offset != (self._written.offset or (offset if begin is None else begin)):
            raise self._damaged(f"frames from offset {offset} do not follow")
        pieces: list[_Piece] = []
        at, epoch = 0, self._written.epoch
        sequence = self._written.sequence if self._written.offset else None
        while at < len(chunk):
            header = decode_header(chunk, at)
            if header is None or at + header.size > len(chunk):
                raise self._damaged("a frame header fails its checksum")
            self._check_origin(header, epoch)
            if sequence not in (None, header.first_sequence):
                raise self._damaged(f"entries {header.first_sequence}.. do not follow {sequence}")
            start, end = at + HEADER_BYTES, at + HEADER_BYTES + header.body_bytes
            if zlib.crc32(chunk[start:end]) != header.body_crc or any(chunk[end : at + header.size]):
                raise self._damaged(f"the frame of entries {header.first_sequence}.. fails its checksum")
            pieces.append(_Piece(header, at, at + header.size))
            at, epoch, sequence = at + header.size, header.epoch, header.first_sequence + header.count
        return pieces

    def _check_origin(self, header: Header, epoch: int) -> None:
        if header.journal_id != self.journal_id:
            raise JournalMissing(
                f"frames of journal {header.journal_id.hex()} came for the mirror of {self.name}, "
                f"{self.journal_id.hex()}.",
                remedy="The source was replaced: bring the old journal back.",
                journal=self.name,
            )
        if header.epoch < epoch:
            raise JournalFenced(
                f"frames of epoch {header.epoch} came for the mirror of {self.name}, which is at epoch {epoch}.",
                remedy="They are a zombie's; nothing of them was taken.",
                journal=self.name,
            )
        if epoch and header.epoch > epoch and header.kind != OPEN:
            raise self._damaged(f"epoch {header.epoch} does not begin with its first frame")

    def _damaged(self, what: str) -> JournalDamaged:
        return JournalDamaged(
            f"mirror of journal {self.name}, offset {self._written.offset}: {what}.",
            remedy="Nothing of the chunk was taken; it is asked for again.",
            journal=self.name,
        )

    # -- writing -----------------------------------------------------------------------------------------------

    def _write(self, view: memoryview, pieces: Sequence[_Piece]) -> None:
        """Write frames of one epoch: one ``pwrite`` for as many as go into one segment."""
        run: list[_Piece] = []
        for piece in pieces:
            if not self._fits(piece, run):
                self._flush(view, run)
                run = []
                self._begin_segment(piece)
            run.append(piece)
        self._flush(view, run)

    def _fits(self, piece: _Piece, run: Sequence[_Piece]) -> bool:
        if self._segment is None or self._segment.epoch != piece.header.epoch:
            return False
        if (run[-1].header.kind if run else self._last_kind) == ROLL:
            return False
        ahead = piece.end - (run[0].start if run else piece.start)
        return self._written.offset + ahead <= self._segment.base + self._size

    def _begin_segment(self, piece: _Piece) -> None:
        """Go on in a new file that begins with ``piece``: where the source rolled, or where this file is full."""
        if self._unsynced:
            self._sync()  # at most two files may be torn at a time: no more are looked at when it is opened again
        if self._file is not None:
            self._unsynced.append(self._file)
        self._file = self._segment = None
        epoch = piece.header.epoch
        name = SegmentName(self._written.offset, epoch, self._generations.setdefault(epoch, 0))
        path = name.file(self.directory)
        size = max(self._segment_bytes, piece.end - piece.start)
        try:
            self._file = self._files.create(path, size)
            self._file.fsync()
            self._files.sync_directory(self.directory)
        except OSError as error:
            raise self._refused("given room", error) from error
        self._segment, self._size = name, size

    def _flush(self, view: memoryview, run: Sequence[_Piece]) -> None:
        if not run or self._segment is None or self._file is None:
            return
        try:
            write_all(self._file, view[run[0].start : run[-1].end], self._written.offset - self._segment.base)
        except OSError as error:
            raise self._refused("written", error) from error
        offset = self._written.offset
        for piece in run:
            header = piece.header
            offset += header.size
            self._written = Mark(self.journal_id, header.epoch, offset, header.first_sequence + header.count)
            if header.is_last_of_unit:
                self._complete = self._written
        self._last_kind = run[-1].header.kind

    def _commit(self, pieces: Sequence[_Piece]) -> None:
        """Sync what was written, then publish it up to the end of its last whole unit."""
        self._sync()
        start = self._written.offset - (pieces[-1].end - pieces[0].start)
        urgent = [
            start + piece.start - pieces[0].start
            for piece in pieces
            if piece.header.lane in URGENT_LANES and piece.header.count
        ]
        if self._complete != self._mark:
            before, self._mark = self._mark, self._complete
            try:
                self._words.publish(self._reached(), urgent)
            except OSError as error:
                self._mark = before  # what nobody was told of comes again
                raise self._refused("announced", error) from error
        else:
            self._words.announce(urgent)

    def _sync(self) -> None:
        """Sync every file that was written; after a failure none of them is synced again, and what they held comes again."""
        try:
            for file in (*self._unsynced, *((self._file,) if self._file is not None else ())):
                file.fdatasync()
        except OSError as error:
            if self._segment is not None:
                self._generations[self._segment.epoch] += 1
            self._close_files()
            raise self._refused("synced", error) from error
        self._close_unsynced()

    def _refused(self, what: str, error: OSError) -> JournalError:
        return JournalError(
            f"the mirror of journal {self.name} cannot be {what}: {error.strerror}.",
            remedy="Nothing was lost, the journal itself is elsewhere; free disk space or check the disk.",
            errno=error.errno,
        )

    def _reached(self) -> Reached:
        mark = self._mark
        return Reached(mark.epoch, mark.offset, mark.sequence, self._generations.get(mark.epoch, 0))

    def close(self) -> None:
        """Give the mirror up; what is on disk stays."""
        self._close_files()
        self._words.close()
        self._lock.close()

    def _close_files(self) -> None:
        self._close_unsynced()
        self._leave()

    def _close_unsynced(self) -> None:
        for file in self._unsynced:
            file.close()
        self._unsynced = []


def intact_end(directory: Path, journal_id: bytes, files: Files = SYSTEM_FILES, limit: int | None = None) -> Mark:
    """Return the end of the last whole unit that stands in a mirror, below ``limit``, without a hole before it.

    Looks at the last two segments, further back when nothing in them is whole. Whoever reads a body checks it anyway.
    """
    names = list_segments(directory, files)
    for first in range(max(0, len(names) - 2), -1, -1):
        end = _walk(directory, names[first:], journal_id, files, limit)
        if end.offset:
            return end
    return Mark(journal_id)


def _walk(
    directory: Path, names: Sequence[SegmentName], journal_id: bytes, files: Files, stop: int | None = None
) -> Mark:
    end = Mark(journal_id)
    sequence: int | None = None
    for index, name in enumerate(names):
        segment = MappedSegment(directory, name, files)
        limit = min(segment.size, names[index + 1].base - name.base) if index + 1 < len(names) else segment.size
        at = 0
        try:
            while at < limit:
                header = valid_frame(segment.view, at, journal_id)
                if stop is not None and header is not None and name.base + at + header.size > stop:
                    return end
                if header is None or header.epoch != name.epoch or sequence not in (None, header.first_sequence):
                    return end
                at, sequence = at + header.size, header.first_sequence + header.count
                if header.is_last_of_unit:
                    end = Mark(journal_id, header.epoch, name.base + at, sequence)
        finally:
            segment.close()
        if index + 1 < len(names) and name.base + at != names[index + 1].base:
            return end
    return end


def _by_epoch(pieces: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Yield stretches of frames of the same epoch."""
    group: list[_Piece] = []
    for piece in pieces:
        if group and group[-1].header.epoch != piece.header.epoch:
            yield group
            group = []
        group.append(piece)
    if group:
        yield group


def _hold(directory: Path, files: Files) -> OpenFile:
    """Return the locked lock file; raises JournalFenced when another process keeps it."""
    for attempt in range(max(1, round(LOCK_S / _ATTEMPT_S))):
        if attempt:
            files.processes.wait(_ATTEMPT_S)
        with contextlib.suppress(BlockingIOError):
            return files.lock(directory / "lock")
    raise JournalFenced(
        f"the mirror of journal {directory.name} is held by another process.",
        remedy=f"Find it with `fuser {directory / 'lock'}` and stop it.",
    )
