"""Journals as the checker reads them: from the bytes of a stopped home, by the format alone.

Written from ADRs 2, 11, 13 and the layout at the top of ``tori/journal/frame.py``; it imports nothing of the product, because a
checker that shares the code under test believes it. A frame counts when its magic, both checksums, version and journal id are right and
its epoch is not later than its segment's (a take-over copies what the last writer left). Entries count when their unit is complete.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.chaos.identity import DEAD_LETTERED, digest_of, payload_item

_MAGIC = b"TRF1"
_REST = struct.Struct("<II16sIBBBBQIIQQQQ32sQ")
_HEADER_BYTES = 128
_EVENTS, _RECORDS, _CURSOR = 1, 2, 3


class Entry(NamedTuple):
    """One event of a journal."""

    sequence: int
    offset: int
    """Of its frame."""
    epoch: int
    lane: int
    event_id: bytes
    item: str
    """What it is to a client; "" when it is no client's."""
    key: str
    digest: str
    causes: tuple[bytes, ...]
    payload: list[Any]


class Consumed(NamedTuple):
    """A stretch of another journal that a commit unit of this one says was handled."""

    journal: str
    start: int
    end: int
    at: int
    """Offset of the cursor frame that says so."""
    held: tuple[int, ...] = ()
    """Sequences inside that were not handled then."""
    only: tuple[int, ...] = ()
    """When not empty: these alone, held before, were handled."""


class Flaw(NamedTuple):
    """Something the bytes of a journal must not show."""

    offset: int
    sequence: int
    what: str


class JournalReading(NamedTuple):
    """Everything one journal says."""

    name: str
    entries: list[Entry]
    consumed: list[Consumed]
    gaps: list[Flaw]
    damage: list[Flaw]
    """Bytes below the durable position that are not whole."""
    next_sequence: int
    durable_sequence: int

    @property
    def dead_letters(self) -> Iterator[tuple[str, str, int]]:
        """Yield (subscriber, journal, sequence) of each dead letter noted here."""
        for entry in self.entries:
            if entry.payload[0] == DEAD_LETTERED:
                yield entry.payload[1], entry.payload[2], entry.payload[3]


class _Frame(NamedTuple):
    offset: int
    end: int
    epoch: int
    lane: int
    kind: int
    is_last: bool
    first: int
    count: int
    commit: int
    durable: int
    durable_offset: int
    body: bytes


class _Piece(NamedTuple):
    """A segment file, and the part of it that counts."""

    path: Path
    base: int
    epoch: int
    limit: int


def read_journals(home: Path) -> dict[str, JournalReading]:
    """Return every journal of a stopped home."""
    directories = sorted(p.parent for p in (home / "journals").glob("*/journal.json"))
    return {directory.name: read_journal(directory) for directory in directories}


def read_journal(directory: Path) -> JournalReading:
    """Return what the journal in ``directory`` says."""
    journal_id = bytes.fromhex(json.loads((directory / "journal.json").read_text())["journal_id"])
    return _Scan(directory.name, journal_id).run(_pieces(directory))


def _pieces(directory: Path) -> list[_Piece]:
    """Return the segments that count: a later (epoch, generation) that begins at P hides all of earlier ones from P on."""
    names = []
    for path in directory.glob("*.seg"):
        base, epoch, *generation = (int(part, 16) for part in path.stem.split("-"))
        names.append((epoch, generation[0] if generation else 0, base, path))
    live: list[tuple[int, int, Path]] = []
    for epoch, _, base, path in sorted(names):
        live = [one for one in live if one[1] < base]
        live.append((epoch, base, path))
    ends = [base for _, base, _ in live[1:]]
    sizes = [path.stat().st_size for _, _, path in live]
    return [
        _Piece(path, base, epoch, min(size, end - base) if end is not None else size)
        for (epoch, base, path), size, end in zip(live, sizes, [*ends, None], strict=True)
    ]


