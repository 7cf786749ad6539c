"""The book of runs: what the scheduler knows, bounded, and how it is read back from facts after a restart."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from tori.events import system as events
from tori.scheduler.signal import RunQueued, RunRetrying, TaskPaused, Version
from tori.scheduler.spec import TaskSpec
from tori.scheduler.transition import ACTIVE, ENDED, RunState

KEPT_RUNS = 500
"""Ended runs that are remembered; the oldest is forgotten first."""


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

    @property
    def is_active(self) -> bool:
        return self.state in ACTIVE

    @property
    def is_ended(self) -> bool:
        return self.state in ENDED


class Task(msgspec.Struct):
    """What the scheduler remembers of one task."""

    task_id: str
    next_due_ns: int | None = None
    """Monotonic; None = only on demand."""
    is_paused: bool = False
    run_id: str = ""
    """Its run that has not ended."""
    last_wall_ns: int | None = None
    """Wall clock: when its last run began; before the first one, when the system first started."""
    covered: dict[str, Version] = {}
    """Versions that the last good run speaks for."""
    counts: dict[str, int] = {}
    """Ended runs by state, and skipped ones by reason (``skipped: unchanged``)."""

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


class BookSnapshot(msgspec.Struct, array_like=True):
    """The whole book, with monotonic times relative to the moment it was taken."""

    tasks: list[Task]
    runs: list[Run]
    ended: list[Run]
    is_paused: bool


class Book:
    """Tasks by id, runs that have not ended, and the last ones that have."""

    def __init__(self, specs: Iterable[TaskSpec]) -> None:
        self.tasks = {spec.task_id: Task(spec.task_id) for spec in specs}
        self.runs: dict[str, Run] = {}
        self.ended: OrderedDict[str, Run] = OrderedDict()
        self.is_paused = False
        self._retrying: set[tuple[str, int]] = set()
        """Replayed records whose TaskFailed has not been seen yet."""

    def find(self, run_id: str) -> Run | None:
        return self.runs.get(run_id) or self.ended.get(run_id)

    def open(self, run: Run) -> None:
        """Enter a run that has not ended; it is its task's run from now on."""
        self.runs[run.run_id] = run
        task = self.tasks.get(run.task_id)
        if task is not None:
            task.run_id = run.run_id

    def close(self, run: Run) -> None:
        """Move a run that ended to the history."""
        self.runs.pop(run.run_id, None)
        task = self.tasks.get(run.task_id)
        if task is not None:
            task.count(str(run.state))
            if task.run_id == run.run_id:
                task.run_id = ""
        self.ended.pop(run.run_id, None)
        self.ended[run.run_id] = run
        while len(self.ended) > KEPT_RUNS:
            self.ended.popitem(last=False)

    # -- replay --------------------------------------------------------------------------------------------------

    def apply(self, fact: Any, time_ns: int) -> None:
        """Take one fact of an earlier life: a Task* payload, SystemStarted or a private record. Others are ignored. Never fails."""
        if isinstance(fact, RunQueued):
            if self.find(fact.run_id) is None:
                self.open(Run(fact.run_id, fact.task_id, is_asked=True))
        elif isinstance(fact, TaskPaused):
            self._apply_pause(fact)
        elif isinstance(fact, RunRetrying):
            self._apply_retrying(fact)
        elif isinstance(fact, events.TaskStarted):
            self._apply_started(fact, time_ns)
        elif isinstance(fact, events.SystemStarted):
            for task in self.tasks.values():
                task.last_wall_ns = task.last_wall_ns or time_ns
        elif isinstance(fact, events.TaskCompleted):
            self._apply_end(fact, RunState.SUCCEEDED, time_ns)
        elif isinstance(fact, events.TaskCancelled):
            self._apply_end(fact, RunState.CANCELLED, time_ns)
        elif isinstance(fact, events.TaskFailed):
            key = (fact.run_id, fact.attempt)
            is_last = key not in self._retrying
            self._retrying.discard(key)
            self._apply_end(fact, RunState.FAILED if is_last else RunState.RETRYING, time_ns)

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
            run.state = RunState.RETRYING
            self.open(run)
        else:
            self._retrying.add((fact.run_id, fact.attempt))

    def _apply_started(self, fact: events.TaskStarted, time_ns: int) -> None:
        run = self.runs.get(fact.run_id)
        if run is None:
            run = Run(fact.run_id, fact.task_id, began_wall_ns=time_ns)
            self.open(run)
        run.state, run.attempt = RunState.RUNNING, fact.attempt
        run.began_wall_ns = run.began_wall_ns or time_ns
        task = self.tasks.get(fact.task_id)
        if task is not None:
            task.last_wall_ns = time_ns

    def _apply_end(self, fact: Any, state: RunState, time_ns: int) -> None:
        run = self.runs.get(fact.run_id)
        if run is None:
            return
        run.state, run.attempt, run.error, run.duration_s = state, fact.attempt, fact.error or "", fact.duration_s
        if run.is_ended:
            run.ended_wall_ns = time_ns
            self.close(run)

    # -- snapshot ------------------------------------------------------------------------------------------------

    def snapshot(self, now_ns: int) -> BookSnapshot:
        return BookSnapshot(
            [_shift_task(task, -now_ns) for task in self.tasks.values()],
            [_shift_run(run, -now_ns) for run in self.runs.values()],
            [_shift_run(run, -now_ns) for run in self.ended.values()],
            self.is_paused,
        )

    def restore(self, state: BookSnapshot, now_ns: int) -> None:
        """Replace everything; tasks that no longer have a spec are dropped, new ones keep their fresh start."""
        for task in state.tasks:
            if task.task_id in self.tasks:
                self.tasks[task.task_id] = _shift_task(task, now_ns)
        self.runs = {run.run_id: _shift_run(run, now_ns) for run in state.runs}
        self.ended = OrderedDict((run.run_id, _shift_run(run, now_ns)) for run in state.ended)
        self.is_paused = state.is_paused

    def check(self, is_known: Callable[[str], bool]) -> None:
        """Raise AssertionError with the facts when an invariant does not hold."""
        for run in self.runs.values():
            assert not run.is_ended, run
            assert (run.deadline_ns is not None) == run.is_active, run
            assert run.attempt > 0 or run.state is RunState.DUE, run
            assert not run.ending or run.is_active, run
            assert is_known(run.task_id), run
            assert self.tasks[run.task_id].run_id == run.run_id, f"two runs of {run.task_id} at once: {self.runs}"
        for task in self.tasks.values():
            assert not task.run_id or task.run_id in self.runs, task
        assert all(run.is_ended for run in self.ended.values())
        assert len(self.ended) <= KEPT_RUNS


def _shift_run(run: Run, by_ns: int) -> Run:
    return msgspec.structs.replace(
        run,
        due_ns=run.due_ns + by_ns,
        started_ns=run.started_ns + by_ns,
        deadline_ns=None if run.deadline_ns is None else run.deadline_ns + by_ns,
    )


def _shift_task(task: Task, by_ns: int) -> Task:
    next_due_ns = None if task.next_due_ns is None else task.next_due_ns + by_ns
    return msgspec.structs.replace(task, next_due_ns=next_due_ns, counts=dict(task.counts), covered=dict(task.covered))
