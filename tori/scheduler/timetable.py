"""The timetable: when each task is due next, by its trigger, its history and what holds it."""

from __future__ import annotations

from tori.clock import SECOND_NS, Clock
from tori.scheduler.book import Task
from tori.scheduler.desk import Desk
from tori.scheduler.signal import Throttle
from tori.scheduler.spec import Missed, TaskSpec
from tori.scheduler.trigger import EventTrigger, Moment

LOOK_S = 60.0
"""How often a task that goes by the wall clock looks at it: a clock that jumps is noticed so soon."""

CORRECTION_S = 3 * 3600.0
"""A wall clock that goes back further was wrong before; one that goes back less may have been, and nothing is repeated."""


class Timetable:
    """Enters tasks into the calendar of the desk."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self._desk = desk
        self._book = desk.book
        self._clock = clock

    def arm(self) -> None:
        """Set every task's next due time."""
        for task in self._book.tasks.values():
            self.arm_task(task)

    def arm_task(self, task: Task) -> None:
        """Set a task's next due time from what became of the ones before."""
        spec, moment = self._book.specs[task.task_id], Moment.at(self._clock)
        last_wall_ns = None if spec.missed is Missed.SKIP and self._is_overdue(task, moment) else task.settled_wall_ns
        task.backlog = 0
        if spec.missed is Missed.ALL and not spec.watches:  # after one run what it watches is as it was
            task.backlog = max(0, spec.trigger.backlog(moment, last_wall_ns) - 1)
        self.set_due(task, spec.trigger.first(moment, last_wall_ns), moment)
        self.arm_triggered(task)

    def arm_triggered(self, task: Task) -> None:
        """A task that something made due, and that is not planned yet, is due now or when its gap is over."""
        if not task.triggers or task.next_due_ns is not None:
            return
        trigger, moment, gap_ns = self._book.specs[task.task_id].trigger, Moment.at(self._clock), 0
        if isinstance(trigger, EventTrigger) and task.last_wall_ns is not None:
            passed_ns = max(0, moment.wall_ns - task.last_wall_ns)
            gap_ns = max(0, round(trigger.min_gap_s * SECOND_NS) - passed_ns)
        self.set_due(task, moment.monotonic_ns + gap_ns, moment)

    def set_due(self, task: Task, grid_ns: int | None, moment: Moment) -> None:
        """Plan the next due time, jitter included; None = never by itself."""
        spec = self._book.specs[task.task_id]
        task.grid_ns, task.next_due_ns, task.due_wall_ns = grid_ns or 0, None, None
        if grid_ns is not None:
            task.next_due_ns = grid_ns + spec.jitter_ns(grid_ns)
            if spec.trigger.follows_wall:
                task.due_wall_ns = moment.wall_ns + task.next_due_ns - moment.monotonic_ns
                task.planned_wall_ns = moment.wall_ns
        self.plan(task)

    def plan(self, task: Task) -> None:
        """Enter a task in the calendar, if it may fire."""
        at = task.next_due_ns if self.may_fire(task) else None
        self._desk.calendar.set("due", task.task_id, at)
        is_far = at is not None and task.due_wall_ns is not None
        look_ns = round(LOOK_S * SECOND_NS)
        look_ns *= self._clock.monotonic_ns() // look_ns + 1  # all at the same moments: one wake-up for all
        self._desk.calendar.set("look", task.task_id, look_ns if is_far else None)

    def replan(self) -> None:
        """Look at every task again after something that holds many has changed."""
        for task in self._book.tasks.values():
            self.plan(task)

    def may_fire(self, task: Task) -> bool:
        """Whether runs are made of it now."""
        if self._book.is_paused or self._desk.is_draining or self._book.throttle is Throttle.STOPPED:
            return False
        return not task.is_paused and self._book.specs[task.task_id].module not in self._desk.unavailable

    def was_ahead(self, task: Task, moment: Moment) -> bool:
        """Whether the wall clock went back so far since the due time was found that the time before was a mistake.

        After less it waits until the clock is there again: nothing comes twice. Debian's cron draws the line at 3 hours as well.
        """
        return task.due_wall_ns is not None and task.planned_wall_ns - moment.wall_ns > round(CORRECTION_S * SECOND_NS)

    def is_late(self, spec: TaskSpec, due_ns: int, moment: Moment) -> bool:
        """Whether a due time comes up so late that nobody could look: a hold was over it, or the machine was asleep."""
        return moment.monotonic_ns - due_ns > round((spec.jitter_s + LOOK_S) * SECOND_NS)

    def _is_overdue(self, task: Task, moment: Moment) -> bool:
        """Whether a due time has passed, and its jitter too."""
        spec = self._book.specs[task.task_id]
        jitter_ns = round(spec.jitter_s * SECOND_NS)
        then = Moment(moment.wall_ns - jitter_ns, moment.monotonic_ns - jitter_ns)
        return spec.trigger.backlog(then, task.settled_wall_ns) > 0
