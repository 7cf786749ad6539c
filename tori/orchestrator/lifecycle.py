"""Lifecycle of the system and of each module, with supervision: a pure machine.

Modules start in order, stop in reverse, and write a final checkpoint before they stop. One that fails is started again a
bounded number of times; then it is degraded and the others go on. Reports of incarnations that are gone are counted and
otherwise ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tori.clock import SECOND_NS, Clock
from tori.errors import BadInput, IllegalTransition
from tori.events import system as events
from tori.machine import StoryLine, Tick
from tori.orchestrator import signal as sig
from tori.orchestrator.exchange import Exchange
from tori.orchestrator.notes import SYSTEM, Notes
from tori.orchestrator.record import (
    CHECK_ENDED,
    CHECKED,
    HELD,
    READY,
    UP,
    LifecycleOptions,
    LifecycleSnapshot,
    ModuleRecord,
    check,
)
from tori.orchestrator.signal import LifecycleInstruction, LifecycleStimulus
from tori.orchestrator.state import MODULE_TABLE, SYSTEM_TABLE, State
from tori.orchestrator.supervision import GiveUpDecision, Supervision

PERMANENT = ("JournalMissing",)
"""Failures after which a restart can only fail the same way; a person must act."""


class Lifecycle:
    """The machine. One caller at a time; every method returns at once."""

    def __init__(self, clock: Clock, options: LifecycleOptions | None = None, version: str = "") -> None:
        self.options = options or LifecycleOptions()
        self.system = State.STOPPED
        self.modules = {name: ModuleRecord(name) for name in self.options.order}
        self.stale = 0
        """Reports that came too late to matter."""
        self._clock = clock
        self._version = version
        self._supervision = Supervision(self.options.restart)
        self._notes = Notes(clock)
        self._exchange = Exchange(self._notes)
        self._is_pausing = False
        self._is_adopted = False
        self._stop_reason = ""
        self._handlers: dict[type, Callable[[Any], None]] = {
            Tick: self._on_tick,
            sig.StartRequested: self._on_start,
            sig.StopRequested: self._on_stop,
            sig.PauseRequested: self._on_pause,
            sig.ResumeRequested: self._on_resume,
            sig.CheckRequested: self._on_check,
            sig.RecoverRequested: self._on_recover,
            sig.Remember: self._on_remember,
            sig.Adopt: self._on_adopt,
            sig.ModuleProgressed: self._on_progressed,
            sig.ModuleReady: self._on_ready,
            sig.ModuleDied: self._on_died,
            sig.ModuleStopped: self._on_stopped,
            sig.CheckpointDone: self._on_checkpoint_done,
            sig.CheckpointFailed: self._on_checkpoint_failed,
            sig.StartTimedOut: self._on_start_timed_out,
            sig.DrainTimedOut: self._on_drain_timed_out,
            sig.ReloadRequested: self._on_reload,
            sig.ModuleReplaced: self._on_replaced,
            sig.ReplaceFailed: self._on_replace_failed,
            sig.NodeLost: self._on_node_lost,
            sig.NodeReturned: self._on_node_returned,
        }

    # -- the protocol of machines --------------------------------------------------------------------------------

    def handle(self, stimulus: LifecycleStimulus) -> list[LifecycleInstruction]:
        """Return what follows from ``stimulus``, to be executed in order.

        Requests may be repeated: what is already so, or under way, asks for nothing. Raises IllegalTransition, with nothing
        changed, for a request that the state does not allow, BadInput for a module that is not there.
        """
        self._notes.out = []
        self._handlers[type(stimulus)](stimulus)
        out, self._notes.out = self._notes.out, []
        return out

    @property
    def wake_ns(self) -> int | None:
        """When ``Tick`` is next needed, monotonic nanoseconds; None = only after another stimulus."""
        return min((m.deadline_ns for m in self.modules.values() if m.deadline_ns is not None), default=None)

    def states(self) -> dict[str, str]:
        """Return the state of the system and of every module, by name."""
        return {SYSTEM: str(self.system)} | {m.name: str(m.state) for m in self.modules.values()}

    def story(self, subject: str) -> tuple[StoryLine, ...]:
        """Return the last steps of a module, or of ``system``."""
        return self._notes.stories.of(subject)

    def snapshot(self) -> bytes:
        now = self._clock.monotonic_ns()
        modules = [
            msgspec.structs.replace(m, deadline_ns=None if m.deadline_ns is None else m.deadline_ns - now)
            for m in self.modules.values()
        ]
        return msgspec.msgpack.encode(
            LifecycleSnapshot(
                self.system,
                self._is_pausing,
                self._is_adopted,
                self._stop_reason,
                modules,
                self._supervision.ages(now),
                self._notes.stories.snapshot(),
                self.stale,
            )
        )

    def restore(self, data: bytes) -> None:
        """Replace the state by what ``snapshot`` returned; deadlines go on from now."""
        state = msgspec.msgpack.decode(data, type=LifecycleSnapshot)
        if [m.name for m in state.modules] != list(self.options.order):
            raise BadInput(
                "the snapshot knows other modules.", remedy=f"This system has {', '.join(self.options.order)}."
            )
        now = self._clock.monotonic_ns()
        self.system, self._is_pausing, self._is_adopted = state.system, state.is_pausing, state.is_adopted
        self._stop_reason, self.stale = state.stop_reason, state.stale
        for module in state.modules:
            module.deadline_ns = None if module.deadline_ns is None else module.deadline_ns + now
        self.modules = {m.name: m for m in state.modules}
        self._supervision.restore(state.restart_ages, now)
        self._notes.stories.restore(state.stories)

    def validate(self) -> None:
        """Raise AssertionError with the facts when an invariant does not hold."""
        check(self.system, self.modules.values(), is_adopted=self._is_adopted)

    # -- requests ------------------------------------------------------------------------------------------------

    def _on_start(self, request: sig.StartRequested) -> None:
        if self.system is not State.STOPPED:
            if self.system in (State.DRAINING, State.FAILED):
                self._refuse_system(State.INITIALIZING)
            return
        adopted = [m for m in self.modules.values() if m.state in UP]
        was_paused = bool(adopted) and all(m.is_held for m in adopted)
        self._is_pausing = was_paused if request.paused is None else request.paused
        self._change_system(State.INITIALIZING, "start requested")
        for m in self.modules.values():
            if m.is_given_up:
                m.is_given_up = False
                self._notes.change(m, State.DEGRADED, "it was given up before the orchestrator was started again")
            m.is_pending = m.state is State.STOPPED
            if self._is_pausing and m.state in UP:
                m.is_held = False
                if m.state is State.RUNNING:
                    self._pause(m, "the system starts paused")
        self._start_next()
        self._settle()

    def _on_stop(self, request: sig.StopRequested) -> None:
        if self.system in (State.DRAINING, State.STOPPED):
            return
        self._stop_reason = request.reason
        self._change_system(State.DRAINING, request.reason)
        for m in self.modules.values():
            m.is_pending = False
            if m.state is State.FAILED:
                m.deadline_ns = None
        self._drain_next()

    def _on_pause(self, request: sig.PauseRequested) -> None:
        if request.module:
            m = self._module(request.module)
            if m.state not in (*UP, State.INITIALIZING):
                self._refuse(m, State.PAUSED)
            if m.state is State.RUNNING:
                self._pause(m, HELD)
            elif m.state is State.PAUSED and m.is_checked and not m.is_held:
                self._notes.change(m, State.PAUSED, HELD)
            m.is_held = True
            return
        if self._is_paused:
            return
        if self.system is State.INITIALIZING:
            self._is_pausing = True
        else:
            self._change_system(State.PAUSED, "pause requested")
        for m in self.modules.values():
            if m.state is State.RUNNING:
                self._pause(m, "the system pauses")

    def _on_resume(self, request: sig.ResumeRequested) -> None:
        if request.module:
            m = self._module(request.module)
            if m.state in (State.FAILED, State.DEGRADED):
                m.is_held = m.is_held and self.system is State.DRAINING
                self._on_recover(sig.RecoverRequested(m.name))
                return
            if m.state not in (*UP, State.INITIALIZING):
                self._refuse(m, State.RUNNING)
            if m.state is State.PAUSED and m.is_checked and m.is_held:
                self._notes.change(m, State.PAUSED, CHECKED)
            elif m.state is State.PAUSED and not m.is_checked and not self._is_paused:
                self._resume(m, "resume requested")
            m.is_held = False
            return
        if self.system in (State.DRAINING, State.STOPPED, State.FAILED):
            self._refuse_system(State.RUNNING)
        if self.system is State.PAUSED:
            self._change_system(self._healthy_state(), "resume requested")
        elif not self._is_pausing:
            return
        self._is_pausing = False
        for m in self.modules.values():
            if m.state is State.PAUSED and not m.rests:
                self._resume(m, "the system resumes")

    def _on_check(self, request: sig.CheckRequested) -> None:
        m = self._module(request.module)
        if not request.ends:
            if m.state is not State.RUNNING:
                self._refuse(m, State.PAUSED)
            self._pause(m, CHECKED)
        elif m.state is State.PAUSED and not m.is_held and not self._is_paused:
            self._resume(m, CHECK_ENDED)
        elif m.state is State.PAUSED and m.is_checked and not m.is_held:
            self._notes.change(m, State.PAUSED, CHECK_ENDED)
        m.is_checked = not request.ends

    def _on_recover(self, request: sig.RecoverRequested) -> None:
        m = self._module(request.module)
        if m.state in (*UP, State.INITIALIZING):
            return
        if m.state not in (State.FAILED, State.DEGRADED) or self.system is State.DRAINING:
            self._refuse(m, State.INITIALIZING)
        self._supervision.forgive(m.name)
        self._recover(m, "recovery requested")

    def _on_reload(self, request: sig.ReloadRequested) -> None:
        self._exchange.begin(self._module(request.module), request, is_stopping=self.system is State.DRAINING)

    def _on_replaced(self, report: sig.ModuleReplaced) -> None:
        self.stale += not self._exchange.complete(self._module(report.module), report)

    def _on_replace_failed(self, report: sig.ReplaceFailed) -> None:
        m = self._module(report.module)
        if m.successor == report.incarnation:
            self._exchange.drop(m, report.error)

    def _on_remember(self, past: sig.Remember) -> None:
        m = self._module(past.module)
        if m.state is State.STOPPED:
            m.incarnation = max(m.incarnation, past.incarnation)
            m.is_given_up = past.is_given_up and m.incarnation > 0
            self._supervision.remember(m.name, past.failure_ages_ns, self._clock.monotonic_ns())

    def _on_adopt(self, found: sig.Adopt) -> None:
        m = self._module(found.module)
        if m.state in (*UP, State.INITIALIZING) and m.incarnation == found.incarnation:
            return
        new = State.PAUSED if found.paused else State.RUNNING
        if m.state is not State.STOPPED or self.system is not State.STOPPED:
            self._refuse(m, new)
        if found.incarnation < 1:
            raise BadInput(f"incarnation: {found.incarnation} of {m.name} is not a start.", remedy="They count from 1.")
        m.incarnation, m.is_held, self._is_adopted = found.incarnation, found.paused, True
        m.is_given_up = False
        if not found.is_ready:
            m.is_started_paused, m.is_adopting = found.paused, True
            self._notes.change(m, State.INITIALIZING, "found alive, busy")
            self._arm(m, self.options.start_timeout_s)
            return
        self._notes.change(m, new, "found alive")
        self._notes.emit(events.ModuleInitialized("adopted", m.name, self._version))

    # -- reports -------------------------------------------------------------------------------------------------

    def _on_progressed(self, report: sig.ModuleProgressed) -> None:
        m = self._subject(report, State.INITIALIZING)
        if m is not None:
            self._arm(m, self.options.start_timeout_s)

    def _on_ready(self, report: sig.ModuleReady) -> None:
        m = self._subject(report, State.INITIALIZING)
        if m is None:
            return
        m.deadline_ns = None
        waits = m.rests or self._is_paused
        reason = READY if not m.is_checked else HELD if m.is_held else CHECKED
        self._notes.change(m, State.PAUSED if waits else State.RUNNING, reason)
        status = "restarted" if m.is_recovering else "adopted" if m.is_adopting else "cold"
        self._notes.emit(events.ModuleInitialized(status, m.name, self._version))
        if m.is_recovering:
            self._notes.tell_recovery(events.RecoverySucceeded, m, m.error)
        m.is_recovering = m.is_adopting = False
        if waits != m.is_started_paused:
            self._notes.out.append((sig.PauseModule if waits else sig.ResumeModule)(m.name, m.incarnation))
        self._start_next()
        self._settle()

    def _on_died(self, report: sig.ModuleDied) -> None:
        m = self._subject(report, *UP, State.INITIALIZING, State.DRAINING)
        if m is not None:
            self._fail(m, report.error_type, report.error)

    def _on_stopped(self, report: sig.ModuleStopped) -> None:
        m = self._subject(report, *UP, State.INITIALIZING, State.DRAINING)
        if m is None:
            return
        if m.state is State.DRAINING:
            self._end(m, "stopped")
            self._drain_next()
        else:
            self._fail(m, "ModuleStopped", "it stopped without being asked to")

    def _on_checkpoint_done(self, report: sig.CheckpointDone) -> None:
        m = self._subject(report, State.DRAINING)
        if m is not None and not m.is_saved:
            self._stop_module(m)

    def _on_checkpoint_failed(self, report: sig.CheckpointFailed) -> None:
        m = self._subject(report, State.DRAINING)
        if m is not None and not m.is_saved:
            self._notes.tell_error(m, "CheckpointFailed", report.error)
            self._stop_module(m)

    def _on_start_timed_out(self, report: sig.StartTimedOut) -> None:
        m = self._subject(report, State.INITIALIZING)
        if m is not None:
            self._fail(m, "StartTimedOut", f"it was not ready in {self.options.start_timeout_s:g} s")

    def _on_drain_timed_out(self, report: sig.DrainTimedOut) -> None:
        m = self._subject(report, State.DRAINING)
        if m is not None:
            self._notes.tell_error(m, "DrainTimedOut", f"it did not drain in {self.options.drain_timeout_s:g} s")
            self._notes.out.append(sig.KillModule(m.name, m.incarnation))
            self._end(m, "killed")
            self._drain_next()

    def _on_node_lost(self, report: sig.NodeLost) -> None:
        for m in [self._module(name) for name in report.modules]:
            if m.state is State.DRAINING:
                self._fail(m, "NodeLost", report.reason)
            elif m.state is not State.OFFLINE and not (m.state is State.STOPPED and self.system is State.DRAINING):
                self._go_offline(m, f"{report.reason} ({report.node})")
        self._start_next()
        self._settle()

    def _go_offline(self, m: ModuleRecord, reason: str) -> None:
        m.is_given_up = False
        self._exchange.drop(m, reason)
        m.deadline_ns, m.is_recovering, m.is_pending, m.error = None, False, False, reason
        if m.incarnation:
            self._notes.out.append(sig.KillModule(m.name, m.incarnation))
        self._notes.change(m, State.OFFLINE, reason)
        self._notes.tell_error(m, "NodeLost", reason)

    def _on_node_returned(self, report: sig.NodeReturned) -> None:
        for m in [self._module(name) for name in report.modules]:
            if m.state is not State.OFFLINE or self.system is State.DRAINING:
                continue
            self._supervision.forgive(m.name)
            if self.system is State.STOPPED:
                self._end(m, f"node {report.node} is back")
            else:
                self._recover(m, f"node {report.node} is back")

    def _on_tick(self, _: Tick) -> None:
        now = self._clock.monotonic_ns()
        for m in list(self.modules.values()):
            if m.deadline_ns is None or m.deadline_ns > now:
                continue
            if m.state is State.FAILED:
                self._recover(m, "restart")
            elif m.state is State.INITIALIZING:
                self._on_start_timed_out(sig.StartTimedOut(m.name, m.incarnation))
            else:
                self._on_drain_timed_out(sig.DrainTimedOut(m.name, m.incarnation))

    # -- steps ---------------------------------------------------------------------------------------------------

    def _start_next(self) -> None:
        """Begin as many first starts as may overlap."""
        if self.system is not State.INITIALIZING:
            return
        present = [m for m in self.modules.values() if m.state is State.INITIALIZING and not m.is_recovering]
        pending = [m for m in self.modules.values() if m.is_pending]
        for m in pending[: max(0, self.options.starts_at_once - len(present))]:
            self._begin(m, "its turn to start")

    def _begin(self, m: ModuleRecord, reason: str) -> None:
        m.is_pending = m.is_adopting = False
        m.incarnation += 1
        self._notes.change(m, State.INITIALIZING, reason)
        self._arm(m, self.options.start_timeout_s)
        m.is_started_paused = m.rests or self._is_paused
        self._notes.out.append(sig.StartModule(m.name, m.incarnation, m.is_started_paused))

    def _fail(self, m: ModuleRecord, error_type: str, error: str) -> None:
        """A module is gone: stop with it, start it again or give it up."""
        self._exchange.drop(m, f"the module died meanwhile: {error}")
        self._notes.out.append(sig.KillModule(m.name, m.incarnation))
        if self.system is State.DRAINING:
            self._notes.tell_error(m, error_type, error)
            if m.state is not State.DRAINING:
                self._notes.change(m, State.FAILED, f"died while the system drained: {error}")
                m.deadline_ns = None
                return
            self._end(m, "died")
            self._drain_next()
            return
        m.error, was_recovering, m.is_recovering = error, m.is_recovering, False
        self._notes.change(m, State.FAILED, error)
        self._notes.tell_error(m, error_type, error)
        if error_type in PERMANENT:
            decision: Any = GiveUpDecision("a restart does not bring back what is missing")
        else:
            decision = self._supervision.decide(m.name, self._clock.monotonic_ns())
        if isinstance(decision, GiveUpDecision):
            m.deadline_ns = None
            self._notes.tell_recovery(events.RecoveryFailed, m, decision.reason)
            self._notes.change(m, State.DEGRADED, decision.reason)
        else:
            self._arm(m, decision.after_s)
            again = "again " if was_recovering else ""
            self._notes.tell(m.name, f"restart {decision.restart} is due {again}in {decision.after_s:g} s")
        self._start_next()
        self._settle()

    def _recover(self, m: ModuleRecord, reason: str) -> None:
        m.is_recovering = True
        self._notes.tell_recovery(events.RecoveryAttempted, m, reason)
        self._begin(m, reason)
        self._settle()

    def _drain_next(self) -> None:
        """Drain the last module that has not stopped; when none is left the system has stopped."""
        for m in reversed(self.modules.values()):
            if m.state is State.DRAINING:
                return
            if m.state is State.STOPPED:
                continue
            if m.state in (State.FAILED, State.DEGRADED, State.OFFLINE):
                self._end(m, "nothing was left of it")
                continue
            self._exchange.drop(m, "the system stops")
            is_up = m.state in UP
            self._notes.change(m, State.DRAINING, self._stop_reason)
            if not is_up:
                self._stop_module(m)
                return
            m.is_saved = False
            self._arm(m, self.options.drain_timeout_s)
            self._notes.out.append(sig.TakeCheckpoint(m.name, m.incarnation))
            return
        self._is_adopted = self._is_pausing = False
        self._notes.emit(events.SystemShutdown(self._stop_reason, None, self._version))
        self._change_system(State.STOPPED, "every module has stopped")
        self._notes.out.append(sig.Finish())

    def _stop_module(self, m: ModuleRecord) -> None:
        m.is_saved = True
        self._arm(m, self.options.drain_timeout_s)
        self._notes.out.append(sig.StopModule(m.name, m.incarnation))

    def _end(self, m: ModuleRecord, status: str) -> None:
        m.deadline_ns, m.is_held, m.is_checked, m.is_recovering, m.is_saved = None, False, False, False, False
        self._notes.change(m, State.STOPPED, status)
        self._notes.emit(events.ModuleShutdown(status, m.name, self._version))

    def _pause(self, m: ModuleRecord, reason: str) -> None:
        self._notes.change(m, State.PAUSED, reason)
        self._notes.out.append(sig.PauseModule(m.name, m.incarnation))

    def _resume(self, m: ModuleRecord, reason: str) -> None:
        self._notes.change(m, State.RUNNING, reason)
        self._notes.out.append(sig.ResumeModule(m.name, m.incarnation))

    def _settle(self) -> None:
        """Bring the state of the system in line with its modules'."""
        if self.system is State.INITIALIZING:
            first = [m for m in self.modules.values() if m.state is State.INITIALIZING and not m.is_recovering]
            if first or any(m.is_pending for m in self.modules.values()):
                return
            target = self._healthy_state()
            if self._is_pausing and target is not State.FAILED:
                target = State.PAUSED
            self._is_pausing = False
            self._notes.emit(events.SystemStarted("adopted" if self._is_adopted else "cold", None, self._version))
            self._change_system(target, "every module was started")
        elif self.system in (State.RUNNING, State.DEGRADED, State.FAILED):
            target = self._healthy_state()
            if target is not self.system:
                self._change_system(
                    target, ", ".join(m.name for m in self.modules.values() if m.state not in UP) or "all run"
                )

    @property
    def _is_paused(self) -> bool:
        """Whether the whole system is paused, or starts into a pause."""
        return self.system is State.PAUSED or self._is_pausing

    def _healthy_state(self) -> State:
        present = {m.state for m in self.modules.values()}
        if present <= set(UP):
            return State.RUNNING
        return State.FAILED if present == {State.DEGRADED} else State.DEGRADED

    # -- words ---------------------------------------------------------------------------------------------------

    def _module(self, name: str) -> ModuleRecord:
        m = self.modules.get(name)
        if m is None:
            raise BadInput(f"there is no module {name!r}.", remedy=f"Modules: {', '.join(self.modules)}.")
        return m

    def _subject(self, report: Any, *expected: State) -> ModuleRecord | None:
        """Return the module a report is about, or None when the report is too late to matter."""
        m = self._module(report.module)
        if m.incarnation == report.incarnation and m.state in expected:
            return m
        self.stale += 1
        self._notes.tell(m.name, f"late: {type(report).__name__} of incarnation {report.incarnation}")
        return None

    def _arm(self, m: ModuleRecord, seconds: float) -> None:
        m.deadline_ns = self._clock.monotonic_ns() + round(seconds * SECOND_NS)

    def _change_system(self, new: State, reason: str) -> None:
        self.system = self._notes.change_system(self.system, new, reason)

    def _refuse(self, m: ModuleRecord, new: State) -> None:
        MODULE_TABLE.check(m.name, m.state, new, self._notes.stories)
        raise IllegalTransition(
            f"module {m.name} cannot go from {m.state} to {new} while the system is {self.system}.",
            subject=m.name,
            story=self._notes.stories.text(m.name),
        )

    def _refuse_system(self, new: State) -> None:
        SYSTEM_TABLE.check(SYSTEM, self.system, new, self._notes.stories)
        raise IllegalTransition(f"the system cannot become {new} now.", story=self._notes.stories.text(SYSTEM))
