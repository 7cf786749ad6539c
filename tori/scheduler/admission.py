"""Admission: which of the runs that wait may start now, and what holds the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tori.clock import SECOND_NS
from tori.errors import BadSettings
from tori.resources.pressure import Pressure
from tori.scheduler.spec import Priority, Resources

_NOTHING = Resources(num_cpus=0)
_SLACK = 1 + 1e-9
"""Sums of tenths are not quite what they should be."""


class Candidate(NamedTuple):
    """A run that waits. Sorts by urgency, then by how long it waits."""

    priority: Priority
    due_ns: int
    """Monotonic: since when it waits."""
    run_id: str
    group: str = ""
    resources: Resources = _NOTHING
    is_forced: bool = False
    """A person wants it now: pressure does not hold it."""
    shards: int = 1
    """Equal parts of its resources that may lie on several nodes."""


class Usage:
    """What is under way, counted up and down: runs, runs by group, resources."""

    def __init__(self, active: Iterable[tuple[str, Resources]] = ()) -> None:
        self.runs = 0
        self.groups: Counter[str] = Counter()
        self.amounts: Counter[str] = Counter()
        """``CPU``, ``memory`` and custom resources, summed over the runs."""
        for group, resources in active:
            self.add(group, resources)

    def add(self, group: str, resources: Resources, sign: int = 1) -> None:
        """Count one run more (or, with ``sign`` -1, less)."""
        self.count(group, amounts(resources), sign)

    def count(self, group: str, wanted: Mapping[str, float], sign: int = 1) -> None:
        """As ``add``, of amounts."""
        self.runs += sign
        self.groups[group] += sign
        _count(self.amounts, wanted, sign)

    def copy(self) -> Usage:
        other = Usage()
        other.runs, other.groups, other.amounts = self.runs, Counter(self.groups), Counter(self.amounts)
        return other


class _Kept:
    """What is kept for runs that wait for more than is free, and the first of them."""

    def __init__(self) -> None:
        self.first = ""
        self.amounts: Counter[str] = Counter()

    def add(self, run_id: str, wanted: Mapping[str, float]) -> None:
        self.first = self.first or run_id
        _count(self.amounts, wanted)


def _count(found: Counter[str], wanted: Mapping[str, float], sign: int = 1) -> None:
    for name, amount in wanted.items():
        found[name] += sign * amount  # type: ignore[assignment]  # a Counter of floats is fine at run time


def amounts(resources: Resources) -> dict[str, float]:
    """Return resources under the names Ray uses, without what is zero."""
    found = {"CPU": resources.num_cpus, "memory": float(resources.memory_bytes), **resources.custom}
    return {name: amount for name, amount in found.items() if amount}


class AdmitDecision(NamedTuple):
    """It may start."""

    run_id: str


class HoldDecision(NamedTuple):
    """It has to wait; ``reason`` is for people."""

    run_id: str
    reason: str


class AdmissionPolicy(ABC):
    """Decides on the waiting runs that are next in line."""

    @abstractmethod
    def decide(
        self,
        candidates: Sequence[Candidate],
        active: int,
        pressure: Pressure,
        usage: Usage | None = None,
        now_ns: int = 0,
        why: str = "",
    ) -> list[AdmitDecision | HoldDecision]:
        """Return one decision a candidate. What holds one holds those behind it too that are of its priority, group and resources.

        ``active``: how many runs are under way, ``usage``: what they use; ``why``: where the pressure comes from, for people.
        """

    def bar(self, pressure: Pressure) -> Priority:
        """Return the least urgent priority that is let in under a pressure."""
        return BARS[pressure]

    def room(self, active: int) -> int | None:
        """Return how many runs may begin at most beside those under way, whoever they are; None = it depends on them."""
        return None


BARS = {Pressure.NONE: Priority.BACKGROUND, Pressure.HIGH: Priority.NORMAL, Pressure.SEVERE: Priority.CRITICAL}


@dataclass(frozen=True)
class SlotPolicy(AdmissionPolicy):
    """Slots, slots by group, a budget of resources, pressure; who waits long grows urgent.

    Under pressure what is less urgent by its own priority waits, and what is let in has half of the slots: it is slowed. Critical runs are
    never held for pressure, nor are those a person insists on.

    A smaller run may pass one that needs more than is free, until that is critical or has waited for ``ageing_s``: from then on what gets
    free is kept for it, one kind after the other: custom resources, then memory, then CPUs. A kind that it has enough of stays kept for it
    while it waits for a later one; what comes after the first kind that it lacks is free for others.
    """

    limit: int = 16
    groups: Mapping[str, int] = field(default_factory=dict)
    """Runs at once in a group; of one that is not named, one: who forms a group wants its tasks apart."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """What runs may use together, by resource (``CPU``, ``memory`` in bytes, custom names). Empty = nobody has measured it yet, so
    nothing is limited; once it is measured, there is none of what it does not name."""
    nodes: Sequence[Mapping[str, float]] = ()
    """What each node has in whole: a run, or each of its shards, has to fit on one. Empty = not known."""
    ageing_s: float = 0.0
    """After each such time of waiting a run counts as one priority more urgent, up to high. 0 = never."""

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise BadSettings(
                f"limit: {self.limit} concurrent runs would let nothing run.", remedy="Set it to 1 or more."
            )
        for name, value in (*self.groups.items(), *self.budget.items()):
            if not value > 0:
                raise BadSettings(f"limit of {name!r}: {value} would let nothing run.", remedy="Set it above 0.")
        if not self.ageing_s >= 0:
            raise BadSettings(f"ageing_s: {self.ageing_s} is not a number of seconds.")

    def decide(
        self,
        candidates: Sequence[Candidate],
        active: int,
        pressure: Pressure,
        usage: Usage | None = None,
        now_ns: int = 0,
        why: str = "",
    ) -> list[AdmitDecision | HoldDecision]:
        bar, reason = self.bar(pressure), _words(pressure, why) if pressure else ""
        used = Usage() if usage is None else usage.copy()
        used.runs = active
        kept = _Kept()
        decisions: list[AdmitDecision | HoldDecision] = []
        for candidate in sorted(candidates, key=lambda c: (self._urgency(c, now_ns), c.due_ns, c.run_id)):
            is_free = candidate.is_forced or candidate.priority is Priority.CRITICAL
            is_slowed = pressure is not Pressure.NONE and not is_free
            if candidate.priority > bar and not is_free:
                word = f"{candidate.priority.name.lower()} runs wait: {reason}"
                decisions.append(HoldDecision(candidate.run_id, word))
            elif lack := self._no_slot(candidate, used, is_slowed=is_slowed):
                word = f"{lack}: {reason}" if is_slowed else lack
                decisions.append(HoldDecision(candidate.run_id, word))
            elif lack := self._never(candidate, wanted := amounts(candidate.resources)):
                decisions.append(HoldDecision(candidate.run_id, lack))
            elif lack := self._too_little(wanted, used, kept):
                decisions.append(HoldDecision(candidate.run_id, lack))
                if self._is_pressing(candidate, now_ns):
                    kept.add(candidate.run_id, self._in_turn(wanted, used, kept))
            else:
                used.count(candidate.group, wanted)
                decisions.append(AdmitDecision(candidate.run_id))
        return decisions

    def room(self, active: int) -> int | None:
        return max(0, self.limit - active)

    def _urgency(self, candidate: Candidate, now_ns: int) -> int:
        if not self.ageing_s or candidate.priority <= Priority.HIGH:
            return candidate.priority
        steps = max(0, now_ns - candidate.due_ns) // round(self.ageing_s * SECOND_NS)
        return max(Priority.HIGH, candidate.priority - steps)

    def _is_pressing(self, candidate: Candidate, now_ns: int) -> bool:
        """Whether nobody less urgent may take what it waits for."""
        is_old = self.ageing_s > 0 and now_ns - candidate.due_ns >= round(self.ageing_s * SECOND_NS)
        return is_old or candidate.priority is Priority.CRITICAL

    def _no_slot(self, candidate: Candidate, used: Usage, *, is_slowed: bool) -> str:
        """Return which slots are taken; empty = there is one."""
        limit, most = self.limit, self.groups.get(candidate.group, 1) if candidate.group else None
        if is_slowed:
            limit, most = max(1, limit // 2), None if most is None else max(1, most // 2)
        if used.runs >= limit:
            return f"all {limit} slots are taken"
        if most is not None and used.groups[candidate.group] >= most:
            return f"group {candidate.group} has its {most} runs under way"
        return ""

    def _in_turn(self, wanted: Mapping[str, float], used: Usage, kept: _Kept) -> dict[str, float]:
        """Return what of it is kept now: all up to the first kind that there is too little of, in an order that is the same for all runs.

        So what it has is not lost while it waits for the next kind, and what it could not use before then is not idle.
        """
        found: dict[str, float] = {}
        for name in sorted(wanted, key=lambda name: (name == "CPU", name == "memory", name)):
            found[name] = wanted[name]
            if used.amounts[name] + kept.amounts[name] + wanted[name] > self.budget[name] * _SLACK:
                break
        return found

    def _too_little(self, wanted: Mapping[str, float], used: Usage, kept: _Kept) -> str:
        """Return what the budget has too little of now; empty = nothing."""
        for name, amount in wanted.items() if self.budget else ():
            whole = self.budget[name]
            if used.amounts[name] + amount > whole * _SLACK:
                return f"it needs {amount:g} {name}, {whole - used.amounts[name]:g} of {whole:g} are free"
            if used.amounts[name] + kept.amounts[name] + amount > whole * _SLACK:
                return (
                    f"the {name} that is free is kept for run {kept.first}, which is more urgent or has waited for long"
                )
        return ""

    def _never(self, candidate: Candidate, wanted: Mapping[str, float]) -> str:
        """Return what of it no moment would have free, before more nodes come; empty = nothing."""
        for name, amount in wanted.items() if self.budget else ():
            whole = self.budget.get(name, 0.0)
            if amount > whole * _SLACK:
                has = f"the budget is {whole:g}" if whole else "no node has any"
                return f"it asks for {amount:g} {name}, and {has}: it cannot start here"
        piece = amounts(candidate.resources.part(candidate.shards)) if candidate.shards > 1 else wanted
        if not self.nodes or any(_fits(piece, node) for node in self.nodes):
            return ""
        for name, amount in piece.items():
            largest = max(node.get(name, 0.0) for node in self.nodes)
            if amount > largest * _SLACK:
                return (
                    f"it asks for {amount:g} {name} on one node, and the largest has {largest:g}: it cannot start here"
                )
        words = " and ".join(f"{amount:g} {name}" for name, amount in piece.items())
        return f"it asks for {words} on one node, and none has them together: it cannot start here"


def group_slots(text: str) -> dict[str, int]:
    """Return slots by group as the setting ``limits.groups`` says them: ``disk=2, mail=1``."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): int(slots) for name, _, slots in pairs}


def _words(pressure: Pressure, why: str) -> str:
    return f"pressure is {pressure.name.lower()}" + (f" ({why})" if why else "")


def _fits(wanted: Mapping[str, float], whole: Mapping[str, float]) -> bool:
    return all(amount <= whole.get(name, 0.0) * _SLACK for name, amount in wanted.items())
