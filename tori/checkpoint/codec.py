"""The file of one snapshot: a header, the state, and a sha256 over all of it. No pickle: safe to open, readable by other versions.

    magic (8) | header length (4, big-endian) | header (msgpack) | data | sha256 of everything before (32)

Decoding believes nothing: lengths must add up to the size of the file, and the digest must match.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from tori.errors import PermanentError

MAGIC = b"TORISNP1"
PIECE_BYTES = 8 << 20
"""Of a large state, what is hashed and written at a time."""
_LENGTH_BYTES = 4
_DIGEST_BYTES = 32


_OLDER = "An older checkpoint and the journal hold the same state: restore one that `tori checkpoint --list` shows."


class SnapshotDamaged(PermanentError):
    """A file of a checkpoint is not what was written."""

    exit_code = 74

    def __init__(self, message: str, *, remedy: str = _OLDER, **fields: Any) -> None:
        super().__init__(message, remedy=remedy, **fields)


class ModuleSnapshot(msgspec.Struct, frozen=True):
    """State of one module at a position of its own journal."""

    module: str
    state_version: int
    """Shape of ``data``; a module refuses one it does not know."""
    journal: str
    """Id of its journal."""
    epoch: int
    sequence: int
    """The journal's sequence up to which everything is inside the state."""
    data: bytes
    """What the host needs to go on: opaque here (a HostSnapshot, with the cursors reached)."""


class _Header(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    module: str
    state_version: int
    journal: str
    epoch: int
    sequence: int
    data_bytes: int


def encode_snapshot(snapshot: ModuleSnapshot) -> bytes:
    """Return the content of a snapshot's file."""
    return b"".join(snapshot_file(snapshot, (snapshot.data,)))


def snapshot_file(snapshot: ModuleSnapshot, data: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """Yield the content of a snapshot's file in pieces; ``data`` in pieces stands for ``snapshot.data``, so that a large state is
    neither joined nor copied."""
    size = sum(len(piece) for piece in data)
    header = msgspec.msgpack.encode(
        _Header(snapshot.module, snapshot.state_version, snapshot.journal, snapshot.epoch, snapshot.sequence, size)
    )
    digest = hashlib.sha256()
    for piece in (MAGIC + len(header).to_bytes(_LENGTH_BYTES, "big") + header, *data):
        view = memoryview(piece)
        for start in range(0, len(view), PIECE_BYTES):
            digest.update(view[start : start + PIECE_BYTES])
            yield view[start : start + PIECE_BYTES]
    yield digest.digest()


class Digests(NamedTuple):
    """The sha256 of a snapshot's file, and that of everything before its last 32 bytes: what those must be."""

    file: str
    body: bytes


def digests_of(content: bytes) -> Digests:
    """Return both digests of a snapshot's file, read once."""
    view = memoryview(content)
    end = max(0, len(content) - _DIGEST_BYTES)
    running = hashlib.sha256(view[:end])
    body = running.digest()
    running.update(view[end:])
    return Digests(running.hexdigest(), body)


def decode_snapshot(content: bytes, digests: Digests | None = None) -> ModuleSnapshot:
    """Return the snapshot in a file's content; raises SnapshotDamaged that says what is wrong.

    ``digests``: of this content, where the caller has them already.
    """
    start = len(MAGIC) + _LENGTH_BYTES
    if len(content) < start + _DIGEST_BYTES:
        raise SnapshotDamaged(f"the file ends after {len(content)} bytes.")
    if not content.startswith(MAGIC):
        raise SnapshotDamaged("the file does not begin like a snapshot.")
    view = memoryview(content)
    if (digests or digests_of(content)).body != view[-_DIGEST_BYTES:]:
        raise SnapshotDamaged("the sha256 at the end of the file does not match its content.")
    end = start + int.from_bytes(view[len(MAGIC) : start], "big")
    try:
        header = msgspec.msgpack.decode(view[start:end], type=_Header)
    except msgspec.DecodeError as error:
        raise SnapshotDamaged(f"the header does not decode: {error}.") from error
    data = content[end:-_DIGEST_BYTES]
    if len(data) != header.data_bytes:
        raise SnapshotDamaged(f"the header promises {header.data_bytes} bytes of state, the file holds {len(data)}.")
    return ModuleSnapshot(header.module, header.state_version, header.journal, header.epoch, header.sequence, data)
