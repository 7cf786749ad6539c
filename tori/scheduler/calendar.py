"""What time will bring: one entry a purpose and id, the earliest first."""

from __future__ import annotations

import heapq
from typing import Literal, NamedTuple

Purpose = Literal["due", "deadline", "rest", "expiry", "fallback", "look"]
"""A task is due · an attempt takes too long · a pause before a retry is over · a run's deadline · admission has held a run
for so long that its fallback goes · a look at the wall clock."""


class Entry(NamedTuple):
    """One moment, monotonic nanoseconds."""

    time_ns: int
    purpose: Purpose
    subject: str


class Calendar:
    """Times by (purpose, subject). Setting and taking cost O(log n); what was replaced is dropped when it comes up."""

    def __init__(self) -> None:
        self._times: dict[tuple[Purpose, str], int] = {}
        self._heap: list[Entry] = []

    def set(self, purpose: Purpose, subject: str, time_ns: int | None) -> None:
        """Set, move or (None) remove an entry."""
        if time_ns is None:
            self._times.pop((purpose, subject), None)
        elif self._times.get((purpose, subject)) != time_ns:
            self._times[purpose, subject] = time_ns
            heapq.heappush(self._heap, Entry(time_ns, purpose, subject))

    def forget(self, subject: str) -> None:
        """Remove every entry of a subject."""
        for purpose in ("due", "deadline", "rest", "expiry", "fallback", "look"):
            self._times.pop((purpose, subject), None)

    @property
    def next_ns(self) -> int | None:
        """When the earliest entry comes up; None when there is none."""
        while self._heap and not self._is_current(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0].time_ns if self._heap else None

    def take(self, now_ns: int) -> list[Entry]:
        """Remove and return what has come up, in order of time."""
        found = []
        while self.next_ns is not None and self._heap[0].time_ns <= now_ns:
            entry = heapq.heappop(self._heap)
            del self._times[entry.purpose, entry.subject]
            found.append(entry)
        return found

    def clear(self) -> None:
        self._times.clear()
        self._heap.clear()

    def _is_current(self, entry: Entry) -> bool:
        return self._times.get((entry.purpose, entry.subject)) == entry.time_ns