class _Scan:
    """One walk over a journal's segments."""

    def __init__(self, name: str, journal_id: bytes) -> None:
        self._id = journal_id
        self._unit: list[_Frame] = []
        self._expected: int | None = None
        self._reading = JournalReading(name, [], [], [], [], 0, 0)
        self._durable = self._durable_offset = 0
        self._epoch = 0
        self._tail = 0
        self._reached: int | None = None

    def run(self, pieces: list[_Piece]) -> JournalReading:
        holes: list[Flaw] = []
        for index, piece in enumerate(pieces):
            data = piece.path.read_bytes()
            if self._reached is not None and self._reached != piece.base and not holes:
                self._gap(piece.base, f"no segment holds offsets {self._reached}..{piece.base}")
            stopped = self._walk(data, piece)
            self._reached = piece.base + piece.limit
            if stopped < piece.limit:
                beyond = self._look_beyond(data, piece, stopped)
                if index + 1 < len(pieces) or beyond:
                    holes.append(
                        Flaw(piece.base + stopped, self._expected or 0, f"no valid frame in {piece.path.name}")
                    )
                self._unit = []
        damage = [h for h in holes if h.sequence < self._durable or h.offset < self._durable_offset]
        return self._reading._replace(damage=damage, next_sequence=self._tail, durable_sequence=self._durable)

    def _walk(self, data: bytes, piece: _Piece) -> int:
        at = 0
        while at < piece.limit:
            frame = self._frame(data, at, piece)
            if frame is None:
                break
            at = frame.end - piece.base
            self._durable = max(self._durable, frame.durable)
            if self._expected is not None and frame.first != self._expected:
                self._gap(frame.offset, f"entry {self._expected} should follow, entry {frame.first} does")
            if frame.epoch < self._epoch:
                self._gap(frame.offset, f"a frame of epoch {frame.epoch} after one of epoch {self._epoch}")
            self._epoch = frame.epoch
            self._expected = frame.first + frame.count
            self._unit.append(frame)
            if frame.is_last:
                self._complete()
        return at

    def _frame(self, data: bytes, at: int, piece: _Piece) -> _Frame | None:
        head = data[at : at + _HEADER_BYTES]
        if (
            len(head) < _HEADER_BYTES
            or head[:4] != _MAGIC
            or zlib.crc32(head[8:]) != int.from_bytes(head[4:8], "little")
        ):
            return None
        fields = _REST.unpack(head[8:])
        body_crc, size, journal_id, epoch, lane, kind, flags, version, first, count, _, commit, durable = fields[:13]
        body = data[at + _HEADER_BYTES : at + _HEADER_BYTES + size]
        if len(body) < size or zlib.crc32(body) != body_crc:
            return None
        if version != 1 or journal_id != self._id or epoch > piece.epoch:
            return None
        end = piece.base + at + _HEADER_BYTES + (size + 7) // 8 * 8
        return _Frame(
            piece.base + at,
            end,
            epoch,
            lane,
            kind,
            bool(flags & 1),
            first,
            count,
            commit,
            durable,
            fields[-1],
            body,
        )

    def _look_beyond(self, data: bytes, piece: _Piece, stopped: int) -> bool:
        """Say whether whole frames lie beyond a hole; they tell how far the writer had promised."""
        found = False
        at = data.find(_MAGIC, stopped, piece.limit)
        while at >= 0:
            frame = self._frame(data, at, piece) if at % 8 == 0 else None
            if frame is not None:
                found = True
                self._promised(frame)
            at = data.find(_MAGIC, at + 4, piece.limit)
        return found

    def _promised(self, frame: _Frame) -> None:
        """Note how far a frame says that the journal was durable when it was written."""
        self._durable = max(self._durable, frame.durable)
        self._durable_offset = max(self._durable_offset, frame.durable_offset)

    def _complete(self) -> None:
        unit, self._unit = self._unit, []
        if len({frame.commit for frame in unit}) > 1:
            self._gap(unit[0].offset, f"a unit holds frames of units {sorted({f.commit for f in unit})}")
        for frame in unit:
            if frame.kind == _EVENTS:
                self._reading.entries.extend(_entries(frame))
            elif frame.kind == _CURSOR:
                runs = msgspec.msgpack.decode(frame.body)
                self._reading.consumed.extend(_consumed(run, frame.offset) for run in runs)
        self._tail = unit[-1].first + unit[-1].count

    def _gap(self, offset: int, what: str) -> None:
        self._reading.gaps.append(Flaw(offset, self._expected or 0, what))


def _consumed(run: list[Any], at: int) -> Consumed:
    """Return a run of a cursor frame; its last two fields came later."""
    journal, start, end, held, only = (*run, (), ())[:5]
    return Consumed(journal, start, end, at, tuple(held), tuple(only))


_body_decoder = msgspec.msgpack.Decoder(tuple[msgspec.Raw, list[list[msgspec.Raw]]])


def _entries(frame: _Frame) -> Iterator[Entry]:
    _, events = _body_decoder.decode(frame.body)
    if len(events) != frame.count:
        raise ValueError(f"the frame at {frame.offset} says {frame.count} entries and holds {len(events)}")
    for index, event in enumerate(events):
        payload = msgspec.msgpack.decode(event[1])
        yield Entry(
            frame.first + index,
            frame.offset,
            frame.epoch,
            frame.lane,
            msgspec.msgpack.decode(event[0]),
            payload_item(payload),
            msgspec.msgpack.decode(event[2]),
            digest_of(bytes(event[1])),
            tuple(msgspec.msgpack.decode(event[4])),
            payload,
        )
