"""The scheduler: a pure machine that turns time, requests and reports into attempts of runs.

Facts come before acts: ``TaskStarted`` is written before ``StartRun`` is executed, so after a crash every run that may be
under way is known. Such a run keeps its task's place until it is certain that nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tori.clock import SECOND_NS, Clock
from tori.errors import BadInput, BadSettings
from tori.events import system as events
from tori.ids import IdSource, source_suffix
from tori.machine import Emit, Stories, StoryLine, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmissionPolicy, AdmitDecision, Candidate, SlotPolicy
from tori.scheduler.book import Book, BookSnapshot, Run, Task
from tori.scheduler.retry import RetryDecision
from tori.scheduler.signal import SchedulerInstruction, SchedulerStimulus, Version
from tori.scheduler.spec import TaskSpec
from tori.scheduler.transition import RUN_TABLE, WAITING, RunState
from tori.scheduler.trigger import Moment

CANCEL_GRACE_S = 10.0
"""How long an attempt that was asked to end may take before its process is killed; then the kill is repeated as often."""

RESTING = "it waits before its next attempt"


class SchedulerSnapshot(msgspec.Struct, array_like=True):
    """State of the machine."""

    book: BookSnapshot
    versions: dict[str, Version]
    unavailable: list[str]
    pressure: Pressure
    is_draining: bool
    stories: list[tuple[str, list[StoryLine]]]
    stale: int = 0


class Scheduler:
    """The machine. One caller at a time; every method returns at once."""

    def __init__(
        self,
        specs: Sequence[TaskSpec],
        clock: Clock,
        *,
        admission: AdmissionPolicy | None = None,
        ids: IdSource | None = None,
    ) -> None:
        self.specs = {spec.task_id: spec for spec in specs}
        if len(self.specs) != len(specs):
            raise BadSettings("two task specs have the same task_id.")
        self.stale = 0
        """Reports that came too late to matter."""
        self._clock = clock
        self._admission = admission or SlotPolicy()
        self._ids = ids or IdSource(source_suffix("scheduler"), clock.wall_ns)
        self._book = Book(specs)
        self._versions: dict[str, Version] = {}
        self._unavailable: set[str] = set()
        self._pressure = Pressure.NONE
        self._is_draining = False
        self._stories = Stories()
        self._out: list[SchedulerInstruction] = []
        self._handlers: dict[type, Callable[[Any], None]] = {
            Tick: self._on_tick,
            sig.RunRequested: self._on_request,
            sig.CancelRequested: self._on_cancel,
            sig.PauseRequested: lambda stimulus: self._set_pause(stimulus.task_id, paused=True),
            sig.ResumeRequested: lambda stimulus: self._set_pause(stimulus.task_id, paused=False),
            sig.DrainRequested: self._on_drain,
            sig.RunStarted: self._on_started,
            sig.RunFinished: self._on_finished,
            sig.RunFailed: self._on_failed,
            sig.RunCancelled: self._on_cancelled,
            sig.RunLost: self._on_lost,
            sig.VersionMoved: self._on_version,
            sig.ModuleAvailable: self._on_available,
            PressureChanged: self._on_pressure,
            sig.Recovered: self._on_recovered,
        }
        self._arm()

    # -- the protocol of machines --------------------------------------------------------------------------------

    def handle(self, stimulus: SchedulerStimulus) -> list[SchedulerInstruction]:
        """Return what follows from ``stimulus``, to be executed in order.

        Raises BadInput, with nothing changed, for a task or run that is not there.
        """
        self._out = []
        self._handlers[type(stimulus)](stimulus)
        self._admit()
        out, self._out = self._out, []
        return out

    def apply(self, fact: Any, time_ns: int) -> None:
        """Take one fact of an earlier life: a Task* payload with its event's time, or a record of ``Keep`` (time unused).

        For replay only, before ``Recovered``. SystemStarted tells tasks that never ran since when they wait; other payloads
        are ignored.
        """
        self._book.apply(fact, time_ns)

    @property
    def wake_ns(self) -> int | None:
        """When ``Tick`` is next needed, monotonic nanoseconds; None = only after another stimulus."""
        times = [run.deadline_ns for run in self._book.runs.values() if run.deadline_ns is not None]
        if not (self._book.is_paused or self._is_draining):
            times += [
                t.next_due_ns for t in self._book.tasks.values() if t.next_due_ns is not None and self._may_fire(t)
            ]
            times += [run.due_ns for run in self._book.runs.values() if run.hold == RESTING]
        return min(times, default=None)

    def story(self, run_id: str) -> tuple[StoryLine, ...]:
        """Return the last steps of a run."""
        return self._stories.of(run_id)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            SchedulerSnapshot(
                self._book.snapshot(self._clock.monotonic_ns()),
                dict(sorted(self._versions.items())),
                sorted(self._unavailable),
                self._pressure,
                self._is_draining,
                self._stories.snapshot(),
                self.stale,
            )
        )

    def restore(self, data: bytes) -> None:
        """Replace the state by what ``snapshot`` returned. After a crash ``Recovered`` has to follow."""
        state = msgspec.msgpack.decode(data, type=SchedulerSnapshot)
        self._book.restore(state.book, self._clock.monotonic_ns())
        self._versions = state.versions
        self._unavailable = set(state.unavailable)
        self._pressure, self._is_draining, self.stale = state.pressure, state.is_draining, state.stale
        self._stories.restore(state.stories)

    def validate(self) -> None:
        """Raise AssertionError with the facts when an invariant does not hold. A replay needs ``Recovered`` first."""
        self._book.check(self.specs.__contains__)

    # -- views ---------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not any(run.is_active for run in self._book.runs.values())

    @property
    def is_paused(self) -> bool:
        """Whether the scheduler as a whole is paused."""
        return self._book.is_paused

    def run(self, run_id: str) -> Run:
        """Return a run; raises BadInput when there is none, or none any more."""
        run = self._book.find(run_id)
        if run is None:
            raise BadInput(f"there is no run {run_id!r}.", remedy="`tori task list` shows the last ones.")
        return run

    def runs(self) -> list[Run]:
        """Return the runs that have not ended, then the last that have, newest first."""
        return [*self._book.runs.values(), *reversed(self._book.ended.values())]

    def task(self, task_id: str) -> Task:
        """Return what is remembered of a task; raises BadInput when there is none."""
        task = self._book.tasks.get(task_id)
        if task is None:
            raise BadInput(f"there is no task {task_id!r}.", remedy=f"Tasks: {', '.join(self.specs)}.")
        return task

    def holds(self) -> list[tuple[str, str]]:
        """Return (run_id, what holds it) for every run that waits."""
        return [(run.run_id, run.hold) for run in list(self._book.runs.values()) if run.state in WAITING]

    # -- time ----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set every task's next due time from when it last began."""
        moment = self._moment()
        for task in self._book.tasks.values():
            task.next_due_ns = self.specs[task.task_id].trigger.first(moment, task.last_wall_ns)

    def _on_tick(self, _: Tick) -> None:
        moment = self._moment()
        for run in list(self._book.runs.values()):
            if run.deadline_ns is not None and run.deadline_ns <= moment.monotonic_ns:
                self._overrun(run)
        if self._book.is_paused or self._is_draining:
            return
        for task in self._book.tasks.values():
            if task.next_due_ns is not None and task.next_due_ns <= moment.monotonic_ns and self._may_fire(task):
                due_ns = task.next_due_ns
                task.next_due_ns = self.specs[task.task_id].trigger.next(due_ns, moment)
                self._fire(task, due_ns)

    def _may_fire(self, task: Task) -> bool:
        return not task.is_paused and self.specs[task.task_id].module not in self._unavailable

    def _fire(self, task: Task, due_ns: int) -> None:
        """Make a due run, unless there is nothing to do; an idle system writes and starts nothing."""
        if task.run_id:
            task.count("skipped: overlap")
        elif not self._has_moved(task):
            task.count("skipped: unchanged")
        else:
            run = Run(self._new_id(task.task_id), task.task_id, due_ns=due_ns)
            self._tell(run, "due: its trigger")
            self._book.open(run)

    def _has_moved(self, task: Task) -> bool:
        """Whether a version that the task watches is unknown, or differs from what its last good run covered."""
        watches = self.specs[task.task_id].watches
        return not watches or any(
            module not in self._versions or self._versions[module] != task.covered.get(module) for module in watches
        )

    def _overrun(self, run: Run) -> None:
        """An attempt takes too long, or does not end although it was asked to."""
        force = bool(run.ending)
        if not run.ending:
            run.ending = "timed out"
            run.error = f"it took longer than {self.specs[run.task_id].timeout_s:g} s"
            self._tell(run, run.error)
        self._end_attempt(run, force=force)

    def _end_attempt(self, run: Run, *, force: bool) -> None:
        run.deadline_ns = self._clock.monotonic_ns() + round(CANCEL_GRACE_S * SECOND_NS)
        self._out.append(sig.CancelRun(run.run_id, run.attempt, force))

    # -- requests ------------------------------------------------------------------------------------------------

    def _on_request(self, request: sig.RunRequested) -> None:
        task = self.task(request.task_id)
        if request.run_id and self._book.find(request.run_id) is not None:
            return
        run = Run(
            request.run_id or self._new_id(task.task_id),
            task.task_id,
            is_asked=True,
            due_ns=self._clock.monotonic_ns(),
        )
        self._tell(run, "due: asked for")
        if task.run_id:
            present = self._book.runs[task.run_id]
            if present.state in WAITING:
                present.is_asked, present.due_ns = True, run.due_ns
                self._tell(present, "asked for: it waits no longer than it must")
            run.error = f"run {present.run_id} of this task has not ended"
            self._end(run, RunState.SKIPPED)
            return
        self._book.open(run)
        self._admit()
        if run.state is RunState.DUE:
            self._out.append(sig.Keep(sig.RunQueued(task.task_id, run.run_id)))

    def _on_cancel(self, request: sig.CancelRequested) -> None:
        run = self.run(request.run_id)
        if run.is_ended or run.ending == "cancelled":
            return
        if run.is_active:
            run.ending = "cancelled"
            self._tell(run, "its cancellation was asked for")
            self._end_attempt(run, force=False)
        else:
            self._end(run, RunState.CANCELLED)

    def _set_pause(self, task_id: str, *, paused: bool) -> None:
        holder: Book | Task = self.task(task_id) if task_id else self._book
        if holder.is_paused is not paused:
            holder.is_paused = paused
            self._out.append(sig.Keep(sig.TaskPaused(task_id, paused)))
            if not paused:
                self._on_tick(Tick())

    def _on_drain(self, _: sig.DrainRequested) -> None:
        self._is_draining = True
        for run in list(self._book.runs.values()):
            if run.is_active and not run.ending:
                run.ending = "cancelled"
                self._tell(run, "the system stops")
                self._end_attempt(run, force=False)

    # -- reports -------------------------------------------------------------------------------------------------

    def _on_started(self, report: sig.RunStarted) -> None:
        run = self._subject(report)
        if run is not None and run.state is RunState.ADMITTED:
            self._change(run, RunState.RUNNING)

    def _on_finished(self, report: sig.RunFinished) -> None:
        run = self._subject(report)
        if run is None:
            return
        if run.state is RunState.ADMITTED:  # its start was reported late
            self._change(run, RunState.RUNNING)
        run.error = ""
        self.task(run.task_id).covered = run.seen | report.covers
        self._end(run, RunState.SUCCEEDED)

    def _on_failed(self, report: sig.RunFailed) -> None:
        run = self._subject(report)
        if run is not None:
            self._attempt_failed(run, report.error, temporary=report.temporary)

    def _on_lost(self, report: sig.RunLost) -> None:
        run = self._subject(report)
        if run is not None:
            self._attempt_failed(run, report.error, temporary=True)

    def _on_cancelled(self, report: sig.RunCancelled) -> None:
        run = self._subject(report)
        if run is None:
            return
        run.ending = run.ending or "cancelled"
        self._attempt_failed(run, run.error, temporary=True)

    def _attempt_failed(self, run: Run, error: str, *, temporary: bool) -> None:
        """An attempt is over without a result: cancelled, or followed by another, or the end of its run."""
        if run.ending == "cancelled":
            self._end(run, RunState.CANCELLED)
            return
        if run.ending == "timed out":
            error, temporary = run.error, True
        elif run.ending == "lost":
            temporary = True
        run.error = error
        decision = self.specs[run.task_id].retry.decide(run.run_id, run.attempt, temporary=temporary)
        if isinstance(decision, RetryDecision):
            self._change(run, RunState.RETRYING, f"{error}; again in {decision.after_s:.3g} s")
            run.duration_s = self._duration_s(run)
            self._close_attempt(run)
            run.due_ns = self._clock.monotonic_ns() + round(decision.after_s * SECOND_NS)
            self._out.append(sig.Keep(sig.RunRetrying(run.run_id, run.attempt)))
            self._emit(events.TaskFailed, run, error)
        else:
            self._tell(run, decision.reason)
            self._end(run, RunState.FAILED)

    # -- the world -----------------------------------------------------------------------------------------------

    def _on_version(self, report: sig.VersionMoved) -> None:
        self._versions[report.module] = report.version

    def _on_available(self, report: sig.ModuleAvailable) -> None:
        if report.available:
            self._unavailable.discard(report.module)
            self._on_tick(Tick())
        else:
            self._unavailable.add(report.module)

    def _on_pressure(self, report: PressureChanged) -> None:
        self._pressure = report.pressure

    def _on_recovered(self, _: sig.Recovered) -> None:
        now_ns = self._clock.monotonic_ns()
        self._is_draining = False
        self._arm()
        for run in list(self._book.runs.values()):
            if run.task_id not in self.specs:
                if run.is_active:
                    self._out.append(sig.CancelRun(run.run_id, run.attempt, force=True))
                run.error = "its task no longer exists"
                self._end(run, RunState.CANCELLED)
            elif run.is_active:
                run.ending, run.error = run.ending or "lost", "the orchestrator restarted"
                run.started_ns = now_ns
                self._tell(run, "the orchestrator restarted: looking for what is left of it")
                self._end_attempt(run, force=True)
            else:
                run.due_ns = min(run.due_ns, now_ns) or now_ns

    # -- steps ---------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Start what may start; note for the rest what holds it."""
        now_ns = self._clock.monotonic_ns()
        candidates = []
        for run in self._book.runs.values():
            if run.state not in WAITING:
                continue
            run.hold = self._hold(run, now_ns)
            if not run.hold:
                candidates.append(Candidate(self.specs[run.task_id].priority, run.due_ns, run.run_id))
        active = sum(run.is_active for run in self._book.runs.values())
        for decision in self._admission.decide(candidates, active, self._pressure) if candidates else ():
            run = self._book.runs[decision.run_id]
            if isinstance(decision, AdmitDecision):
                self._begin(run, now_ns)
            else:
                run.hold = decision.reason

    def _hold(self, run: Run, now_ns: int) -> str:
        """Return what keeps a run from being considered; empty = nothing."""
        if self._is_draining:
            return "the system stops"
        if self._book.is_paused:
            return "the scheduler is paused"
        if self._book.tasks[run.task_id].is_paused and not run.is_asked:
            return "its task is paused"
        module = self.specs[run.task_id].module
        if module in self._unavailable:
            return f"module {module} is not running"
        if run.state is RunState.RETRYING and run.due_ns > now_ns:
            return RESTING
        return ""

    def _begin(self, run: Run, now_ns: int) -> None:
        spec, task = self.specs[run.task_id], self._book.tasks[run.task_id]
        run.attempt += 1
        self._change(run, RunState.ADMITTED, f"attempt {run.attempt}")
        run.hold, run.started_ns = "", now_ns
        run.deadline_ns = now_ns + round(spec.timeout_s * SECOND_NS)
        run.seen = {module: self._versions[module] for module in spec.watches if module in self._versions}
        task.last_wall_ns = self._clock.wall_ns()
        run.began_wall_ns = run.began_wall_ns or task.last_wall_ns
        self._out.append(Emit(events.TaskStarted(run.task_id, run.run_id, spec.task_type, run.attempt), run.task_id))
        self._out.append(sig.StartRun(run.run_id, run.attempt, spec))

    def _end(self, run: Run, state: RunState) -> None:
        """Take a run to its end: event, history, free place."""
        self._change(run, state, run.error)
        run.ended_wall_ns = self._clock.wall_ns()
        was_begun = run.attempt > 0
        if run.deadline_ns is not None:
            run.duration_s = self._duration_s(run)
        self._close_attempt(run)
        run.hold = ""
        self._book.close(run)
        if state is RunState.SUCCEEDED:
            self._emit(events.TaskCompleted, run)
        elif state is RunState.FAILED:
            self._emit(events.TaskFailed, run, run.error)
        elif state is RunState.CANCELLED and (was_begun or run.is_asked):
            self._emit(events.TaskCancelled, run, run.error or None)

    def _close_attempt(self, run: Run) -> None:
        run.deadline_ns, run.ending = None, ""

    def _duration_s(self, run: Run) -> float:
        return (self._clock.monotonic_ns() - run.started_ns) / SECOND_NS

    # -- words ---------------------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        return Moment(self._clock.wall_ns(), self._clock.monotonic_ns())

    def _new_id(self, task_id: str) -> str:
        made = self._ids.next()
        return f"{task_id}-{made[:8].hex()}-{made[12:].hex()}"

    def _subject(self, report: Any) -> Run | None:
        """Return the run that a report is about, or None when it is too late to matter."""
        run = self._book.runs.get(report.run_id)
        if run is not None and run.is_active and run.attempt == report.attempt:
            return run
        self.stale += 1
        return None

    def _change(self, run: Run, new: RunState, reason: str = "") -> None:
        RUN_TABLE.check(run.run_id, run.state, new, self._stories)
        self._tell(run, f"{run.state} -> {new}" + (f": {reason}" if reason else ""))
        run.state = new

    def _emit(self, kind: Callable[..., Any], run: Run, error: str | None = None) -> None:
        spec = self.specs.get(run.task_id)
        task_type = spec.task_type if spec is not None else run.task_id
        payload = kind(run.task_id, run.run_id, task_type, max(1, run.attempt), run.duration_s, error)
        self._out.append(Emit(payload, run.task_id))

    def _tell(self, run: Run, text: str) -> None:
        self._stories.tell(run.run_id, self._clock.wall_ns(), text)
