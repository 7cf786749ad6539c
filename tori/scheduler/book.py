"""The book of runs: what the scheduler knows, bounded, and how it is read back from facts after a restart."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tori.clock import SECOND_NS
from tori.events import system as events
from tori.scheduler.signal import (
    RunCancelling,
    RunQueued,
    RunResulted,
    RunRetrying,
    RunVaried,
    SchedulerRecord,
    TaskPaused,
    TaskTriggered,
    Throttle,
    Version,
)
from tori.scheduler.spec import TaskSpec
from tori.scheduler.transition import ACTIVE, ENDED, WAITING, RunState
from tori.scheduler.trigger import AfterTrigger, Unscheduled, dependents

KEPT_RUNS = 500
"""Ended runs that are remembered; the oldest is forgotten first."""
MAX_TRIGGERS = 16


class Run(msgspec.Struct):
    """One time a task was due, or was asked for. Times end in what clock they are on."""

    run_id: str
    task_id: str
    state: RunState = RunState.DUE
    attempt: int = 0
    """The present or last attempt, from 1; 0 = none yet."""
    is_asked: bool = False
    """By a person or program, not by its trigger."""
    due_ns: int = 0
    """Monotonic: since when it waits, or (retrying) when its pause is over."""
    started_ns: int = 0
    """Monotonic: admission of the present attempt."""
    deadline_ns: int | None = None
    """Monotonic: when the attempt, or the wait for its end, takes too long."""
    ending: str = ""
    """Why its end was asked for: ``cancelled``, ``timed out`` or ``lost``."""
    hold: str = ""
    """What keeps it waiting."""
    error: str = ""
    began_wall_ns: int = 0
    """Wall clock: the first attempt."""
    ended_wall_ns: int = 0
    duration_s: float | None = None
    """Of the last attempt that ended."""
    seen: dict[str, Version] = {}
    """Versions known at admission."""
    variant: str = ""
    """The fallback variant that the next or present attempt runs; empty = the task itself."""
    expires_ns: int | None = None
    """Monotonic: the deadline of the whole run."""
    since_ns: int | None = None
    """Monotonic: since when it has been in line, which is what the fallback counts from; None = it is not."""
    cause: str = ""
    """Id of the event, or of the run, that made it due."""
    done: float = 0.0
    total: float = 0.0
    """Progress of the present attempt, in whatever it counts; total 0 = unknown."""
    result: str = ""
    """What it reported at its end, JSON."""
    is_forced: bool = False
    """A person wants it whatever the pressure."""
    shed: int = 0
    """Attempts that were stopped for others' sake; they do not count as tries."""

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def is_waiting(self) -> bool:
        return self.state in WAITING

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED

    def eta_s(self, now_ns: int) -> float | None:
        """Return how long the present attempt still takes at the speed it had so far, seconds; None when nobody can say."""
        if not self.is_active or not 0 < self.done <= self.total:
            return None
        return (now_ns - self.started_ns) / SECOND_NS * (self.total - self.done) / self.done


