"""What the braid module keeps: standing threads and crossings, bridges, packed texts."""

from __future__ import annotations

import zlib
from datetime import UTC, datetime, timedelta

import msgspec

from tori.events.document import Section

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Thread(msgspec.Struct, array_like=True, frozen=True):
    """A thread as its latest event described it."""

    id: str
    event_id: bytes
    title: str
    position: int
    concept_ids: tuple[str, ...]
    first: str
    last: str
    is_closed: bool


class Crossing(msgspec.Struct, array_like=True, frozen=True):
    """A braid as its event described it."""

    id: str
    event_id: bytes
    thread_ids: tuple[str, ...]
    concept_id: str
    strength: float


class Bridge(msgspec.Struct, array_like=True, frozen=True):
    """A standing wormhole: a shortcut for PageRank."""

    id: str
    a: str
    b: str
    strength: float


class StrengthsSettled(msgspec.Struct, array_like=True, tag=1):
    """Private record of a pass: new strengths of crossings that stand as they were. Every document moves them a little."""

    strengths: list[tuple[str, float]]


class State(msgspec.Struct, array_like=True):
    """The whole state, every list sorted by id."""

    corpus: bytes
    texts: list[tuple[str, bytes]]
    threads: list[Thread]
    crossings: list[Crossing]
    bridges: list[Bridge]


def pack(text: str, sections: tuple[Section, ...]) -> bytes:
    """Return text and sections as compressed bytes: a third of their size, unpacked at 200 MB/s."""
    return zlib.compress(msgspec.msgpack.encode((text, sections)), 1)


def unpack(data: bytes) -> tuple[str, tuple[Section, ...]]:
    """Return what ``pack`` was given."""
    text, sections = msgspec.msgpack.decode(zlib.decompress(data), type=tuple[str, tuple[Section, ...]])
    return text, sections


def date_of(time_ns: int | None) -> str:
    """Return the day of a document's time, ISO 8601; empty without one."""
    return "" if time_ns is None else (_EPOCH + timedelta(microseconds=time_ns // 1_000)).date().isoformat()
