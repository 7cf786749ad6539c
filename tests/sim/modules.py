"""Small modules with the habits of the real ones: private records, answers with causes and keys, urgent events, and a cycle.

Each answers some of its inputs, exactly once; what an answer carries names its input, so that a reader of journals can tell
what was lost, doubled, invented or out of order. They bear the names of real modules, whose place among the followers they take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import msgspec

from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.events.system import CustomEvent, SystemStarted
from tori.modules.base import Context, Fact, Module
from tori.modules.clients import Clients
from tori.modules.registry import create_module

MAX_DEPTH = 3
"""An answer this deep is answered no more: the cycle between two modules ends."""


class Note(msgspec.Struct, array_like=True, tag=1):
    """Private record: one input was answered."""

    document: str
    depth: int
    cause: bytes


class Answer(NamedTuple):
    """What an answer says."""

    document: str
    content: str
    depth: int
    by: str


def answer_of(event: Event) -> Answer | None:
    """Return what an answer says, None for an event that is none."""
    payload = event.payload
    if isinstance(payload, CustomEvent):
        data: Any = payload.data
        return Answer(data["document"], data["content"], data["depth"], payload.name)
    if isinstance(payload, SystemStarted):
        document, content, depth = payload.status.split("|")
        return Answer(document, content, int(depth), payload.module or "")
    return None


class SmallState(msgspec.Struct, array_like=True):
    present: list[tuple[str, str]]
    answers: list[tuple[str, str, int, int]]
    notes: int
    said: int
    inputs: int


class SmallModule(Module):
    """Counts its answers by document, content and depth, and keeps the present content of each document."""

    inputs = (DocumentIngested, CustomEvent, SystemStarted)
    records = Note
    answers_documents: ClassVar[bool] = False
    answers_to: ClassVar[tuple[str, ...]] = ()
    """Whose answers it answers."""

    def __init__(self) -> None:
        self.present: dict[str, str] = {}
        self.answers: Counter[tuple[str, str, int]] = Counter()
        self.notes = self.said = self.consumed = 0
        self.meet: Callable[[Event], None] = lambda event: None
        """Called for each event that is about to be decided on; raises for those that are hard on this module."""

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        facts: list[Fact] = []
        for event in batch:
            self.meet(event)
            wanted = self.wanted(event)
            if wanted is not None:
                facts += self._answer(event, wanted, context)
        return facts

    @classmethod
    def wanted(cls, event: Event) -> Answer | None:
        """Return the answer that an input calls for, None when it calls for none."""
        if isinstance(event.payload, DocumentIngested):
            document = event.payload
            return (
                Answer(document.document_id, document.content_hash.hex(), 0, cls.name)
                if cls.answers_documents
                else None
            )
        given = answer_of(event)
        if given is None or given.by not in cls.answers_to or given.depth >= MAX_DEPTH:
            return None
        return Answer(given.document, given.content, given.depth + 1, cls.name)

    def _answer(self, event: Event, answer: Answer, context: Context) -> list[Fact]:
        if answer.depth and event.causes and answer.content.startswith(("0", "4", "8")):
            context.read(event.causes[0])  # what an input follows from can be looked up
        payload: Any
        if answer.content.endswith(("0", "7")):
            payload = SystemStarted(f"{answer.document}|{answer.content}|{answer.depth}", self.name)
        else:
            payload = CustomEvent(
                self.name, {"document": answer.document, "content": answer.content, "depth": answer.depth}
            )
        said = context.event(payload, key=answer.document, causes=[event.id])
        return [Note(answer.document, answer.depth, event.id), said]

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Note):
            self.notes += 1
            return
        if not isinstance(fact, Event):
            raise AssertionError(f"{self.name} was given {fact!r}")
        if isinstance(fact.payload, DocumentIngested):
            self.present[fact.payload.document_id] = fact.payload.content_hash.hex()
        answer = answer_of(fact)
        if answer is not None and answer.by == self.name:
            self.answers[answer[:3]] += 1
            self.said += 1
        else:
            self.consumed += 1

    def snapshot(self) -> bytes:
        answers = [(*key, count) for key, count in sorted(self.answers.items())]
        state = SmallState(sorted(self.present.items()), answers, self.notes, self.said, self.consumed)
        return msgspec.msgpack.encode(state)

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=SmallState)
        self.present = dict(state.present)
        self.answers = Counter({(a, b, c): count for a, b, c, count in state.answers})
        self.notes, self.said, self.consumed = state.notes, state.said, state.inputs

    def section(self) -> Any:
        return {
            "present": [list(row) for row in sorted(self.present.items())],
            "answers": [[*key, count] for key, count in sorted(self.answers.items())],
        }

    def validate(self) -> None:
        assert self.notes == self.said, f"{self.name} holds {self.notes} notes and {self.said} answers"
        assert self.said <= self.consumed, f"{self.name} gave {self.said} answers to {self.consumed} inputs"

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return {"said": self.said} if name == "summary" else super().query(name, arguments)


class SmallReader(SmallModule):
    name = "reader"
    answers_documents = True


class SmallHierarchy(SmallModule):
    name = "hierarchy"
    answers_to = ("reader", "alien")


class SmallAlien(SmallModule):
    name = "alien"
    answers_to = ("hierarchy",)


SMALL: dict[str, type[Module]] = {
    "clients": Clients,
    "reader": SmallReader,
    "hierarchy": SmallHierarchy,
    "alien": SmallAlien,
}


def create_small(name: str, settings: Mapping[str, Any] | None = None) -> Module:
    """Return a new module of the small system."""
    return SMALL[name]()


create_real = create_module
