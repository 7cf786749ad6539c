"""Samples from what the system knows of itself. Pure: no clock, no psutil, no Ray."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from typing import Any

from tori.events.system import (
    CheckpointCreated,
    DeliveryDeadLettered,
    ErrorOccurred,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
)
from tori.metrics.sample import Sample

MAX_OBSERVATIONS = 4096
"""Durations kept between two collections; the oldest fall out, the counters still count them."""
MAX_SERIES = 1000
"""Label values remembered a metric; further ones count as ``other``, so a flood of names cannot fill memory."""

_UP = ("running", "paused")
_OUTCOMES = {TaskCompleted: "completed", TaskFailed: "failed", TaskCancelled: "cancelled"}


def system_samples(status: Mapping[str, Any]) -> list[Sample]:
    """Return samples of ``SystemClient.status()``: modules, bus, nodes, mind."""
    samples = [
        Sample("tori_uptime_seconds", float(status["uptime_s"])),
        Sample("tori_nodes", float(sum(1 for node in status["nodes"] if node["alive"]))),
        Sample("tori_refs_routed", float(status["refs_routed"])),
    ]
    for module in status["modules"]:
        samples += module_samples(module)
    return samples


def module_samples(module: Mapping[str, Any]) -> list[Sample]:
    """Return samples of one entry of the status's modules."""
    name = str(module["name"])
    values = {
        "tori_module_up": str(module["state"]) in _UP,
        "tori_module_restarts": module["restarts"],
        "tori_events": module["events"],
        "tori_module_consumed": module["consumed"],
        "tori_module_lag": module["lag"],
        "tori_module_busy_seconds": module["busy_s"],
        "tori_module_late_wakes": module["late_wakes"],
    }
    samples = [Sample(metric, float(value), (name,)) for metric, value in values.items()]
    if "waited_s" in module:
        samples.append(Sample("tori_module_waited_seconds", float(module["waited_s"]), (name,)))
    if module.get("dead_letters_ever"):
        samples.append(Sample("tori_dead_letters", float(module["dead_letters_ever"]), (name,)))
    sizes = {item: count for item, count in module["summary"].items() if type(count) is int}
    return samples + [Sample("tori_mind_size", float(count), (name, item)) for item, count in sorted(sizes.items())]


def resource_samples(usage: Mapping[str, float]) -> list[Sample]:
    """Return samples of the probe's reading: shares of 1 by resource."""
    return [Sample("tori_resource_use", share, (resource,)) for resource, share in sorted(usage.items())]


class EventMeter:
    """Counts what events tell: runs and their durations, checkpoints, errors, dead letters. Totals since it was made."""

    def __init__(self) -> None:
        self._counts: dict[str, Counter[tuple[str, ...]]] = {}
        self._durations: deque[Sample] = deque(maxlen=MAX_OBSERVATIONS)
        self._checkpoint: tuple[int, int] | None = None

    def take(self, payload: Any, time_ns: int) -> None:
        """Count one event; types it has no metric for are skipped."""
        outcome = _OUTCOMES.get(type(payload))
        if outcome is not None:
            self._count("tori_task_runs", payload.task_type, outcome)
            if outcome == "completed" and payload.duration_s is not None:
                self._durations.append(Sample("tori_task_duration_seconds", payload.duration_s, (payload.task_type,)))
        elif isinstance(payload, CheckpointCreated):
            self._checkpoint = (time_ns, payload.size_bytes)
        elif isinstance(payload, ErrorOccurred):
            self._count("tori_errors", payload.module)
        elif isinstance(payload, DeliveryDeadLettered):
            self._count("tori_dead_letters", payload.subscriber)

    def _count(self, metric: str, *labels: str) -> None:
        counts = self._counts.setdefault(metric, Counter())
        if labels not in counts and len(counts) >= MAX_SERIES:
            labels = ("other",) * len(labels)
        counts[labels] += 1

    def samples(self, now_ns: int) -> list[Sample]:
        """Return the totals, and the durations observed since the last call."""
        found = [
            Sample(metric, float(count), labels)
            for metric, counts in sorted(self._counts.items())
            for labels, count in sorted(counts.items())
        ]
        found += self._durations
        self._durations.clear()
        if self._checkpoint is not None:
            time_ns, size_bytes = self._checkpoint
            found.append(Sample("tori_checkpoint_bytes", float(size_bytes)))
            found.append(Sample("tori_checkpoint_age_seconds", max(0, now_ns - time_ns) / 1e9))
        return found
