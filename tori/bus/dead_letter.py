"""Dead letters: deliveries that exhausted their attempts, and what became of them.

The fact is the DeliveryDeadLettered event in the subscriber's own journal, written in the unit whose cursor passes the event.
``Redriven`` and ``Purged`` are the host's records behind it. The book is their projection: bounded, in every snapshot, the same
after a replay.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tori.bus.pending import Entry
from tori.events.cloudevents import format_time
from tori.events.envelope import Event
from tori.events.system import DeliveryDeadLettered
from tori.ids import id_time_ns

MAX_LETTERS = 10_000
"""Dead letters a module keeps at hand. Beyond it the oldest leaves the book; its fact stays in the journal and on the screens."""


class Redriven(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A dead letter is delivered again: a new delivery, out of order by name."""

    letter: bytes
    """Id of its DeliveryDeadLettered event."""
    entry: Entry
    time_ns: int


class Purged(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """A person gave a dead letter up."""

    letter: bytes
    time_ns: int


record_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(list[Redriven | Purged])


class DeadLetter(msgspec.Struct, array_like=True, frozen=True):
    """One delivery that was set aside."""

    id: bytes
    """Id of its DeliveryDeadLettered event."""
    payload: DeliveryDeadLettered

    @property
    def entry(self) -> Entry:
        """Return the delivery a redrive makes."""
        p = self.payload
        return Entry(p.journal, p.offset, 0, p.sequence, p.lane, p.key, is_redriven=True)


class _State(msgspec.Struct, array_like=True):
    letters: list[DeadLetter]
    forgotten: int
    total: int = 0


class DeadLetterBook:
    """The dead letters of one module, oldest first."""

    def __init__(self) -> None:
        self._letters: dict[bytes, DeadLetter] = {}
        self.forgotten = 0
        """Letters that left the book because it was full."""
        self.total = 0
        """Letters there ever were."""

    def __len__(self) -> int:
        return len(self._letters)

    def add(self, event: Event) -> None:
        """Take in a DeliveryDeadLettered event of the module's own journal."""
        if not isinstance(event.payload, DeliveryDeadLettered):
            raise TypeError(f"{event.type} is no dead letter")
        self._letters[event.id] = DeadLetter(event.id, event.payload)
        self.total += 1
        while len(self._letters) > MAX_LETTERS:
            del self._letters[next(iter(self._letters))]
            self.forgotten += 1

    def remove(self, letter: bytes) -> None:
        self._letters.pop(letter, None)

    def get(self, letter: bytes) -> DeadLetter | None:
        return self._letters.get(letter)

    def letters(self) -> list[DeadLetter]:
        return list(self._letters.values())

    def lowest(self) -> dict[str, int]:
        """Return by journal the lowest offset that a redrive would read: what retention must keep."""
        found: dict[str, int] = {}
        for letter in self._letters.values():
            journal, offset = letter.payload.journal, letter.payload.offset
            found[journal] = min(offset, found.get(journal, offset))
        return found

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(_State(self.letters(), self.forgotten, self.total))

    def restore(self, data: bytes) -> None:
        """Replace the book by what ``snapshot`` returned; empty bytes empty it."""
        state = msgspec.msgpack.decode(data, type=_State) if data else _State([], 0)
        self._letters = {letter.id: letter for letter in state.letters}
        self.forgotten, self.total = state.forgotten, state.total


def chosen(book: DeadLetterBook, ids: Iterable[bytes]) -> tuple[list[DeadLetter], list[bytes]]:
    """Return (the letters with these ids, the ids the book does not hold)."""
    found: list[DeadLetter] = []
    unknown: list[bytes] = []
    for one in dict.fromkeys(ids):
        letter = book.get(one)
        if letter is None:
            unknown.append(one)
        else:
            found.append(letter)
    return found, unknown


def match_row(letter: DeadLetter, state: str = "dead") -> dict[str, str | int]:
    """Return what the filter grammar sees of a letter."""
    p = letter.payload
    return {
        "id": letter.id.hex(),
        "event": p.event_id.hex(),
        "module": p.subscriber,
        "source": p.journal,
        "type": p.event_type,
        "key": p.key,
        "error": f"{p.error_type}: {p.error}",
        "time": id_time_ns(letter.id),
        "state": state,
    }


def letter_row(letter: DeadLetter, state: str = "dead") -> dict[str, Any]:
    """Return a letter as plain JSON values."""
    p = letter.payload
    return {
        "id": letter.id.hex(),
        "time": format_time(id_time_ns(letter.id)),
        "state": state,
        "module": p.subscriber,
        "source": p.journal,
        "sequence": p.sequence,
        "event_id": p.event_id.hex(),
        "type": p.event_type,
        "key": p.key,
        "attempts": p.attempts,
        "error_type": p.error_type,
        "error": p.error,
        "story": p.story.splitlines(),
    }
