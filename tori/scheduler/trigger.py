"""Triggers: what makes a task due. Each answers with monotonic times; a new kind is one class more."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any, ClassVar, Literal, NamedTuple
from zoneinfo import ZoneInfo

from tori.clock import SECOND_NS, Clock
from tori.errors import BadInput, BadSettings
from tori.events.topic import Matcher, Topic
from tori.scheduler.field import check_kind, check_number, read_names

LEAST_INTERVAL_S = 0.001
MOST_MISSED = 1000
"""Missed times are counted so far: nobody catches up with more."""


class Moment(NamedTuple):
    """Now, on both clocks."""

    wall_ns: int
    monotonic_ns: int

    @classmethod
    def at(cls, clock: Clock) -> Moment:
        """Return the present moment of a clock."""
        return cls(clock.wall_ns(), clock.monotonic_ns())


class Trigger(ABC):
    """Decides when a task is due. Holds no state: the scheduler remembers the last due time."""

    follows_wall: ClassVar[bool] = False
    """Whether its due times are times of day: then a jump of the wall clock moves them, and they are looked at again."""

    @abstractmethod
    def first(self, now: Moment, last_wall_ns: int | None) -> int | None:
        """Return when the task is first due (monotonic ns), None = never by itself.

        ``last_wall_ns`` is when it last began in an earlier life of the orchestrator, by the wall clock.
        """

    @abstractmethod
    def next(self, due_ns: int, now: Moment) -> int | None:
        """Return when it is due after having been due at ``due_ns``; always later than ``now``: missed times become one."""

    def digest(self) -> str:
        """Return what tells it from a trigger with other due times."""
        return blake2b(repr(self).encode(), digest_size=8).hexdigest()

    def missed(self, due_ns: int, now: Moment) -> int:
        """Return how many due times after ``due_ns`` have passed as well, at most ``MOST_MISSED``."""
        return 0

    def backlog(self, now: Moment, last_wall_ns: int | None) -> int:
        """Return how many due times passed between its last run in an earlier life and now, at most ``MOST_MISSED``."""
        return 0


@dataclass(frozen=True)
class IntervalTrigger(Trigger):
    """Due every ``interval_s`` seconds, on a grid that does not drift with the length of the runs."""

    interval_s: float

    def __post_init__(self) -> None:
        check_number("interval_s", self.interval_s)
        if self.interval_s < LEAST_INTERVAL_S:
            raise BadSettings(
                f"interval_s: {self.interval_s} is not a positive number of seconds.",
                remedy=f"{LEAST_INTERVAL_S} is the least.",
            )

    def first(self, now: Moment, last_wall_ns: int | None) -> int | None:
        every_ns = round(self.interval_s * SECOND_NS)
        if last_wall_ns is None:
            return now.monotonic_ns + every_ns
        passed_ns = min(max(now.wall_ns - last_wall_ns, 0), every_ns)  # the wall clock may have jumped either way
        return now.monotonic_ns + every_ns - passed_ns

    def next(self, due_ns: int, now: Moment) -> int | None:
        return due_ns + (self.missed(due_ns, now) + 1) * round(self.interval_s * SECOND_NS)

    def missed(self, due_ns: int, now: Moment) -> int:
        return max(0, now.monotonic_ns - due_ns) // round(self.interval_s * SECOND_NS)

    def backlog(self, now: Moment, last_wall_ns: int | None) -> int:
        passed_ns = 0 if last_wall_ns is None else max(0, now.wall_ns - last_wall_ns)
        return min(MOST_MISSED, passed_ns // round(self.interval_s * SECOND_NS))


@dataclass(frozen=True)
class CronTrigger(Trigger):
    """Due at times of day, by a cron expression of five fields (six: with seconds first) in a time zone.

    Times that a change to summer time skips come when the clock jumps, times it repeats come once, as Debian's cron does it
    (https://manpages.debian.org/cron). Raises BadSettings for an expression that is wrong or never fires.
    """

    expression: str
    timezone: str = "UTC"

    follows_wall: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_kind("cron", self.expression, str, "Write the fields as a text, such as '30 6 * * 1-5'.")
        check_kind("timezone", self.timezone, str, "Use a name such as Europe/Berlin or UTC.")
        try:
            zone = ZoneInfo(self.timezone)
        except (KeyError, ValueError, OSError) as error:
            raise BadSettings(
                f"timezone: there is no time zone {self.timezone!r}.", remedy="Use a name such as Europe/Berlin or UTC."
            ) from error
        self._after(datetime(2024, 1, 1, tzinfo=zone))

    def _after(self, moment: datetime) -> datetime:
        from cronsim import CronSim, CronSimError

        try:
            found = next(CronSim(self.expression, moment))
        except CronSimError as error:
            if "day-of-month" in str(error).lower() and self._lacks_a_month():
                raise self._never() from error
            raise BadSettings(
                f"cron: {self.expression!r} is no cron expression: {str(error).lower()}.",
                remedy="Five fields: minute hour day-of-month month day-of-week, such as 30 6 * * 1-5.",
            ) from error
        except StopIteration as error:
            raise self._never() from error
        assert isinstance(found, datetime)
        return found

    def _never(self) -> BadSettings:
        return BadSettings(f"cron: {self.expression!r} never fires.", remedy="Check day-of-month against month.")

    def _lacks_a_month(self) -> bool:
        """Whether the expression would be right if every month had 31 days, as in 30 February."""
        from cronsim import CronSim, CronSimError

        fields = self.expression.split()
        if len(fields) < 5:
            return False
        fields[-2] = "1"
        try:
            CronSim(" ".join(fields), datetime(2024, 1, 1, tzinfo=UTC))
        except CronSimError:
            return False
        return True

    def _after_ns(self, wall_ns: int) -> int:
        moment = datetime.fromtimestamp(wall_ns // SECOND_NS, UTC).astimezone(ZoneInfo(self.timezone))
        return round(self._after(moment).timestamp()) * SECOND_NS

    def first(self, now: Moment, last_wall_ns: int | None) -> int | None:
        """Overdue since an earlier life: at once. A last time in the future (the clock went back) counts as now."""
        since = now.wall_ns if last_wall_ns is None else min(last_wall_ns, now.wall_ns)
        return now.monotonic_ns + max(0, self._after_ns(since) - now.wall_ns)

    def next(self, due_ns: int, now: Moment) -> int | None:
        return now.monotonic_ns + self._after_ns(now.wall_ns) - now.wall_ns

    def missed(self, due_ns: int, now: Moment) -> int:
        return self._count(now.wall_ns - (now.monotonic_ns - due_ns), now.wall_ns)

    def backlog(self, now: Moment, last_wall_ns: int | None) -> int:
        return 0 if last_wall_ns is None else self._count(last_wall_ns, now.wall_ns)

    def _count(self, after_ns: int, until_ns: int) -> int:
        count = 0
        while count < MOST_MISSED and (after_ns := self._after_ns(after_ns)) <= until_ns:
            count += 1
        return count


class Unscheduled(Trigger):
    """Time alone never makes it due."""

    def first(self, now: Moment, last_wall_ns: int | None) -> int | None:
        return None

    def next(self, due_ns: int, now: Moment) -> int | None:
        return None


@dataclass(frozen=True)
class DemandTrigger(Unscheduled):
    """Never due by itself: it runs when it is asked for."""


@dataclass(frozen=True)
class EventTrigger(Unscheduled):
    """Due when an event of one of these topics (``source:type:key``) was seen, at most once in ``min_gap_s``.

    Raises BadSettings for a pattern that fits nothing.
    """

    topics: tuple[str, ...]
    min_gap_s: float = 0.0
    """Events that come while it waits become one run."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "topics", read_names("topics", self.topics))
        check_number("min_gap_s", self.min_gap_s)
        if self.min_gap_s < 0:
            raise BadSettings(f"min_gap_s: {self.min_gap_s} is not a number of seconds.")
        try:
            _ = self.matcher
        except BadInput as error:
            raise BadSettings(f"topics: {error.message}", remedy=error.remedy) from error

    @cached_property
    def matcher(self) -> Matcher:
        """The compiled topics."""
        return Matcher(Topic.parse(text) for text in self.topics)

    def __getstate__(self) -> dict[str, Any]:
        """Return what it was made of: the matcher follows from that."""
        return {"topics": self.topics, "min_gap_s": self.min_gap_s}


@dataclass(frozen=True)
class AfterTrigger(Unscheduled):
    """Due when a run of one of these tasks has ended: only when it succeeded, or however it ended."""

    task_ids: tuple[str, ...]
    on: Literal["succeeded", "ended"] = "succeeded"

    def __post_init__(self) -> None:
        object.__setattr__(self, "task_ids", read_names("task_ids", self.task_ids))
        if not self.task_ids or self.on not in ("succeeded", "ended"):
            raise BadSettings(
                "an after trigger names at least one task, and 'succeeded' or 'ended'.",
                remedy=f"It has {self.task_ids} and {self.on!r}.",
            )


def dependents(triggers: Mapping[str, Trigger]) -> dict[str, tuple[str, ...]]:
    """Return by task which tasks follow it; raises BadSettings for an unknown task or a circle, naming it."""
    found = followers(triggers)
    for other, after in found.items():
        if other not in triggers:
            raise BadSettings(
                f"task {after[0]} follows {other!r}, which is no task.", remedy=f"Tasks: {', '.join(triggers)}."
            )
    _refuse_circle(triggers, found)
    return found


def refuse_circles(triggers: Mapping[str, Trigger]) -> None:
    """Raise BadSettings when tasks follow one another in a circle; those that are not among ``triggers`` are not followed."""
    _refuse_circle(triggers, followers(triggers))


def followers(triggers: Mapping[str, Trigger]) -> dict[str, tuple[str, ...]]:
    """Return by task which of these tasks follow it; nothing is checked."""
    found: dict[str, tuple[str, ...]] = {}
    for task_id, trigger in triggers.items():
        for other in trigger.task_ids if isinstance(trigger, AfterTrigger) else ():
            found[other] = (*found.get(other, ()), task_id)
    return found


def _refuse_circle(task_ids: Iterable[str], after: Mapping[str, Iterable[str]]) -> None:
    done: set[str] = set()

    def visit(task_id: str, path: tuple[str, ...]) -> None:
        if task_id in path:
            circle = " -> ".join((*path[path.index(task_id) :], task_id))
            raise BadSettings(
                f"tasks follow one another in a circle: {circle}.", remedy="Break it: it would never end."
            )
        if task_id not in done:
            for other in after.get(task_id, ()):
                visit(other, (*path, task_id))
            done.add(task_id)

    for task_id in task_ids:
        visit(task_id, ())
