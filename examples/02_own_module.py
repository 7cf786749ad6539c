"""A module of one's own: pure decide and apply, run by the same host as the built-in ones."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tori.clock import SystemClock
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.events.system import CustomEvent
from tori.journal.memory import MemoryJournal
from tori.local import LocalSystem
from tori.modules.base import Context, Fact, Module
from tori.modules.host import ModuleHost


class Shouting(Module):
    """Says so when a document shouts, and counts who did."""

    name = "shouting"
    inputs = (DocumentIngested,)

    def __init__(self) -> None:
        self.loud: Counter[str] = Counter()

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return [
            context.event(CustomEvent("shouted", {"document": e.payload.document_id}), causes=[e.id])
            for e in batch
            if isinstance(e.payload, DocumentIngested) and e.payload.text.isupper()
        ]

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event) and isinstance(fact.payload, CustomEvent):
            self.loud[str(fact.payload.data["document"])] += 1

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(sorted(self.loud.items()))

    def restore(self, data: bytes) -> None:
        self.loud = Counter(dict(msgspec.msgpack.decode(data, type=list[tuple[str, int]])))

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return dict(self.loud)


def main() -> None:
    with LocalSystem(modules=("clients",)) as mind:
        journal = MemoryJournal("shouting")
        clients = mind.archive.readers["clients"]
        host = ModuleHost(Shouting(), journal, journal, [clients], SystemClock(), mind.archive.read)
        host.recover()
        mind.ingest([Document("a", "a", "a quiet note"), Document("b", "b", "READ THIS NOW")])
        while host.step():
            pass
        print(host.module.query("loud", {}))


if __name__ == "__main__":
    main()
