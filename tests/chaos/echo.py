"""A module that answers every event with exactly one of its own, so that effects can be counted; and a process around it.

``python -m tests.chaos.echo HOME HISTORY PROCESS`` answers the producer's events without Ray.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.producer import JOURNAL
from tori.clock import SystemClock
from tori.errors import TemporaryError
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.events.system import CustomEvent
from tori.journal.archive import Archive
from tori.journal.ownership import create_journal
from tori.journal.reader import JournalReader
from tori.journal.writer import JournalWriter
from tori.modules.base import Context, Fact, Module
from tori.modules.host import HostSnapshot, ModuleHost

ANSWER = "chaos.answer"
SEGMENT_BYTES = 128 << 10
POLL_S, AGAIN_S, SNAPSHOT_S = 0.003, 0.05, 1.0


class Echo(Module):
    """Counts what it answered."""

    name = "echo"
    inputs = (DocumentIngested, CustomEvent)

    def __init__(self) -> None:
        self.answered = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return [context.event(CustomEvent(ANSWER), key=event.key, causes=(event.id,)) for event in batch]

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event) and isinstance(fact.payload, CustomEvent) and fact.payload.name == ANSWER:
            self.answered += 1

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.answered)

    def restore(self, data: bytes) -> None:
        self.answered = msgspec.msgpack.decode(data, type=int)

    def query(self, name: str, arguments: Any) -> Any:
        return {"answered": self.answered}


def open_host(home: Path, follows: str, snapshot: HostSnapshot | None = None) -> ModuleHost:
    """Return the recovered host of an echo on one journal, which somebody else writes."""
    journals = home / "journals"
    create_journal(journals / follows)
    own = JournalWriter(journals / Echo.name, segment_bytes=SEGMENT_BYTES, fallback_s=None)
    inputs = [JournalReader(journals / follows)]
    host = ModuleHost(Echo(), own, JournalReader(journals / Echo.name), inputs, SystemClock(), Archive(journals).read)
    host.recover(snapshot)
    return host


def main(home: str, history: str, process: str) -> None:
    """Answer until killed; after a refusal of the disk begin again from the journal, as a module that is started again does."""
    kept = Path(history) / "echo.snapshot"
    snapshot = msgspec.msgpack.decode(kept.read_bytes(), type=HostSnapshot) if kept.exists() else None
    try:
        host = open_host(Path(home), JOURNAL, snapshot)
        due = time.monotonic() + SNAPSHOT_S
        while True:
            if not host.step():
                time.sleep(POLL_S)
            if time.monotonic() > due:
                due = time.monotonic() + SNAPSHOT_S
                temporary = kept.with_suffix(".new")
                temporary.write_bytes(msgspec.msgpack.encode(host.snapshot()))
                os.replace(temporary, kept)
    except TemporaryError:
        time.sleep(AGAIN_S)
        os.execv(sys.executable, [sys.executable, "-m", "tests.chaos.echo", home, history, process])


if __name__ == "__main__":
    main(*sys.argv[1:])
