"""The scheduler: a pure machine that turns time, requests, events and reports into attempts of runs.

Facts come before acts: ``TaskStarted`` is written before ``StartRun`` is executed, so after a crash every run that may be
under way is known. Such a run keeps its task's place until it is certain that nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tori.clock import SECOND_NS, Clock
from tori.errors import BadInput, BadSettings
from tori.events.envelope import Event
from tori.events.system import WorkThrottled
from tori.ids import IdSource, source_suffix
from tori.machine import StoryLine, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmissionPolicy, SlotPolicy
from tori.scheduler.book import Book, BookSnapshot, Run, Task
from tori.scheduler.calendar import Entry
from tori.scheduler.desk import IN_LINE, Desk
from tori.scheduler.signal import SchedulerInstruction, SchedulerStimulus, Version
from tori.scheduler.spec import Missed, Overlap, TaskSpec
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import EventTrigger, Moment

LOOK_S = 60.0
"""How often a task that goes by the wall clock looks at it: a clock that jumps is noticed so soon."""


class SchedulerSnapshot(msgspec.Struct, array_like=True):
    """State of the machine."""

    book: BookSnapshot
    versions: dict[str, Version]
    unavailable: list[str]
    pressure: Pressure
    is_draining: bool
    stories: list[tuple[str, list[StoryLine]]]
    stale: int = 0
    measured: PressureChanged | None = None


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
        self._ids = ids or IdSource(source_suffix("scheduler"), clock.wall_ns)
        self._desk = Desk(specs, clock, admission or SlotPolicy())
        self._desk.on_end = self._on_end
        self._opened: list[Run] = []
        """Runs of the present stimulus that would not come again."""
        self._noted: list[sig.Keep] = []
        """Triggers of the present stimulus. They are written before the runs that were made of them."""
        self._handlers: dict[type, Callable[[Any], None]] = {
            Tick: self._on_tick,
            sig.RunRequested: self._on_request,
            sig.CancelRequested: self._on_cancel,
            sig.PauseRequested: lambda stimulus: self._set_pause(stimulus.task_id, paused=True),
            sig.ResumeRequested: lambda stimulus: self._set_pause(stimulus.task_id, paused=False),
            sig.DrainRequested: self._on_drain,
            sig.ThrottleRequested: self._on_throttle,
            sig.Triggered: self._on_triggered,
            sig.RunStarted: self._on_started,
            sig.RunProgressed: self._on_progressed,
            sig.RunFinished: self._on_finished,
            sig.RunFailed: self._on_failed,
            sig.RunCancelled: self._on_cancelled,
            sig.RunLost: self._on_lost,
            sig.SpecsAdded: self._on_specs,
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
        self._desk.out, self._opened, self._noted = [], [], []
        self._handlers[type(stimulus)](stimulus)
        self._desk.admit()
        kept = [
            sig.Keep(sig.RunQueued(run.task_id, run.run_id, run.is_asked, run.cause, run.is_forced))
            for run in self._opened
            if run.is_asked or run.cause or not run.is_active
        ]
        out, self._desk.out = self._desk.out, []
        return [*self._noted, *kept, *out]

    def apply(self, fact: Any, time_ns: int) -> None:
        """Take one fact of an earlier life: a Task* payload with its event's time, or a record of ``Keep`` (time unused).

        For replay only, before ``Recovered``. SystemStarted tells tasks that never ran since when they wait; other payloads
        are ignored.
        """
        self._book.apply(fact, time_ns)
        if isinstance(fact, (sig.TaskPaused, WorkThrottled)):
            self._replan()

    @property
    def wake_ns(self) -> int | None:
        """When ``Tick`` is next needed, monotonic nanoseconds; None = only after another stimulus."""
        return self._desk.calendar.next_ns

    def story(self, run_id: str) -> tuple[StoryLine, ...]:
        """Return the last steps of a run."""
        return self._desk.stories.of(run_id)

    def snapshot(self) -> bytes:
        desk = self._desk
        return msgspec.msgpack.encode(
            SchedulerSnapshot(
                self._book.snapshot(self._clock.monotonic_ns()),
                dict(sorted(desk.versions.items())),
                sorted(desk.unavailable),
                desk.measured.pressure,
                desk.is_draining,
                desk.stories.snapshot(),
                self.stale,
                desk.measured,
            )
        )

    def restore(self, data: bytes) -> None:
        """Replace the state by what ``snapshot`` returned. After a crash ``Recovered`` has to follow."""
        state = msgspec.msgpack.decode(data, type=SchedulerSnapshot)
        desk = self._desk
        self._book.restore(state.book, self._clock.monotonic_ns())
        desk.versions, desk.unavailable = state.versions, set(state.unavailable)
        desk.measured, desk.is_draining = state.measured or PressureChanged(state.pressure), state.is_draining
        self.stale = state.stale
        desk.stories.restore(state.stories)
        self._rebuild()

    def validate(self) -> None:
        """Raise AssertionError with the facts when an invariant does not hold. A replay needs ``Recovered`` first."""
        self._desk.check()

    # -- views ---------------------------------------------------------------------------------------------------

    @property
    def _book(self) -> Book:
        return self._desk.book

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._desk.usage.runs

    @property
    def is_paused(self) -> bool:
        """Whether the scheduler as a whole is paused."""
        return self._book.is_paused

    @property
    def throttle(self) -> tuple[sig.Throttle, str]:
        """Return how far a person holds background work back, and why."""
        return self._book.throttle, self._book.throttle_reason

    @property
    def pressure(self) -> tuple[Pressure, str]:
        """Return what admission goes by, and where it comes from."""
        return self._desk.pressure, self._desk.pressure_reason

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
        return [(run.run_id, run.hold or IN_LINE) for run in list(self._book.runs.values()) if run.is_waiting]

    def triggered_by(self, event: Event, source: str) -> list[str]:
        """Return the tasks that an event makes due: what its shell gives back as ``Triggered``."""
        return [
            spec.task_id
            for spec in self.specs.values()
            if isinstance(spec.trigger, EventTrigger) and spec.trigger.matcher.accepts(event, source)
        ]

    # -- time ----------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        """Set every task's next due time from when it last began."""
        for task in self._book.tasks.values():
            self._arm_task(task)

    def _arm_task(self, task: Task) -> None:
        spec, moment = self.specs[task.task_id], self._moment()
        last_wall_ns = None if spec.missed is Missed.SKIP and self._is_overdue(task, moment) else task.last_wall_ns
        task.backlog = max(0, spec.trigger.backlog(moment, last_wall_ns) - 1) if spec.missed is Missed.ALL else 0
        self._set_due(task, spec.trigger.first(moment, last_wall_ns), moment)
        self._arm_triggered(task)

    def _on_specs(self, stimulus: sig.SpecsAdded) -> None:
        """Take tasks in, or in the place of those of the same names, while life goes on."""
        specs = self.specs | {spec.task_id: spec for spec in stimulus.specs}
        self._book.learn(specs)
        self.specs = specs
        for spec in stimulus.specs:
            self._arm_task(self._book.tasks[spec.task_id])
            self._desk.reconsider(spec.task_id)

    def _is_overdue(self, task: Task, moment: Moment) -> bool:
        return self.specs[task.task_id].trigger.backlog(moment, task.last_wall_ns) > 0

    def _set_due(self, task: Task, grid_ns: int | None, moment: Moment) -> None:
        """Plan the next due time, jitter included; None = never by itself."""
        spec = self.specs[task.task_id]
        task.grid_ns, task.next_due_ns, task.due_wall_ns = grid_ns or 0, None, None
        if grid_ns is not None:
            task.next_due_ns = grid_ns + spec.jitter_ns(grid_ns)
            if spec.trigger.follows_wall:
                task.due_wall_ns = moment.wall_ns + task.next_due_ns - moment.monotonic_ns
        self._plan(task)

    def _arm_triggered(self, task: Task) -> None:
        """A task that something made due, and that is not planned yet, is due now or when its gap is over."""
        if not task.triggers or task.next_due_ns is not None:
            return
        trigger, moment, gap_ns = self.specs[task.task_id].trigger, self._moment(), 0
        if isinstance(trigger, EventTrigger) and task.last_wall_ns is not None:
            passed_ns = max(0, moment.wall_ns - task.last_wall_ns)
            gap_ns = max(0, round(trigger.min_gap_s * SECOND_NS) - passed_ns)
        self._set_due(task, moment.monotonic_ns + gap_ns, moment)

    def _plan(self, task: Task) -> None:
        """Enter a task in the calendar, if it may fire."""
        at = task.next_due_ns if self._may_fire(task) else None
        self._desk.calendar.set("due", task.task_id, at)
        is_far = at is not None and task.due_wall_ns is not None
        look_ns = round(LOOK_S * SECOND_NS)
        look_ns *= self._clock.monotonic_ns() // look_ns + 1  # all at the same moments: one wake-up for all
        self._desk.calendar.set("look", task.task_id, look_ns if is_far else None)

    def _may_fire(self, task: Task) -> bool:
        if self._book.is_paused or self._desk.is_draining or self._book.throttle is sig.Throttle.STOPPED:
            return False
        return not task.is_paused and self.specs[task.task_id].module not in self._desk.unavailable

    def _replan(self) -> None:
        for task in self._book.tasks.values():
            self._plan(task)

    def _rebuild(self) -> None:
        self._desk.rebuild()
        self._replan()

    def _on_tick(self, _: Tick) -> None:
        now_ns = self._clock.monotonic_ns()
        while entries := self._desk.calendar.take(now_ns):
            for entry in entries:
                self._on_entry(entry)

    def _on_entry(self, entry: Entry) -> None:
        if entry.purpose in ("due", "look"):
            self._come_up(self._book.tasks[entry.subject])
            return
        run = self._book.runs.get(entry.subject)
        if run is None:
            return
        if entry.purpose == "deadline":
            self._desk.overrun(run)
        elif entry.purpose == "expiry":
            self._desk.expire(run)
        elif entry.purpose == "fallback":
            self._desk.use_fallback(run)
        else:
            self._desk.await_turn(run)

    def _come_up(self, task: Task) -> None:
        """A task is due, or looks whether the wall clock has jumped."""
        moment = self._moment()
        if task.due_wall_ns is not None:
            task.next_due_ns = moment.monotonic_ns + task.due_wall_ns - moment.wall_ns
        if task.next_due_ns is None or task.next_due_ns > moment.monotonic_ns or not self._may_fire(task):
            self._plan(task)
            return
        spec, due_ns = self.specs[task.task_id], task.next_due_ns
        missed, task_backlog = spec.trigger.missed(min(task.grid_ns, due_ns), moment), task.backlog
        task.backlog = 0
        self._set_due(task, spec.trigger.next(task.grid_ns, moment), moment)
        if task.triggers:
            self._fire_triggered(task, due_ns)
        elif spec.missed is Missed.SKIP and missed:
            task.count("skipped: missed", missed + 1)
        else:
            for _ in range(1 + (missed + task_backlog if spec.missed is Missed.ALL else 0)):
                self._fire(task, due_ns)

    def _fire_triggered(self, task: Task, due_ns: int) -> None:
        """Make a run of what was triggered; while an earlier one keeps it out, it stays triggered: nothing is missed."""
        spec = self.specs[task.task_id]
        if task.run_ids and spec.overlap is Overlap.SKIP:
            return
        causes, task.triggers = task.triggers, []
        if self._fire(task, due_ns, causes[-1]) is None:
            task.triggers = causes

    def _fire(self, task: Task, due_ns: int, cause: str = "") -> Run | None:
        """Make a due run, unless there is nothing to do; an idle system writes and starts nothing."""
        if not cause and not self._has_moved(task):
            task.count("skipped: unchanged")
            return None
        refusal = self._make_room(task)
        if refusal:
            task.count(f"skipped: {refusal}")
            return None
        run = Run(self._new_id(task.task_id), task.task_id, due_ns=due_ns, cause=cause)
        self._open(run, f"due: {cause or 'its trigger'}")
        return run

    def _open(self, run: Run, why: str) -> None:
        """Enter a run; one that would not come again is kept if it has to wait."""
        spec = self.specs[run.task_id]
        self._desk.tell(run, why)
        self._desk.open(run)
        if run.is_asked or run.cause or spec.overlap is not Overlap.SKIP:
            self._opened.append(run)

    def _make_room(self, task: Task) -> str:
        """Let the overlap policy deal with the runs that have not ended; return why there is no room, empty = there is."""
        spec = self.specs[task.task_id]
        present = [self._book.runs[run_id] for run_id in task.run_ids]
        if not present:
            return ""
        if spec.overlap is Overlap.SKIP:
            return "overlap"
        if spec.overlap is Overlap.REPLACE:
            for run in present:
                run.error = "a newer run replaces it"
                self._desk.cancel(run, "replaced")
            return ""
        return "queue full" if sum(run.is_waiting for run in present) >= spec.max_queued else ""

    def _has_moved(self, task: Task) -> bool:
        """Whether a version that the task watches is unknown, or differs from what its last good run covered."""
        watches, versions = self.specs[task.task_id].watches, self._desk.versions
        return not watches or any(
            module not in versions or versions[module] != task.covered.get(module) for module in watches
        )

    # -- requests ------------------------------------------------------------------------------------------------

    def _on_request(self, request: sig.RunRequested) -> None:
        task, now_ns = self.task(request.task_id), self._clock.monotonic_ns()
        if request.run_id and self._book.find(request.run_id) is not None:
            return
        run_id = request.run_id or self._new_id(task.task_id)
        run = Run(run_id, task.task_id, is_asked=True, due_ns=now_ns, is_forced=request.force)
        refusal = self._make_room(task)
        if not refusal:
            self._open(run, "due: asked for")
            return
        self._desk.tell(run, "due: asked for")
        present = self._book.runs[task.run_id]
        if present.is_waiting and refusal == "overlap":
            present.is_asked, present.due_ns = True, now_ns
            present.is_forced = present.is_forced or request.force
            self._desk.tell(present, "asked for: it waits no longer than it must")
            self._desk.await_turn(present)
        run.error = f"run {present.run_id} of this task has not ended"
        if refusal != "overlap":
            run.error = f"{len(task.run_ids)} runs of this task have not ended"
        self._desk.end(run, RunState.SKIPPED)

    def _on_cancel(self, request: sig.CancelRequested) -> None:
        run = self.run(request.run_id)
        if not run.is_ended:
            self._desk.cancel(run, "cancelled")

    def _set_pause(self, task_id: str, *, paused: bool) -> None:
        holder = self.task(task_id) if task_id else self._book
        if holder.is_paused is not paused:
            holder.is_paused = paused
            self._desk.out.append(sig.Keep(sig.TaskPaused(task_id, paused)))
            self._replan()
            self._desk.reconsider_all()
            self._on_tick(Tick())

    def _on_drain(self, _: sig.DrainRequested) -> None:
        self._desk.is_draining = True
        self._replan()
        self._desk.reconsider_all()
        for run in list(self._book.runs.values()):
            if run.is_active and not run.ending:
                self._desk.tell(run, "the system stops")
                self._desk.ask_to_end(run, "cancelled")

    def _on_throttle(self, request: sig.ThrottleRequested) -> None:
        if (request.level, request.reason) != (self._book.throttle, self._book.throttle_reason):
            self._desk.throttle(request.level, request.reason)
            self._replan()
            self._on_tick(Tick())

    def _on_triggered(self, stimulus: sig.Triggered) -> None:
        task = self.task(stimulus.task_id)
        if stimulus.cause in task.triggers:
            return
        self._book.trigger(task.task_id, stimulus.cause)
        if not stimulus.kept:
            self._noted.append(sig.Keep(sig.TaskTriggered(task.task_id, stimulus.cause)))
        self._arm_triggered(task)
        self._on_tick(Tick())

    # -- reports -------------------------------------------------------------------------------------------------

    def _on_started(self, report: sig.RunStarted) -> None:
        run = self._subject(report)
        if run is not None and run.state is RunState.ADMITTED:
            self._desk.change(run, RunState.RUNNING)

    def _on_progressed(self, report: sig.RunProgressed) -> None:
        run = self._subject(report)
        if run is not None:
            run.total = max(0.0, report.total)
            run.done = min(max(0.0, report.done), run.total or report.done)

    def _on_finished(self, report: sig.RunFinished) -> None:
        run = self._subject(report)
        if run is None:
            return
        if run.state is RunState.ADMITTED:  # its start was reported late
            self._desk.change(run, RunState.RUNNING)
        run.error, run.result = "", report.result[: sig.MAX_RESULT]
        self.task(run.task_id).covered = run.seen | report.covers
        self._desk.end(run, RunState.SUCCEEDED)

    def _on_failed(self, report: sig.RunFailed) -> None:
        run = self._subject(report)
        if run is not None:
            self._desk.attempt_failed(run, report.error, temporary=report.temporary)

    def _on_lost(self, report: sig.RunLost) -> None:
        run = self._subject(report)
        if run is not None:
            self._desk.attempt_failed(run, report.error, temporary=True)

    def _on_cancelled(self, report: sig.RunCancelled) -> None:
        run = self._subject(report)
        if run is not None:
            run.ending = run.ending or "cancelled"
            self._desk.attempt_failed(run, run.error, temporary=True)

    def _on_end(self, run: Run) -> None:
        """What follows when a run has ended: the tasks after it, and what was triggered meanwhile."""
        for task_id in self._book.trigger_dependents(run):
            self._arm_triggered(self._book.tasks[task_id])
        task = self._book.tasks.get(run.task_id)
        if task is not None:
            self._arm_triggered(task)

    # -- the world -----------------------------------------------------------------------------------------------

    def _on_version(self, report: sig.VersionMoved) -> None:
        self._desk.versions[report.module] = report.version

    def _on_available(self, report: sig.ModuleAvailable) -> None:
        (self._desk.unavailable.discard if report.available else self._desk.unavailable.add)(report.module)
        for task in self._book.tasks.values():
            if self.specs[task.task_id].module == report.module:
                self._plan(task)
                self._desk.reconsider(task.task_id)
        self._on_tick(Tick())

    def _on_pressure(self, report: PressureChanged) -> None:
        self._desk.measure(report)

    def _on_recovered(self, _: sig.Recovered) -> None:
        now_ns = self._clock.monotonic_ns()
        self._desk.is_draining = False
        self._arm()
        for run in list(self._book.runs.values()):
            if run.task_id not in self.specs:
                if run.is_active:
                    self._desk.out.append(sig.CancelRun(run.run_id, run.attempt, force=True))
                run.error = "its task no longer exists"
                self._desk.end(run, RunState.CANCELLED)
            elif run.is_active:
                run.error = run.error if run.ending else "the orchestrator restarted"
                run.started_ns = now_ns
                self._desk.tell(run, "the orchestrator restarted: looking for what is left of it")
                self._desk.ask_to_end(run, "lost", force=True)
            else:
                run.due_ns = min(run.due_ns, now_ns) or now_ns
        self._rebuild()

    # -- words ---------------------------------------------------------------------------------------------------

    def _moment(self) -> Moment:
        return Moment(self._clock.wall_ns(), self._clock.monotonic_ns())

    def _new_id(self, task_id: str) -> str:
        """Return an id that no run the book knows has: after a restart the wall clock may stand before the last one made."""
        while True:
            made = self._ids.next()
            run_id = f"{task_id}-{made[:8].hex()}-{made[12:].hex()}"
            if self._book.find(run_id) is None:
                return run_id

    def _subject(self, report: Any) -> Run | None:
        """Return the run that a report is about, or None when it is too late to matter."""
        run = self._book.runs.get(report.run_id)
        if run is not None and run.is_active and run.attempt == report.attempt:
            return run
        self.stale += 1
        return None
