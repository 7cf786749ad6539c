"""The runs that nothing but admission keeps waiting, in line."""

from __future__ import annotations

import heapq

from tori.scheduler.admission import Candidate

Class = tuple[int, str, bool]
"""(priority, group, whether a person insists): within one, whoever waits longest is next, and what holds it holds the others."""


class WaitingLine:
    """Candidates by class, oldest first. Adding and taking cost O(log n); who left is dropped when it comes up."""

    def __init__(self) -> None:
        self._candidates: dict[str, Candidate] = {}
        self._heaps: dict[Class, list[tuple[int, str]]] = {}

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._candidates

    def add(self, candidate: Candidate) -> None:
        """Add a candidate, or replace the one of the same run."""
        self._candidates[candidate.run_id] = candidate
        heapq.heappush(self._heaps.setdefault(_class_of(candidate), []), (candidate.due_ns, candidate.run_id))

    def discard(self, run_id: str) -> None:
        self._candidates.pop(run_id, None)

    def first(self, count: int) -> list[Candidate]:
        """Return the ``count`` oldest of every class; they stay in line."""
        found = []
        for of, heap in self._heaps.items():
            taken: list[Candidate] = []
            seen: set[str] = set()
            while heap and len(taken) < count:
                due_ns, run_id = heapq.heappop(heap)
                candidate = self._candidates.get(run_id)
                if candidate is None or run_id in seen:
                    continue
                if (
                    candidate.due_ns == due_ns and _class_of(candidate) == of
                ):  # else it was replaced, perhaps in another class
                    seen.add(run_id)
                    taken.append(candidate)
            for candidate in taken:
                heapq.heappush(heap, (candidate.due_ns, candidate.run_id))
            found += taken
        return found

    def clear(self) -> None:
        self._candidates.clear()
        self._heaps.clear()


def _class_of(candidate: Candidate) -> Class:
    return candidate.priority, candidate.group, candidate.is_forced
