"""Journals made by hand, byte by byte, so that a test can make them wrong.

Like the checker's reader this knows the format alone, not the product.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tests.chaos.identity import CUSTOM, OPERATION

_REST = struct.Struct("<II16sIBBBBQIIQQQQ32sQ")
EVENTS, CURSOR, OPEN = 1, 3, 4


class Forged(NamedTuple):
    """One frame: what its header claims, and its body."""

    kind: int
    body: bytes
    first: int
    count: int
    commit: int
    durable: int
    is_last: bool = True
    epoch: int = 1

    def encode(self, journal_id: bytes) -> bytes:
        rest = _REST.pack(
            zlib.crc32(self.body),
            len(self.body),
            journal_id,
            self.epoch,
            2,
            self.kind,
            int(self.is_last),
            1,
            self.first,
            self.count,
            0,
            self.commit,
            self.durable,
            0,
            0,
            bytes(32),
            0,
        )
        return b"TRF1" + zlib.crc32(rest).to_bytes(4, "little") + rest + self.body + bytes(-len(self.body) & 7)


class Forge:
    """A journal under construction: one segment, one epoch unless a test says otherwise."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.journal_id = name.encode().ljust(16, b"\0")[:16]
        self.frames: list[Forged] = [Forged(OPEN, b"", 0, 0, 1, 0)]
        self.sequence = 0
        self.commit = 1

    @property
    def offset(self) -> int:
        """Where the next frame begins."""
        return sum(128 + (len(frame.body) + 7) // 8 * 8 for frame in self.frames)

    def unit(self, events: Sequence[list[Any]], runs: Sequence[tuple[str, int, int]] = ()) -> tuple[int, int]:
        """Append a commit unit; return the offsets of its events frame."""
        self.commit += 1
        start, durable = self.offset, self.sequence
        end = start
        if events:
            body = msgspec.msgpack.encode([["test", "", 0, 1, ""], list(events)])
            self.frames.append(Forged(EVENTS, body, self.sequence, len(events), self.commit, durable, not runs))
            self.sequence += len(events)
            end = self.offset
        if runs:
            body = msgspec.msgpack.encode(list(runs))
            self.frames.append(Forged(CURSOR, body, self.sequence, 0, self.commit, durable))
        return start, end

    def data(self) -> bytes:
        return b"".join(frame.encode(self.journal_id) for frame in self.frames)

    def write(self, home: Path, data: bytes | None = None) -> Path:
        """Write the journal under ``home``; return its one segment."""
        directory = home / "journals" / self.name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "journal.json").write_text(json.dumps({"journal_id": self.journal_id.hex(), "format": 1}))
        segment = directory / f"{0:016x}-{1:08x}.seg"
        segment.write_bytes((self.data() if data is None else data) + bytes(512))
        return segment


def operation_event(number: int, origin: str, seq: int, key: str, causes: Sequence[bytes] = ()) -> list[Any]:
    """Return the event of a producer's operation as a journal holds it."""
    data = {"origin": origin, "incarnation": 1, "seq": seq, "key": key}
    return [event_id(origin, number), [CUSTOM, OPERATION, data], key, b"", list(causes)]


def event_id(source: str, number: int) -> bytes:
    return number.to_bytes(8, "big") + source.encode().ljust(8, b"\0")[:8]
