"""Triggers: what makes a task due. Each answers with monotonic times; a new kind is one class more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

from tori.clock import SECOND_NS
from tori.errors import BadSettings


class Moment(NamedTuple):
    """Now, on both clocks."""

    wall_ns: int
    monotonic_ns: int


class Trigger(ABC):
    """Decides when a task is due. Holds no state: the scheduler remembers the last due time."""

    @abstractmethod
    def first(self, now: Moment, last_wall_ns: int | None) -> int | None:
        """Return when the task is first due (monotonic ns), None = never by itself.

        ``last_wall_ns`` is when it last began in an earlier life of the orchestrator, by the wall clock.
        """

    @abstractmethod
    def next(self, due_ns: int, now: Moment) -> int | None:
        """Return when it is due after having been due at ``due_ns``; always later than ``now``: missed times become one."""


@dataclass(frozen=True)
class IntervalTrigger(Trigger):
    """Due every ``interval_s`` seconds, on a grid that does not drift with the length of the runs."""

    interval_s: float

    def __post_init__(self) -> None:
        if not self.interval_s > 0:
            raise BadSettings(f"interval_s: {self.interval_s} is not a positive number of seconds.")

    def first(self, now: Moment, last_wall_ns: int | None) -> int | None:
        every_ns = round(self.interval_s * SECOND_NS)
        if last_wall_ns is None:
            return now.monotonic_ns + every_ns
        passed_ns = min(max(now.wall_ns - last_wall_ns, 0), every_ns)  # the wall clock may have jumped either way
        return now.monotonic_ns + every_ns - passed_ns

    def next(self, due_ns: int, now: Moment) -> int | None:
        every_ns = round(self.interval_s * SECOND_NS)
        missed = max(0, now.monotonic_ns - due_ns) // every_ns
        return due_ns + (missed + 1) * every_ns


@dataclass(frozen=True)
class DemandTrigger(Trigger):
    """Never due by itself: it runs when it is asked for."""

    def first(self, now: Moment, last_wall_ns: int | None) -> int | None:
        return None

    def next(self, due_ns: int, now: Moment) -> int | None:
        return None
