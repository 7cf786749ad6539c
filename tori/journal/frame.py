"""The frame: the batch of a journal, 128 bytes of header and a body.

    offset size field
         0    4 magic ``TRF1``
         4    4 crc32 of header bytes 8..128
         8    4 crc32 of the body
        12    4 body length in bytes, without padding
        16   16 journal id
        32    4 epoch of the writer
        36    1 lane (0 critical .. 4 background)
        37    1 kind (1 events, 2 private records, 3 cursor, 4 open, 5 roll: no longer written, 6 delivery)
        38    1 flags (1 = last frame of its commit unit)
        39    1 format version (1)
        40    8 first sequence
        48    4 count of entries (events or records)
        52    4 reserved, zero
        56    8 commit unit number
        64    8 durable sequence known when written (first sequence not known durable)
        72   16 first and last event time, nanoseconds
        88   32 type set, one bit a type number
       120    8 durable offset known when written (0 in frames of before it was told): units of count 0 move no sequence

Numbers are little-endian. Frames begin at multiples of 8 bytes; sequences number the entries of a journal from 0.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from tori.errors import JournalError

MAGIC = b"TRF1"
VERSION = 1
HEADER = struct.Struct("<4sIII16sIBBBBQIIQQQQ32sQ")
HEADER_BYTES = 128
_AFTER_CRC = struct.Struct("<II16sIBBBBQIIQQQQ32sQ")

EVENTS, RECORDS, CURSOR, OPEN, ROLL, DELIVERY = 1, 2, 3, 4, 5, 6
LAST_OF_UNIT = 1

assert HEADER.size == HEADER_BYTES and _AFTER_CRC.size == HEADER_BYTES - 8


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame before it is written: what the writer does not know by itself."""

    kind: int
    body: bytes
    count: int = 0
    lane: int = 2
    first_time_ns: int = 0
    last_time_ns: int = 0
    type_set: bytes = bytes(32)


class Header(msgspec.Struct, frozen=True, gc=False):
    """A decoded header, in the order of the layout."""

    body_crc: int
    body_bytes: int
    journal_id: bytes
    epoch: int
    lane: int
    kind: int
    flags: int
    version: int
    first_sequence: int
    count: int
    commit: int
    durable_sequence: int
    first_time_ns: int
    last_time_ns: int
    type_set: bytes
    durable_offset: int = 0

    @property
    def size(self) -> int:
        """Bytes from this header to the next."""
        return HEADER_BYTES + ((self.body_bytes + 7) & ~7)

    @property
    def is_last_of_unit(self) -> bool:
        return bool(self.flags & LAST_OF_UNIT)


def padded(size: int) -> int:
    """Return ``size`` rounded up to a multiple of 8."""
    return (size + 7) & ~7


def encode_frame(
    frame: Frame,
    *,
    journal_id: bytes,
    epoch: int,
    first_sequence: int,
    commit: int,
    durable_sequence: int,
    is_last: bool,
    durable_offset: int = 0,
) -> bytes:
    """Return header, body and padding."""
    body = frame.body
    rest = _AFTER_CRC.pack(
        zlib.crc32(body),
        len(body),
        journal_id,
        epoch,
        frame.lane,
        frame.kind,
        LAST_OF_UNIT if is_last else 0,
        VERSION,
        first_sequence,
        frame.count,
        0,
        commit,
        durable_sequence,
        frame.first_time_ns,
        frame.last_time_ns,
        frame.type_set,
        durable_offset,
    )
    head = MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest
    return b"".join((head, body, bytes(-len(body) & 7)))


def decode_header(data: bytes | memoryview, offset: int = 0) -> Header | None:
    """Return the header at ``offset``, or None when there is no valid one; raises JournalError for one of a later format."""
    if len(data) - offset < HEADER_BYTES or data[offset : offset + 4] != MAGIC:
        return None
    crc = int.from_bytes(data[offset + 4 : offset + 8], "little")
    rest = data[offset + 8 : offset + HEADER_BYTES]
    if zlib.crc32(rest) != crc:
        return None
    fields = _AFTER_CRC.unpack(rest)
    if fields[7] > VERSION:
        raise JournalError(
            f"a frame of format {fields[7]} stands in the journal; this version reads {VERSION}.",
            remedy="Use the version of tori-orchestrator that wrote it, or a newer one.",
        )
    return Header(*fields[:10], *fields[11:17])


def type_set_of(tags: frozenset[int] | set[int]) -> bytes:
    """Return the 256-bit set of type numbers as 32 bytes, little-endian."""
    bits = 0
    for tag in tags:
        bits |= 1 << tag
    return bits.to_bytes(32, "little")
