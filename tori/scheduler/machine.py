"""The scheduler: a pure machine that turns time, requests, events and reports into attempts of runs.

Facts come before acts: ``TaskStarted`` is written before ``StartRun`` is executed, so after a crash every run that may be
under way is known. Such a run keeps its task's place until it is certain that nothing of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tori.clock import SECOND_NS, Clock
from tori.errors import BadInput, BadSettings, PermanentError
from tori.events.system import WorkThrottled
from tori.ids import IdSource, source_suffix
from tori.machine import StoryLine, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmissionPolicy, SlotPolicy
from tori.scheduler.book import Book, BookSnapshot, Run, Task
from tori.scheduler.calendar import Entry
from tori.scheduler.desk import Desk
from tori.scheduler.replay import Replay
from tori.scheduler.signal import SchedulerInstruction, SchedulerStimulus, Version
from tori.scheduler.spec import Missed, Overlap, TaskSpec
from tori.scheduler.timetable import Timetable
from tori.scheduler.transition import CANCELLED, DRAINED, LOST, REPLACED, RunState
from tori.scheduler.trigger import Moment

QUEUE_FULL = "queue full"


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
        self._replay = Replay(self._desk.book)
        self._timetable = Timetable(self._desk, clock)
        self._opened: list[Run] = []
        """Runs that the present stimulus made."""
        self._noted: list[sig.Keep] = []
        """What is written before the runs of the present stimulus: triggers that they were made of, tasks that are new."""
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
        self._timetable.arm()

    # -- the protocol of machines --------------------------------------------------------------------------------

    def handle(self, stimulus: SchedulerStimulus) -> list[SchedulerInstruction]:
        """Return what follows from ``stimulus``, to be executed in order.

        Raises BadInput for a task or run that is not there, PermanentError for what cannot be interrupted; nothing is changed.
        """
        self._desk.out, self._opened, self._noted = [], [], []
        self._handlers[type(stimulus)](stimulus)
        self._desk.admit()
        kept = [self._keep(run) for run in self._opened if run.is_asked or run.cause or not run.is_active]
        out, self._desk.out = self._desk.out, []
        return [*self._noted, *kept, *out]

    def apply(self, fact: Any, time_ns: int) -> None:
        """Take one fact of an earlier life: a Task* payload with its event's time, or a record of ``Keep`` (time unused).

        For replay only, before ``Recovered``. SystemStarted tells tasks that never ran since when they wait; other payloads
        are ignored.
        """
        self._replay.apply(fact, time_ns)
        if isinstance(fact, WorkThrottled):
            self._desk.remember(fact)
        if isinstance(fact, (sig.TaskPaused, WorkThrottled)):
            self._timetable.replan()

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
        desk.told = desk.measured.pressure
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
        return [*self._book.runs.values(), *reversed(self._book.ended)]

    def task(self, task_id: str) -> Task:
        """Return what is remembered of a task; raises BadInput when there is none."""
        task = self._book.tasks.get(task_id)
        if task is None:
            raise BadInput(f"there is no task {task_id!r}.", remedy=f"Tasks: {', '.join(self.specs)}.")
        return task

    def word(self, run: Run) -> str:
        """Return what holds a run that waits, for people."""
        return self._desk.word(run)

    def holds(self) -> list[tuple[str, str]]:
        """Return (run_id, what holds it) for every run that waits."""
        return [(run.run_id, self._desk.word(run)) for run in list(self._book.runs.values()) if run.is_waiting]

    # -- time ----------------------------------------------------------------------------------------------------

    def _on_specs(self, stimulus: sig.SpecsAdded) -> None:
        """Take tasks in, or in the place of those of the same names, while life goes on."""
        specs = self.specs | {spec.task_id: spec for spec in stimulus.specs}
        self._book.learn(specs)
        self.specs = specs
        self._know(is_new=True)
        for spec in stimulus.specs:
            self._timetable.arm_task(self._book.tasks[spec.task_id])
            self._desk.reconsider(spec.task_id)

    def _rebuild(self) -> None:
        self._desk.rebuild()
        self._timetable.replan()

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
        moment = Moment.at(self._clock)
        if self._timetable.was_ahead(task, moment):
            self._timetable.set_due(task, self.specs[task.task_id].trigger.first(moment, None), moment)
            return
        if task.due_wall_ns is not None:
            task.next_due_ns = moment.monotonic_ns + task.due_wall_ns - moment.wall_ns
        if task.next_due_ns is None or task.next_due_ns > moment.monotonic_ns or not self._timetable.may_fire(task):
            self._timetable.plan(task)
            return
        spec, due_ns = self.specs[task.task_id], task.next_due_ns
        missed, task_backlog = spec.trigger.missed(min(task.grid_ns, due_ns), moment), task.backlog
        task.backlog = 0
        self._timetable.set_due(task, spec.trigger.next(task.grid_ns, moment), moment)
        if task.triggers:
            self._fire_triggered(task, due_ns)
        elif spec.missed is Missed.SKIP and (missed or self._timetable.is_late(spec, due_ns, moment)):
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
        place = self._place(task)
        refusal = self._make_room(task) if cause or self._has_moved(task) else "unchanged"
        if refusal:
            task.count(f"skipped: {refusal}")
            if not cause and (refusal == QUEUE_FULL or self.specs[task.task_id].trigger.follows_wall):
                self._pass_due(task)
            return None
        run = Run(self._new_id(task.task_id), task.task_id, due_ns=due_ns, cause=cause)
        run.inherited_ns, run.since_ns = place
        if not cause:
            task.settle_due(self._clock.wall_ns())
        self._open(run, f"due: {cause or 'its trigger'}")
        return run

    def _pass_due(self, task: Task) -> None:
        """Note that what is due becomes no run: after a restart it is not due again."""
        wall_ns = self._clock.wall_ns()
        if task.settled_wall_ns != wall_ns:
            task.settle_due(wall_ns)
            self._noted.append(sig.Keep(sig.DuePassed(task.task_id, wall_ns)))

    def _open(self, run: Run, why: str) -> None:
        """Enter a run; it is kept, unless time made it due and it begins at once: then its start says all."""
        self._desk.tell(run, why)
        self._desk.open(run)
        self._opened.append(run)

    def _keep(self, run: Run) -> sig.Keep:
        """Return what is written of a run that was made, or that is asked for again."""
        moment = Moment.at(self._clock)
        lead_ns = moment.wall_ns - moment.monotonic_ns
        due_wall_ns = run.due_wall_ns or lead_ns + run.due_ns
        inherited_wall_ns = 0 if run.inherited_ns is None else lead_ns + run.inherited_ns
        made = (run.task_id, run.run_id, run.is_asked, run.cause, run.is_forced)
        is_timed = not run.is_asked and not run.cause
        made_wall_ns = moment.wall_ns if is_timed else 0
        return sig.Keep(sig.RunQueued(*made, due_wall_ns, made_wall_ns, inherited_wall_ns))

    def _place(self, task: Task) -> tuple[int | None, int | None]:
        """Return since when those wait, and since when in line, whom a new run of the task would replace."""
        if self.specs[task.task_id].overlap is not Overlap.REPLACE:
            return None, None
        waiting = [run for run_id in task.run_ids if (run := self._book.runs[run_id]).is_waiting]
        in_line = [run.since_ns for run in waiting if run.since_ns is not None]
        return min((run.waits_ns for run in waiting), default=None), min(in_line, default=None)

    def _make_room(self, task: Task, *, is_asked: bool = False) -> str:
        """Let the overlap policy deal with the runs that have not ended; return why there is no room, empty = there is.

        ``is_asked``: for a run that a person asks for; one of those is not replaced by any other.
        """
        spec = self.specs[task.task_id]
        present = [self._book.runs[run_id] for run_id in task.run_ids]
        if not present:
            return ""
        if spec.overlap is Overlap.SKIP:
            return "overlap"
        if spec.overlap is Overlap.REPLACE:
            if not is_asked and any(run.is_asked and run.ending not in (CANCELLED, REPLACED) for run in present):
                return "overlap"
            for run in present:
                self._desk.cancel(run, REPLACED, "a newer run replaces it")
            return ""
        return QUEUE_FULL if sum(run.is_waiting for run in present) >= spec.max_queued else ""

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
        run.inherited_ns, run.since_ns = self._place(task)
        refusal = self._make_room(task, is_asked=True)
        if not refusal:
            self._open(run, "due: asked for")
            return
        self._desk.tell(run, "due: asked for")
        present = self._book.runs[task.run_id]
        if present.is_waiting and refusal == "overlap":
            present.is_asked, present.rests_until_ns = True, None
            present.is_forced = present.is_forced or request.force
            self._noted.append(self._keep(present))
            self._desk.tell(present, "asked for: it waits no longer than it must")
            self._desk.await_turn(present)
        run.error = f"run {present.run_id} of this task has not ended"
        if refusal != "overlap":
            run.error = f"{len(task.run_ids)} runs of this task have not ended"
        self._desk.end(run, RunState.SKIPPED)

    def _on_cancel(self, request: sig.CancelRequested) -> None:
        run = self.run(request.run_id)
        if run.is_active and not self._desk.spec(run).is_interruptible:
            raise PermanentError(
                f"run {run.run_id} is the orchestrator's own work, done in its process: it cannot be interrupted.",
                remedy="It ends by itself; tori task story says how far it is.",
            )
        if not run.is_ended:
            self._desk.cancel(run, CANCELLED)

    def _set_pause(self, task_id: str, *, paused: bool) -> None:
        holder = self.task(task_id) if task_id else self._book
        if holder.is_paused is not paused:
            holder.is_paused = paused
            self._desk.out.append(sig.Keep(sig.TaskPaused(task_id, paused)))
            self._timetable.replan()
            self._desk.reconsider_all()
            self._on_tick(Tick())

    def _on_drain(self, _: sig.DrainRequested) -> None:
        self._desk.is_draining = True
        self._timetable.replan()
        self._desk.reconsider_all()
        for run in list(self._book.runs.values()):
            if run.is_active and not run.ending:
                run.error = "the system stops"
                self._desk.tell(run, run.error)
                self._desk.out.append(sig.Keep(sig.RunCancelling(run.run_id, run.attempt, DRAINED, run.error)))
                self._desk.ask_to_end(run, DRAINED)

    def _on_throttle(self, request: sig.ThrottleRequested) -> None:
        if (request.level, request.reason) != (self._book.throttle, self._book.throttle_reason):
            self._desk.throttle(request.level, request.reason)
            self._timetable.replan()
            self._on_tick(Tick())

    def _on_triggered(self, stimulus: sig.Triggered) -> None:
        task = self.task(stimulus.task_id)
        if stimulus.cause in task.triggers:
            return
        self._book.trigger(task.task_id, stimulus.cause)
        if not stimulus.kept:
            self._noted.append(sig.Keep(sig.TaskTriggered(task.task_id, stimulus.cause)))
        self._timetable.arm_triggered(task)
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
            run.ending = run.ending or CANCELLED
            self._desk.attempt_failed(run, run.error, temporary=True)

    def _on_end(self, run: Run) -> None:
        """What follows when a run has ended: the tasks after it, and what was triggered meanwhile."""
        for task_id in self._book.followers(run):
            self._book.trigger(task_id, run.run_id)
            self._timetable.arm_triggered(self._book.tasks[task_id])
        task = self._book.tasks.get(run.task_id)
        if task is not None:
            self._timetable.arm_triggered(task)

    # -- the world -----------------------------------------------------------------------------------------------

    def _on_version(self, report: sig.VersionMoved) -> None:
        self._desk.versions[report.module] = report.version

    def _on_available(self, report: sig.ModuleAvailable) -> None:
        (self._desk.unavailable.discard if report.available else self._desk.unavailable.add)(report.module)
        for task in self._book.tasks.values():
            if self.specs[task.task_id].module == report.module:
                self._timetable.plan(task)
                self._desk.reconsider(task.task_id)
        self._on_tick(Tick())

    def _on_pressure(self, report: PressureChanged) -> None:
        self._desk.measure(report)

    def _know(self, *, is_new: bool = False) -> None:
        """Write which tasks are new, or gone."""
        fact = self._book.know(self._clock.wall_ns(), is_new=is_new)
        if fact is not None:
            self._noted.append(sig.Keep(fact))

    def _on_recovered(self, stimulus: sig.Recovered) -> None:
        now_ns = self._clock.monotonic_ns()
        self._desk.is_draining = False
        self._desk.unavailable |= set(stimulus.unavailable)
        if stimulus.measured is not None:
            self._desk.note(stimulus.measured)
        self._replay.end()
        self._know()
        for task in self._book.tasks.values():
            if (
                task.settled_wall_ns or 0
            ) > self._clock.wall_ns():  # the clock was ahead: nothing is due before this moment
                self._pass_due(task)
        self._timetable.arm()
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
                self._remember_due(run)
                self._desk.ask_to_end(run, LOST, force=True)
            else:
                self._remember_due(run)
                if run.expires_ns is not None and run.expires_ns <= now_ns:
                    run.hold = "the orchestrator restarted meanwhile"
                    self._desk.expire(run)
        self._rebuild()

    def _remember_due(self, run: Run) -> None:
        """Bring since when a run is due, and its deadline, to this life's clock."""
        moment, deadline_s = Moment.at(self._clock), self.specs[run.task_id].deadline_s
        due_wall_ns = run.due_wall_ns or run.began_wall_ns
        run.rests_until_ns = None
        if run.inherited_wall_ns:
            run.inherited_ns = moment.monotonic_ns - max(0, moment.wall_ns - run.inherited_wall_ns)
        if not due_wall_ns:
            run.due_ns = min(run.due_ns, moment.monotonic_ns) or moment.monotonic_ns
            return
        run.due_ns = moment.monotonic_ns - max(0, moment.wall_ns - due_wall_ns)
        if deadline_s is not None and run.expires_ns is None:
            run.expires_ns = run.due_ns + round(deadline_s * SECOND_NS)

    # -- words ---------------------------------------------------------------------------------------------------

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
