"""A client without a gateway: the only writer of a journal of its own, like the benchmark's producer.

``python -m tests.chaos.producer HOME HISTORY PROCESS INCARNATION PACE_S``. Each start is a new incarnation that numbers from 0.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tests.chaos.history import HistoryWriter, Item
from tests.chaos.identity import OPERATION, digest_of, producer_item
from tori.errors import JournalError, JournalFenced, JournalRefused, JournalUnsynced, TemporaryError
from tori.events.envelope import Event, FrameContext
from tori.events.system import CustomEvent
from tori.ids import IdSource, source_suffix
from tori.journal.unit import event_frames
from tori.journal.writer import JournalWriter

JOURNAL = "producer"
SEGMENT_BYTES = 32 << 10
"""Small, so that segments roll all the time and a full disk is met at once."""
REOPEN_S = 0.05


class Producer:
    """Publishes numbered operations under five keys."""

    def __init__(self, home: Path, history: HistoryWriter, incarnation: int) -> None:
        self._directory = home / "journals" / JOURNAL
        self._history = history
        self._incarnation = incarnation
        self._ids = IdSource(source_suffix(JOURNAL))
        self._context = FrameContext(JOURNAL)

    def open(self) -> JournalWriter:
        """Return the journal's writer; waits while the disk has no room."""
        while True:
            try:
                return JournalWriter(self._directory, segment_bytes=SEGMENT_BYTES, fallback_s=None)
            except TemporaryError:
                time.sleep(REOPEN_S)

    def publish(self, writer: JournalWriter, seqs: Iterator[int], count: int) -> bool:
        """Publish one unit; return whether the writer can go on."""
        events, items = [], []
        for seq in itertools.islice(seqs, count):
            key = f"key-{seq % 5}"
            data: dict[str, object] = {"origin": JOURNAL, "incarnation": self._incarnation, "seq": seq, "key": key}
            payload = CustomEvent(OPERATION, data | {"body": "x" * (seq % 97)})
            events.append(Event(self._ids.next(), payload, key))
            digest = digest_of(msgspec.msgpack.encode(payload))
            items.append(Item(producer_item(JOURNAL, self._incarnation, seq), key, digest))
        call = self._history.invoke("publish", items)
        try:
            ticket = writer.append(event_frames(self._context, events))
        except JournalFenced as error:
            self._history.unknown(call, error)
            raise
        except JournalRefused as error:
            self._history.fail(call, error)
            return False
        try:
            writer.commit(ticket.end)
        except JournalUnsynced as error:  # kept in memory: a later commit may bring it to the disk
            self._history.unknown(call, error)
            return False
        except JournalError as error:
            self._history.unknown(call, error)
            raise
        self._history.ok(call, journal=JOURNAL, sequence=ticket.first_sequence)
        return True


def main(home: str, history: str, process: str, incarnation: str, pace_s: str) -> None:
    """Publish until killed or fenced."""
    producer = Producer(Path(home), HistoryWriter(Path(history), process), int(incarnation))
    writer = producer.open()
    seqs = itertools.count()
    while True:
        is_written = producer.publish(writer, seqs, 1 + int(time.monotonic_ns() // 1000 % 4))
        time.sleep(float(pace_s) if is_written else REOPEN_S)


if __name__ == "__main__":
    main(*sys.argv[1:])
