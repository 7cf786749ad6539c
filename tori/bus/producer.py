"""Idempotent producers: a publish that is made twice happens once, over restarts of either side.

    open(name)                          -> (incarnation, next seq); every older incarnation is refused from now on
    publish(name, incarnation, seq, p)  -> a receipt; the same call again gives the same receipt and writes nothing

A producer numbers its publishes from 0 without a gap. Whoever does not know whether a publish arrived makes it again, or opens the
name again and learns from ``next_seq``. The book is part of the state of the clients' module, a projection of its records.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Protocol

import msgspec

from tori.errors import Backpressure, BadInput, PermanentError, TemporaryError
from tori.events.payloads import Payload

MAX_PRODUCERS = 4096
"""Names one node remembers for good; one more is refused."""
KEPT_RECEIPTS = 8
"""Newest receipts kept for each producer: so many publishes may be on their way at a time."""
MAX_PAYLOADS = 64
MAX_NAME = 128
RETRY_S = 0.2
PATIENCE_S = 60.0


class ProducerFenced(PermanentError):
    """The name was opened again; this incarnation may not publish any more."""

    exit_code = 65


class SequenceGap(PermanentError):
    """A publish skipped numbers: what is between was never seen."""

    exit_code = 65


class SequenceReused(PermanentError):
    """A number came again with other payloads, or so late that its receipt is gone."""

    exit_code = 65


class Opened(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A producer began an incarnation."""

    origin: str
    incarnation: int


class Published(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """A publish was accepted; stands in the unit of its events."""

    origin: str
    incarnation: int
    seq: int
    digest: bytes
    event_ids: tuple[bytes, ...]


class PublishReceipt(msgspec.Struct, frozen=True):
    """What became of a publish: the same for the first call and every repetition."""

    origin: str
    incarnation: int
    seq: int
    event_ids: tuple[str, ...]


class _Kept(msgspec.Struct, array_like=True, frozen=True):
    incarnation: int
    seq: int
    digest: bytes
    event_ids: tuple[bytes, ...]


class ProducerLine(msgspec.Struct, array_like=True):
    """One producer, as a snapshot holds it."""

    origin: str
    incarnation: int
    next_seq: int = 0
    kept: list[_Kept] = []


class ProducerBook:
    """Which producers there are and how far each is."""

    def __init__(self) -> None:
        self._lines: dict[str, ProducerLine] = {}

    def __len__(self) -> int:
        return len(self._lines)

    def open(self, origin: str) -> tuple[Opened, int]:
        """Return the record that opens ``origin``, and its next number. Raises BadInput for a name that cannot be."""
        if not 0 < len(origin) <= MAX_NAME or not origin.isprintable():
            raise BadInput(f"a producer's name has 1 to {MAX_NAME} printable characters, not {origin!r:.80}.")
        line = self._lines.get(origin)
        if line is None and len(self._lines) >= MAX_PRODUCERS:
            raise BadInput(f"there are {MAX_PRODUCERS} producers already.", remedy="Use a stable name again.")
        return (Opened(origin, 1), 0) if line is None else (Opened(origin, line.incarnation + 1), line.next_seq)

    def check(self, origin: str, incarnation: int, seq: int, digest: bytes) -> PublishReceipt | None:
        """Return the receipt of a publish that was accepted before, or None for one that is next; raises what is wrong."""
        line = self._lines.get(origin)
        if line is None or incarnation > line.incarnation:
            raise BadInput(f"producer {origin!r} was not opened as incarnation {incarnation}.", remedy="Open it first.")
        if incarnation < line.incarnation:
            raise ProducerFenced(
                f"producer {origin!r} is incarnation {line.incarnation} now, not {incarnation}.",
                remedy="Another process opened the same name: stop one of them.",
            )
        if seq > line.next_seq:
            raise SequenceGap(
                f"producer {origin!r} sent number {seq}, expected {line.next_seq}.",
                remedy="Open it again: next_seq says where to go on.",
                expected=line.next_seq,
            )
        return None if seq == line.next_seq else self._repeated(line, seq, digest)

    def _repeated(self, line: ProducerLine, seq: int, digest: bytes) -> PublishReceipt:
        for kept in line.kept:
            if kept.seq == seq:
                if kept.digest != digest:
                    raise SequenceReused(
                        f"producer {line.origin!r} sent number {seq} again with other payloads.",
                        remedy="A number belongs to its payloads for good; use the next one.",
                    )
                return receipt_of(line.origin, kept)
        raise SequenceReused(
            f"producer {line.origin!r} sent number {seq} again; it was accepted, and only the last {KEPT_RECEIPTS} receipts are kept.",
            remedy=f"Go on with number {line.next_seq}.",
        )

    def apply(self, record: Opened | Published) -> None:
        """Take in a record of the journal."""
        line = self._lines.get(record.origin)
        if line is None:
            line = self._lines[record.origin] = ProducerLine(record.origin, record.incarnation)
        line.incarnation = record.incarnation
        if isinstance(record, Published):
            line.next_seq = record.seq + 1
            kept = _Kept(record.incarnation, record.seq, record.digest, record.event_ids)
            line.kept = [*line.kept, kept][-KEPT_RECEIPTS:]

    def lines(self) -> list[ProducerLine]:
        """Return all of it, sorted by name, for a snapshot."""
        return [self._lines[name] for name in sorted(self._lines)]

    def restore(self, lines: Sequence[ProducerLine]) -> None:
        self._lines = {line.origin: line for line in lines}


def receipt_of(origin: str, kept: _Kept | Published) -> PublishReceipt:
    """Return the receipt of an accepted publish."""
    return PublishReceipt(origin, kept.incarnation, kept.seq, tuple(one.hex() for one in kept.event_ids))


_decoder = msgspec.msgpack.Decoder(list[tuple[Payload, str]])


def encode_payloads(payloads: Sequence[tuple[Any, str]]) -> bytes:
    """Return (payload, key) pairs as they travel; raises BadInput for what cannot be encoded."""
    try:
        return msgspec.msgpack.encode(list(payloads))
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(f"payloads do not encode: {error}.", remedy="docs/events.md lists the types.") from error


def decode_payloads(data: bytes) -> list[tuple[Any, str]]:
    """Return what ``encode_payloads`` encoded, every value checked; raises BadInput."""
    try:
        found: list[tuple[Any, str]] = _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"payloads do not decode: {error}.", remedy="docs/events.md lists types and fields.") from error
    if not 0 < len(found) <= MAX_PAYLOADS:
        raise BadInput(f"a publish has 1 to {MAX_PAYLOADS} payloads, not {len(found)}.", remedy="Split it.")
    return found


