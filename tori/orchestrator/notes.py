"""What the lifecycle machine says: changes of state by its tables, the story of each module, events, instructions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tori.clock import Clock
from tori.events import system as events
from tori.machine import Emit, Stories
from tori.orchestrator.record import ModuleRecord
from tori.orchestrator.signal import LifecycleInstruction
from tori.orchestrator.state import MODULE_TABLE, SYSTEM_TABLE, State

SYSTEM = "system"


class Notes:
    """The instructions that follow from the present stimulus, and the stories."""

    def __init__(self, clock: Clock) -> None:
        self.out: list[LifecycleInstruction] = []
        self.stories = Stories()
        self._clock = clock

    def emit(self, payload: Any) -> None:
        self.out.append(Emit(payload))

    def change(self, m: ModuleRecord, new: State, reason: str) -> None:
        """Take a module along an edge of its table; raises IllegalTransition when there is none."""
        MODULE_TABLE.check(m.name, m.state, new, self.stories)
        self._note(m.name, m.state, new, reason, m.incarnation)
        m.state = new

    def change_system(self, old: State, new: State, reason: str) -> State:
        """Return ``new``, which the system is in from now on; raises IllegalTransition where no edge leads there."""
        SYSTEM_TABLE.check(SYSTEM, old, new, self.stories)
        self._note(SYSTEM, old, new, reason)
        return new

    def _note(self, subject: str, old: State, new: State, reason: str, incarnation: int = 0) -> None:
        self.tell(subject, f"{old} -> {new}: {reason}")
        self.emit(events.ModuleStateChanged(subject, str(old), str(new), reason, incarnation))

    def tell(self, subject: str, text: str) -> None:
        """Add a line to a story."""
        self.stories.tell(subject, self._clock.wall_ns(), text)

    def tell_error(self, m: ModuleRecord, error_type: str, error: str) -> None:
        """Say what went wrong with a module, with its story."""
        self.emit(events.ErrorOccurred(error_type, error, m.name, None, self.stories.text(m.name)))

    def tell_recovery(self, kind: Callable[..., Any], m: ModuleRecord, message: str) -> None:
        """Say how the recovery of a module goes, with its story."""
        self.tell(m.name, f"{kind.__name__}: {message}")
        self.emit(kind("ModuleDied", message, m.name, None, self.stories.text(m.name)))
