"""Payloads of the machinery: system, resources, tasks, fuzzing, performance, reload, clients, errors, state.

Rules as in ``tori.events.mind``: one Struct per type, numbers for good, fields only added at the end.
"""

from __future__ import annotations

import msgspec


class _System(msgspec.Struct, frozen=True, array_like=True, gc=False):
    status: str
    module: str | None = None
    version: str = ""


class SystemStarted(_System, frozen=True, array_like=True, gc=False, tag=64):
    """The system began to run; ``status`` is ``cold`` or ``adopted``."""


class SystemShutdown(_System, frozen=True, array_like=True, gc=False, tag=65):
    """The system stops."""


class ModuleInitialized(_System, frozen=True, array_like=True, gc=False, tag=66):
    """A module restored its state and follows its inputs."""


class ModuleShutdown(_System, frozen=True, array_like=True, gc=False, tag=67):
    """A module stopped on request."""


class ModuleStateChanged(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=68):
    """A module took an edge of the lifecycle table."""

    module: str
    old: str
    new: str
    reason: str = ""
    incarnation: int = 0
    """Which start of the module this is about, from 1; 0 = the system's own state."""


class _Resource(msgspec.Struct, frozen=True, array_like=True, gc=False):
    resource: str
    usage: float
    threshold: float
    level: str = "warning"


class ResourceThresholdExceeded(_Resource, frozen=True, array_like=True, gc=False, tag=69):
    """A resource passed its threshold; usage and threshold are fractions of 1."""


class ResourceRecovered(_Resource, frozen=True, array_like=True, gc=False, tag=70):
    """A resource came back under its lower threshold, or (level ``unread``) nobody knows any more: ``usage`` is its last reading."""


class MemoryPressure(_Resource, frozen=True, array_like=True, gc=False, tag=71):
    """Memory use passed its threshold."""


class CPUPressure(_Resource, frozen=True, array_like=True, gc=False, tag=72):
    """CPU use passed its threshold."""


class _Task(msgspec.Struct, frozen=True, array_like=True, gc=False):
    task_id: str
    run_id: str
    task_type: str
    attempt: int = 1
    duration_s: float | None = None
    error: str | None = None


class TaskStarted(_Task, frozen=True, array_like=True, gc=False, tag=73):
    """An attempt of a run began."""


class TaskCompleted(_Task, frozen=True, array_like=True, gc=False, tag=74):
    """A run finished."""


class TaskFailed(_Task, frozen=True, array_like=True, gc=False, tag=75):
    """An attempt failed; ``error`` says why."""


class TaskCancelled(_Task, frozen=True, array_like=True, gc=False, tag=76):
    """A run was cancelled before it finished, or an attempt was stopped for others' sake or with the system, and another follows."""


class _Fuzz(msgspec.Struct, frozen=True, array_like=True, gc=False):
    test_id: str
    target: str
    result: str = ""
    seed: int = 0
    metrics: dict[str, float] = {}


class FuzzTestStarted(_Fuzz, frozen=True, array_like=True, gc=False, tag=77):
    """A metamorphic check began on a shadow copy."""


class FuzzTestCompleted(_Fuzz, frozen=True, array_like=True, gc=False, tag=78):
    """A metamorphic check ended; ``seed`` replays it."""


class ChaosInjected(_Fuzz, frozen=True, array_like=True, gc=False, tag=79):
    """A fault was injected on purpose."""


class CoverageUpdated(_Fuzz, frozen=True, array_like=True, gc=False, tag=80):
    """Which relations and modules the checks have covered so far."""


class _Performance(msgspec.Struct, frozen=True, array_like=True, gc=False):
    metric: str
    value: float
    threshold: float | None = None
    trend: str = ""


class PerformanceAlert(_Performance, frozen=True, array_like=True, gc=False, tag=81):
    """A measured series left its baseline: ``value`` is its median since, ``trend`` says whether it ``rose`` or ``fell``."""

    before: float = 0.0
    """Median of the baseline."""
    before_samples: int = 0
    """Samples that the baseline was taken from."""
    after_samples: int = 0
    """Samples since the change, when it was found."""
    statistic: float = 0.0
    """Shiryaev-Roberts sum of the bets against "nothing has changed"; the alarm is raised at ``run_length``."""
    run_length: float = 0.0
    """So many values (medians of three samples) pass at least, on average, between two false alarms of one series."""
    since_ns: int = 0
    """Wall clock: when the change probably began."""


class MetricsCollected(_Performance, frozen=True, array_like=True, gc=False, tag=82):
    """One sample of one metric of the catalogue."""


class BenchmarkCompleted(_Performance, frozen=True, array_like=True, gc=False, tag=83):
    """A benchmark ended with a figure."""


class _Reload(msgspec.Struct, frozen=True, array_like=True, gc=False):
    module: str
    from_version: str
    to_version: str
    error: str | None = None
    incarnation: int = 0
    """Of the new code's process."""
    pause_s: float = 0.0
    """How long the module handled nothing."""


