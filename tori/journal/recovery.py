"""What stands in a journal after its writer is gone.

No stored position is trusted for reading. The scan walks frames and finds

- the tail: the end of the last complete, valid commit unit that follows the others without a hole;
- D: the largest durable position (sequence and offset) that any valid frame mentions, searched beyond the hole too.

A hole below D is damage: those entries were promised. A hole at or above D is the torn tail of a crash; it is cut by the
next epoch. Between D and the tail lies what was written and perhaps never synced, or in a file whose sync failed: the next
epoch writes it again into its own first segment and trusts no second sync of the old file. Damage inside the last
commit group cannot be told from a tail by the frames alone; the last writer's own word of what it had promised tells it, where that
word survived (it does the death of the process, not always that of the machine).

In a mirror a unit may begin in one segment and end in the next, and D is what the *source* had on its disk when it wrote a frame.
So only the mirror's own word makes a hole damage there; what is torn otherwise was never announced, and is asked for again.
"""

from __future__ import annotations

import zlib
from collections import deque
from pathlib import Path
from typing import NamedTuple

from tori.errors import JournalDamaged, JournalError
from tori.journal import control as words
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.frame import HEADER_BYTES, MAGIC, Header, decode_header
from tori.journal.segment import MappedSegment, SegmentName, list_segments

MAX_READINGS = 3


class Tail(NamedTuple):
    """Where the next epoch goes on."""

    offset: int
    sequence: int
    commit: int
    last_time_ns: int
    cut_bytes: int = 0
    """Bytes of a torn tail that are left behind."""
    durable_offset: int = 0
    """Everything below is known to be on the disk; units between it and ``offset`` were read, perhaps only from a cache."""


class _Promise(NamedTuple):
    """What frames say was durable when they were written, by sequence and by offset; the offset is 0 in old frames."""

    sequence: int = 0
    offset: int = 0

    def seen(self, header: Header) -> _Promise:
        return self.join(_Promise(header.durable_sequence, header.durable_offset))

    def join(self, other: _Promise) -> _Promise:
        return _Promise(max(self.sequence, other.sequence), max(self.offset, other.offset))


class _Walk:
    """Frames of one journal, one after the other, until a hole."""

    def __init__(self, journal_id: bytes, base: int) -> None:
        self.journal_id = journal_id
        self.tail = Tail(base, 0, 0, 0)
        self.promise = _Promise()
        self.last_time_ns = 0
        self._base = base
        self._next_sequence: int | None = None
        self._borders: deque[tuple[int, int]] = deque()
        """(offset, sequence) after units, the first not below what is known durable."""

    def segment(self, view: memoryview, name: SegmentName, limit: int) -> int:
        """Walk one segment up to ``limit`` bytes; return where it stopped, counted in the segment."""
        at = 0
        while at < limit:
            header = valid_frame(view, at, self.journal_id)
            if header is None or header.epoch > name.epoch or not self._follows(header):
                break
            at += header.size
            self._take(header, name.base + at)
        return at

    def _follows(self, header: Header) -> bool:
        return self._next_sequence is None or header.first_sequence == self._next_sequence

    def _take(self, header: Header, end: int) -> None:
        if self._next_sequence is None:
            self._borders.append((self._base, header.first_sequence))
        self.promise = self.promise.seen(header)
        self.last_time_ns = max(self.last_time_ns, header.last_time_ns)
        self._next_sequence = header.first_sequence + header.count
        if header.is_last_of_unit:
            self.tail = Tail(end, self._next_sequence, header.commit, self.last_time_ns)
            self._borders.append((end, self._next_sequence))
            self._settle(self.promise.sequence)

    def _settle(self, durable: int) -> None:
        while len(self._borders) > 1 and self._borders[0][1] < durable:
            self._borders.popleft()

    def durable_offset(self, promise: _Promise) -> int:
        """Return the border up to which everything was on the disk when the promise was made; the base when that is not known."""
        self._settle(promise.sequence)
        border = self._borders[0][0] if self._borders else self._base
        return max(border, min(promise.offset, self.tail.offset))


