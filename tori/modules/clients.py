"""The clients' door of a node: turns documents into DocumentIngested, each content once.

Its journal is where texts live; everybody else refers to them by event id. The same content under the same id is a
duplicate and changes nothing, so an ingest that was interrupted is simply run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tori.errors import BadInput
from tori.events.document import Document, Receipt
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested, SuggestionAccepted, SuggestionRejected
from tori.events.system import ClientConnected, ClientDisconnected, ClientMessage, CustomEvent
from tori.modules.base import Context, Fact, Module

MAX_TEXT_BYTES = 8 * 1024 * 1024

_decoder = msgspec.msgpack.Decoder(list[Document])


class _State(msgspec.Struct, array_like=True):
    seen: list[tuple[str, bytes]]
    replaced: int
    duplicates: int


class Clients(Module):
    """Takes documents and people's words; knows the content hash of every document by id."""

    name = "clients"

    def __init__(self) -> None:
        self._seen: dict[str, bytes] = {}
        self._replaced = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return []

    def apply(self, fact: Fact) -> None:
        payload = fact.payload if isinstance(fact, Event) else None
        if isinstance(payload, DocumentIngested):
            self._replaced += payload.document_id in self._seen
            self._seen[payload.document_id] = payload.content_hash

    def command(self, name: str, arguments: Mapping[str, Any], context: Context) -> tuple[Sequence[Fact], Any]:
        """``ingest`` {documents: msgpack of list[Document]}; ``say`` {payload}: a person's or client's own event."""
        if name == "ingest":
            return self._ingest(arguments["documents"], context)
        if name == "say":
            return self._say(arguments["payload"], context)
        return super().command(name, arguments, context)

    def _ingest(self, data: bytes, context: Context) -> tuple[Sequence[Fact], Receipt]:
        try:
            documents = _decoder.decode(data)
        except msgspec.DecodeError as error:
            raise BadInput(
                f"a batch of documents does not decode: {error}.", remedy="Send msgpack of list[Document]."
            ) from error
        facts: list[Fact] = []
        taken: dict[str, bytes] = {}
        refused: list[tuple[str, str]] = []
        duplicates = 0
        for document in documents:
            reason = _refusal(document)
            if reason:
                refused.append((document.id, reason))
                continue
            content = document.content_hash()
            if taken.get(document.id, self._seen.get(document.id)) == content:
                duplicates += 1
                continue
            taken[document.id] = content
            facts.append(context.event(_ingested(document, content), key=document.id))
        return facts, Receipt(len(facts), duplicates, tuple(refused))

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
        return msgspec.msgpack.encode(_State(sorted(self._seen.items()), self._replaced, 0))

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self._seen = dict(state.seen)
        self._replaced = state.replaced

    def section(self) -> Any:
        return {"documents": [[d, h.hex()] for d, h in sorted(self._seen.items())]}

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """``summary`` {}; ``known`` {hashes: {document id: hex}} -> ids that are here with that content."""
        if name == "summary":
            return {"documents": len(self._seen), "replaced": self._replaced}
        if name == "known":
            wanted: Mapping[str, str] = arguments["hashes"]
            return [d for d, h in wanted.items() if self._seen.get(d, b"").hex() == h]
        if name == "find":
            return {}
        return super().query(name, arguments)


def _refusal(document: Document) -> str:
    """Return why a document cannot be taken, or an empty string."""
    if not document.id.strip():
        return "id is empty: give every document a stable id"
    if len(document.id) > 512 or any(ord(c) < 32 for c in document.id):
        return "id is longer than 512 characters or holds control characters: use a shorter, printable one"
    if not document.text.strip():
        return "text is empty: there is nothing to read"
    try:
        size = len(document.text.encode())
    except UnicodeEncodeError:
        return "text holds lone surrogates: decode it as UTF-8 first"
    if size > MAX_TEXT_BYTES:
        return f"text of {size} bytes is over the limit of {MAX_TEXT_BYTES}: split the document"
    return ""


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
