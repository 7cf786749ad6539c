"""Replay: how the book of runs is read back from the facts of an earlier life.

Of one commit unit all records come before all events, and a unit may hold what several stimuli led to. So a record may speak of
an event that has not been seen yet; such records wait here.
"""

from __future__ import annotations

from typing import Any

from tori.events import system as events
from tori.scheduler.book import Book, Run, Task
from tori.scheduler.signal import (
    DuePassed,
    RunCancelling,
    RunQueued,
    RunResulted,
    RunRetrying,
    RunVaried,
    SchedulerRecord,
    TaskPaused,
    TasksKnown,
    TaskTriggered,
    Throttle,
)
from tori.scheduler.transition import SHED, RunState
from tori.scheduler.trigger import AfterTrigger


class Replay:
    """Brings a book to what facts say, one after the other."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._retrying: dict[tuple[str, int], RunRetrying] = {}
        """Records whose TaskFailed or TaskCancelled, of the attempt that another follows, has not been seen yet."""
        self._results: dict[str, str] = {}
        """Results whose TaskCompleted has not been seen yet."""
        self._variants: dict[str, str] = {}
        """Variants whose TaskStarted has not been seen yet."""
        self._cancelling: dict[tuple[str, int], RunCancelling] = {}
        """Cancellations of attempts whose TaskStarted has not been seen yet."""
        self._used: dict[str, str] = {}
        """By task: the run it was made due by, when its end has not been seen yet: in one unit with what followed it."""

    def apply(self, fact: Any, time_ns: int) -> None:
        """Take one fact of an earlier life: a Task* payload, SystemStarted or a private record. Others are ignored. Never fails."""
        if isinstance(fact, SchedulerRecord):
            self._apply_record(fact)
        elif isinstance(fact, events.WorkThrottled):
            self._apply_throttled(fact)
        elif isinstance(fact, events.TaskStarted):
            self._apply_started(fact, time_ns)
        elif isinstance(fact, events.SystemStarted):
            for task in self._book.tasks.values():
                task.settled_wall_ns = task.settled_wall_ns or time_ns
        elif isinstance(fact, events.TaskCompleted):
            self._apply_end(fact, RunState.SUCCEEDED, time_ns)
        elif isinstance(fact, (events.TaskFailed, events.TaskCancelled)):
            record = self._retrying.pop((fact.run_id, fact.attempt), None)
            end = RunState.FAILED if isinstance(fact, events.TaskFailed) else RunState.CANCELLED
            self._apply_end(fact, end if record is None else RunState.RETRYING, time_ns, record)

    def _apply_record(self, record: SchedulerRecord) -> None:
        if isinstance(record, RunQueued):
            self._apply_queued(record)
        elif isinstance(record, TaskTriggered):
            self._trigger(record.task_id, record.cause)
        elif isinstance(record, RunResulted):
            self._results[record.run_id] = record.result
        elif isinstance(record, RunVaried):
            self._variants[record.run_id] = record.variant
        elif isinstance(record, TaskPaused):
            self._apply_pause(record)
        elif isinstance(record, RunCancelling):
            self._apply_cancelling(record)
        elif isinstance(record, TasksKnown):
            self._book.take_known(record)
        elif isinstance(record, DuePassed):
            self._settle_due(record.task_id, record.wall_ns)
        else:
            self._apply_retrying(record)

    def _apply_queued(self, fact: RunQueued) -> None:
        run = self._book.runs.get(fact.run_id)
        if run is not None:
            run.is_asked, run.is_forced = run.is_asked or fact.is_asked, run.is_forced or fact.is_forced
            return
        self._book.ended.pop(fact.run_id)  # it was taken, so that one was forgotten by then
        run = Run(fact.run_id, fact.task_id, is_asked=fact.is_asked, cause=fact.cause, is_forced=fact.is_forced)
        run.due_wall_ns, run.inherited_wall_ns = fact.due_wall_ns, fact.inherited_wall_ns
        self._book.open(run)
        task = self._book.tasks.get(fact.task_id)
        if task is not None and fact.made_wall_ns:
            task.settle_due(fact.made_wall_ns)
        if task is not None and not fact.is_asked:
            self._use_triggers(task, fact.cause)

    def _apply_throttled(self, fact: events.WorkThrottled) -> None:
        if fact.by == "person":
            self._book.throttle, self._book.throttle_reason = Throttle(fact.level), fact.reason
        for run in [self._book.runs[run_id] for run_id in fact.runs if run_id in self._book.runs]:
            if run.is_active and not run.ending:
                run.ending, run.error = SHED, fact.reason

    def _apply_pause(self, fact: TaskPaused) -> None:
        if not fact.task_id:
            self._book.is_paused = fact.paused
        elif fact.task_id in self._book.tasks:
            self._book.tasks[fact.task_id].is_paused = fact.paused

    def _apply_retrying(self, fact: RunRetrying) -> None:
        """Of one commit unit the records come before the events, of several handed over one by one perhaps after."""
        run = self._book.ended.get(fact.run_id)
        if run is not None and run.state in (RunState.FAILED, RunState.CANCELLED) and run.attempt == fact.attempt:
            task = self._book.tasks.get(run.task_id)
            if task is not None:
                task.counts[str(run.state)] -= 1
            self._book.ended.pop(fact.run_id)
            run.state, run.variant, run.shed, run.lost = RunState.RETRYING, fact.variant, fact.shed, fact.lost
            self._book.open(run)
        else:
            self._retrying[fact.run_id, fact.attempt] = fact

    def _apply_cancelling(self, fact: RunCancelling) -> None:
        """Of one commit unit it may come before the start of its attempt."""
        run = self._book.runs.get(fact.run_id)
        if run is not None and run.is_active and run.attempt == fact.attempt:
            run.ending, run.error = fact.why, fact.error
        else:
            self._cancelling[fact.run_id, fact.attempt] = fact

    def _apply_started(self, fact: events.TaskStarted, time_ns: int) -> None:
        run, task = self._book.runs.get(fact.run_id), self._book.tasks.get(fact.task_id)
        if run is None:
            run = Run(fact.run_id, fact.task_id, began_wall_ns=time_ns)
            self._book.open(run)
            if task is not None:
                task.triggers = []  # an earlier version kept no record of what a run was made of
        if task is not None and not run.attempt and not run.is_asked and not run.due_wall_ns:
            # it began as soon as it was due, or an earlier version did not say when it was made
            task.settle_due(time_ns)
        run.state, run.attempt, run.variant = RunState.RUNNING, fact.attempt, self._variants.pop(fact.run_id, "")
        run.began_wall_ns = run.began_wall_ns or time_ns
        cancelling = self._cancelling.pop((fact.run_id, fact.attempt), None)
        if cancelling is not None:
            self._apply_cancelling(cancelling)
        if task is not None:
            task.last_wall_ns = time_ns

    def _apply_end(self, fact: Any, state: RunState, time_ns: int, retry: RunRetrying | None = None) -> None:
        result = self._results.pop(fact.run_id, "")
        run = self._book.runs.get(fact.run_id)
        if run is None:
            if fact.run_id in self._book.ended or state not in (RunState.CANCELLED, RunState.FAILED):
                return
            run = Run(fact.run_id, fact.task_id)  # it ended before it began: nobody may have its id again
            self._book.open(run)
            self._settle_due(fact.task_id, time_ns)  # nor is it due again: an earlier version kept no record of it
        run.state, run.attempt, run.error, run.duration_s = state, fact.attempt, fact.error or "", fact.duration_s
        run.ending = ""
        if retry is not None:
            run.variant, run.shed, run.lost = retry.variant, retry.shed, retry.lost
        if run.is_ended:
            run.ended_wall_ns, run.result = time_ns, result
            self._book.close(run)
            for follower in self._book.followers(run):
                self._trigger(follower, run.run_id)

    def _settle_due(self, task_id: str, wall_ns: int) -> None:
        if task_id in self._book.tasks:
            self._book.tasks[task_id].settle_due(wall_ns)

    def _trigger(self, task_id: str, cause: str) -> None:
        """Note what made a task due, unless a run was made of it."""
        if self._used.get(task_id) == cause:
            del self._used[task_id]
            if task_id in self._book.tasks:
                self._book.tasks[task_id].triggers = []
        else:
            self._book.trigger(task_id, cause)

    def _use_triggers(self, task: Task, cause: str) -> None:
        """A run was made of ``cause`` and of all that had made its task due before."""
        if cause in task.triggers:
            task.triggers = task.triggers[task.triggers.index(cause) + 1 :]
        elif cause and isinstance(self._book.specs[task.task_id].trigger, AfterTrigger):
            self._used[task.task_id] = cause

    def end(self) -> None:
        """Replay is over: what has not come by now was of an earlier version, or of tasks that are not there any more."""
        for pending in (self._retrying, self._results, self._variants, self._cancelling, self._used):
            pending.clear()
