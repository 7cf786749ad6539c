"""The book of runs: what the scheduler knows, bounded. ``replay`` reads it back from facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from tori.clock import SECOND_NS
from tori.scheduler.recent import Recent
from tori.scheduler.signal import (
    TasksKnown,
    Throttle,
    Version,
)
from tori.scheduler.spec import TaskSpec
from tori.scheduler.transition import ACTIVE, ENDED, WAITING, RunState
from tori.scheduler.trigger import AfterTrigger, Trigger, dependents
from tori.scheduler.user import USER

KEPT_RUNS = 500
"""Ended runs that are remembered of a task that a person brings; the oldest is forgotten first."""
KEPT_OF_HOUSE = 50
"""And of any other task."""
KEPT_IN_ALL = 5_000
"""And of all together: then the task with the most forgets its oldest."""
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
    """Monotonic: since when it is due, over all its attempts: what its deadline and its ageing count from."""
    started_ns: int = 0
    """Monotonic: admission of the present attempt."""
    deadline_ns: int | None = None
    """Monotonic: when the attempt, or the wait for its end, takes too long."""
    ending: str = ""
    """Why its end was asked for: a word of ``tori.scheduler.transition``."""
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
    """Attempts that do not count as tries: stopped for others' sake or with the system, or lost with an orchestrator that died."""
    due_wall_ns: int = 0
    """Wall clock: since when it is due, as read back; 0 = made in this life, or not known."""
    rests_until_ns: int | None = None
    """Monotonic: when its pause before another attempt is over; None = it rests no more."""
    inherited_ns: int | None = None
    """Monotonic: since when the waiting run waited whose place it took; None = it took nobody's."""
    inherited_wall_ns: int = 0
    """Wall clock: the same, as read back; 0 = it took nobody's, or in this life."""
    lost: int = 0
    """Attempts in a row that were lost because the orchestrator died."""

    @property
    def waits_ns(self) -> int:
        """Monotonic: since when it counts as waiting."""
        return self.due_ns if self.inherited_ns is None else min(self.due_ns, self.inherited_ns)

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
    """Wall clock: when its last run began."""
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
    planned_wall_ns: int = 0
    """Wall clock: when that was found."""
    triggers: list[str] = []
    """What made it due since its last run was made: ids of events or runs; the last ``MAX_TRIGGERS``."""

    backlog: int = 0
    """Due times of an earlier life that its first run makes up for (``missed = all``)."""
    settled_wall_ns: int | None = None
    """Wall clock: what was due up to then has become runs, begun or not, or never will. None = it was never there before."""

    def settle_due(self, wall_ns: int) -> None:
        """Take what was due up to then for settled. The last word counts: the clock may have been ahead at an earlier one."""
        self.settled_wall_ns = wall_ns

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
    known: dict[str, str] = {}


