"""New code for a module that runs: its successor is made beside it, and takes over or is dropped. A part of the lifecycle machine."""

from __future__ import annotations

from typing import NoReturn

from tori.errors import IllegalTransition
from tori.events import system as events
from tori.orchestrator import signal as sig
from tori.orchestrator.notes import Notes
from tori.orchestrator.record import UP, ModuleRecord
from tori.orchestrator.state import State


class Exchange:
    """The reloads of all modules."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes

    def begin(self, m: ModuleRecord, request: sig.ReloadRequested, *, is_stopping: bool) -> None:
        """Have a successor made; raises IllegalTransition for a module that is not up, or has one already."""
        if m.state not in UP or is_stopping:
            self._refuse(m, f"it is {m.state}", "Resume it first: tori resume.")
        if m.successor:
            self._refuse(m, "new code of it is on its way already", "Wait for that one to end.")
        m.successor, m.versions = m.incarnation + 1, (request.from_version, request.to_version)
        self._notes.tell(m.name, f"reload: {request.from_version} -> {request.to_version}")
        self._notes.emit(events.HotReloadTriggered(m.name, *m.versions))
        self._notes.out.append(sig.ReplaceModule(m.name, m.successor))

    def _refuse(self, m: ModuleRecord, why: str, remedy: str) -> NoReturn:
        raise IllegalTransition(
            f"module {m.name} cannot be reloaded: {why}.",
            remedy=remedy,
            subject=m.name,
            story=self._notes.stories.text(m.name),
        )

    def complete(self, m: ModuleRecord, report: sig.ModuleReplaced) -> bool:
        """Go on with the new code; False: the module died or stops meanwhile, and was seen to otherwise."""
        if m.successor != report.incarnation:
            self._notes.out.append(sig.KillSuccessor(m.name, report.incarnation))
            return False
        old, new = m.versions
        m.incarnation, m.successor = report.incarnation, 0
        self._notes.change(m, m.state, "new code took over")
        self._notes.emit(
            events.HotReloadCompleted(m.name, old, report.to_version or new, None, m.incarnation, report.pause_s)
        )
        go_on = sig.PauseModule if m.state is State.PAUSED else sig.ResumeModule
        self._notes.out.append(go_on(m.name, m.incarnation))
        return True

    def drop(self, m: ModuleRecord, error: str) -> None:
        """Give a reload up, if one is under way: the module, or what becomes of it, goes on without."""
        if not m.successor:
            return
        self._notes.out.append(sig.KillSuccessor(m.name, m.successor))
        self._notes.tell(m.name, f"reload failed: {error}")
        self._notes.emit(events.HotReloadFailed(m.name, *m.versions, error, m.successor))
        m.successor = 0
