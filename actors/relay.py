"""The relay of a node: the door for documents that arrive as object refs, and the reader of this node's journals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from actors.module import ModuleActor, ShellConfig
from tori.bus.projection import DeadLetters
from tori.bus.transport import CHUNK_BYTES, chunks
from tori.events.document import Receipt
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.journal.archive import Archive
from tori.journal.reader import JournalReader
from tori.journal.view import browse_rows, event_rows, newest_rows, story_rows
from tori.modules.open import journal_directory, projection_path


class RelayActor(ModuleActor):
    """Hosts the node's ``clients`` journal. Ray hands it the value behind a ref; it appends, and answers once that is on disk."""

    def __init__(self, config: ShellConfig, snapshot: bytes | None = None) -> None:
        super().__init__(config, snapshot)
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

    def frames(self, journal: str, start: int, max_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield the durable frames of a journal of this node from an offset on; call it with ``num_returns="streaming"``."""
        reader = JournalReader(journal_directory(self.home, journal))
        try:
            yield from chunks(reader, start, max_bytes)
        finally:
            reader.close()