class Task(msgspec.Struct):
    """What the scheduler remembers of one task."""

    task_id: str
    next_due_ns: int | None = None
    """Monotonic; None = only on demand."""
    is_paused: bool = False
    run_id: str = ""
    """Its oldest run that has not ended."""
    last_wall_ns: int | None = None
    """Wall clock: when its last run began; before the first one, when the system first started."""
    covered: dict[str, Version] = {}
    """Versions that the last good run speaks for."""
    counts: dict[str, int] = {}
    """Ended runs by state, and skipped ones by reason (``skipped: unchanged``)."""
    run_ids: list[str] = []
    """All its runs that have not ended, oldest first."""
    grid_ns: int = 0
    """Monotonic: the due time before jitter."""
    due_wall_ns: int | None = None
    """Wall clock: the due time, for a trigger that goes by it."""
    triggers: list[str] = []
    """What made it due since its last run was made: ids of events or runs; the last ``MAX_TRIGGERS``."""

    backlog: int = 0
    """Due times of an earlier life that its first run makes up for (``missed = all``)."""

    def count(self, what: str, number: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + number


class BookSnapshot(msgspec.Struct, array_like=True):
    """The whole book, with monotonic times relative to the moment it was taken."""

    tasks: list[Task]
    runs: list[Run]
    ended: list[Run]
    is_paused: bool
    throttle: Throttle = Throttle.OFF
    throttle_reason: str = ""


class Book:
    """Tasks by id, runs that have not ended, and the last ones that have."""

    def __init__(self, specs: Iterable[TaskSpec]) -> None:
        self.specs: dict[str, TaskSpec] = {}
        self.tasks: dict[str, Task] = {}
        self.dependents: dict[str, tuple[str, ...]] = {}
        """By task: those that are due when a run of it has ended."""
        self.learn({spec.task_id: spec for spec in specs})
        self.runs: dict[str, Run] = {}
        self.ended: OrderedDict[str, Run] = OrderedDict()
        self.is_paused = False
        self.throttle = Throttle.OFF
        self.throttle_reason = ""
        self._retrying: dict[tuple[str, int], RunRetrying] = {}
        """Replayed records whose TaskFailed has not been seen yet."""
        self._results: dict[str, str] = {}
        """Replayed results whose TaskCompleted has not been seen yet."""
        self._variants: dict[str, str] = {}
        """Replayed variants whose TaskStarted has not been seen yet."""
        self._cancelling: dict[tuple[str, int], RunCancelling] = {}
        """Replayed cancellations of attempts whose TaskStarted has not been seen yet."""
        self._used: dict[str, str] = {}
        """By task: the run it was made due by, when its end has not been seen yet: in one unit with what followed it."""

    def learn(self, specs: dict[str, TaskSpec]) -> None:
        """Take these specs for all there are; what is known of their tasks stays. Raises BadSettings with nothing changed for a circle.

        The dicts are replaced, not changed: other threads may be reading them.
        """
        after = dependents({task_id: spec.trigger for task_id, spec in specs.items()})
        self.specs, self.dependents = specs, after
        self.tasks = {task_id: self.tasks.get(task_id) or Task(task_id) for task_id in specs}

    def find(self, run_id: str) -> Run | None:
        return self.runs.get(run_id) or self.ended.get(run_id)

    def open(self, run: Run) -> None:
        """Enter a run that has not ended."""
        self.runs[run.run_id] = run
        task = self.tasks.get(run.task_id)
        if task is not None:
            task.run_ids.append(run.run_id)
            task.run_id = task.run_ids[0]

    def close(self, run: Run) -> None:
        """Move a run that ended to the history."""
        self.runs.pop(run.run_id, None)
        task = self.tasks.get(run.task_id)
        if task is not None:
            task.count(str(run.state))
            if run.run_id in task.run_ids:
                task.run_ids.remove(run.run_id)
                task.run_id = task.run_ids[0] if task.run_ids else ""
        self.ended.pop(run.run_id, None)
        self.ended[run.run_id] = run
        while len(self.ended) > KEPT_RUNS:
            self.ended.popitem(last=False)

    # -- replay --------------------------------------------------------------------------------------------------

    def apply(self, fact: Any, time_ns: int) -> None:
        """Take one fact of an earlier life: a Task* payload, SystemStarted or a private record. Others are ignored. Never fails."""
        if isinstance(fact, SchedulerRecord):
            self._apply_record(fact)
        elif isinstance(fact, events.WorkThrottled):
            if fact.by == "person":
                self.throttle, self.throttle_reason = Throttle(fact.level), fact.reason
        elif isinstance(fact, events.TaskStarted):
            self._apply_started(fact, time_ns)
        elif isinstance(fact, events.SystemStarted):
            for task in self.tasks.values():
                if not isinstance(self.specs[task.task_id].trigger, Unscheduled):
                    task.last_wall_ns = task.last_wall_ns or time_ns
        elif isinstance(fact, events.TaskCompleted):
            self._apply_end(fact, RunState.SUCCEEDED, time_ns)
        elif isinstance(fact, events.TaskCancelled):
            self._apply_end(fact, RunState.CANCELLED, time_ns)
        elif isinstance(fact, events.TaskFailed):
            record = self._retrying.pop((fact.run_id, fact.attempt), None)
            self._apply_end(fact, RunState.FAILED if record is None else RunState.RETRYING, time_ns, record)

    def _apply_record(self, record: SchedulerRecord) -> None:
        if isinstance(record, RunQueued):
            self._apply_queued(record)
        elif isinstance(record, TaskTriggered):
            self.trigger(record.task_id, record.cause)
        elif isinstance(record, RunResulted):
            self._results[record.run_id] = record.result
        elif isinstance(record, RunVaried):
            self._variants[record.run_id] = record.variant
        elif isinstance(record, TaskPaused):
            self._apply_pause(record)
        elif isinstance(record, RunCancelling):
            self._apply_cancelling(record)
        else:
            self._apply_retrying(record)

    def trigger(self, task_id: str, cause: str) -> None:
        """Note what made a task due; an unknown task is none any more."""
        task = self.tasks.get(task_id)
        if self._used.get(task_id) == cause:
            del self._used[task_id]
            if task is not None:
                task.triggers = []
        elif task is not None and cause not in task.triggers:
            task.triggers = [*task.triggers[1 - MAX_TRIGGERS :], cause]

    def _use_triggers(self, task_id: str, cause: str) -> None:
        """A run was made of ``cause`` and of all that had made its task due before."""
        task = self.tasks.get(task_id)
        if task is None or not cause:
            return
        if cause in task.triggers:
            task.triggers = task.triggers[task.triggers.index(cause) + 1 :]
        elif isinstance(self.specs[task_id].trigger, AfterTrigger):
            self._used[task_id] = cause

    def trigger_dependents(self, run: Run) -> tuple[str, ...]:
        """Note for every task that follows this one that it is due; return those. A request that was turned down never ran."""
        found: list[str] = []
        if run.state is RunState.SKIPPED:
            return ()
        for task_id in self.dependents.get(run.task_id, ()):
            trigger = self.specs[task_id].trigger
            if isinstance(trigger, AfterTrigger) and (trigger.on == "ended" or run.state is RunState.SUCCEEDED):
                self.trigger(task_id, run.run_id)
                found.append(task_id)
        return tuple(found)

    def _apply_queued(self, fact: RunQueued) -> None:
        if self.find(fact.run_id) is not None:
            return
        self.open(Run(fact.run_id, fact.task_id, is_asked=fact.is_asked, cause=fact.cause, is_forced=fact.is_forced))
        if not fact.is_asked:
            self._use_triggers(fact.task_id, fact.cause)

    def _apply_pause(self, fact: TaskPaused) -> None:
        if not fact.task_id:
            self.is_paused = fact.paused
        elif fact.task_id in self.tasks:
            self.tasks[fact.task_id].is_paused = fact.paused

    def _apply_retrying(self, fact: RunRetrying) -> None:
        """Of one commit unit the records come before the events, of several handed over one by one perhaps after."""
        run = self.ended.get(fact.run_id)
        if run is not None and run.state is RunState.FAILED and run.attempt == fact.attempt:
            task = self.tasks.get(run.task_id)
            if task is not None:
                task.counts[str(RunState.FAILED)] -= 1
            del self.ended[fact.run_id]
            run.state, run.variant, run.shed = RunState.RETRYING, fact.variant, fact.shed
            self.open(run)
        else:
            self._retrying[fact.run_id, fact.attempt] = fact

    def _apply_cancelling(self, fact: RunCancelling) -> None:
        """Of one commit unit it may come before the start of its attempt."""
        run = self.runs.get(fact.run_id)
        if run is not None and run.is_active and run.attempt == fact.attempt:
            run.ending, run.error = fact.why, fact.error
        else:
            self._cancelling[fact.run_id, fact.attempt] = fact

    def _apply_started(self, fact: events.TaskStarted, time_ns: int) -> None:
        run = self.runs.get(fact.run_id)
        if run is None:
            run = Run(fact.run_id, fact.task_id, began_wall_ns=time_ns)
            self.open(run)
            if fact.task_id in self.tasks:
                self.tasks[fact.task_id].triggers = []  # an earlier version kept no record of what a run was made of
        run.state, run.attempt, run.variant = RunState.RUNNING, fact.attempt, self._variants.pop(fact.run_id, "")
        run.began_wall_ns = run.began_wall_ns or time_ns
        cancelling = self._cancelling.pop((fact.run_id, fact.attempt), None)
        if cancelling is not None:
            self._apply_cancelling(cancelling)
        task = self.tasks.get(fact.task_id)
        if task is not None:
            task.last_wall_ns = time_ns

    def _apply_end(self, fact: Any, state: RunState, time_ns: int, retry: RunRetrying | None = None) -> None:
        result = self._results.pop(fact.run_id, "")
        run = self.runs.get(fact.run_id)
        if run is None:
            if fact.run_id in self.ended or state not in (RunState.CANCELLED, RunState.FAILED):
                return
            run = Run(fact.run_id, fact.task_id)  # it ended before it began: nobody may have its id again
            self.open(run)
        run.state, run.attempt, run.error, run.duration_s = state, fact.attempt, fact.error or "", fact.duration_s
        run.ending = ""
        if retry is not None:
            run.variant, run.shed = retry.variant, retry.shed
        if run.is_ended:
            run.ended_wall_ns, run.result = time_ns, result
            self.close(run)
            self.trigger_dependents(run)

    # -- snapshot ------------------------------------------------------------------------------------------------

    def snapshot(self, now_ns: int) -> BookSnapshot:
        return BookSnapshot(
            [_shift_task(task, -now_ns) for task in self.tasks.values()],
            [_shift_run(run, -now_ns) for run in self.runs.values()],
            [_shift_run(run, -now_ns) for run in self.ended.values()],
            self.is_paused,
            self.throttle,
            self.throttle_reason,
        )

    def restore(self, state: BookSnapshot, now_ns: int) -> None:
        """Replace everything; tasks that no longer have a spec are dropped, new ones keep their fresh start."""
        for task in state.tasks:
            if task.task_id in self.tasks:
                self.tasks[task.task_id] = _shift_task(task, now_ns)
        self.runs = {run.run_id: _shift_run(run, now_ns) for run in state.runs}
        self.ended = OrderedDict((run.run_id, _shift_run(run, now_ns)) for run in state.ended)
        self.is_paused = state.is_paused
        self.throttle, self.throttle_reason = state.throttle, state.throttle_reason

    def check(self, is_known: Callable[[str], bool]) -> None:
        """Raise AssertionError with the facts when an invariant does not hold."""
        for run in self.runs.values():
            assert not run.is_ended, run
            assert (run.deadline_ns is not None) == run.is_active, run
            assert run.attempt > 0 or run.state is RunState.DUE, run
            assert not run.ending or run.is_active, run
            assert is_known(run.task_id), run
            assert run.run_id in self.tasks[run.task_id].run_ids, f"{run.run_id} is no run of its task: {self.runs}"
        for task in self.tasks.values():
            assert all(run_id in self.runs for run_id in task.run_ids), task
            assert task.run_id == (task.run_ids[0] if task.run_ids else ""), task
            active = [run_id for run_id in task.run_ids if self.runs[run_id].is_active]
            assert len(active) <= self.specs[task.task_id].max_at_once, f"{len(active)} runs of {task.task_id} at once"
        assert all(run.is_ended for run in self.ended.values())
        assert len(self.ended) <= KEPT_RUNS


def _shift_run(run: Run, by_ns: int) -> Run:
    return msgspec.structs.replace(
        run,
        due_ns=run.due_ns + by_ns,
        started_ns=run.started_ns + by_ns,
        deadline_ns=_shifted(run.deadline_ns, by_ns),
        expires_ns=_shifted(run.expires_ns, by_ns),
        since_ns=_shifted(run.since_ns, by_ns),
    )


def _shift_task(task: Task, by_ns: int) -> Task:
    return msgspec.structs.replace(
        task,
        next_due_ns=_shifted(task.next_due_ns, by_ns),
        grid_ns=task.grid_ns + by_ns,
        counts=dict(task.counts),
        covered=dict(task.covered),
        run_ids=list(task.run_ids),
    )


def _shifted(time_ns: int | None, by_ns: int) -> int | None:
    return None if time_ns is None else time_ns + by_ns
