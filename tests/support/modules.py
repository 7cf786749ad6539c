"""Drive one module without journals: decide, apply, scan, as the host would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from tori.clock import VirtualClock
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.ids import IdSource, source_suffix
from tori.modules import registry
from tori.modules.base import Context, Fact, Module


def kept_tables() -> Iterator[None]:
    """Put the tables of modules back as they were. A fixture, where it is wanted."""
    tables: list[dict[str, Any]] = [registry.PATHS, registry.FOLLOWS]  # type: ignore[list-item]  # their values differ
    before = [dict(table) for table in tables]
    yield
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)


class Bench:
    """A module on a bench: feed it events, look at what it emits. Several modules may share one ``journal`` of events."""

    def __init__(self, module: Module) -> None:
        self.module = module
        self.clock = VirtualClock()
        self.ids = IdSource(source_suffix(module.name, b"test"), self.clock.wall_ns)
        self.events: dict[bytes, Event] = {}
        self.facts: list[Fact] = []

    def context(self) -> Context:
        return Context(self.clock.wall_ns(), self.ids, self.events.__getitem__)

    def feed(self, events: Iterable[Event], batch_size: int = 64) -> list[Event]:
        """Give the module the events it takes, in batches; return the events it emitted."""
        taken = []
        for event in events:
            self.events[event.id] = event
            if isinstance(event.payload, self.module.inputs):
                taken.append(event)
        emitted: list[Event] = []
        for start in range(0, len(taken), batch_size):
            batch = taken[start : start + batch_size]
            facts = self.module.decide(batch, self.context())
            for event in batch:
                self.module.apply(event)
            emitted += self.commit(facts)
        return emitted

    def commit(self, facts: Sequence[Fact]) -> list[Event]:
        """Apply facts as the host does: private records (round-tripped through the codec) first, then events."""
        records = [f for f in facts if not isinstance(f, Event)]
        events = [f for f in facts if isinstance(f, Event)]
        if records:
            encoded = msgspec.msgpack.encode(records)
            for record in msgspec.msgpack.decode(encoded, type=list[self.module.records]):
                self.module.apply(record)
        if events:
            events = msgspec.msgpack.decode(msgspec.msgpack.encode(events), type=list[Event])
        for event in events:
            self.events[event.id] = event
            self.module.apply(event)
        self.facts += [*records, *events]
        return events

    def scan(self, task: str) -> list[Event]:
        """Run one task to its end; return the events it emitted."""
        result = type(self.module).run(task, self.module.prepare(task))
        return self.commit(self.module.conclude(task, result, self.context()))

    def command(self, name: str, **arguments: object) -> object:
        facts, answer = self.module.command(name, arguments, self.context())
        self.commit(facts)
        return answer


def ingested(documents: Iterable[Document], ids: IdSource | None = None) -> list[Event]:
    """Return the DocumentIngested events that a relay would write for ``documents``."""
    ids = ids or IdSource(source_suffix("clients", b"test"), VirtualClock().wall_ns)
    return [
        Event(
            ids.next(),
            DocumentIngested(
                d.id, d.title, d.text, d.content_hash(), d.time_ns, d.source, d.thread, d.links, d.sections
            ),
            d.id,
        )
        for d in documents
    ]
