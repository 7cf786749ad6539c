"""Writes what the orchestrator decides into its journal, and waits while the disk has no room for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from actors.logging import event_logger
from tori.errors import JournalRefused
from tori.events.envelope import Event
from tori.events.system import MetricsCollected
from tori.journal.files import lacks_room
from tori.modules.loop import ROOM_RETRY_S, ModuleLoop


class Scribe:
    """The pen of the orchestrator's threads; safe to use from all of them.

    What a machine has decided must be a fact before it is done, so a thread that has something to say while the disk is full waits
    here: an orchestrator that died of it could not start again either.

    ``on_wait``: told what is waited for, until ``settle``. None: nothing is waited for until then, who starts the system is told.
    """

    def __init__(self, ledger: ModuleLoop, on_wait: Callable[[str], None] | None) -> None:
        self._ledger = ledger
        self._on_wait = on_wait
        self._stops = threading.Event()
        self.on_written: Callable[[Any], None] = lambda payload: None
        """Told of every payload once it is durable."""
        self.waits_for = ""
        """What it waits for; empty when it does not."""

    def settle(self) -> None:
        """The system runs: from now on the scribe is patient."""
        self._on_wait = lambda reason: None

    def emit(self, *payloads: Any) -> None:
        """Write events into the orchestrator's journal, durably, and say so in the log."""
        self.record([], [(payload, "") for payload in payloads])

    def record(self, records: Sequence[Any], payloads: Sequence[tuple[Any, str]]) -> None:
        """Write private records and events (payload, key) as one durable unit; returns when there was room for it."""
        while True:
            try:
                self.record_now(records, payloads)
            except JournalRefused as error:
                if self._on_wait is None or not lacks_room(error):
                    raise
                if self._stops.is_set():
                    event_logger("orchestrator").error("not written, the system stops: %s", [p for p, _ in payloads])
                    return
                if not self.waits_for:
                    event_logger("orchestrator").warning("waits for room on its disk: %s", error)
                self.waits_for = str(error)
                self._on_wait(self.waits_for)
                self._stops.wait(ROOM_RETRY_S)
            else:
                self.waits_for = ""
                return

    def record_now(self, records: Sequence[Any], payloads: Sequence[tuple[Any, str]]) -> None:
        """Do what ``record`` does for a person who can be told to try again: raises JournalRefused when there is no room."""
        self._tell(self._ledger.call(lambda host: host.emit(records, payloads)))

    def stop(self) -> None:
        """Wait for no room any more: the system stops, and what finds none is left to the log. The next start sees a stop cut short."""
        self._stops.set()

    def _tell(self, events: Sequence[Event]) -> None:
        for event in events:
            self.on_written(event.payload)
            if not isinstance(event.payload, MetricsCollected):
                event_logger("orchestrator", event).info("%s", brief(event.payload))


def brief(payload: Any) -> str:
    """Return a payload as one line: its fields that say something."""
    fields = {name: getattr(payload, name) for name in payload.__struct_fields__}
    return " ".join(f"{name}={value}" for name, value in fields.items() if value not in (None, "", (), 0))
