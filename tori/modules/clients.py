"""The clients' door of a node: turns documents into DocumentIngested, each content once.

Its journal is where texts live; everybody else refers to them by event id. The same content under the same id is a
duplicate and changes nothing, so an ingest that was interrupted is simply run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tori.errors import BadInput
from tori.events.document import Document, Receipt, flaw_of
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested, SuggestionAccepted, SuggestionRejected
from tori.events.system import ClientConnected, ClientDisconnected, ClientMessage, CustomEvent
from tori.modules.base import Context, Fact, Module

_decoder = msgspec.msgpack.Decoder(list[Document])


class _Known(msgspec.Struct, array_like=True, frozen=True, gc=False):
    content_hash: bytes
    event_id: bytes
    """The DocumentIngested event of the present content."""


class _State(msgspec.Struct, array_like=True):
    known: list[tuple[str, _Known]]
    replaced: int


class Clients(Module):
    """Takes documents and people's words; knows the content hash of every document by id."""

    name = "clients"

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._replaced = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return []

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event) and isinstance(fact.payload, DocumentIngested):
            payload = fact.payload
            self._replaced += payload.document_id in self._known
            self._known[payload.document_id] = _Known(payload.content_hash, fact.id)

    def command(self, name: str, arguments: Mapping[str, Any], context: Context) -> tuple[Sequence[Fact], Any]:
        """``ingest`` {documents: msgpack of list[Document]}; ``say`` {payload}: a person's or client's own event."""
        if name == "ingest":
            return self._ingest(_argument(name, arguments, "documents"), context)
        if name == "say":
            return self._say(_argument(name, arguments, "payload"), context)
        return super().command(name, arguments, context)

    def _ingest(self, data: bytes, context: Context) -> tuple[Sequence[Fact], Receipt]:
        try:
            documents = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, TypeError) as error:
            raise BadInput(
                f"a batch of documents does not decode: {error}.", remedy="Send msgpack of list[Document]."
            ) from error
        facts: list[Fact] = []
        taken: dict[str, bytes] = {}
        refused: list[tuple[str, str]] = []
        duplicates = 0
        for document in documents:
            reason = flaw_of(document)
            if reason:
                refused.append((document.id, f"{reason} Correct the document or leave it out."))
                continue
            content = document.content_hash()
            if taken.get(document.id, self._content(document.id)) == content:
                duplicates += 1
                continue
            taken[document.id] = content
            facts.append(context.event(_ingested(document, content), key=document.id))
        return facts, Receipt(len(facts), duplicates, tuple(refused))

    def _content(self, document_id: str) -> bytes:
        known = self._known.get(document_id)
        return b"" if known is None else known.content_hash

    def _say(self, payload: Any, context: Context) -> tuple[Sequence[Fact], str]:
        allowed = (
            ClientConnected,
            ClientDisconnected,
            ClientMessage,
            SuggestionAccepted,
            SuggestionRejected,
            CustomEvent,
        )
        if not isinstance(payload, allowed):
            raise BadInput(
                f"a client cannot emit {type(payload).__name__}.",
                remedy=f"Allowed: {', '.join(t.__name__ for t in allowed)}.",
            )
        event = context.event(payload)
        return [event], event.id.hex()

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(_State(sorted(self._known.items()), self._replaced))

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self._known = dict(state.known)
        self._replaced = state.replaced

    def section(self) -> Any:
        return {"documents": [[d, k.content_hash.hex()] for d, k in sorted(self._known.items())]}

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """``summary`` {}; ``find`` {id}: the event that brought a document's present text."""
        if name == "summary":
            return {"documents": len(self._known), "replaced": self._replaced}
        if name == "find":
            known = self._known.get(str(arguments.get("id", "")))
            return {} if known is None else {"event_id": known.event_id.hex()}
        return super().query(name, arguments)


def _argument(command: str, arguments: Mapping[str, Any], name: str) -> Any:
    if name not in arguments:
        raise BadInput(f"command {command} needs the argument {name!r}.", remedy=f"Give {name}=...")
    return arguments[name]


def _ingested(document: Document, content: bytes) -> DocumentIngested:
    return DocumentIngested(
        document.id,
        document.title or document.id,
        document.text,
        content,
        document.time_ns,
        document.source,
        document.thread,
        document.links,
        document.sections,
    )
