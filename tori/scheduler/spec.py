"""Task specs: what is to run, when, how urgent, on what, for how long, and how often again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from tori.errors import BadSettings
from tori.modules.registry import START_ORDER
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.trigger import DemandTrigger, IntervalTrigger, Trigger


class Priority(IntEnum):
    """Urgency of a task; smaller goes first."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    BACKGROUND = 4


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What Ray reserves for an attempt."""

    num_cpus: float = 1.0
    memory_bytes: int = 0
    """0 = not limited."""
    custom: dict[str, float] = {}


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task. A run is one time it is due; an attempt is one try of a run."""

    task_id: str
    """Unique name; the default tasks are named after their type."""
    task_type: str
    module: str = ""
    """Whose scan it is; empty = the orchestrator's own work."""
    trigger: Trigger = field(default_factory=DemandTrigger)
    priority: Priority = Priority.NORMAL
    resources: Resources = field(default_factory=Resources)
    timeout_s: float = 300.0
    """For each attempt, from its admission."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    watches: tuple[str, ...] = ()
    """Modules whose versions it reads: a due run is skipped while none has moved. Empty = it always runs."""

    def __post_init__(self) -> None:
        if not self.task_id or not self.task_type:
            raise BadSettings("a task spec needs a task_id and a task_type.")
        if not self.timeout_s > 0:
            raise BadSettings(
                f"timeout_s: {self.timeout_s} of task {self.task_id} is not a positive number of seconds."
            )


_SCANS = (
    ("concept_selection", "reader", 30.0, Priority.HIGH),
    ("wormhole_scan", "wormhole", 30.0, Priority.NORMAL),
    ("alien_audit", "alien", 60.0, Priority.HIGH),
    ("hierarchy_optimization", "hierarchy", 120.0, Priority.NORMAL),
    ("scar_scan", "scars", 120.0, Priority.LOW),
    ("memory_cleanup", "braid", 180.0, Priority.BACKGROUND),
)
"""(task type, module, interval in seconds, priority)."""

_HOUSE = (
    ("performance_metrics", 10.0, Priority.HIGH),  # cheap, and wanted most when the machine is short of something
    ("state_persistence", 300.0, Priority.CRITICAL),
)


def default_specs(
    modules: Sequence[str] = START_ORDER, intervals: Mapping[str, float] | None = None
) -> tuple[TaskSpec, ...]:
    """Return the periodic tasks of a system with these modules; ``intervals`` replaces intervals (seconds) by task type.

    Raises BadSettings for an interval of a task that does not exist.
    """
    chosen = dict(intervals or {})
    names = [row[0] for row in (*_SCANS, *_HOUSE)]
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise BadSettings(f"intervals: there is no periodic task {unknown[0]!r}.", remedy=f"Tasks: {', '.join(names)}.")
    scans = [
        TaskSpec(
            task_id=name,
            task_type=name,
            module=module,
            trigger=IntervalTrigger(chosen.get(name, interval_s)),
            priority=priority,
            watches=(module,),
        )
        for name, module, interval_s, priority in _SCANS
        if module in modules
    ]
    house = [
        TaskSpec(
            task_id=name,
            task_type=name,
            trigger=IntervalTrigger(chosen.get(name, interval_s)),
            priority=priority,
            resources=Resources(num_cpus=0),
            timeout_s=60.0,
            watches=tuple(modules) if name == "state_persistence" else (),
        )
        for name, interval_s, priority in _HOUSE
    ]
    return (*scans, *house)
