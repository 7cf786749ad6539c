"""A module with as much state as one likes, for the benchmark of checkpoints; importable by workers."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tori.events.envelope import Event
from tori.events.system import CustomEvent
from tori.modules.base import Context, Fact, Module

UNIT_ITEMS = 1024


class Filled(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """So many notes were made, from this number on."""

    first: int
    texts: list[str]


class Touched(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """A note was looked at."""

    number: int
    time_ns: int


class Note(msgspec.Struct, array_like=True, gc=False):
    """What the state is made of."""

    title: str
    text: str
    touched: int = 0
    time_ns: int = 0


class Bulk(Module):
    """Keeps notes, and counts how often each was touched. Measures, outside its state, how long its handler was not called."""

    name = "scars"
    inputs = (CustomEvent,)
    records = Filled | Touched

    def __init__(self, settings: Any = None) -> None:
        self.notes: dict[int, Note] = {}
        self.events = 0
        self._last: float | None = None
        self._gap_s = 0.0
        self._late_s = 0.0
        self._calls = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        now = time.monotonic()
        if self._last is not None:
            self._gap_s = max(self._gap_s, now - self._last)
        self._last = now
        self._late_s = max(self._late_s, *((context.now_ns - event.time_ns) / 1e9 for event in batch))
        self._calls += 1
        total = max(1, len(self.notes))
        return [Touched((self.events + index) * 7919 % total, event.time_ns) for index, event in enumerate(batch)]

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Filled):
            for number, text in enumerate(fact.texts, fact.first):
                self.notes[number] = Note(f"note {number}", text)
        elif isinstance(fact, Touched):
            note = self.notes.get(fact.number)
            if note is not None:
                note.touched += 1
                note.time_ns = fact.time_ns
        else:
            self.events += 1

    def command(self, name: str, arguments: Mapping[str, Any], context: Context) -> tuple[Sequence[Fact], Any]:
        """``fill`` {size_bytes}: make another unit of notes with texts of this size."""
        size = int(arguments["size_bytes"])
        first = len(self.notes)
        texts = [f"{n:016x}" * (size // 16) for n in range(first, first + UNIT_ITEMS)]
        return [Filled(first, texts)], first + UNIT_ITEMS

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.events, self.notes))

    def restore(self, data: bytes) -> None:
        self.events, self.notes = msgspec.msgpack.decode(data, type=tuple[int, dict[int, Note]])

    def section(self) -> Any:
        return [self.events, sum(n.touched * (i + 1) for i, n in self.notes.items()) % (1 << 52), len(self.notes)]

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """``gaps``: since the last time it was asked, the longest time between two calls of the handler, and the oldest event."""
        found = {"gap_ms": self._gap_s * 1e3, "late_ms": self._late_s * 1e3, "calls": self._calls}
        self._gap_s = self._late_s = 0.0
        self._calls = 0
        return found
