"""What is worth waking somebody for, and how much."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from tori.errors import BadSettings
from tori.events import system as s
from tori.orchestrator.state import State


class Severity(IntEnum):
    """How bad an event is."""

    INFO = 0
    """Something is well again."""
    WARNING = 1
    CRITICAL = 2
    """A person has to do something."""


_ALWAYS: dict[Any, Severity] = {
    s.PerformanceAlert: Severity.WARNING,
    s.SubscriptionLagged: Severity.WARNING,
    s.DeliveryDeadLettered: Severity.WARNING,
    s.ErrorOccurred: Severity.WARNING,
    s.RecoveryFailed: Severity.CRITICAL,
    s.StateCorrupted: Severity.CRITICAL,
    s.ResourceRecovered: Severity.INFO,
    s.RecoverySucceeded: Severity.INFO,
}
_BY_LEVEL = (s.MemoryPressure, s.CPUPressure, s.ResourceThresholdExceeded)
_DOWN = (State.DEGRADED, State.OFFLINE)
ALERTS = (*_ALWAYS, *_BY_LEVEL, s.ModuleStateChanged, s.WorkThrottled)
"""Types that can be alerts."""


def severity_of(payload: Any) -> Severity | None:
    """Return how bad an event is; None for one that is no alert."""
    if isinstance(payload, s.ModuleStateChanged):
        if payload.new in _DOWN:
            return Severity.CRITICAL
        return Severity.INFO if payload.old in _DOWN and payload.new == State.RUNNING else None
    if isinstance(payload, _BY_LEVEL):
        return Severity.CRITICAL if payload.level == "critical" else Severity.WARNING
    if isinstance(payload, s.WorkThrottled):
        if payload.by == "pressure" and not payload.runs:
            return Severity.INFO  # what is scarce has an event of its own
        return {"stopped": Severity.CRITICAL, "off": Severity.INFO}.get(payload.level, Severity.WARNING)
    if isinstance(payload, s.SubscriptionLagged) and payload.state == "recovered":
        return Severity.INFO
    return _ALWAYS.get(type(payload))


def types_of(names: str) -> frozenset[str]:
    """Return the types that a setting names, separated by commas; empty = all. Raises BadSettings for one that is no alert."""
    known = {payload.__name__ for payload in ALERTS}
    chosen = {name.strip() for name in names.split(",") if name.strip()}
    for name in sorted(chosen - known):
        raise BadSettings(f"alerts.types: {name} is no alert.", remedy=f"Alerts: {', '.join(sorted(known))}.")
    return frozenset(chosen or known)
