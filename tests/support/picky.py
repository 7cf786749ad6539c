"""A module that cannot take some documents until somebody mends it: for dead letters from end to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tori.errors import PermanentError
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.events.system import CustomEvent
from tori.modules.base import Context, Fact, Module
from tori.modules.registry import create_module


class Picky(Module):
    """Lists the documents it took; refuses those that speak of poison."""

    name = "scars"
    inputs = (DocumentIngested,)
    is_mended = False

    def __init__(self) -> None:
        self.taken: list[str] = []

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        for event in batch:
            if isinstance(event.payload, DocumentIngested):
                self.taste(event.payload.text)
        return [context.event(CustomEvent("taken"), causes=[e.id]) for e in batch]

    def taste(self, text: str) -> None:
        if "poison" in text and not self.is_mended:
            raise PermanentError("this cannot be swallowed.")

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event) and isinstance(fact.payload, DocumentIngested):
            self.taken.append(fact.payload.document_id)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.taken)

    def restore(self, data: bytes) -> None:
        self.taken = msgspec.msgpack.decode(data, type=list[str])

    def section(self) -> Any:
        return sorted(self.taken)

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return {"taken": len(self.taken)} if name == "summary" else {}


def create(name: str) -> Module:
    return Picky() if name == Picky.name else create_module(name)
