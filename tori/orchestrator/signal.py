"""Stimuli and instructions of the lifecycle machine.

``incarnation`` numbers the starts of one module. A report names the incarnation it is about, so that a late word about a
dead one cannot harm its successor.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from tori.machine import Emit, Tick


class _Of(msgspec.Struct, frozen=True):
    module: str
    incarnation: int


# -- stimuli -------------------------------------------------------------------------------------------------------


class StartRequested(msgspec.Struct, frozen=True):
    """Start the system; ``paused``: bring every module up but let none work (the system was paused before).

    None = nobody knows: when every adopted module is paused, the system was.
    """

    paused: bool | None = None


class StopRequested(msgspec.Struct, frozen=True):
    """Drain and stop the system."""

    reason: str = "requested"


class PauseRequested(msgspec.Struct, frozen=True):
    """Pause one module, or the whole system when ``module`` is empty."""

    module: str = ""


class ResumeRequested(msgspec.Struct, frozen=True):
    """End the pause of one module, or of the whole system; modules paused by name stay paused then.

    Resuming a module that is down by name means ``RecoverRequested``.
    """

    module: str = ""


class CheckRequested(msgspec.Struct, frozen=True):
    """Pause a module that runs while its recovery is checked, or (``ends``) let it go on, unless a person has paused it meanwhile.

    What a person wants of it during the check counts when that has ended.
    """

    module: str
    ends: bool = False


class RecoverRequested(msgspec.Struct, frozen=True):
    """Start a failed or degraded module again, now and with a clean record."""

    module: str


class Remember(_Of, frozen=True):
    """The last start of a module under the orchestrator before this one. Give these first: the next start counts on from it."""

    is_given_up: bool = False
    """It was degraded, and no person has asked for it since."""
    failure_ages_ns: tuple[int, ...] = ()
    """How long ago its last failures were, each with a restart after it."""


class Adopt(_Of, frozen=True):
    """A living module was found by an orchestrator that restarted. Give these before ``StartRequested``.

    ``is_ready`` False: its process lives but it has not answered yet, being busy; ``ModuleReady`` or ``ModuleDied`` follows, or
    the start time-out passes.
    """

    paused: bool = False
    is_ready: bool = True


class ModuleProgressed(_Of, frozen=True):
    """It is not ready yet, and has come further since the last word: its time to start counts from now."""


class ModuleReady(_Of, frozen=True):
    """It restored its state and follows its inputs."""


class ModuleDied(_Of, frozen=True):
    """Its process or its loop ended without being asked to."""

    error: str
    error_type: str = "ModuleDied"


class ModuleStopped(_Of, frozen=True):
    """It ended as ``StopModule`` asked."""


class CheckpointDone(_Of, frozen=True):
    """The final checkpoint is on disk."""


class CheckpointFailed(_Of, frozen=True):
    """The final checkpoint could not be made; the module stops all the same, its journal holds everything."""

    error: str


class StartTimedOut(_Of, frozen=True):
    """A shell with a timer of its own saw the start take too long; ``Tick`` finds that out as well."""


class DrainTimedOut(_Of, frozen=True):
    """A shell with a timer of its own saw the drain take too long; ``Tick`` finds that out as well."""


class ReloadRequested(msgspec.Struct, frozen=True):
    """Put new code of a module in the place of the code that runs. ``from_version``, ``to_version``: by what a person tells them apart."""

    module: str
    from_version: str = ""
    to_version: str = ""


class ModuleReplaced(_Of, frozen=True):
    """The successor passed its self-check and has the journal; ``incarnation`` is its own."""

    pause_s: float = 0.0
    """How long nothing was handled."""
    to_version: str = ""


class ReplaceFailed(_Of, frozen=True):
    """The successor (``incarnation``) was refused or died; the module goes on as it was."""

    error: str


class NodeLost(msgspec.Struct, frozen=True):
    """A node is gone, and with it the journals of these modules: none of them can run anywhere else."""

    node: str
    modules: tuple[str, ...]
    reason: str = "its node left the cluster"


class NodeReturned(msgspec.Struct, frozen=True):
    """A node is back, with the journals of these modules: those that were offline start again by themselves."""

    node: str
    modules: tuple[str, ...]


LifecycleStimulus: TypeAlias = (
    Tick
    | StartRequested
    | StopRequested
    | PauseRequested
    | ResumeRequested
    | CheckRequested
    | RecoverRequested
    | Remember
    | Adopt
    | ModuleProgressed
    | ModuleReady
    | ModuleDied
    | ModuleStopped
    | CheckpointDone
    | CheckpointFailed
    | StartTimedOut
    | DrainTimedOut
    | ReloadRequested
    | ModuleReplaced
    | ReplaceFailed
    | NodeLost
    | NodeReturned
)

# -- instructions --------------------------------------------------------------------------------------------------


class StartModule(_Of, frozen=True):
    """Create the module's actor; answer ``ModuleReady`` or ``ModuleDied``."""

    paused: bool = False


class StopModule(_Of, frozen=True):
    """Let it finish its batch and end; answer ``ModuleStopped``."""


class KillModule(_Of, frozen=True):
    """Make sure nothing of this incarnation lives on; no answer."""


class PauseModule(_Of, frozen=True):
    """Let it take no more input; it still answers questions."""


class ResumeModule(_Of, frozen=True):
    """Let it take input again."""


class ReplaceModule(_Of, frozen=True):
    """Start new code beside the module's actor and let it take over.

    Answer ``ModuleReplaced``, or ``ReplaceFailed`` once the old one goes on.
    """


class KillSuccessor(_Of, frozen=True):
    """Make sure nothing of this successor lives on; no answer."""


class TakeCheckpoint(_Of, frozen=True):
    """Write its final checkpoint; answer ``CheckpointDone`` or ``CheckpointFailed``."""


class Finish(msgspec.Struct, frozen=True):
    """Everything is stopped: the orchestrator may end."""


LifecycleInstruction: TypeAlias = (
    Emit
    | StartModule
    | StopModule
    | KillModule
    | PauseModule
    | ResumeModule
    | TakeCheckpoint
    | Finish
    | ReplaceModule
    | KillSuccessor
)
