"""Deliveries that wait: events whose frame was passed and which are not yet applied or dead.

Order holds per producer, lane and key: the first of such a group waits for its backoff, and those behind it wait for the
first. A redriven delivery is out of order by name: it is a group of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from tori.journal.follower import Run

Group = tuple[str, int, str, int]
"""(journal, lane, key, 0), or the one entry of a redrive."""
Place = tuple[str, int]
"""(journal, sequence): names one input event."""


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One input event, by its place in its producer's journal; the text stays there."""

    journal: str
    offset: int
    """Where its frame begins."""
    end: int
    sequence: int
    lane: int
    key: str
    is_redriven: bool = False

    @property
    def place(self) -> Place:
        return self.journal, self.sequence

    @property
    def group(self) -> Group:
        """Return what must stay in order with it."""
        return self.journal, self.lane, self.key, self.sequence + 1 if self.is_redriven else 0


class Held(msgspec.Struct):
    """A delivery that waits."""

    entry: Entry
    due_ns: int = 0
    """Monotonic time of the next attempt."""
    attempts: int = 0
    story: list[str] = []
    """One line an attempt."""


class Pending:
    """The held deliveries of one module, in the order in which they were held."""

    def __init__(self) -> None:
        self._held: dict[Place, Held] = {}
        self._groups: Counter[Group] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[Held]:
        return iter(self._held.values())

    def hold(self, entry: Entry, due_ns: int = 0) -> Held:
        """Take an entry in, behind all others; one that waits already stays where it is."""
        found = self._held.get(entry.place)
        if found is None:
            found = self._held[entry.place] = Held(entry, due_ns)
            self._groups[entry.group] += 1
        return found

    def get(self, place: Place) -> Held | None:
        return self._held.get(place)

    def discard(self, place: Place) -> None:
        """Forget an entry that was delivered or is dead."""
        found = self._held.pop(place, None)
        if found is not None:
            group = found.entry.group
            self._groups[group] -= 1
            if not self._groups[group]:
                del self._groups[group]

    def blocks(self, entry: Entry) -> bool:
        """Say whether an earlier delivery of the same producer, lane and key waits."""
        return entry.group in self._groups

    def due(self, now_ns: int) -> list[Held]:
        """Return those that may be tried now, in order: each behind nobody who still has to wait."""
        waiting: set[Group] = set()
        found = []
        for held in self._held.values():
            if held.entry.group in waiting:
                continue
            if held.due_ns <= now_ns:
                found.append(held)
            else:
                waiting.add(held.entry.group)
        return found

    @property
    def wake_ns(self) -> int | None:
        """Return when the first of them is due, monotonic; None when nothing waits."""
        heads: dict[Group, int] = {}
        for held in self._held.values():
            heads.setdefault(held.entry.group, held.due_ns)
        return min(heads.values(), default=None)

    def inside(self, journal: str, start: int, end: int) -> tuple[int, ...]:
        """Return the sequences of those whose frames lie in [start, end) of ``journal`` and that no redrive put there."""
        return tuple(
            sorted(
                held.entry.sequence
                for held in self._held.values()
                if held.entry.journal == journal and start <= held.entry.offset < end and not held.entry.is_redriven
            )
        )

    def entries(self) -> list[Entry]:
        """Return all of them, for a snapshot; attempts and pauses begin anew after a restart."""
        return [held.entry for held in self._held.values()]

    def lowest(self) -> dict[str, int]:
        """Return by journal the lowest offset that is still to be read: what retention must keep."""
        found: dict[str, int] = {}
        for held in self._held.values():
            entry = held.entry
            found[entry.journal] = min(entry.offset, found.get(entry.journal, entry.offset))
        return found


def only_runs(entries: Sequence[Entry]) -> list[Run]:
    """Return runs that name held entries in this order: one a stretch of the same frame."""
    runs: list[Run] = []
    for entry in entries:
        last = runs[-1] if runs else None
        if last is not None and (last.journal, last.start) == (entry.journal, entry.offset):
            last.only = (*last.only, entry.sequence)
        else:
            runs.append(Run(entry.journal, entry.offset, entry.end, (), (entry.sequence,)))
    return runs
