"""The dead letters of every module in one SQLite file, for lists, filters and screens.

A projection: the facts are in the journals, and a file that is missing, damaged, of another version or of other journals is built again
from them. One process writes it (the relay of the node, or the in-process runtime); WAL lets others read meanwhile.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tori.bus.dead_letter import DeadLetter, Purged, Redriven, letter_row, match_row, record_decoder
from tori.errors import BadInput
from tori.events.codec import tag_of
from tori.events.filter import LETTER_FIELDS, Filter
from tori.events.system import DeliveryDeadLettered
from tori.ids import id_time_ns
from tori.journal.follower import Readable, Run
from tori.journal.frame import CURSOR, DELIVERY, EVENTS
from tori.journal.reader import FrameView

VERSION = 1
MAX_ROWS = 10_000
DEAD, REDRIVEN, DELIVERED, FAILED_AGAIN, PURGED = "dead", "redriven", "delivered", "failed again", "purged"
_BITS = 1 << tag_of(DeliveryDeadLettered)
_SCHEMA = """
CREATE TABLE journal (name TEXT PRIMARY KEY, id BLOB NOT NULL, offset INTEGER NOT NULL);
CREATE TABLE letter (
    id BLOB PRIMARY KEY, time_ns INTEGER NOT NULL, module TEXT NOT NULL, source TEXT NOT NULL, sequence INTEGER NOT NULL,
    state TEXT NOT NULL, payload BLOB NOT NULL
);
CREATE INDEX letter_time ON letter (time_ns);
CREATE INDEX letter_place ON letter (module, source, sequence);
"""
_run_decoder = msgspec.msgpack.Decoder(list[Run])
_payload_decoder = msgspec.msgpack.Decoder(DeliveryDeadLettered)


class DeadLetters:
    """The projection. Not thread-safe: whoever owns it locks."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError:
            self._remove()
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
        db = sqlite3.connect(self._path or ":memory:", check_same_thread=False, isolation_level=None)
        try:
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version != VERSION:
                # a file of another version has these tables already: that fails, and it is built again
                db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
            db.execute("SELECT count(*) FROM letter").fetchone()
        except sqlite3.DatabaseError:
            db.close()
            raise
        return db

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)

    # -- following the journals --------------------------------------------------------------------------------

    def refresh(self, readers: Mapping[str, Readable]) -> None:
        """Take in what the journals hold since the last time; one that is not the one of then is read from its beginning."""
        for name, reader in readers.items():
            with self._transaction():
                start, limit = self._start(name, reader), reader.limit()
                at = start
                for frame in reader.frames(start, limit):
                    self._take(name, frame)
                    at = frame.end
                if at != start:
                    self._db.execute("UPDATE journal SET offset = ? WHERE name = ?", (at, name))

    def _start(self, name: str, reader: Readable) -> int:
        identity = bytes(getattr(reader, "journal_id", b""))
        known = self._db.execute("SELECT id, offset FROM journal WHERE name = ?", (name,)).fetchone()
        if known is not None and known[0] == identity and known[1] <= max(reader.limit(), reader.first_offset()):
            return int(known[1])
        self._db.execute("DELETE FROM letter WHERE module = ?", (name,))
        first = reader.first_offset()
        self._db.execute("INSERT OR REPLACE INTO journal VALUES (?, ?, ?)", (name, identity, first))
        return first

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _take(self, name: str, frame: FrameView) -> None:
        kind = frame.header.kind
        if kind == EVENTS and frame.has_any(_BITS):
            for event in frame.events:
                if isinstance(event.payload, DeliveryDeadLettered) and event.payload.subscriber == name:
                    self._add(event.id, event.payload)
        elif kind == DELIVERY:
            for record in record_decoder.decode(frame.body):
                self._change(record)
        elif kind == CURSOR:
            for run in _run_decoder.decode(frame.body):
                for sequence in run.only:
                    self._settle((name, run.journal, sequence), DELIVERED)

    def _add(self, letter: bytes, payload: DeliveryDeadLettered) -> None:
        place = payload.subscriber, payload.journal, payload.sequence
        self._settle(place, FAILED_AGAIN)
        row = (letter, id_time_ns(letter), *place, DEAD, msgspec.msgpack.encode(payload))
        self._db.execute("INSERT OR REPLACE INTO letter VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def _settle(self, place: tuple[str, str, int], state: str) -> None:
        """Say how a redrive ended."""
        self._db.execute(
            "UPDATE letter SET state = ? WHERE module = ? AND source = ? AND sequence = ? AND state = ?",
            (state, *place, REDRIVEN),
        )

    def _change(self, record: Redriven | Purged) -> None:
        state = REDRIVEN if isinstance(record, Redriven) else PURGED
        self._db.execute("UPDATE letter SET state = ? WHERE id = ?", (state, record.letter))

    # -- questions ---------------------------------------------------------------------------------------------

    def list(self, text: str = "", limit: int = 100, *, now_ns: int = 0) -> dict[str, Any]:
        """Return the newest letters that fit, newest first, and how many there are of them in each state."""
        wanted = Filter.parse(text, LETTER_FIELDS, now_ns=now_ns)
        first, last = wanted.span()
        found: list[dict[str, Any]] = []
        states: dict[str, int] = {}
        rows = self._db.execute(
            "SELECT id, state, payload FROM letter WHERE time_ns BETWEEN ? AND ? ORDER BY time_ns DESC, id DESC",
            (first, last),
        )
        for letter_id, state, payload in rows:
            letter = DeadLetter(letter_id, _payload_decoder.decode(payload))
            if not wanted.fits(match_row(letter, state)):
                continue
            states[state] = states.get(state, 0) + 1
            if len(found) < min(limit, MAX_ROWS):
                found.append(letter_row(letter, state))
        return {"letters": found, "matched": sum(states.values()), "states": states}

    def show(self, letter: str) -> dict[str, Any]:
        """Return one letter by its id, or by the id of its event; raises BadInput."""
        found = self.list(f"id={letter}")["letters"] or self.list(f"event={letter}")["letters"]
        if not found:
            raise BadInput(f"there is no dead letter {letter!r}.", remedy="tori dlq list shows them.")
        row: dict[str, Any] = found[0]
        return row

    def close(self) -> None:
        self._db.close()
