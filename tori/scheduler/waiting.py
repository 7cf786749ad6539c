"""The runs that nothing but admission keeps waiting, in line."""

from __future__ import annotations

import heapq

from tori.scheduler.admission import Candidate, amounts

Class = tuple[int, str, bool, tuple[tuple[str, float], ...]]
"""(priority, group, whether a person insists, resources): whoever waits longest is next, and what holds it holds the others too."""


class WaitingLine:
    """Candidates by class, oldest first. Adding and taking cost O(log n); who left, or moved, is dropped when it comes up."""

    def __init__(self) -> None:
        self._candidates: dict[str, Candidate] = {}
        self._places: dict[str, tuple[Class, int]] = {}
        """By run in line: its class, and since when it waits."""
        self._heaps: dict[Class, list[tuple[int, str]]] = {}

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._candidates

    def add(self, candidate: Candidate) -> None:
        """Add a candidate, or replace the one of the same run."""
        run_id = candidate.run_id
        if self._candidates.get(run_id) == candidate:
            return
        place = _class_of(candidate), candidate.due_ns
        if self._places.get(run_id) != place:
            heapq.heappush(self._heaps.setdefault(place[0], []), (candidate.due_ns, run_id))
        self._candidates[run_id], self._places[run_id] = candidate, place

    def discard(self, run_id: str) -> None:
        self._candidates.pop(run_id, None)
        self._places.pop(run_id, None)

    def first(self, count: int) -> list[Candidate]:
        """Return the ``count`` oldest of every class; they stay in line."""
        found = []
        for of, heap in list(self._heaps.items()):
            if len(heap) > 2 * len(self._candidates) + count:  # mostly of those who left and came back
                heap[:] = sorted(
                    {(due_ns, run_id) for due_ns, run_id in heap if self._places.get(run_id) == (of, due_ns)}
                )
            taken: dict[str, int] = {}
            while heap and len(taken) < count:
                due_ns, run_id = heapq.heappop(heap)
                if self._places.get(run_id) == (of, due_ns):
                    taken[run_id] = due_ns
            for run_id, due_ns in taken.items():
                heapq.heappush(heap, (due_ns, run_id))
            if not heap:
                del self._heaps[of]
            found += [self._candidates[run_id] for run_id in taken]
        return found

    def clear(self) -> None:
        self._candidates.clear()
        self._places.clear()
        self._heaps.clear()


def _class_of(candidate: Candidate) -> Class:
    wanted = (*sorted(amounts(candidate.resources).items()), ("shards", float(candidate.shards)))
    return candidate.priority, candidate.group, candidate.is_forced, wanted