def recover(
    directory: Path,
    journal_id: bytes,
    *,
    verify_all: bool = False,
    newest_epoch: int | None = None,
    files: Files = SYSTEM_FILES,
) -> Tail:
    """Return the tail of the journal in ``directory``; raises JournalDamaged for a hole below the durable position.

    Checks the bodies of the last two segments, of more while nothing in them is known to be durable, or of all with
    ``verify_all``; whoever reads a body checks it anyway. ``newest_epoch``: look at nothing that a later epoch wrote.
    """
    names = list_segments(directory, files, newest_epoch)
    promise, is_copy = _last_words(directory, files)
    if not names:
        nothing = Tail(0, 0, 0, 0)
        _check_promise(directory, nothing, promise)
        return nothing
    _check_owner(directory, names[0], journal_id, files)
    first = 0 if verify_all else max(0, len(names) - 2)
    while True:
        tail = _scan(directory, journal_id, names, first, files, is_copy=is_copy)
        if not first or tail.durable_offset > names[first].base:
            break  # what is known to be durable begins to be seen
        first = max(0, first - (len(names) - first))
    if not tail.commit and names[0].base and not is_copy:
        raise _damage(directory, names[0].base, tail, _Promise())
    _check_promise(directory, tail, promise)
    return tail


def _scan(
    directory: Path, journal_id: bytes, names: list[SegmentName], first: int, files: Files, *, is_copy: bool
) -> Tail:
    walk = _Walk(journal_id, names[first].base)
    for index in range(first, len(names)):
        name = names[index]
        is_last = index + 1 == len(names)
        segment = MappedSegment(directory, name, files)
        try:
            limit = segment.size if is_last else min(segment.size, names[index + 1].base - name.base)
            stopped = walk.segment(segment.view, name, limit)
            if not is_last and name.base + stopped == names[index + 1].base:
                continue  # a mirror may go on in the middle of a unit
            beyond, last = _search(segment, stopped, limit, journal_id)
        finally:
            segment.close()
        later = _Promise()
        for following in names[index + 1 :]:
            later = later.join(_search_file(directory, following, journal_id, files))
        promise = walk.promise.join(beyond).join(later)
        if not walk.tail.commit and first:
            return walk.tail  # nothing here says where the sequences are: the caller begins further back
        if not is_copy and (promise.sequence > walk.tail.sequence or promise.offset > walk.tail.offset):
            raise _damage(directory, name.base + stopped, walk.tail, promise)
        end = max(name.base + last, name.base + stopped)
        return walk.tail._replace(
            cut_bytes=end - walk.tail.offset, durable_offset=min(walk.durable_offset(promise), walk.tail.offset)
        )
    raise AssertionError("a scan ends in its last segment")


class Remains(NamedTuple):
    """What the next epoch's first segment begins with: bytes from ``begin`` to the tail, as they were checked."""

    tail: Tail
    begin: int
    content: bytes


def read_remains(directory: Path, journal_id: bytes, files: Files = SYSTEM_FILES, *, small_bytes: int = 0) -> Remains:
    """Return the tail with what lies before it: from its durable offset on, or the whole last segment when that is small.

    Pages of a file whose sync failed may leave the cache at any time, so what was copied is checked, not what lies there.
    """
    begin = 0
    for _ in range(MAX_READINGS):
        tail = recover(directory, journal_id, files=files)
        names = list_segments(directory, files)
        begin = tail.durable_offset
        if names and tail.offset - names[-1].base <= small_bytes:
            begin = min(begin, names[-1].base)
        content = _read(directory, names, begin, tail.offset, files)
        if _is_whole(content, journal_id):
            return Remains(tail, begin, content)
    raise JournalDamaged(
        f"journal {directory.name} does not read the same way twice from offset {begin} on.",
        remedy="Check the disk, then start again; nothing was changed.",
        journal=directory.name,
        offset=begin,
    )


class Begun(NamedTuple):
    """Where a later epoch went on: at its first own frame. What lies before it in its first segment it only wrote again."""

    offset: int
    sequence: int


def begun_after(directory: Path, journal_id: bytes, epoch: int, files: Files = SYSTEM_FILES) -> Begun | None:
    """Return where the journal goes on in an epoch later than ``epoch``; None: no later one has written anything that counts.

    Whatever a writer of ``epoch`` had beyond that place is not part of the journal.
    """
    names = list_segments(directory, files)
    for index, name in enumerate(names):
        if name.epoch <= epoch:
            continue
        segment, at = MappedSegment(directory, name, files), 0
        limit = segment.size if name == names[-1] else names[index + 1].base - name.base
        try:
            while at < limit and (header := valid_frame(segment.view, at, journal_id)) is not None:
                if header.epoch > epoch:
                    return Begun(name.base + at, header.first_sequence)
                at += header.size
        finally:
            segment.close()
    return None


