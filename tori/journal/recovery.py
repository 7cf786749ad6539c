"""What stands in a journal after its writer is gone.

No stored position is trusted. The scan walks frames and finds

- the tail: the end of the last complete, valid commit unit that follows the others without a hole;
- D: the largest durable sequence that any valid frame mentions, searched beyond the hole too.

A hole below D is damage: those entries were promised. A hole at or above D is the torn tail of a crash; it is cut by the
next epoch beginning there. Damage inside the last commit group cannot be told from a tail.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import NamedTuple

from tori.errors import JournalDamaged, JournalError
from tori.journal.frame import HEADER_BYTES, MAGIC, Header, decode_header
from tori.journal.segment import MappedSegment, SegmentName, list_segments


class Tail(NamedTuple):
    """Where the next epoch begins."""

    offset: int
    sequence: int
    commit: int
    last_time_ns: int
    cut_bytes: int = 0
    """Bytes of a torn tail that are left behind."""


class _Walk:
    """Frames of one journal, one after the other, until a hole."""

    def __init__(self, journal_id: bytes, base: int) -> None:
        self.journal_id = journal_id
        self.tail = Tail(base, 0, 0, 0)
        self.durable = 0
        self.last_time_ns = 0
        self._next_sequence: int | None = None

    def segment(self, view: memoryview, base: int, epoch: int, limit: int) -> int:
        """Walk one segment up to ``limit`` bytes; return where it stopped, counted in the segment."""
        at = 0
        while at < limit:
            header = valid_frame(view, at, self.journal_id)
            if header is None or header.epoch != epoch or not self._follows(header):
                break
            at += header.size
            self._take(header, base + at)
        return at

    def _follows(self, header: Header) -> bool:
        return self._next_sequence is None or header.first_sequence == self._next_sequence

    def _take(self, header: Header, end: int) -> None:
        self.durable = max(self.durable, header.durable_sequence)
        self.last_time_ns = max(self.last_time_ns, header.last_time_ns)
        self._next_sequence = header.first_sequence + header.count
        if header.is_last_of_unit:
            self.tail = Tail(end, self._next_sequence, header.commit, self.last_time_ns)

    def cut_unit(self) -> None:
        """Forget the frames of a unit that was not completed: the next epoch goes on at the tail."""
        self._next_sequence = self.tail.sequence if self.tail.commit else None


def recover(directory: Path, journal_id: bytes, *, verify_all: bool = False) -> Tail:
    """Return the tail of the journal in ``directory``; raises JournalDamaged for a hole below the durable position.

    Checks the bodies of the last two segments, or of all with ``verify_all``; whoever reads a body checks it anyway.
    """
    names = list_segments(directory)
    if not names:
        return Tail(0, 0, 0, 0)
    _check_owner(directory, names[0], journal_id)
    first = 0 if verify_all else max(0, len(names) - 2)
    walk = _Walk(journal_id, names[first].base)
    for index in range(first, len(names)):
        name = names[index]
        is_last = index + 1 == len(names)
        segment = MappedSegment(directory, name)
        try:
            limit = segment.size if is_last else min(segment.size, names[index + 1].base - name.base)
            stopped = walk.segment(segment.view, name.base, name.epoch, limit)
            walk.cut_unit()
            if not is_last and walk.tail.offset == name.base + limit:
                continue
            beyond, last = _search(segment, stopped, limit, journal_id)
        finally:
            segment.close()
        later = max((_search_file(directory, n, journal_id) for n in names[index + 1 :]), default=0)
        durable = max(walk.durable, beyond, later)
        if durable > walk.tail.sequence:
            raise _damage(directory, name.base + stopped, walk.tail.sequence, durable)
        end = max(name.base + last, name.base + stopped)
        return walk.tail._replace(cut_bytes=end - walk.tail.offset)
    return walk.tail


def _check_owner(directory: Path, name: SegmentName, journal_id: bytes) -> None:
    """Raise JournalError when the oldest segment was written for another journal: beginning anew would hide it."""
    segment = MappedSegment(directory, name)
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


def _search(segment: MappedSegment, start: int, limit: int, journal_id: bytes) -> tuple[int, int]:
    """Return (largest durable sequence, end of the last frame) over the valid frames beyond a hole."""
    durable, last = 0, 0
    position = segment.find(MAGIC, start, limit)
    while position >= 0:
        header = valid_frame(segment.view, position, journal_id) if position % 8 == 0 else None
        if header is not None and header.epoch == segment.name.epoch:
            durable = max(durable, header.durable_sequence)
            last = position + header.size
        position = segment.find(MAGIC, position + 4, limit)
    return durable, last


def _search_file(directory: Path, name: SegmentName, journal_id: bytes) -> int:
    segment = MappedSegment(directory, name)
    try:
        return _search(segment, 0, segment.size, journal_id)[0]
    finally:
        segment.close()


def _damage(directory: Path, offset: int, sequence: int, durable: int) -> JournalDamaged:
    return JournalDamaged(
        f"journal {directory.name} is damaged at offset {offset}: entries {sequence}..{durable - 1} were promised and "
        f"cannot be read.",
        remedy=f"Keep {directory} as it is and restore it from a copy.",
        journal=directory.name,
        offset=offset,
        first_sequence=sequence,
        durable_sequence=durable,
    )
