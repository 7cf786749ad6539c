"""A copy of a module that lives by the host's rules, in memory: decide, apply inputs, apply facts; scans; replay."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tori.clock import VirtualClock
from tori.errors import BadInput
from tori.events.envelope import Event
from tori.ids import IdSource, source_suffix
from tori.modules.base import Context, Fact, Module
from tori.modules.scan import scan

BATCH = 64


class Unread(BadInput):
    """The shadow wanted an event that the sample does not hold: the check says nothing."""


class Shadow:
    """One module on a shadow copy; ``story`` is what a replay needs: every fact applied, in order.

    Its virtual clock starts ``late_s`` late and moves ``step_s`` with every decision.
    """

    def __init__(
        self, module: Module, readable: Mapping[bytes, Event], late_s: float = 0.0, step_s: float = 0.0
    ) -> None:
        self.module = module
        self.story: list[Fact] = []
        self._readable = dict(readable)
        self._clock = VirtualClock()
        self._clock.advance(late_s)
        self._step_s = step_s
        self._ids = IdSource(source_suffix(module.name, b"fuzz"), self._clock.wall_ns)

    def context(self) -> Context:
        self._clock.advance(self._step_s)
        return Context(self._clock.wall_ns(), self._ids, self._read)

    def _read(self, event_id: bytes) -> Event:
        event = self._readable.get(event_id)
        if event is None:
            raise Unread(f"event {event_id.hex()} is not in the sample.", remedy="Add it to the target's events.")
        return event

    def feed(self, events: Sequence[Event], batch: int = BATCH) -> None:
        """Handle ``events`` in batches, as the host does."""
        for start in range(0, len(events), batch):
            part = events[start : start + batch]
            facts = self.module.decide(part, self.context())
            self._apply(part)
            self.commit(facts)

    def commit(self, facts: Sequence[Fact]) -> None:
        """Apply facts after a round trip through the codec: private records first, then events."""
        records = [f for f in facts if not isinstance(f, Event)]
        events = [f for f in facts if isinstance(f, Event)]
        if records:
            self._apply(msgspec.msgpack.decode(msgspec.msgpack.encode(records), type=list[self.module.records]))  # type: ignore[name-defined]  # a union known at run time
        if events:
            events = msgspec.msgpack.decode(msgspec.msgpack.encode(events), type=list[Event])
            self._readable.update((e.id, e) for e in events)
            self._apply(events)

    def _apply(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self.module.apply(fact)
            self.story.append(fact)

    def scan(self, task: str) -> tuple[bytes, Sequence[Fact]]:
        """Run one scan to its end; return its result and the facts it made."""
        result = scan(type(self.module), task, self.module.prepare(task))
        facts = self.module.conclude(task, result, self.context())
        self.commit(facts)
        return result, facts

    def settle(self) -> list[Fact]:
        """Run a full pass; return the facts it made."""
        return [fact for task in self.module.tasks for fact in self.scan(task)[1]]
