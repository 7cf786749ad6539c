"""A module that answers every event of the clients with exactly one of its own: effects that can be counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.events.system import CustomEvent
from tori.modules.base import Context, Fact, Module

ANSWER = "chaos.answer"


class Echo(Module):
    """Counts what it answered."""

    name = "echo"
    inputs = (DocumentIngested, CustomEvent)

    def __init__(self) -> None:
        self.answered = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return [context.event(CustomEvent(ANSWER), key=event.key, causes=(event.id,)) for event in batch]

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event) and isinstance(fact.payload, CustomEvent) and fact.payload.name == ANSWER:
            self.answered += 1

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.answered)

    def restore(self, data: bytes) -> None:
        self.answered = msgspec.msgpack.decode(data, type=int)

    def query(self, name: str, arguments: Any) -> Any:
        return {"answered": self.answered}