class HotReloadTriggered(_Reload, frozen=True, array_like=True, gc=False, tag=84):
    """New code for a module was asked for."""


class HotReloadCompleted(_Reload, frozen=True, array_like=True, gc=False, tag=85):
    """New code runs on the same state."""


class HotReloadFailed(_Reload, frozen=True, array_like=True, gc=False, tag=86):
    """New code was refused; the old one goes on."""


class _Client(msgspec.Struct, frozen=True, array_like=True, gc=False):
    client_id: str
    kind: str
    message: str | None = None


class ClientConnected(_Client, frozen=True, array_like=True, gc=False, tag=87):
    """A client opened a session with a door."""


class ClientDisconnected(_Client, frozen=True, array_like=True, gc=False, tag=88):
    """A client's session ended."""


class ClientMessage(_Client, frozen=True, array_like=True, gc=False, tag=89):
    """A client asked for something worth recording (a question, a note)."""


class _Error(msgspec.Struct, frozen=True, array_like=True, gc=False):
    error_type: str
    message: str
    module: str
    event_id: bytes | None = None
    story: str = ""


class ErrorOccurred(_Error, frozen=True, array_like=True, gc=False, tag=90):
    """A module, task or actor failed."""


class RecoveryAttempted(_Error, frozen=True, array_like=True, gc=False, tag=91):
    """A failed part is being started again."""


class RecoverySucceeded(_Error, frozen=True, array_like=True, gc=False, tag=92):
    """A failed part runs again."""


class RecoveryFailed(_Error, frozen=True, array_like=True, gc=False, tag=93):
    """A failed part could not be brought back; it is degraded and the rest goes on."""


class _State(msgspec.Struct, frozen=True, array_like=True, gc=False):
    checkpoint_id: str
    modules: tuple[str, ...] = ()
    size_bytes: int = 0
    path: str | None = None
    digest: str = ""


class CheckpointCreated(_State, frozen=True, array_like=True, gc=False, tag=94):
    """A checkpoint is on disk, synced and named by its manifest."""


class CheckpointLoaded(_State, frozen=True, array_like=True, gc=False, tag=95):
    """A module started from a checkpoint."""


class StateCorrupted(_State, frozen=True, array_like=True, gc=False, tag=96):
    """A checkpoint or journal failed its checksum and was quarantined."""


class StateRecovered(_State, frozen=True, array_like=True, gc=False, tag=97):
    """State was rebuilt from an older checkpoint and the journal."""


class MindRewound(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=120):
    """A past moment was put in the place of the present: what came after it is kept beside the journals, and no part of the state."""

    rewind_id: str
    moment: str
    """What was asked for: a time, an age or a checkpoint."""
    time_ns: int
    checkpoint_id: str = ""
    """The checkpoint it was rewound to; empty: to a time."""
    sequences: dict[str, int] = {}
    """By journal, the first entry that is no longer part of it."""
    path: str = ""
    """Where, under the home, the whole journals of before lie."""


class SubscriptionLagged(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=98):
    """A follower is further behind than its limit, or is back after it was."""

    subscriber: str
    journal: str
    lag: int
    threshold: int = 0
    """The limit in force, in events."""
    state: str = "lagging"
    """``lagging``, or ``recovered`` once it is back under half of the limit."""


class DeliveryDeadLettered(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=99):
    """A delivery exhausted its attempts and was set aside, durably."""

    subscriber: str
    journal: str
    sequence: int
    attempts: int
    error: str
    """What the last attempt said, one line."""
    error_type: str = ""
    """Class of the error; ``HandlerDied`` and ``HandlerTimeout`` when the process went down with it."""
    event_id: bytes = b""
    """The event that could not be delivered; it stays where it is, in ``journal``."""
    event_type: str = ""
    offset: int = 0
    """Where its frame begins in ``journal``: what a redrive reads."""
    lane: int = 2
    key: str = ""
    story: str = ""
    """The attempts, one a line."""


class WorkThrottled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=110):
    """Background work was held back, slowed, stopped or let go on: by a person, or because a resource became scarce or plenty."""

    level: str
    """What holds from now on: ``off``, ``high``, ``severe`` or ``stopped``."""
    old: str
    """What held before."""
    reason: str = ""
    """A person's words, or what is scarce; at the end of a pressure, what is scarce no more."""
    by: str = "person"
    """``person`` or ``pressure``."""
    runs: tuple[str, ...] = ()
    """Runs under way that are stopped for it; each begins again when it may."""


class AlertUndelivered(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=111):
    """An alert could not be brought to the webhook and was given up."""

    event_id: bytes
    """The event that was to be told of; it stays where it is."""
    event_type: str
    url: str
    """Scheme, host and port only: a path may be a secret."""
    attempts: int
    error: str


class CustomEvent(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=100):
    """Any JSON under a name of the user's own, for users' own modules."""

    name: str
    data: dict[str, object] = {}
