"""Event ids, and names derived from content.

An event id is 16 bytes: the event's time in nanoseconds (8 bytes, big-endian, strictly rising within one
source) and 8 bytes that name the source's incarnation. Ids sort by time, cost one addition to make, and say
when and by whom without a lookup; ``time_ns`` of an event is therefore not stored a second time.
"""

from __future__ import annotations

import hashlib
import os
import struct
import time
from collections.abc import Callable

ID_BYTES = 16
_pack = struct.Struct(">Q8s").pack


def source_suffix(source: str, incarnation: bytes | None = None) -> bytes:
    """Return the last 8 bytes of every id of one incarnation of ``source``: 4 name the source, 4 the incarnation."""
    name = hashlib.blake2b(source.encode(), digest_size=4).digest()
    return name + (os.urandom(4) if incarnation is None else incarnation[:4].rjust(4, b"\0"))


class IdSource:
    """Makes the ids of one incarnation of one source; time never goes back inside it."""

    __slots__ = ("_last", "_suffix", "_wall")

    def __init__(self, suffix: bytes, wall: Callable[[], int] = time.time_ns, last_ns: int = 0) -> None:
        if len(suffix) != 8:
            raise ValueError(f"an id suffix is 8 bytes, not {len(suffix)}")
        self._suffix = suffix
        self._wall = wall
        self._last = last_ns

    @property
    def last_ns(self) -> int:
        """Return the time of the last id made."""
        return self._last

    def next(self) -> bytes:
        """Return a new id: max(wall clock, last + 1), then the suffix."""
        now = self._wall()
        if now <= self._last:
            now = self._last + 1
        self._last = now
        return _pack(now, self._suffix)


def id_time_ns(event_id: bytes) -> int:
    """Return the time inside an event id, in nanoseconds since the epoch."""
    return int.from_bytes(event_id[:8], "big")


def content_name(prefix: str, *parts: str, size: int = 8) -> str:
    """Return ``prefix-hex``: a name that depends only on ``parts``, the same on every run and machine."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"{prefix}-{digest[:size].hex()}"
