"""Small worlds in which everything went right, for the checker to accept and for tests to spoil.

Three clients publish to one journal, ``echo`` answers every event with one effect, an observer notes every entry.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from tests.chaos.checker import Expectation
from tests.chaos.forge import Forge, event_id, operation_event
from tests.chaos.history import Fail, Fault, Invoke, Item, Line, Ok, Seen, Unknown
from tests.chaos.identity import CUSTOM, digest_of, producer_item
from tests.chaos.journal import JournalReading, read_journals

Outcome = Literal["ok", "fail", "lost", "applied", "open"]
"""``lost`` and ``applied`` are unknown to the client; ``open`` is never answered, and was applied."""
WORLD = Expectation(
    subscribers=("echo",), effects=("echo",), observers=("observer",), min_operations=3, min_faults={"kill": 1}
)


class Step(NamedTuple):
    """One call: by whom, under which key, how many events, what became of it, and whether it is tried again."""

    process: int
    key: int
    size: int
    outcome: Outcome
    retried: bool = False


class World:
    """Lines and journals that agree."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self.lines: list[Line] = []
        self.clients = Forge("clients")
        self.echo = Forge("echo")
        self._time = 0
        self._calls = [0, 0, 0]
        self._seqs = [0, 0, 0]
        self._numbers = 0
        for step in steps:
            self._take(step)
        self.lines.append(Fault("nemesis", "kill", "echo", 1, self._time, 6.0))

    def readings(self) -> dict[str, JournalReading]:
        """Return the journals as the checker reads them."""
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            self.clients.write(home)
            self.echo.write(home)
            return read_journals(home)

    def _take(self, step: Step) -> None:
        first = self._seqs[step.process]
        self._seqs[step.process] += step.size
        origin, key = f"client-{step.process}", f"key-{step.key}"
        items = [self._item(origin, first + i, key) for i in range(step.size)]
        sequence = self.clients.sequence
        is_applied = step.outcome not in ("fail", "lost")
        self._call(step, items, step.outcome, sequence)
        if is_applied:
            self._record(origin, key, first, step.size)
        if step.retried and step.outcome in ("lost", "applied"):
            self._call(step, items, "ok", sequence if is_applied else self.clients.sequence)
            if not is_applied:
                self._record(origin, key, first, step.size)

    def _item(self, origin: str, seq: int, key: str) -> Item:
        payload = operation_event(0, origin, seq, key)[1]
        return Item(producer_item(origin, 1, seq), key, digest_of(msgspec.msgpack.encode(payload)))

    def _call(self, step: Step, items: Sequence[Item], outcome: Outcome, sequence: int) -> None:
        process = f"client-{step.process}"
        self._calls[step.process] += 1
        call = self._calls[step.process]
        self.lines.append(Invoke(process, call, "publish", tuple(items), self._now()))
        if outcome == "ok":
            self.lines.append(Ok(process, call, (), "clients", sequence, self._now()))
        elif outcome == "fail":
            self.lines.append(Fail(process, call, "JournalError: full", self._now()))
        elif outcome != "open":
            self.lines.append(Unknown(process, call, "ActorDiedError", self._now()))

    def _record(self, origin: str, key: str, first: int, size: int) -> None:
        """Put events on record, have them answered and observed."""
        sequence = self.clients.sequence
        events = [operation_event(self._number(), origin, first + i, key) for i in range(size)]
        start, end = self.clients.unit(events)
        answers = [[event_id("echo", self._number()), [CUSTOM, "answer", {}], key, b"", [e[0]]] for e in events]
        self.echo.unit(answers, [("clients", start, end)])
        for index, event in enumerate(events):
            digest = digest_of(msgspec.msgpack.encode(event[1]))
            item = producer_item(origin, 1, first + index)
            self.lines.append(Seen("observer-1", "clients", sequence + index, item, digest, self._now()))

    def _now(self) -> int:
        self._time += 1
        return self._time

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers
