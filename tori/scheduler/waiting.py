"""The runs that nothing but admission keeps waiting, in line."""

from __future__ import annotations

import heapq
from bisect import insort
from collections import OrderedDict
from itertools import count

from tori.scheduler.admission import Candidate, amounts

MOST_CLASSES = 256
"""Classes of a lane that are looked at in one pass: those whose first runs are the oldest."""
TURNS = 32
"""Classes beyond those that are looked at in one pass, in turns: nobody is hidden for ever behind many that cannot begin."""
_numbers = count()


class WaitingLine:
    """Candidates by class, oldest first. Adding and taking cost O(log n); who left, or moved, is dropped when it comes up.

    A lane is (priority, group, whether a person insists), a class what wants the same resources in a lane: whoever waits longest is next,
    and what holds it holds the others of its class too.
    """

    def __init__(self) -> None:
        self._candidates: dict[str, Candidate] = {}
        self._lanes: dict[tuple[int, str, bool], _Lane] = {}
        self._places: dict[str, tuple[_Class, int]] = {}
        """By run in line: its class, and since when it waits."""
        self.is_cut = False
        """Whether the last look left classes out."""

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._candidates

    def get(self, run_id: str) -> Candidate | None:
        return self._candidates.get(run_id)

    def add(self, candidate: Candidate) -> None:
        """Add a candidate, or replace the one of the same run."""
        run_id, due_ns = candidate.run_id, candidate.due_ns
        if self._candidates.get(run_id) == candidate:
            return
        lane = self._lanes.setdefault((candidate.priority, candidate.group, candidate.is_forced), _Lane())
        of = lane.of(candidate)
        if self._places.get(run_id) != (of, due_ns):
            heapq.heappush(of.heap, (due_ns, run_id))
            if of.heap[0] == (due_ns, run_id):
                insort(lane.heads, (due_ns, run_id, of.number, of))
        self._candidates[run_id], self._places[run_id] = candidate, (of, due_ns)

    def discard(self, run_id: str) -> None:
        self._candidates.pop(run_id, None)
        self._places.pop(run_id, None)

    def first(self, most: int) -> list[Candidate]:
        """Return the ``most`` oldest of every class that is looked at in this pass; they stay in line."""
        found: list[Candidate] = []
        self.is_cut = False
        for key, lane in list(self._lanes.items()) if most > 0 else ():
            classes = self._classes(lane)
            self.is_cut |= len(classes) < len(lane.classes)
            for of in classes:
                found += self._oldest(of, most)
            if not lane.classes:
                del self._lanes[key]
        return found

    def _classes(self, lane: _Lane) -> list[_Class]:
        """Return the classes of a lane to look at: the oldest, and some of the others in turns."""
        found: dict[_Class, None] = {}
        heads, places = lane.heads, self._places
        if len(heads) > 2 * len(lane.classes) + MOST_CLASSES:  # mostly of those who left and came back
            heads[:] = sorted((*of.heap[0], of.number, of) for of in lane.classes.values())
        at = 0
        while at < len(heads) and len(found) < MOST_CLASSES:
            due_ns, run_id, _, of = heads[at]
            if of not in found and places.get(run_id) == (of, due_ns):
                found[of] = None
                at += 1
                continue
            del heads[at]
            if of not in found and self._trim(lane, of):
                insort(heads, (*of.heap[0], of.number, of))
        for _ in range(min(TURNS, len(lane.classes) - len(found))):
            of = next(iter(lane.classes.values()))
            lane.classes.move_to_end(of.wanted)
            if self._trim(lane, of):
                found[of] = None
        return list(found)

    def _trim(self, lane: _Lane, of: _Class) -> bool:
        """Let the first of a class be one that is in line; a class without one is forgotten, and False."""
        while of.heap and self._places.get(of.heap[0][1]) != (of, of.heap[0][0]):
            heapq.heappop(of.heap)
        if not of.heap and lane.classes.get(of.wanted) is of:
            del lane.classes[of.wanted]
        return bool(of.heap)

    def _oldest(self, of: _Class, most: int) -> list[Candidate]:
        heap = of.heap
        if len(heap) > 2 * len(self._candidates) + most:  # mostly of those who left and came back
            heap[:] = sorted({(due_ns, run_id) for due_ns, run_id in heap if self._places.get(run_id) == (of, due_ns)})
        if most == 1 and self._places.get(heap[0][1]) == (of, heap[0][0]):
            return [self._candidates[heap[0][1]]]
        taken: dict[str, int] = {}
        while heap and len(taken) < most:
            due_ns, run_id = heapq.heappop(heap)
            if self._places.get(run_id) == (of, due_ns):
                taken[run_id] = due_ns
        for run_id, due_ns in taken.items():
            heapq.heappush(heap, (due_ns, run_id))
        return [self._candidates[run_id] for run_id in taken]

    def clear(self) -> None:
        self._candidates.clear()
        self._places.clear()
        self._lanes.clear()
        self.is_cut = False


class _Class:
    """Who wants the same: (since when it waits, run), a heap."""

    def __init__(self, wanted: tuple[tuple[str, float], ...]) -> None:
        self.wanted = wanted
        self.number = next(_numbers)
        self.heap: list[tuple[int, str]] = []


class _Lane:
    """Classes, and in order the first of each."""

    def __init__(self) -> None:
        self.classes: OrderedDict[tuple[tuple[str, float], ...], _Class] = OrderedDict()
        self.heads: list[tuple[int, str, int, _Class]] = []
        """(since when it waits, run, number of its class, its class), and some that are no longer the first."""

    def of(self, candidate: Candidate) -> _Class:
        wanted = (*sorted(amounts(candidate.resources).items()), ("shards", float(candidate.shards)))
        found = self.classes.get(wanted)
        if found is None:
            found = self.classes[wanted] = _Class(wanted)
        return found
