"""A client: sends batches of documents, sends them again when no answer comes, and knows three outcomes."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, NamedTuple

import msgspec

from tests.support.system import small_corpus
from tori.events.document import Document, Receipt

MAX_ATTEMPTS = 6
TIMEOUT_NS = 400_000_000


class Request(NamedTuple):
    number: int
    documents: bytes


class Answer(NamedTuple):
    """What came back: a receipt, or None when the node could not say that it is done."""

    number: int
    receipt: Receipt | None


class Client:
    """Has one batch under way. ``outcomes`` counts done, failed and unknown."""

    def __init__(self, name: str, rng: random.Random, *, batch: int, is_real: bool) -> None:
        self.name = name
        self.outcomes: Counter[str] = Counter()
        self.sent: set[tuple[str, str]] = set()
        """(document id, content hash) of everything that may have been taken."""
        self.done: set[tuple[str, str]] = set()
        self._rng = rng
        self._batch = batch
        self._library = small_corpus(20) if is_real else []
        self._made = 0
        self._old: list[bytes] = []
        self._request: Request | None = None
        self._attempts = 0
        self._due_ns = 0

    @property
    def is_waiting(self) -> bool:
        return self._request is not None

    def act(self, now_ns: int, *, may_begin: bool = True, is_hasty: bool = False) -> Request | None:
        """Return what to send now: a new batch, an old one again, or the pending one when its answer is late.

        A hasty client does not wait for the answer before it asks again.
        """
        if self._request is None:
            if not may_begin:
                return None
            self._request = Request(self._made, self._next_batch())
            self._attempts = 0
        elif now_ns < self._due_ns and not is_hasty:
            return None
        elif self._attempts >= MAX_ATTEMPTS:
            self.outcomes["unknown"] += 1
            self._request = None
            return None
        self._attempts += 1
        self._due_ns = now_ns + TIMEOUT_NS
        return self._request

    def _next_batch(self) -> bytes:
        self._made += 1
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

    def receive(self, answer: Answer) -> None:
        """Take an answer; one to an older request is of no use any more."""
        if self._request is None or answer.number != self._request.number:
            return
        if answer.receipt is None:
            self._due_ns = 0
            return
        self.outcomes["failed" if answer.receipt.refused else "done"] += 1
        self._request = None


def documents_in(data: bytes) -> list[tuple[str, str]]:
    """Return (document id, content hash) of a batch."""
    documents: Any = msgspec.msgpack.decode(data, type=list[Document])
    return [(d.id, d.content_hash().hex()) for d in documents]
