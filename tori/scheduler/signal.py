"""Stimuli and instructions of the scheduler, and the private records that make its memory durable.

A report names run and attempt, so that a late word about an attempt that is over cannot harm its successor.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TypeAlias

import msgspec

from tori.machine import Emit, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler.spec import TaskSpec


class Throttle(StrEnum):
    """How far a person holds background work back."""

    OFF = "off"
    HIGH = "high"
    """As under high pressure: low and background runs wait, the others have half of the slots."""
    SEVERE = "severe"
    """As under severe pressure: only critical runs begin."""
    STOPPED = "stopped"
    """Emergency stop: what is under way is killed, and nothing at all begins."""

    @property
    def pressure(self) -> Pressure:
        """Return the pressure it counts as."""
        return {Throttle.OFF: Pressure.NONE, Throttle.HIGH: Pressure.HIGH}.get(self, Pressure.SEVERE)


Version: TypeAlias = tuple[int, int]
"""(incarnation of a module, version of its state): differs whenever the state may differ."""


class _Attempt(msgspec.Struct, frozen=True):
    run_id: str
    attempt: int


# -- stimuli: requests ---------------------------------------------------------------------------------------------


class RunRequested(msgspec.Struct, frozen=True):
    """Run a task now, changed or not. The same ``run_id`` asks once, however often it comes; empty = the scheduler names it."""

    task_id: str
    run_id: str = ""
    force: bool = False
    """Whatever the pressure, or a throttle by hand; an emergency stop holds it all the same."""


class CancelRequested(msgspec.Struct, frozen=True):
    """Cancel a run that waits or is under way; one that ended is left as it is."""

    run_id: str


class PauseRequested(msgspec.Struct, frozen=True):
    """Let a task's trigger rest, or begin nothing at all when ``task_id`` is empty. What runs goes on."""

    task_id: str = ""


class ResumeRequested(msgspec.Struct, frozen=True):
    """End a pause. A task that was due meanwhile runs once."""

    task_id: str = ""


class ThrottleRequested(msgspec.Struct, frozen=True):
    """A person holds background work back, or lets it go on; holds until another one comes, over restarts too."""

    level: Throttle
    reason: str = ""


class DrainRequested(msgspec.Struct, frozen=True):
    """The system stops: begin nothing more and end what is under way; its runs go on after the next start."""


class SpecsAdded(msgspec.Struct, frozen=True):
    """From now on there are these tasks too; one of a known name takes its place, and what is known of its runs stays."""

    specs: tuple[TaskSpec, ...]


# -- stimuli: what happened to attempts ----------------------------------------------------------------------------


class RunStarted(_Attempt, frozen=True):
    """The attempt began."""


class RunProgressed(_Attempt, frozen=True):
    """The attempt has come so far: ``done`` of ``total``, in whatever it counts. Not kept over a crash."""

    done: float
    total: float


class RunFinished(_Attempt, frozen=True):
    """Its result was concluded.

    ``covers``: by module, the version the result speaks for: the version at ``prepare``, plus the rises that concluding
    this run itself made. Without it the versions known at admission count, which may cost one run more.
    ``result``: what it has to say, JSON; cut at ``MAX_RESULT`` characters.
    """

    covers: dict[str, Version] = {}
    result: str = ""


class RunFailed(_Attempt, frozen=True):
    """It ended with an error, or could not begin; ``temporary``: trying again may help."""

    error: str
    temporary: bool


class RunCancelled(_Attempt, frozen=True):
    """It ended because it was cancelled."""


class RunLost(_Attempt, frozen=True):
    """Its process or node is gone, and certainly does not run any more."""

    error: str = "the process that ran it is gone"


# -- stimuli: triggers ---------------------------------------------------------------------------------------------


class Triggered(msgspec.Struct, frozen=True):
    """What a task waits for happened; ``cause`` names it (an event's id). The same cause counts once until a run is made of it.

    The shell gives it after the event's own journal and the orchestrator's cursor are durable; ``kept`` says that the
    record ``TaskTriggered`` stands in the same commit unit as that cursor, so that the machine need not write it.
    """

    task_id: str
    cause: str
    kept: bool = False


# -- stimuli: the world --------------------------------------------------------------------------------------------


class VersionMoved(msgspec.Struct, frozen=True):
    """The state of a module changed."""

    module: str
    version: Version


class ModuleAvailable(msgspec.Struct, frozen=True):
    """A module can, or cannot, be worked with. Until told otherwise every module can."""

    module: str
    available: bool