def _read(directory: Path, names: list[SegmentName], begin: int, end: int, files: Files) -> bytes:
    ends = [n.base for n in names[1:]] + [end]
    parts = []
    for name, limit in zip(names, ends, strict=False):
        start, stop = max(name.base, begin), min(limit, end)
        if start < stop:
            segment = MappedSegment(directory, name, files)
            parts.append(bytes(segment.view[start - name.base : stop - name.base]))
            segment.close()
    return b"".join(parts)


def _is_whole(content: bytes, journal_id: bytes) -> bool:
    view = memoryview(content)
    at = 0
    while at < len(content):
        header = valid_frame(view, at, journal_id)
        if header is None:
            return False
        at += header.size
    return at == len(content)


def _check_owner(directory: Path, name: SegmentName, journal_id: bytes, files: Files) -> None:
    """Raise JournalError when the oldest segment was written for another journal: beginning anew would hide it."""
    segment = MappedSegment(directory, name, files)
    try:
        header = decode_header(segment.view)
    finally:
        segment.close()
    if header is not None and header.journal_id != journal_id:
        raise JournalError(
            f"{name.file(directory)} belongs to journal {header.journal_id.hex()}, not to {journal_id.hex()}.",
            remedy=f"Restore journal.json and the segments of {directory} from one copy.",
        )


def valid_frame(view: memoryview, at: int, journal_id: bytes) -> Header | None:
    """Return the header at ``at`` when header and body are whole and belong to this journal."""
    header = decode_header(view, at)
    if header is None or header.journal_id != journal_id:
        return None
    start = at + HEADER_BYTES
    body = view[start : start + header.body_bytes]
    if len(body) < header.body_bytes or zlib.crc32(body) != header.body_crc:
        return None
    return header


def _search(segment: MappedSegment, start: int, limit: int, journal_id: bytes) -> tuple[_Promise, int]:
    """Return (largest promise, end of the last frame) over the valid frames beyond a hole."""
    promise, last = _Promise(), 0
    position = segment.find(MAGIC, start, limit)
    while position >= 0:
        header = valid_frame(segment.view, position, journal_id) if position % 8 == 0 else None
        if header is not None and header.epoch <= segment.name.epoch:
            promise = promise.seen(header)
            last = position + header.size
        position = segment.find(MAGIC, position + 4, limit)
    return promise, last


def _search_file(directory: Path, name: SegmentName, journal_id: bytes, files: Files) -> _Promise:
    segment = MappedSegment(directory, name, files)
    try:
        return _search(segment, 0, segment.size, journal_id)[0]
    finally:
        segment.close()


_LIE = " The promise stands in a control file: if that alone is damaged, remove it."


def _last_words(directory: Path, files: Files) -> tuple[_Promise, bool]:
    """Return what writers' own words promise, and whether the last writer was a mirror.

    The words are stored after the sync that they speak of, so they may be too small, never too large.
    """
    promise, is_copy = _Promise(), False
    for epoch in sorted(words.control_epochs(directory, files)):
        try:
            control = words.open_control(directory, epoch, files=files)
        except ValueError:
            continue  # its writer died before it promised anything
        table = control.words
        promise = promise.join(_Promise(int(table[words.DURABLE_SEQUENCE]), int(table[words.DURABLE_OFFSET])))
        is_copy = bool(table[words.COPY]) if table[words.BOOT] else is_copy
        control.close()
    return promise, is_copy


def _check_promise(directory: Path, tail: Tail, promise: _Promise) -> None:
    """Raise JournalDamaged when a writer's own word promised entries beyond the tail."""
    if promise.sequence > tail.sequence or promise.offset > tail.offset:
        raise _damage(directory, tail.offset, tail, promise, also=_LIE)


def _damage(directory: Path, offset: int, tail: Tail, promise: _Promise, also: str = "") -> JournalDamaged:
    lost = "what was promised"
    if promise.sequence > tail.sequence:
        lost = f"entries {tail.sequence}..{promise.sequence - 1} were promised and"
    elif promise.offset:
        lost = f"bytes {tail.offset}..{promise.offset - 1} were promised and"
    return JournalDamaged(
        f"journal {directory.name} is damaged at offset {offset}: {lost} cannot be read.",
        remedy=f"Keep {directory} as it is and restore it from a copy.{also}",
        journal=directory.name,
        offset=offset,
        first_sequence=tail.sequence,
        durable_sequence=promise.sequence,
        durable_offset=promise.offset,
    )
