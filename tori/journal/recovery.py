"""What stands in a journal after its writer is gone.

No stored position is trusted for reading. The scan walks frames and finds

- the tail: the end of the last complete, valid commit unit that follows the others without a hole;
- D: the largest durable sequence that any valid frame mentions, searched beyond the hole too.

A hole below D is damage: those entries were promised. A hole at or above D is the torn tail of a crash; it is cut by the
next epoch. Between D and the tail lies what was written and perhaps never synced, or in a file whose sync failed: the next
epoch writes it again into its own first segment and trusts no second sync of the old file. Damage inside the last
commit group cannot be told from a tail by the frames alone; the last writer's own word of what it had promised tells it, where that
word survived (it does the death of the process, not always that of the machine).
"""

from __future__ import annotations

import zlib
from collections import deque
from pathlib import Path
from typing import NamedTuple

from tori.errors import JournalDamaged
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


class _Walk:
    """Frames of one journal, one after the other, until a hole."""

    def __init__(self, journal_id: bytes, base: int) -> None:
        self.journal_id = journal_id
        self.tail = Tail(base, 0, 0, 0)
        self.durable = 0
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
        self.durable = max(self.durable, header.durable_sequence)
        self.last_time_ns = max(self.last_time_ns, header.last_time_ns)
        self._next_sequence = header.first_sequence + header.count
        if header.is_last_of_unit:
            self.tail = Tail(end, self._next_sequence, header.commit, self.last_time_ns)
            self._borders.append((end, self._next_sequence))
            self._settle(self.durable)

    def _settle(self, durable: int) -> None:
        while len(self._borders) > 1 and self._borders[0][1] < durable:
            self._borders.popleft()

    def durable_offset(self, durable: int) -> int:
        """Return the border up to which everything was on the disk when ``durable`` entries were."""
        self._settle(durable)
        return self._borders[0][0] if self._borders else self._base

    def cut_unit(self) -> None:
        """Forget the frames of a unit that was not completed: the next epoch goes on at the tail."""
        self._next_sequence = self.tail.sequence if self.tail.commit else None


def recover(directory: Path, journal_id: bytes, *, verify_all: bool = False, files: Files = SYSTEM_FILES) -> Tail:
    """Return the tail of the journal in ``directory``; raises JournalDamaged for a hole below the durable position.

    Checks the bodies of the last two segments, of more while nothing in them is known to be durable, or of all with
    ``verify_all``; whoever reads a body checks it anyway.
    """
    names = list_segments(directory, files)
    if not names:
        return Tail(0, 0, 0, 0)
    first = 0 if verify_all else max(0, len(names) - 2)
    while True:
        tail = _scan(directory, journal_id, names, first, files)
        if not first or tail.durable_offset > names[first].base:
            break
        first = max(0, first - (len(names) - first))
    if not tail.commit and names[0].base:
        raise _damage(directory, names[0].base, 0, 0)
    _check_promise(directory, tail, files)
    return tail


def _scan(directory: Path, journal_id: bytes, names: list[SegmentName], first: int, files: Files) -> Tail:
    walk = _Walk(journal_id, names[first].base)
    for index in range(first, len(names)):
        name = names[index]
        is_last = index + 1 == len(names)
        segment = MappedSegment(directory, name, files)
        try:
            limit = segment.size if is_last else min(segment.size, names[index + 1].base - name.base)
            stopped = walk.segment(segment.view, name, limit)
            walk.cut_unit()
            if not is_last and walk.tail.offset == names[index + 1].base:
                continue
            beyond, last = _search(segment, stopped, limit, journal_id)
        finally:
            segment.close()
        later = max((_search_file(directory, n, journal_id, files) for n in names[index + 1 :]), default=0)
        durable = max(walk.durable, beyond, later)
        if durable > walk.tail.sequence:
            raise _damage(directory, name.base + stopped, walk.tail.sequence, durable)
        end = max(name.base + last, name.base + stopped)
        return walk.tail._replace(
            cut_bytes=end - walk.tail.offset, durable_offset=min(walk.durable_offset(durable), walk.tail.offset)
        )
    raise AssertionError("a scan ends in its last segment")


def read_tail(directory: Path, journal_id: bytes, files: Files = SYSTEM_FILES) -> tuple[Tail, bytes]:
    """Return the tail, and the bytes from its durable offset to its end as they were checked.

    Pages of a file whose sync failed may leave the cache at any time, so what was copied is checked, not what lies there.
    """
    for _ in range(MAX_READINGS):
        tail = recover(directory, journal_id, files=files)
        kept = _read(directory, tail, files)
        if _is_whole(kept, journal_id):
            return tail, kept
    raise JournalDamaged(
        f"journal {directory.name} reads differently each time from offset {tail.durable_offset} on.",
        remedy="Check the disk, then start again; nothing was changed.",
        journal=directory.name,
        offset=tail.durable_offset,
    )


def _read(directory: Path, tail: Tail, files: Files) -> bytes:
    names = list_segments(directory, files)
    ends = [n.base for n in names[1:]] + [tail.offset]
    parts = []
    for name, end in zip(names, ends, strict=False):
        start, stop = max(name.base, tail.durable_offset), min(end, tail.offset)
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


def _search(segment: MappedSegment, start: int, limit: int, journal_id: bytes) -> tuple[int, int]:
    """Return (largest durable sequence, end of the last frame) over the valid frames beyond a hole."""
    durable, last = 0, 0
    position = segment.find(MAGIC, start, limit)
    while position >= 0:
        header = valid_frame(segment.view, position, journal_id) if position % 8 == 0 else None
        if header is not None and header.epoch <= segment.name.epoch:
            durable = max(durable, header.durable_sequence)
            last = position + header.size
        position = segment.find(MAGIC, position + 4, limit)
    return durable, last


def _search_file(directory: Path, name: SegmentName, journal_id: bytes, files: Files) -> int:
    segment = MappedSegment(directory, name, files)
    try:
        return _search(segment, 0, segment.size, journal_id)[0]
    finally:
        segment.close()


def _check_promise(directory: Path, tail: Tail, files: Files) -> None:
    """Raise JournalDamaged when a writer's own word promised entries beyond the tail.

    The word is stored after the sync that it speaks of, so it may be too small, never too large.
    """
    promised = 0
    for epoch in words.control_epochs(directory, files):
        try:
            control = words.open_control(directory, epoch, files=files)
        except ValueError:
            continue  # its writer died before it promised anything
        promised = max(promised, int(control.words[words.DURABLE_SEQUENCE]))
        control.close()
    if promised > tail.sequence:
        raise _damage(directory, tail.offset, tail.sequence, promised)


def _damage(directory: Path, offset: int, sequence: int, durable: int) -> JournalDamaged:
    lost = f"entries {sequence}..{durable - 1} were promised and" if durable > sequence else "what was promised"
    return JournalDamaged(
        f"journal {directory.name} is damaged at offset {offset}: {lost} cannot be read.",
        remedy=f"Keep {directory} as it is and restore it from a copy.",
        journal=directory.name,
        offset=offset,
        first_sequence=sequence,
        durable_sequence=durable,
    )