class Recovered(msgspec.Struct, frozen=True):
    """Replay is over, life goes on: every run that was under way is checked for, every task is due when it would have been.

    Nothing begins before it. ``unavailable``: modules that cannot be worked with now; what needs them does not begin with it.
    ``measured``: the pressure of the machine, when it is known already.
    """

    unavailable: tuple[str, ...] = ()
    measured: PressureChanged | None = None


SchedulerStimulus: TypeAlias = (
    Tick
    | RunRequested
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | DrainRequested
    | ThrottleRequested
    | SpecsAdded
    | RunStarted
    | RunProgressed
    | Triggered
    | RunFinished
    | RunFailed
    | RunCancelled
    | RunLost
    | VersionMoved
    | ModuleAvailable
    | PressureChanged
    | Recovered
)

# -- private records -----------------------------------------------------------------------------------------------


class RunQueued(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A run was made: one that was asked for, or triggered, or whose due time would not come again.

    Again for one that waits: it is asked for, or forced, from now on.
    """

    task_id: str
    run_id: str
    is_asked: bool = True
    cause: str = ""
    is_forced: bool = False
    due_wall_ns: int = 0
    """Since when it is due; 0 = an earlier version did not say."""
    made_wall_ns: int = 0
    """Of a run that time made due: up to then its task's due times have become runs; 0 = says nothing of that."""
    inherited_wall_ns: int = 0
    """Since when the waiting run waited whose place it took; 0 = it took nobody's."""


class RunRetrying(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Another attempt follows the one that failed."""

    run_id: str
    attempt: int
    """The one that failed."""
    variant: str = ""
    """What the next one runs."""
    shed: int = 0
    """How many attempts of the run do not count as tries: stopped for others' sake, or lost with an orchestrator that died."""
    lost: int = 0
    """How many were lost so in a row."""


class TaskPaused(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """A pause of a task, or of all (empty ``task_id``), began or ended."""

    task_id: str
    paused: bool


class TaskTriggered(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """What a task waits for happened, and no run was made of it yet."""

    task_id: str
    cause: str


class RunResulted(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """What a run that succeeds has to say; stands in the commit unit of its TaskCompleted."""

    run_id: str
    result: str


class RunVaried(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """The attempt that begins is one of a variant; stands in the commit unit of its TaskStarted."""

    run_id: str
    variant: str


class RunCancelling(_Attempt, frozen=True, array_like=True, tag=7):
    """A run is to end with its attempt, whatever becomes of the process that was asked; ``RunCancelled`` says that it has."""

    why: str
    """``cancelled`` or ``replaced``; ``drained``: only the attempt ends."""
    error: str = ""


class TasksKnown(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """These tasks are there for the first time, or with another trigger: what happened before is nothing to them."""

    tasks: dict[str, str]
    """By id, what tells its trigger from others."""
    wall_ns: int
    is_new: bool = True
    """False: a journal of an earlier version, whose tasks were not told of."""
    gone: tuple[str, ...] = ()
    """These are there no more; one that comes back is new."""


class DuePassed(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """No run was made of what was due up to then, and none will be."""

    task_id: str
    wall_ns: int


SchedulerRecord: TypeAlias = (
    RunQueued
    | RunRetrying
    | TaskPaused
    | TaskTriggered
    | RunResulted
    | RunVaried
    | RunCancelling
    | TasksKnown
    | DuePassed
)

MAX_RESULT = 16_384
"""Characters kept of a result; what is larger belongs into a journal or a file."""

# -- instructions --------------------------------------------------------------------------------------------------


class StartRun(_Attempt, frozen=True):
    """Run an attempt; answer ``RunStarted`` and then how it ended. ``variant``: empty, or the fallback of the spec."""

    spec: TaskSpec
    variant: str = ""
    cause: str = ""


class CancelRun(_Attempt, frozen=True):
    """Make the attempt end, and answer how it did; ``force``: kill its process.

    Comes again, with force, until there is an answer. After ``Recovered`` answer ``RunLost`` once it is certain that nothing runs.
    """

    force: bool = False


class Keep(msgspec.Struct, frozen=True):
    """Write a private record, in the same commit unit as the events of this call; ``Scheduler.apply`` takes it at replay."""

    record: SchedulerRecord


SchedulerInstruction: TypeAlias = Emit | Keep | StartRun | CancelRun
