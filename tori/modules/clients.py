"""The clients' door of a node: turns documents into DocumentIngested, each content once.

Its journal is where texts live; everybody else refers to them by event id. The same content under the same id is a
duplicate and changes nothing, so an ingest that was interrupted is simply run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from tori.bus.producer import (
    Opened,
    ProducerBook,
    ProducerLine,
    Published,
    PublishReceipt,
    decode_payloads,
    digest_of,
    receipt_of,
)
from tori.errors import BadInput
from tori.events.codec import check_event
from tori.events.document import MOVED, Document, Receipt, flaw_of
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested, SuggestionAccepted, SuggestionRejected
from tori.events.system import ClientConnected, ClientDisconnected, ClientMessage, CustomEvent
from tori.modules.base import Context, Fact, Module

ALLOWED = (
    ClientConnected,
    ClientDisconnected,
    ClientMessage,
    SuggestionAccepted,
    SuggestionRejected,
    CustomEvent,
)
"""What people and programs at the door may say; documents come by ``ingest``."""

_decoder = msgspec.msgpack.Decoder(list[Document])


class _Known(msgspec.Struct, array_like=True, frozen=True, gc=False):
    content_hash: bytes
    event_id: bytes
    """The DocumentIngested event of the present content."""
    path: str = ""
    """The file it was read from; empty when its source is no file."""


class _State(msgspec.Struct, array_like=True):
    known: list[tuple[str, _Known]]
    replaced: int
    producers: list[ProducerLine] = []


class Clients(Module):
    """Takes documents and people's words; knows the content hash of every document by id."""

    name = "clients"
    doors = ("ingest", "say", "publish")
    records = Opened | Published

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._replaced = 0
        self._producers = ProducerBook()

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return []

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Opened | Published):
            self._producers.apply(fact)
        elif isinstance(fact, Event) and isinstance(fact.payload, DocumentIngested):
            payload = fact.payload
            self._replaced += payload.document_id in self._known
            self._known[payload.document_id] = _Known(payload.content_hash, fact.id, _path(payload.source))

    def command(self, name: str, arguments: Mapping[str, Any], context: Context) -> tuple[Sequence[Fact], Any]:
        """``ingest`` {documents: msgpack of list[Document]}; ``say`` {payload}: a person's or client's own event;

        ``open_producer`` {origin}; ``publish`` {origin, incarnation, seq, payloads}: ``tori.bus.producer``.
        """
        if name == "ingest":
            return self._ingest(_argument(name, arguments, "documents"), context)
        if name == "say":
            return self._say(_argument(name, arguments, "payload"), context)
        if name == "open_producer":
            record, next_seq = self._producers.open(str(_argument(name, arguments, "origin")))
            return [record], {"incarnation": record.incarnation, "next_seq": next_seq}
        if name == "publish":
            return self._publish(arguments, context)
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
            other = self._other_file(document)
            if other:
                refused.append((document.id, other))
                continue
            taken[document.id] = content
            facts.append(context.event(_ingested(document, content), key=document.id))
        return facts, Receipt(len(facts), duplicates, tuple(refused))

    def _content(self, document_id: str) -> bytes:
        known = self._known.get(document_id)
        return b"" if known is None else known.content_hash

    def _other_file(self, document: Document) -> str:
        """Return why a text of one file must not silently replace that of another, or an empty string."""
        known, path = self._known.get(document.id), _path(document.source)
        if known is None or not known.path or path in ("", known.path) or document.source.startswith(MOVED):
            return ""
        return (
            f"{path} has the id of {known.path}, which has another text. To keep both: tori ingest SOURCE --as NAME; if the "
            f"file has moved: tori ingest SOURCE --replace."
        )

    def _say(self, payload: Any, context: Context) -> tuple[Sequence[Fact], str]:
        _check_allowed(payload)
        event = context.event(payload)
        return [event], event.id.hex()

    def _publish(self, arguments: Mapping[str, Any], context: Context) -> tuple[Sequence[Fact], PublishReceipt]:
        found = {name: _argument("publish", arguments, name) for name in ("origin", "payloads", "incarnation", "seq")}
        origin, data = str(found["origin"]), bytes(found["payloads"])
        incarnation, seq = int(found["incarnation"]), int(found["seq"])
        digest = digest_of(data)
        known = self._producers.check(origin, incarnation, seq, digest)
        if known is not None:
            return [], known
        events = []
        for payload, key in decode_payloads(data):
            _check_allowed(payload)
            events.append(check_event(context.event(payload, key=key)))
        context.origin, context.origin_seq = origin, seq
        record = Published(origin, incarnation, seq, digest, tuple(e.id for e in events))
        return [record, *events], receipt_of(origin, record)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(_State(sorted(self._known.items()), self._replaced, self._producers.lines()))

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self._known = dict(state.known)
        self._replaced = state.replaced
        self._producers.restore(state.producers)

    def section(self) -> Any:
        return {"documents": [[d, k.content_hash.hex()] for d, k in sorted(self._known.items())]}

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """``summary`` {}; ``producers`` {}; ``find`` {id}: the event that brought a document's present text."""
        if name == "summary":
            return {"documents": len(self._known), "replaced": self._replaced}
        if name == "producers":
            return [
                {"origin": p.origin, "incarnation": p.incarnation, "next_seq": p.next_seq}
                for p in self._producers.lines()
            ]
        if name == "find":
            known = self._known.get(str(arguments.get("id", "")))
            return {} if known is None else {"event_id": known.event_id.hex()}
        return super().query(name, arguments)


def _path(source: str) -> str:
    """Return the path of a source that is a file, else an empty string."""
    path = source.removeprefix(MOVED)
    return path if path.startswith("/") else ""


def _argument(command: str, arguments: Mapping[str, Any], name: str) -> Any:
    if name not in arguments:
        raise BadInput(f"command {command} needs the argument {name!r}.", remedy=f"Give {name}=...")
    return arguments[name]


def _check_allowed(payload: Any) -> None:
    if not isinstance(payload, ALLOWED):
        raise BadInput(
            f"a client cannot emit {type(payload).__name__}.",
            remedy=f"Allowed: {', '.join(t.__name__ for t in ALLOWED)}.",
        )


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
