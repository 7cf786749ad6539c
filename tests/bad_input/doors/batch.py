"""The clients' door itself: batches and events that a program sends, past every source."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tests.bad_input.bench import Bench, caught
from tests.bad_input.case import Door, Outcome
from tori.events.document import Document, Section
from tori.events.mind import ConceptAdded

DOOR = Door("batch of a program", __doc__)
CORRECT = "Correct the document or leave it out."


def client(bench: Bench) -> Any:
    return bench._backend.client


def sent(data: bytes) -> Callable[[Bench], Outcome]:
    """Return what sends bytes as a batch; a receipt that refuses ends as the command line would."""

    def run(bench: Bench) -> Outcome:
        said: list[str] = []

        def work() -> None:
            receipt = client(bench).ingest(data)
            said.extend(reason for _, reason in receipt.refused)

        outcome = caught(work)
        return Outcome(" ".join(said), 65) if said else outcome

    return run


def document(**fields: Any) -> Callable[[Bench], Outcome]:
    return sent(msgspec.msgpack.encode([Document(**{"id": "x", "title": "t", "text": "some text"} | fields)]))


SHAPE = "Send msgpack of list[Document]."
DOOR.add("bytes that are no msgpack", sent(b"\xc1garbage"), "a batch of documents does not decode", SHAPE)
DOOR.add("a batch cut in the middle", sent(msgspec.msgpack.encode([["x", "t", "text"]])[:-2]), "does not decode", SHAPE)
DOOR.add("a batch of the wrong shape", sent(msgspec.msgpack.encode({"id": 1})), "Expected `array`, got `object`", SHAPE)
DOOR.add("bad UTF-8 in a text", sent(b"\x91\x93\xa1x\xa1t\xa1\xff"), "a batch of documents does not decode", SHAPE)
DOOR.add("an id out of its place", document(id="a/../../b"), "the id leads out of its place with '..'.", CORRECT)
DOOR.add("a line break in an id", document(id="a\nb"), "the id holds a control character", CORRECT)
DOOR.add("a text over 8 MiB", document(text="x" * (8 * 2**20 + 1)), "the text is larger than 8388608 bytes.", CORRECT)
DOOR.add("a time beyond 64 bits of nanoseconds", document(time_ns=2**63), "outside the years 1678 to 2261.", CORRECT)
DOOR.add(
    "a section that ends before it begins", document(sections=(Section(5, 2, "x"),)), "a section lies outside", CORRECT
)


def said(payload: Any) -> Callable[[Bench], Outcome]:
    return lambda bench: caught(lambda: client(bench).command("clients", "say", {"payload": payload}))


DOOR.add(
    "an event that clients may not emit", said(ConceptAdded("c", "l")), "a client cannot emit ConceptAdded.", "Allowed:"
)
DOOR.add("an event that is none", said({"type": "ConceptAdded"}), "a client cannot emit dict.", "Allowed:")
DOOR.add(
    "a question to a module that is not there",
    lambda b: caught(lambda: client(b).query("oracle", "ask", {})),
    "there is no module 'oracle'.",
    "Modules: clients,",
)
DOOR.add(
    "a question nobody answers",
    lambda b: caught(lambda: client(b).query("braid", "guess", {})),
    "module braid cannot answer 'guess'.",
    "It answers:",
)
DOOR.add(
    "a question that is no text",
    lambda b: caught(lambda: client(b).query("braid", "ask", {"question": "caf\udce9"})),
    "field question: it holds bytes that are no text.",
    "Write it in UTF-8.",
)
DOOR.add(
    "a number that is a word",
    lambda b: caught(lambda: client(b).query("braid", "ask", {"question": "x", "top": "many"})),
    "field top:",
    "a whole number from 1 to 100 is needed",
)
