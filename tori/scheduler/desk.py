"""The life of runs: how one opens, waits, begins, fails, ends. The scheduler decides when; nothing here looks at triggers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tori.backoff import FinalDecision, RetryDecision
from tori.clock import SECOND_NS, Clock
from tori.events import system as events
from tori.machine import Emit, Stories
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmissionPolicy, AdmitDecision, Candidate, HoldDecision, Usage
from tori.scheduler.book import KEPT_IN_ALL, Book, Run
from tori.scheduler.calendar import Calendar
from tori.scheduler.signal import SchedulerInstruction, Throttle, Version
from tori.scheduler.spec import Resources, TaskSpec
from tori.scheduler.transition import (
    CANCELLED,
    FINAL,
    LOST,
    NO_TRIES,
    REPLACED,
    RUN_TABLE,
    SHED,
    TIMED_OUT,
    TOO_LATE,
    RunState,
)
from tori.scheduler.waiting import WaitingLine

CANCEL_GRACE_S = 10.0
"""How long an attempt that was asked to end may take before its process is killed; then the kill is repeated as often."""
RESTING = "it waits before its next attempt"
IN_LINE = "runs that are more urgent or wait longer go first"
LOOK_AHEAD = 32
"""Runs of a class that admission is asked about at a time, or fewer if fewer may begin."""
_LEVELS = {Pressure.NONE: Throttle.OFF, Pressure.HIGH: Throttle.HIGH, Pressure.SEVERE: Throttle.SEVERE}
"""What an event says of a pressure."""


class Desk:
    """Runs in hand. What it asks for is left in ``out``."""

    def __init__(self, specs: Sequence[TaskSpec], clock: Clock, admission: AdmissionPolicy) -> None:
        self.book = Book(specs)
        self.calendar = Calendar()
        self.stories = Stories(KEPT_IN_ALL)
        self.out: list[SchedulerInstruction] = []
        self.measured = PressureChanged(Pressure.NONE)
        self.told = Pressure.NONE
        """What events said last, in this life or an earlier one."""
        self.is_draining = False
        self.unavailable: set[str] = set()
        self.versions: dict[str, Version] = {}
        self.usage = Usage()
        self.on_end: Callable[[Run], None] = lambda run: None
        """Called when a run has ended and its place is free."""
        self._clock = clock
        self._admission = admission
        self._line = WaitingLine()
        self._told: set[str] = set()
        """Runs in line whose ``hold`` is what admission said when it was last asked."""
        self._booked: dict[str, tuple[str, Resources]] = {}
        """By run under way: what ``usage`` holds of it; its task may have other resources by the time it ends."""
        self._active: dict[str, list[str]] = {}
        """By task: its runs under way."""
        self._may_admit = False

    def spec(self, run: Run) -> TaskSpec:
        return self.book.specs[run.task_id]

    # -- pressure ------------------------------------------------------------------------------------------------

    @property
    def pressure(self) -> Pressure:
        """Return what admission goes by: what was measured, or what a person wants if that is more."""
        return max(self.measured.pressure, self.book.throttle.pressure)

    @property
    def pressure_reason(self) -> str:
        """Return where it comes from, for people."""
        if self.book.throttle.pressure < self.measured.pressure:
            return self.measured.reason
        return ", ".join(filter(None, ("throttled by hand", self.book.throttle_reason)))

    def measure(self, report: PressureChanged) -> None:
        """Take the pressure of the machine; what holds what is scarce, and would not be let in now, is stopped."""
        stopped: tuple[str, ...] = ()
        at = len(self.out)
        if report.sheds and (report.pressure, report.sheds) != (self.measured.pressure, self.measured.sheds):
            bar = self._admission.bar(report.pressure)
            runs = [r for r in self.book.runs.values() if self.spec(r).priority > bar and not r.is_forced]
            stopped = self.shed(runs, report.reason or f"pressure is {report.pressure.name.lower()}")
        self.note(report, stopped, at)
        self.reconsider_all()

    def note(self, report: PressureChanged, stopped: tuple[str, ...] = (), at: int = 0) -> None:
        """Go by a pressure from now on; another level is told of, and so is what it stopped, at ``at`` of ``out``."""
        old, self.measured, self.told = self.told, report, report.pressure
        if report.pressure is not old or stopped:
            level, before = _LEVELS[report.pressure], _LEVELS[old]
            self.out.insert(at, Emit(events.WorkThrottled(level, before, report.reason, "pressure", stopped)))

    def remember(self, fact: events.WorkThrottled) -> None:
        """Know which level of pressure was told last, so that its end is told too."""
        if fact.by == "pressure":
            self.told = next((p for p, word in _LEVELS.items() if word == fact.level), Pressure.NONE)

    def throttle(self, level: Throttle, reason: str) -> None:
        """Do what a person wants."""
        old, self.book.throttle, self.book.throttle_reason = self.book.throttle, level, reason
        stopped: tuple[str, ...] = ()
        at = len(self.out)
        if level is Throttle.STOPPED:
            stopped = self.shed(self.book.runs.values(), f"emergency stop{': ' if reason else ''}{reason}")
        self.out.insert(at, Emit(events.WorkThrottled(level, old, reason, "person", stopped)))
        self.reconsider_all()

    def shed(self, runs: Iterable[Run], why: str) -> tuple[str, ...]:
        """Kill attempts of runs that are under way and can be interrupted; each begins again when it may. Return those runs.

        Those whose end was asked for already are killed as well, and end as they would have.
        """
        active = [run for run in runs if run.is_active and self.spec(run).is_interruptible]
        for run in [run for run in active if run.ending]:
            self.tell(run, f"its end is not waited for: {why}")
            self.ask_to_end(run, run.ending, force=True)
        found = [run for run in active if not run.ending]
        for run in found:
            run.error = why
            self.tell(run, f"stopped for now: {why}")
            self.ask_to_end(run, SHED, force=True)
        return tuple(run.run_id for run in found)

    # -- waiting -------------------------------------------------------------------------------------------------

    def open(self, run: Run) -> None:
        """Enter a new run, or one that was read back: it waits."""
        self.book.open(run)
        self.await_turn(run)

    def await_turn(self, run: Run) -> None:
        """Put a run in line, or note what keeps it out."""
        spec, now_ns = self.spec(run), self._clock.monotonic_ns()
        if spec.deadline_s is not None and run.expires_ns is None:
            run.expires_ns = (run.due_ns or now_ns) + round(spec.deadline_s * SECOND_NS)
        self.calendar.set("expiry", run.run_id, run.expires_ns)
        run.hold = self._hold(run, now_ns)
        self.calendar.set("rest", run.run_id, run.rests_until_ns if run.hold == RESTING else None)
        fallback, variant_ns = spec.fallback, None
        if run.hold:
            run.since_ns = None
            self._line.discard(run.run_id)
        else:
            run.since_ns = now_ns if run.since_ns is None else run.since_ns
            self._line.add(self._candidate(run))
            self._may_admit = True
            if fallback is not None and fallback.after_hold_s is not None and not run.variant:
                variant_ns = run.since_ns + round(fallback.after_hold_s * SECOND_NS)
        self.calendar.set("fallback", run.run_id, variant_ns)
        if variant_ns is not None and variant_ns <= now_ns:  # those whose place it took have been held for so long
            self.use_fallback(run)

    def _candidate(self, run: Run) -> Candidate:
        spec = self.spec(run)
        resources, shards = spec.resources_of(run.variant), spec.shards if spec.module else 1
        return Candidate(spec.priority, run.waits_ns, run.run_id, spec.group, resources, run.is_forced, shards)

    def reconsider(self, task_id: str) -> None:
        """Look again at what keeps the waiting runs of a task."""
        task = self.book.tasks.get(task_id)
        for run_id in task.run_ids if task is not None else ():
            run = self.book.runs[run_id]
            if run.is_waiting:
                self.await_turn(run)

    def reconsider_all(self) -> None:
        """Look again at what keeps every waiting run."""
        self._may_admit = True
        for task_id in self.book.tasks:
            self.reconsider(task_id)

    def _hold(self, run: Run, now_ns: int) -> str:
        """Return what keeps a run from being considered; empty = nothing."""
        task, spec = self.book.tasks[run.task_id], self.spec(run)
        if self.is_draining:
            return "the system stops"
        if self.book.throttle is Throttle.STOPPED:
            return f"emergency stop ({self.book.throttle_reason or 'by hand'}): tori resume"
        if self.book.is_paused:
            return "the scheduler is paused"
        if task.is_paused and not run.is_asked:
            return "its task is paused"
        if spec.module in self.unavailable:
            return f"module {spec.module} is not running"
        if run.rests_until_ns is not None and run.rests_until_ns > now_ns:
            return RESTING
        active = self._active.get(run.task_id, ())
        if len(active) >= spec.max_at_once:
            return f"run {min(active)} of its task has not ended"
        return ""

    def is_in_line(self, run: Run) -> bool:
        return run.run_id in self._line

    def use_fallback(self, run: Run) -> None:
        """Let a run that admission has held for too long go as its cheaper variant."""
        fallback = self.spec(run).fallback
        if fallback is None or run.variant or not self.is_in_line(run):
            return
        run.variant = fallback.variant
        self.tell(run, f"held for {fallback.after_hold_s:g} s ({self.word(run)}): it goes as {fallback.variant}")
        self.await_turn(run)

    def admit(self) -> None:
        """Start what may start; note for the others that were looked at what holds them."""
        is_on = self._may_admit
        while is_on:
            room = self._admission.room(self.usage.runs)
            candidates = self._line.first(LOOK_AHEAD if room is None else min(LOOK_AHEAD, room))
            decisions = self._decide(candidates) if candidates else []
            self._told = {decision.run_id for decision in decisions if isinstance(decision, HoldDecision)}
            admitted = [self.book.runs[d.run_id] for d in decisions if isinstance(d, AdmitDecision)]
            for run in admitted:
                if not self._hold(run, self._clock.monotonic_ns()):  # another run of its task may have begun just now
                    self._begin(run)
                else:
                    self.await_turn(run)
            is_on = bool(admitted)
        self._may_admit = self._line.is_cut  # those who were not looked at have their turn with whatever comes next

    def word(self, run: Run) -> str:
        """Return what a waiting run waits for. Of one in line that admission was not asked about last, it is asked now."""
        candidate = self._line.get(run.run_id)
        if candidate is None or (run.run_id in self._told and self._admission.room(self.usage.runs) != 0):
            return run.hold or IN_LINE
        [decision] = self._ask([candidate])
        return decision.reason if isinstance(decision, HoldDecision) else IN_LINE

    def _decide(self, candidates: Sequence[Candidate]) -> list[AdmitDecision | HoldDecision]:
        decisions = self._ask(candidates)
        for decision in decisions:
            if isinstance(decision, HoldDecision):
                self.book.runs[decision.run_id].hold = decision.reason
        return decisions

    def _ask(self, candidates: Sequence[Candidate]) -> list[AdmitDecision | HoldDecision]:
        now_ns, pressure = self._clock.monotonic_ns(), self.pressure
        why = self.pressure_reason if pressure else ""
        return self._admission.decide(candidates, self.usage.runs, pressure, self.usage, now_ns, why)

    # -- attempts ------------------------------------------------------------------------------------------------

    def _begin(self, run: Run) -> None:
        spec, task, now_ns = self.spec(run), self.book.tasks[run.task_id], self._clock.monotonic_ns()
        self._line.discard(run.run_id)
        self.calendar.set("fallback", run.run_id, None)
        run.attempt += 1
        self.change(run, RunState.ADMITTED, f"attempt {run.attempt}" + (f" as {run.variant}" if run.variant else ""))
        run.since_ns = run.rests_until_ns = None
        run.hold, run.started_ns, run.done, run.total = "", now_ns, 0.0, 0.0
        run.deadline_ns = now_ns + round(spec.timeout_of(run.variant) * SECOND_NS)
        self.calendar.set("deadline", run.run_id, run.deadline_ns)
        run.seen = {module: self.versions[module] for module in spec.watches if module in self.versions}
        task.last_wall_ns = self._clock.wall_ns()
        run.began_wall_ns = run.began_wall_ns or task.last_wall_ns
        booked = self._booked[run.run_id] = self._share(run)
        self.usage.add(*booked)
        self._active.setdefault(run.task_id, []).append(run.run_id)
        self.reconsider(run.task_id)
        if run.variant:
            self.out.append(sig.Keep(sig.RunVaried(run.run_id, run.variant)))
        self.out.append(Emit(events.TaskStarted(run.task_id, run.run_id, spec.task_type, run.attempt), run.task_id))
        self.out.append(sig.StartRun(run.run_id, run.attempt, spec, run.variant, run.cause))

    def ask_to_end(self, run: Run, why: str, *, force: bool = False) -> None:
        """Ask an attempt to end; ``why`` is remembered until it has."""
        run.ending = run.ending or why
        run.deadline_ns = self._clock.monotonic_ns() + round(CANCEL_GRACE_S * SECOND_NS)
        self.calendar.set("deadline", run.run_id, run.deadline_ns)
        self.calendar.set("expiry", run.run_id, None)  # if another attempt follows, it is looked at again
        self.out.append(sig.CancelRun(run.run_id, run.attempt, force))

    def overrun(self, run: Run) -> None:
        """An attempt takes too long, or does not end although it was asked to."""
        if run.ending:
            self.ask_to_end(run, run.ending, force=True)
            return
        spec, now_ns = self.spec(run), self._clock.monotonic_ns()
        timeout_s = spec.timeout_of(run.variant)
        if not spec.is_interruptible:
            self.tell(run, f"under way for {(now_ns - run.started_ns) / SECOND_NS:.0f} s; it cannot be interrupted")
            run.deadline_ns = now_ns + round(timeout_s * SECOND_NS)
            self.calendar.set("deadline", run.run_id, run.deadline_ns)
            return
        run.error = f"it took longer than {timeout_s:g} s"
        self.tell(run, run.error)
        self.ask_to_end(run, TIMED_OUT)

    def expire(self, run: Run) -> None:
        """The deadline of a run has passed."""
        error = self._too_late(run)
        if run.is_waiting:
            run.error = f"{error}: {self.word(run)}"
            self.end(run, RunState.FAILED)
        else:
            run.error = error
            self.tell(run, error)
            self.ask_to_end(run, TOO_LATE)

    def _too_late(self, run: Run) -> str:
        deadline_s = self.spec(run).deadline_s  # a task that was shipped again may have another by now, or none
        return "its deadline passed" if deadline_s is None else f"its deadline of {deadline_s:g} s passed"

    def cancel(self, run: Run, why: str, error: str = "") -> None:
        """Cancel a run: at once when it waits, when its attempt has ended otherwise."""
        if run.ending in (CANCELLED, REPLACED):
            return
        run.error = error
        if run.is_waiting:
            self.end(run, RunState.CANCELLED)
        else:
            run.ending = ""
            self.tell(run, f"it is {why}")
            self.out.append(sig.Keep(sig.RunCancelling(run.run_id, run.attempt, why, run.error)))
            self.ask_to_end(run, why)

    def attempt_failed(self, run: Run, error: str, *, temporary: bool) -> None:
        """An attempt is over without a result: cancelled, or followed by another, or the end of its run."""
        if run.ending in FINAL:
            self.end(run, RunState.CANCELLED)
            return
        if run.ending in NO_TRIES:
            run.shed += 1
            run.error = run.error or "stopped for now"  # who stopped it gave no reason
            self._retry(run, 0.0, run.variant, events.TaskCancelled)
            return
        if run.ending == TOO_LATE:
            self.end(run, RunState.FAILED)
            return
        spec = self.spec(run)
        decision: RetryDecision | FinalDecision
        if run.ending == LOST:
            run.lost, run.shed = run.lost + 1, run.shed + 1
            decision = spec.retry.after_loss(run.run_id, run.lost)
            run.error = decision.reason if isinstance(decision, FinalDecision) else run.error
        else:
            is_late = run.ending == TIMED_OUT
            run.lost, run.error = 0, run.error if is_late else error
            decision = spec.retry.decide(run.run_id, run.attempt - run.shed, temporary=temporary or is_late)
            if self._is_fallback(run):
                decision = FinalDecision("a fallback that failed is not tried again")
        if isinstance(decision, RetryDecision):
            self._retry(run, decision.after_s, run.variant)
        elif spec.fallback is not None and not self._is_fallback(run):
            self.tell(run, f"{decision.reason}; its fallback is {spec.fallback.variant}")
            self._retry(run, 0.0, spec.fallback.variant)
        else:
            self.tell(run, decision.reason)
            self.end(run, RunState.FAILED)

    def _is_fallback(self, run: Run) -> bool:
        return bool(run.variant)

    def _retry(self, run: Run, after_s: float, variant: str, told: Callable[..., Any] = events.TaskFailed) -> None:
        """Let another attempt follow, unless the run's deadline has passed. ``told``: what became of the one before."""
        if run.expires_ns is not None and run.expires_ns <= self._clock.monotonic_ns():
            run.error = f"{self._too_late(run)}: {run.error}"
            self.end(run, RunState.FAILED)
            return
        self.change(run, RunState.RETRYING, f"{run.error}; again in {after_s:.3g} s")
        run.duration_s = self._duration_s(run)
        self._close_attempt(run)  # what the attempt used is counted by its own variant
        run.variant = variant
        run.rests_until_ns = self._clock.monotonic_ns() + round(after_s * SECOND_NS)
        self.out.append(sig.Keep(sig.RunRetrying(run.run_id, run.attempt, run.variant, run.shed, run.lost)))
        self.emit(told, run, run.error)
        self.await_turn(run)
        self.reconsider(run.task_id)

    # -- ends ----------------------------------------------------------------------------------------------------

    def end(self, run: Run, state: RunState) -> None:
        """Take a run to its end: event, history, free place."""
        self.change(run, state, run.error)
        run.ended_wall_ns, run.ending = self._clock.wall_ns(), ""
        if run.deadline_ns is not None:
            run.duration_s = self._duration_s(run)
            self._close_attempt(run)
        run.hold = ""
        self._line.discard(run.run_id)
        self.calendar.forget(run.run_id)
        for forgotten in self.book.close(run):
            self.stories.forget(forgotten)
        if state is RunState.SUCCEEDED:
            if run.result:
                self.out.append(sig.Keep(sig.RunResulted(run.run_id, run.result)))
            self.emit(events.TaskCompleted, run)
        elif state is RunState.FAILED:
            self.emit(events.TaskFailed, run, run.error)
        elif state is RunState.CANCELLED:
            self.emit(events.TaskCancelled, run, run.error or None)
        self.reconsider(run.task_id)
        self.on_end(run)

    def _close_attempt(self, run: Run) -> None:
        booked = self._booked.pop(run.run_id, None)
        if booked is not None:
            self.usage.add(*booked, -1)
            self._active[run.task_id].remove(run.run_id)
        run.deadline_ns, run.ending = None, ""
        self.calendar.set("deadline", run.run_id, None)
        self._may_admit = True

    def _share(self, run: Run) -> tuple[str, Resources]:
        spec = self.spec(run)
        return spec.group, spec.resources_of(run.variant)

    def _duration_s(self, run: Run) -> float:
        return (self._clock.monotonic_ns() - run.started_ns) / SECOND_NS

    # -- after a restart, words ----------------------------------------------------------------------------------

    def rebuild(self) -> None:
        """Derive line, calendar and usage from the book."""
        self._line.clear()
        self.calendar.clear()
        active = [run for run in self.book.runs.values() if run.is_active and run.task_id in self.book.specs]
        self._booked = {run.run_id: self._share(run) for run in active}
        self.usage = Usage(self._booked.values())
        self._active = {}
        for run in active:
            self._active.setdefault(run.task_id, []).append(run.run_id)
        for run in active:
            self.calendar.set("deadline", run.run_id, run.deadline_ns)
            self.calendar.set("expiry", run.run_id, None if run.ending else run.expires_ns)
        holds = {run.run_id: run.hold for run in self.book.runs.values()}
        self.reconsider_all()
        for run in self.book.runs.values():
            if self.is_in_line(run):
                run.hold = holds[run.run_id]  # what admission said last
        self._told = {run.run_id for run in self.book.runs.values() if self.is_in_line(run) and run.hold}

    def check(self) -> None:
        """Raise AssertionError when what is derived from the book is not what it says."""
        self.book.check(self.book.specs.__contains__)
        active = [run for run in self.book.runs.values() if run.is_active]
        assert self.usage.runs == len(active), f"{self.usage.runs} runs counted, {len(active)} under way"
        counted = sorted(run_id for run_ids in self._active.values() for run_id in run_ids)
        assert counted == sorted(run.run_id for run in active), f"{counted} counted of {active}"
        for run in self.book.runs.values():
            assert self.is_in_line(run) <= run.is_waiting, run
            assert run.is_active or run.hold or self.is_in_line(run), f"nobody knows what {run} waits for"

    def change(self, run: Run, new: RunState, reason: str = "") -> None:
        RUN_TABLE.check(run.run_id, run.state, new, self.stories)
        self.tell(run, f"{run.state} -> {new}" + (f": {reason}" if reason else ""))
        run.state = new

    def emit(self, kind: Callable[..., Any], run: Run, error: str | None = None) -> None:
        spec = self.book.specs.get(run.task_id)
        task_type = spec.task_type if spec is not None else run.task_id
        payload = kind(run.task_id, run.run_id, task_type, max(1, run.attempt), run.duration_s, error)
        self.out.append(Emit(payload, run.task_id))

    def tell(self, run: Run, text: str) -> None:
        self.stories.tell(run.run_id, self._clock.wall_ns(), text)
