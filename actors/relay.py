"""The relay of a node: the reader of its journals, the carrier between it and other nodes; at the head also the door for documents."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from actors.carrier import Carrier, CarrierView, Supplies
from actors.logging import configure_from
from actors.module import ModuleActor, ShellConfig
from actors.names import RELAY, node_home
from actors.watch import Watch
from tori.bus.projection import DeadLetters
from tori.bus.stream import Parcel
from tori.events.document import Receipt
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.journal.archive import Archive
from tori.journal.mirror import Mark
from tori.journal.view import browse_rows, event_rows, newest_rows, story_rows
from tori.modules.loop import LoopView
from tori.modules.open import projection_path


class Carrying:
    """What every relay can do for other nodes; each method hands over to the carrier."""

    carrier: Carrier

    def grant(self, supplies: Supplies) -> None:
        """Mirror exactly these journals of these peers from now on."""
        self.carrier.grant(supplies)

    def stream(self, reader: str, marks: Mapping[str, Mark]) -> Iterator[Parcel]:
        """Yield this node's journals to the relay of another from its marks on; call it with ``num_returns="streaming"``."""
        yield from self.carrier.stream(reader, marks)

    def begin(self, reader: str, marks: Mapping[str, Mark]) -> None:
        """Be ready for numbered reads: the way for a Ray whose streams cannot be bounded."""
        self.carrier.begin(reader, marks)

    def read(self, reader: str, number: int) -> Parcel | None:
        """Return one parcel of what was begun."""
        return self.carrier.read(reader, number)

    def hang_up(self, reader: str) -> None:
        """End the stream of a relay that wants no more."""
        self.carrier.hang_up(reader)

    def carried(self) -> CarrierView:
        """Return what came in from other nodes, and how far the mirrors are."""
        return self.carrier.view()


class NodeRelayActor(Carrying):
    """The relay of a node where no documents come in: it hosts no module."""

    def __init__(self, config: ShellConfig, snapshot: bytes | None = None) -> None:
        if config.settings is not None:
            configure_from(config.settings)
        self.config = config
        self._stopped = threading.Event()
        self._watch = Watch()
        self._watch.guard(self._stopped, self._await_stop)
        self.carrier = Carrier(node_home(), config.name, config.segment_bytes)
        self.carrier.grant(config.supplies)

    def _await_stop(self) -> None:
        self._stopped.wait()

    def __repr__(self) -> str:
        return f"tori.{self.config.name}"

    def ready(self) -> dict[str, Any]:
        """Return what a module's shell would; there is nothing to recover."""
        return {"pid": os.getpid(), "incarnation": self.config.incarnation, "view": self.view(), "events": ()}

    def watch(self, watcher: int = 0, turn: int = 0) -> bool:
        """Return True when it was stopped, False when a newer watcher waits; a killed process is learnt of by the same call."""
        return self._watch.wait(watcher, turn)

    def view(self) -> LoopView:
        return LoopView(self.config.name)

    def query(self, name: str, arguments: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        """Return counts for a status; a relay answers nothing else."""
        found = self.carrier.view()
        return {"mirrors": len(found.positions), "refs": found.refs}

    def pause(self, *, paused: bool) -> None:
        """Do nothing: mirrors are followed whenever modules are, and a paused module's inputs wait on its own node."""

    def stop(self) -> None:
        """End every stream; ``watch`` returns."""
        self.carrier.close()
        self._stopped.set()


class RelayActor(Carrying, ModuleActor):
    """Hosts the node's ``clients`` journal. Ray hands it the value behind a ref; it appends, and answers once that is on disk."""

    def __init__(self, config: ShellConfig, snapshot: bytes | None = None) -> None:
        super().__init__(config, snapshot)
        self.carrier = Carrier(self.home, RELAY, config.segment_bytes)
        self.carrier.grant(config.supplies)
        self._archive: Archive = self.archive()
        self._archive_lock = threading.Lock()
        self._dead_letters = DeadLetters(projection_path(self.home))

    def ingest(self, documents: bytes) -> Receipt:
        """Append a batch (msgpack of list[Document]); the receipt means it is on disk."""
        receipt: Receipt = self.command("ingest", {"documents": documents})
        return receipt

    def why(self, event_id: str) -> list[dict[str, Any]]:
        """Return the event and everything it follows from, as plain rows."""
        with self._archive_lock:
            return story_rows(self._archive, event_id)

    def tail(self, count: int, types: tuple[str, ...] = ()) -> list[dict[str, Any]]:
        """Return the newest events of all journals, oldest first."""
        with self._archive_lock:
            return newest_rows(self._archive, count, types)

    def since(self, offsets: Mapping[str, int], count: int, types: tuple[str, ...] = ()) -> dict[str, Any]:
        """Return events after ``offsets`` (journal to offset; a missing journal begins at its end) and the offsets reached."""
        with self._archive_lock:
            return event_rows(self._archive, offsets, count, types)

    def events(self, text: str, limit: int) -> dict[str, Any]:
        """Return the newest events that fit a filter."""
        with self._archive_lock:
            return browse_rows(self._archive, text, limit, time.time_ns())

    def dead_letters(self, text: str, limit: int) -> dict[str, Any]:
        """Return the newest dead letters of this node's modules that fit a filter, from the projection brought up to now."""
        with self._archive_lock:
            self._dead_letters.refresh(self._archive.readers)
            return self._dead_letters.list(text, limit, now_ns=time.time_ns())

    def sample(self, documents: int, others: int) -> list[Event]:
        """Return the newest documents and the newest events of the reader and the hierarchy, in order of time."""
        with self._archive_lock:
            newest = {name: self._archive.newest(name, others) for name in ("clients", "reader", "hierarchy")}
        found = [e.event for e in newest["clients"] if isinstance(e.event.payload, DocumentIngested)][-documents:]
        found += [e.event for name in ("reader", "hierarchy") for e in newest[name]]
        return sorted(found, key=lambda event: event.id)