class Book:
    """Tasks by id, runs that have not ended, and the last ones that have."""

    def __init__(self, specs: Iterable[TaskSpec]) -> None:
        self.specs: dict[str, TaskSpec] = {}
        self.tasks: dict[str, Task] = {}
        self.dependents: dict[str, tuple[str, ...]] = {}
        """By task: those that are due when a run of it has ended."""
        self.learn({spec.task_id: spec for spec in specs})
        self.runs: dict[str, Run] = {}
        self.ended: Recent[Run] = Recent(KEPT_IN_ALL)
        self.is_paused = False
        self.throttle = Throttle.OFF
        self.throttle_reason = ""
        self.known: dict[str, str] = {}
        """By task that the journal tells of, what tells its trigger from others."""

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

    def close(self, run: Run) -> list[str]:
        """Move a run that ended to the history; return the runs that are forgotten for it."""
        self.runs.pop(run.run_id, None)
        task = self.tasks.get(run.task_id)
        if task is not None:
            task.count(str(run.state))
            if run.run_id in task.run_ids:
                task.run_ids.remove(run.run_id)
                task.run_id = task.run_ids[0] if task.run_ids else ""
        return self._remember(run)

    def _remember(self, run: Run) -> list[str]:
        """Keep a run that ended. Those that were turned down push out their own kind only: they have no result."""
        spec = self.specs.get(run.task_id)
        most = KEPT_RUNS if spec is not None and spec.task_type == USER else KEPT_OF_HOUSE
        group = f"{run.task_id}, turned down" if run.state is RunState.SKIPPED else run.task_id
        return self.ended.put(run.run_id, run, group, most)

    # -- tasks ---------------------------------------------------------------------------------------------------

    def trigger(self, task_id: str, cause: str) -> None:
        """Note what made a task due; an unknown task is none any more."""
        task = self.tasks.get(task_id)
        if task is not None and cause not in task.triggers:
            task.triggers = [*task.triggers[1 - MAX_TRIGGERS :], cause]

    def followers(self, run: Run) -> list[str]:
        """Return the tasks that are due because this run has ended. A request that was turned down never ran."""
        if run.state is RunState.SKIPPED:
            return []
        found = self.dependents.get(run.task_id, ())
        return [task_id for task_id in found if self._follows(self.specs[task_id].trigger, run)]

    def _follows(self, trigger: Trigger, run: Run) -> bool:
        return isinstance(trigger, AfterTrigger) and (trigger.on == "ended" or run.state is RunState.SUCCEEDED)

    def know(self, wall_ns: int, *, is_new: bool = False) -> TasksKnown | None:
        """Note which tasks are there for the first time, or no more; None = the journal tells of just these.

        They are new if it tells of others, or if ``is_new``; otherwise it is one of an earlier version, which told of none.
        """
        triggers = {task_id: spec.trigger.digest() for task_id, spec in self.specs.items()}
        others = {task_id: digest for task_id, digest in triggers.items() if self.known.get(task_id) != digest}
        gone = tuple(sorted(self.known.keys() - triggers.keys()))
        if not others and not gone:
            return None
        fact = TasksKnown(others, wall_ns, is_new=is_new or bool(self.known), gone=gone)
        self.take_known(fact)
        return fact

    def take_known(self, fact: TasksKnown) -> None:
        """Take tasks for known; what happened before is nothing to those that are new, but for events they were told to wait for."""
        self.known = {
            task_id: digest for task_id, digest in self.known.items() if task_id not in fact.gone
        } | fact.tasks
        for task in [self.tasks[task_id] for task_id in fact.tasks if task_id in self.tasks]:
            if fact.is_new or task.settled_wall_ns is None:
                task.settle_due(fact.wall_ns)
            if fact.is_new and isinstance(self.specs[task.task_id].trigger, AfterTrigger):
                task.triggers = []

    # -- snapshot ------------------------------------------------------------------------------------------------

    def snapshot(self, now_ns: int) -> BookSnapshot:
        return BookSnapshot(
            [_shift_task(task, -now_ns) for task in self.tasks.values()],
            [_shift_run(run, -now_ns) for run in self.runs.values()],
            [_shift_run(run, -now_ns) for run in self.ended],
            self.is_paused,
            self.throttle,
            self.throttle_reason,
            dict(self.known),
        )

    def restore(self, state: BookSnapshot, now_ns: int) -> None:
        """Replace everything; tasks that no longer have a spec are dropped, new ones keep their fresh start."""
        for task in state.tasks:
            if task.task_id in self.tasks:
                self.tasks[task.task_id] = _shift_task(task, now_ns)
        self.runs = {run.run_id: _shift_run(run, now_ns) for run in state.runs}
        self.ended.clear()
        for run in state.ended:
            self._remember(_shift_run(run, now_ns))
        self.is_paused = state.is_paused
        self.known = dict(state.known)
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
        assert all(run.is_ended for run in self.ended)
        assert len(self.ended) <= KEPT_IN_ALL


def _shift_run(run: Run, by_ns: int) -> Run:
    return msgspec.structs.replace(
        run,
        due_ns=run.due_ns + by_ns,
        rests_until_ns=_shifted(run.rests_until_ns, by_ns),
        inherited_ns=_shifted(run.inherited_ns, by_ns),
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