def digest_of(data: bytes) -> bytes:
    """Return what tells the payloads of one publish from those of another."""
    return sha256(data).digest()


class Port(Protocol):
    """What a producer needs of a system: ``SystemClient`` and ``LocalSystem`` have it."""

    def open_producer(self, origin: str) -> tuple[int, int]: ...
    def publish(self, origin: str, incarnation: int, seq: int, payloads: bytes) -> PublishReceipt: ...


class Producer:
    """Publishes events of one's own, each once, whatever dies meanwhile. One at a time under a name; not thread-safe.

        producer = Producer(client, "thermometer")
        producer.publish(CustomEvent("reading", {"celsius": 21.5}), key="kitchen")

    ``wait`` lets time pass between attempts (seconds).
    """

    def __init__(
        self, port: Port, name: str, *, patience_s: float = PATIENCE_S, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self.name = name
        self._port = port
        self._patience_s = patience_s
        self._wait = wait
        self._is_open = False
        self.incarnation, self.next_seq = 0, 0
        self._open()

    def _open(self) -> None:
        self.incarnation, self.next_seq = self._port.open_producer(self.name)
        self._is_open = True

    def publish(self, *payloads: Any, key: str = "") -> PublishReceipt:
        """Publish payloads under one key as one unit; the receipt means they are on disk.

        Waits out back-pressure and restarts up to the patience, then raises the TemporaryError: whether it arrived is then unknown,
        and the next publish asks. Permanent errors are raised at once, and nothing was written.
        """
        if not self._is_open:
            self._open()
        data = encode_payloads([(payload, key) for payload in payloads])
        waited = 0.0
        while True:
            try:
                receipt = self._port.publish(self.name, self.incarnation, self.next_seq, data)
            except TemporaryError as error:
                pause = max(RETRY_S, float(error.fields.get("retry_s", 0.0)))
                if waited + pause > self._patience_s:
                    self._is_open = isinstance(error, Backpressure)  # refused at the door is known; the rest is not
                    raise
                waited += pause
                self._wait(pause)
            else:
                self.next_seq += 1
                return receipt


def opened(answer: Any) -> tuple[int, int]:
    """Return (incarnation, next seq) out of the answer to ``open_producer``."""
    with contextlib.suppress(KeyError, TypeError):
        return int(answer["incarnation"]), int(answer["next_seq"])
    raise BadInput(f"{answer!r} does not say how far a producer is.")
