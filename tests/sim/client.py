"""A client: sends documents and notes of its own, sends again when no answer comes, and knows three outcomes.

Documents are known by their content; notes are published under a producer's numbers. Copies of a request that the network made,
or that the client sent in vain, may arrive at any time later: none may have a second effect.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Literal, NamedTuple

import msgspec

from tests.support.system import small_corpus
from tori.bus.producer import PublishReceipt, encode_payloads, opened
from tori.events.document import Document, Receipt
from tori.events.system import ClientMessage

MAX_ATTEMPTS = 6
TIMEOUT_NS = 400_000_000
PUBLISHED_SHARE = 0.25


class Request(NamedTuple):
    """What a client asks; ``number`` tells its answers apart."""

    number: int
    command: Literal["ingest", "open_producer", "publish"]
    arguments: dict[str, Any]


class Answer(NamedTuple):
    """What came back."""

    number: int
    result: Any = None
    """A receipt or what a producer needs to know; None when the node could not say that it is done."""
    is_refused: bool = False
    """It will never be done: another incarnation of this producer was opened meanwhile."""


class Client:
    """Has one request under way. ``outcomes`` counts done, failed and unknown."""

    def __init__(self, name: str, rng: random.Random, *, batch: int, is_real: bool) -> None:
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self.sent: set[tuple[str, str]] = set()
        """(document id, content hash) or (note, "") of everything that may have been taken."""
        self._rng = rng
        self._batch = batch
        self._library = small_corpus(20) if is_real else []
        self._made = 0
        self._old: list[bytes] = []
        self._request: Request | None = None
        self._attempts = 0
        self._due_ns = 0
        self._incarnation = self._seq = 0

    @property
    def is_waiting(self) -> bool:
        return self._request is not None

    def act(self, now_ns: int, *, may_begin: bool = True, is_hasty: bool = False) -> Request | None:
        """Return what to send now: something new, an old batch again, or the pending request when its answer is late.

        A hasty client does not wait for the answer before it asks again.
        """
        if self._request is None:
            if not may_begin:
                return None
            self._request = self._next_request()
            self._attempts = 0
        elif now_ns < self._due_ns and not is_hasty:
            return None
        elif self._attempts >= MAX_ATTEMPTS:
            self._end("unknown")
            return None
        self._attempts += 1
        self._due_ns = now_ns + TIMEOUT_NS
        return self._request

    def _next_request(self) -> Request:
        self._made += 1
        if self._rng.random() > PUBLISHED_SHARE:
            return Request(self._made, "ingest", {"documents": self._next_batch()})
        if not self._incarnation:
            return Request(self._made, "open_producer", {"origin": self.name})
        numbers = {"incarnation": self._incarnation, "seq": self._seq}
        return Request(self._made, "publish", {"origin": self.name, "payloads": self._notes(), **numbers})

    def _next_batch(self) -> bytes:
        if self._old and self._rng.random() < 0.15:
            return self._rng.choice(self._old)
        documents = [self._document(i) for i in range(self._rng.randint(1, self._batch))]
        self.sent.update((d.id, d.content_hash().hex()) for d in documents)
        data = msgspec.msgpack.encode(documents)
        self._old = [*self._old[-7:], data]
        return data

    def _document(self, index: int) -> Document:
        if self._library:
            return self._rng.choice(self._library)
        name = f"{self.name}-{self._made}-{index}"
        return Document(name, name, f"text {self._rng.randrange(10**6)} of {name}")

    def _notes(self) -> bytes:
        notes = [f"{self.name} note {self._made:06d}-{index}" for index in range(self._rng.randint(1, 3))]
        self.sent.update((note, "") for note in notes)
        return encode_payloads([(ClientMessage(self.name, "note", note), self.name) for note in notes])

    def receive(self, answer: Answer) -> None:
        """Take an answer; one to an older request is of no use any more."""
        if self._request is None or answer.number != self._request.number:
            return
        result = answer.result
        if answer.is_refused:
            self._end("unknown")  # an earlier copy of it may have been taken
        elif result is None:
            self._due_ns = 0
        elif isinstance(result, Receipt):
            self._end("failed" if result.refused else "done")
        elif isinstance(result, PublishReceipt):
            self._seq += 1
            self._end("done")
        else:
            self._incarnation, self._seq = opened(result)
            self._request = None

    def _end(self, outcome: str) -> None:
        self.outcomes[outcome] += 1
        if outcome == "unknown":
            self._incarnation = 0  # ask how far the node is before the next number
        self._request = None


def claims_of(request: Request) -> list[tuple[str, str]]:
    """Return (document id, content hash) or (note, "") of what an acknowledgement of this request promises."""
    if request.command == "ingest":
        documents: Any = msgspec.msgpack.decode(request.arguments["documents"], type=list[Document])
        return [(d.id, d.content_hash().hex()) for d in documents]
    if request.command == "publish":
        notes: Any = msgspec.msgpack.decode(request.arguments["payloads"], type=list[tuple[ClientMessage, str]])
        return [(str(note.message), "") for note, _ in notes]
    return []
