"""Calls put together from a history: what was acknowledged, refused, or left open."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tests.chaos.history import Fail, Fault, Invoke, Item, Line, Ok, Unknown


class Call(NamedTuple):
    """One call of one process, from its beginning to its outcome."""

    invoke: Invoke
    outcome: Ok | Fail | Unknown | None

    @property
    def end_ns(self) -> float:
        """When it ended; a call that was never answered is open for ever."""
        return math.inf if self.outcome is None else self.outcome.time_ns

    def is_open_in(self, fault: Fault) -> bool:
        """Whether it began or was under way while a fault and its recovery lasted."""
        return self.invoke.time_ns <= max(fault.recovered_ns, fault.time_ns) and self.end_ns >= fault.time_ns


class Operations:
    """The calls of a history, and the sets A, F and I of items that follow from them."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self.calls = _calls(lines)
        self.items: dict[str, Item] = {}
        self.acked: dict[str, str] = {}
        """Item to the call that acknowledged it."""
        self.refused: dict[str, str] = {}
        """Item to the last call that refused it; also those that were acknowledged or left open in another call."""
        open_items: dict[str, str] = {}
        for call in self.calls:
            where = f"{call.invoke.process} call {call.invoke.call}"
            for item in call.invoke.items:
                self.items.setdefault(item.id, item)
                if isinstance(call.outcome, Fail) or (isinstance(call.outcome, Ok) and item.id in call.outcome.refused):
                    self.refused[item.id] = where
                elif isinstance(call.outcome, Ok):
                    self.acked[item.id] = where
                else:
                    open_items[item.id] = where
        self.indeterminate = {i: w for i, w in open_items.items() if i not in self.acked}
        self.possible = self.acked.keys() | self.indeterminate.keys()
        """Items that may be in a journal: A u I."""
        self.rejected = {i: w for i, w in self.refused.items() if i not in self.acked and i not in open_items}

    def attempts(self) -> dict[tuple[str, int, str], dict[str, tuple[int, int]]]:
        """Return, by (process, lane, key), each item's first and last attempt as numbers in the order of the process."""
        found: dict[tuple[str, int, str], dict[str, tuple[int, int]]] = defaultdict(dict)
        for number, call in enumerate(self.calls):
            if isinstance(call.outcome, Fail):
                continue
            for index, item in enumerate(call.invoke.items):
                group = found[call.invoke.process, item.lane, item.key]
                at = number * 1_000_000 + index
                group[item.id] = (group.get(item.id, (at, at))[0], at)
        return found


def _calls(lines: Iterable[Line]) -> list[Call]:
    """Return the calls in the order in which each process made them."""
    invokes: dict[tuple[str, int], Invoke] = {}
    outcomes: dict[tuple[str, int], Ok | Fail | Unknown] = {}
    for line in lines:
        if isinstance(line, Invoke):
            invokes[line.process, line.call] = line
        elif isinstance(line, (Ok, Fail, Unknown)):
            outcomes[line.process, line.call] = line
    stray = outcomes.keys() - invokes.keys()
    if stray:
        raise ValueError(f"outcomes without a call: {sorted(stray)[:5]}")
    return [Call(invokes[at], outcomes.get(at)) for at in sorted(invokes)]
