"""The reader's private records and the state they build."""

from __future__ import annotations

import zlib

import msgspec

from tori.modules.reader.phrase import Candidates

_decoder = msgspec.msgpack.Decoder(Candidates)
_COMPRESSION = 1


class DocumentRead(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A document was read: what selection needs of it, packed (a few kB; ``pack`` and ``unpack``)."""

    document_id: str
    event_id: bytes
    """The DocumentIngested event that carries the text."""
    content_hash: bytes
    characters: int
    candidates: bytes


class SelectionMade(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """Concepts were selected over this many documents; the next interim pass waits for twice as many."""

    documents: int


Record = DocumentRead | SelectionMade


class KnownConcept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A concept as its latest event described it."""

    id: str
    label: str
    event_id: bytes
    sources: tuple[str, ...]
    weights: tuple[float, ...]
    causes: tuple[bytes, ...]
    """The DocumentIngested events it quotes."""


class KnownLink(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A link between two concepts, a < b."""

    a: str
    b: str
    weight: float
    kind: str


def pack(candidates: Candidates) -> bytes:
    """Return ``candidates`` as compressed msgpack."""
    return zlib.compress(msgspec.msgpack.encode(candidates), _COMPRESSION)


def unpack(data: bytes) -> Candidates:
    """Return what ``pack`` packed."""
    return _decoder.decode(zlib.decompress(data))
