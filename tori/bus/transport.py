"""How documents come in and how frames travel: the port that every runtime implements.

Documents go to the node whose journal takes them and are acknowledged once on disk. Frames leave a journal as chunks of whole
frames, byte for byte as they were written, so a copy can be checked by the same checksums and read by the same reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from tori.events.document import Receipt
from tori.journal.follower import Readable
from tori.journal.frame import HEADER_BYTES, encode_frame
from tori.journal.frame import Frame as Draft
from tori.journal.reader import FrameView

CHUNK_BYTES = 90_000
"""Size of a live chunk: small enough for Ray to carry it inline."""


class Transport(Protocol):
    """Carries documents to a journal and frames from one."""

    def submit(self, documents: bytes) -> Receipt:
        """Hand a batch (msgpack of list[Document]) to the node's ``clients`` journal; the receipt means it is on disk."""

    def frames(self, journal: str, start: int, max_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield the durable frames of a journal from an offset on, in chunks cut at frame borders; ends at the present end."""


def chunks(reader: Readable, start: int, max_bytes: int = CHUNK_BYTES, limit: int | None = None) -> Iterator[bytes]:
    """Yield the durable frames from ``start`` on in chunks of at least one frame and at most ``max_bytes`` of more than one.

    ``limit``: the offset to end at, None = the present durable end.
    """
    parts: list[bytes] = []
    size = 0
    for frame in reader.frames(start, reader.limit() if limit is None else limit):
        part = frame_bytes(frame)
        if parts and size + len(part) > max_bytes:
            yield b"".join(parts)
            parts, size = [], 0
        parts.append(part)
        size += len(part)
    if parts:
        yield b"".join(parts)


def frame_bytes(frame: FrameView) -> bytes:
    """Return a frame as it stands in its segment: header, body, padding."""
    header = frame.header
    draft = Draft(
        header.kind,
        bytes(frame.body),
        header.count,
        header.lane,
        header.first_time_ns,
        header.last_time_ns,
        header.type_set,
    )
    data = encode_frame(
        draft,
        journal_id=header.journal_id,
        epoch=header.epoch,
        first_sequence=header.first_sequence,
        commit=header.commit,
        durable_sequence=header.durable_sequence,
        is_last=header.is_last_of_unit,
        durable_offset=header.durable_offset,
    )
    if len(data) < HEADER_BYTES or len(data) != header.size:
        raise AssertionError(f"a frame of {header.size} bytes was rebuilt with {len(data)}")
    return data
