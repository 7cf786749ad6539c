"""What the lifecycle machine keeps of each module, what a deployment may choose, and what must always hold."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tori.machine import StoryLine
from tori.modules.registry import START_ORDER
from tori.orchestrator.state import State
from tori.orchestrator.supervision import RestartPolicy

UP = (State.RUNNING, State.PAUSED)
HELD, CHECKED = "pause requested", "its recovery is checked"
"""Why a module is paused: a person wants it, also after a restart of the orchestrator; a check needs it, and ends with the orchestrator."""
CHECK_ENDED, READY = "its recovery was checked", "ready"
"""Why it goes on, or why from now on it is paused for nothing but what else there is."""


class LifecycleOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment may choose."""

    order: tuple[str, ...] = START_ORDER
    """Start order; modules stop in reverse."""
    start_timeout_s: float = 30.0
    """From ``StartModule`` to ``ModuleReady``; replaying a long journal takes seconds."""
    drain_timeout_s: float = 30.0
    """For the final checkpoint, and again for the stop; then the module is killed."""
    starts_at_once: int = 1
    """How many first starts may overlap; 1 keeps the order exact."""
    restart: RestartPolicy = RestartPolicy()


class ModuleRecord(msgspec.Struct):
    """What the machine knows of one module."""

    name: str
    state: State = State.STOPPED
    incarnation: int = 0
    is_held: bool = False
    """Paused by name: stays so when the system resumes."""
    is_started_paused: bool = False
    """What ``StartModule`` said last."""
    is_recovering: bool = False
    """Its present start is a restart."""
    is_saved: bool = False
    """While draining: the final checkpoint is done with, the stop was asked for."""
    is_pending: bool = False
    """Waits for its turn in the start order."""
    deadline_ns: int | None = None
    """Monotonic: end of the start or drain, or when the restart is due."""
    error: str = ""
    """Last failure."""
    is_adopting: bool = False
    """Found alive by a new orchestrator, and not ready yet."""
    is_given_up: bool = False
    """Before the start: degraded under the orchestrator before this one."""
    successor: int = 0
    """Incarnation of new code that is on its way to take over; 0 = none is."""
    versions: tuple[str, str] = ("", "")
    """Of the reload under way: from, to."""
    is_checked: bool = False
    """Paused while its recovery is checked: nobody's wish, so it dies with the orchestrator."""

    @property
    def rests(self) -> bool:
        """Whether it is paused by itself, whatever the system does."""
        return self.is_held or self.is_checked


class LifecycleSnapshot(msgspec.Struct, array_like=True):
    """State of the machine. Deadlines are relative, since monotonic time dies with the machine."""

    system: State
    is_pausing: bool
    is_adopted: bool
    stop_reason: str
    modules: list[ModuleRecord]
    restart_ages: dict[str, list[int]]
    stories: list[tuple[str, list[StoryLine]]]
    stale: int = 0


def check(system: State, records: Iterable[ModuleRecord], *, is_adopted: bool) -> None:
    """Raise AssertionError with the facts when the modules do not fit the state of the system."""
    modules = list(records)
    present = [m.state for m in modules]
    for m in modules:
        timed = m.state in (State.INITIALIZING, State.DRAINING) or (
            m.state is State.FAILED and system is not State.DRAINING
        )
        assert (m.deadline_ns is not None) == timed, m
        assert m.state in (State.STOPPED, State.OFFLINE) or m.incarnation > 0, m
        assert m.successor in (0, m.incarnation + 1), m
        assert not m.successor or m.state in UP, m
        assert not m.is_pending or (m.state is State.STOPPED and system is State.INITIALIZING), m
    if system is State.DRAINING:
        assert present.count(State.DRAINING) == 1, present
        later = present[present.index(State.DRAINING) + 1 :]  # before it may be modules whose turn to start never came
        assert set(later) <= {State.STOPPED}, f"stopped out of order: {present}"
    else:
        assert State.DRAINING not in present, present
    allowed = {
        State.RUNNING: all(s in UP for s in present),
        State.PAUSED: State.RUNNING not in present,
        State.DEGRADED: any(s not in UP for s in present),
        State.FAILED: set(present) == {State.DEGRADED},
        State.STOPPED: is_adopted or set(present) <= {State.STOPPED, State.OFFLINE},
    }
    assert allowed.get(system, True), (system, present)
