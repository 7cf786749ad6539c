"""Every metric there is, with what it is good for. Whatever samples, exports or shows metrics goes by this list.

Names follow Prometheus: base units, ``_seconds``, no unit prefix; a counter only rises until its process ends. Ray puts
``ray_`` before a name and ``_total`` after a counter's (``prometheus_name``).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from tori.errors import BadInput


class Kind(StrEnum):
    """How samples of a metric combine."""

    COUNTER = "counter"
    """A total since the start of what counts."""
    GAUGE = "gauge"
    """A value of now."""
    HISTOGRAM = "histogram"
    """One observation a sample."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """One metric."""

    name: str
    kind: Kind
    unit: str
    """In Grafana's words: ``short``, ``s``, ``bytes``, ``percentunit``; ``bool`` for 0 and 1."""
    labels: tuple[str, ...] = ()
    help: str
    reason: str
    """What a person learns from it; the panel's description."""
    group: str
    """Row of the dashboard."""
    boundaries: tuple[float, ...] = ()
    """Upper bounds of a histogram's buckets."""
    alert_above: float | None = None
    """Worth a look above this (for a counter: its increase over 5 minutes); a red line in the panel."""

    @property
    def prometheus_name(self) -> str:
        """Name under which Ray's agent exports it."""
        return f"ray_{self.name}{'_total' if self.kind is Kind.COUNTER else ''}"


_DURATIONS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)

CATALOGUE: tuple[Metric, ...] = (
    Metric(
        name="tori_module_up",
        kind=Kind.GAUGE,
        unit="bool",
        labels=("module",),
        group="System",
        help="1 while a module runs or is paused, else 0",
        reason="Which module is down. One that is degraded stays at 0 until a person looks at it.",
    ),
    Metric(
        name="tori_module_restarts",
        kind=Kind.COUNTER,
        unit="short",
        labels=("module",),
        group="System",
        help="restarts of a module after a failure",
        reason="A module that keeps failing is near being degraded; its ErrorOccurred events say why.",
        alert_above=3,
    ),
    Metric(
        name="tori_uptime_seconds",
        kind=Kind.GAUGE,
        unit="s",
        group="System",
        help="seconds since the orchestrator started",
        reason="A drop is a restart of the orchestrator; events go on meanwhile.",
    ),
    Metric(
        name="tori_nodes",
        kind=Kind.GAUGE,
        unit="short",
        group="System",
        help="nodes of the cluster that are alive",
        reason="A node that left takes the modules pinned to its journals with it.",
    ),
    Metric(
        name="tori_resource_use",
        kind=Kind.GAUGE,
        unit="percentunit",
        labels=("resource",),
        group="System",
        help="share of a resource in use on the orchestrator's node",
        reason="Above its threshold background work waits; see the task runs that are held.",
        alert_above=0.9,
    ),
    Metric(
        name="tori_events",
        kind=Kind.COUNTER,
        unit="short",
        labels=("journal",),
        group="Bus",
        help="events in a journal",
        reason="Who produces how much; its rate is the load of the bus.",
    ),
    Metric(
        name="tori_module_consumed",
        kind=Kind.COUNTER,
        unit="short",
        labels=("module",),
        group="Bus",
        help="events a module has handled since it started",
        reason="A module that lags while this stands still hangs; one where it rises is merely behind.",
    ),
    Metric(
        name="tori_module_lag",
        kind=Kind.GAUGE,
        unit="short",
        labels=("module",),
        group="Bus",
        help="events written to the journals a module follows that it has not read",
        reason="How far behind a module's view of the world is.",
        alert_above=100_000,
    ),
    Metric(
        name="tori_module_busy_seconds",
        kind=Kind.COUNTER,
        unit="s",
        labels=("module",),
        group="Bus",
        help="seconds a module's loop spent working",
        reason="Its rate is the load of the loop: near 1 the module is the bottleneck.",
    ),
    Metric(
        name="tori_module_waited_seconds",
        kind=Kind.COUNTER,
        unit="s",
        labels=("module",),
        group="Bus",
        help="seconds from the birth of an event until a module had handled it, summed over its events",
        reason="Its rate over that of tori_module_consumed is the mean latency of an event.",
    ),
    Metric(
        name="tori_module_late_wakes",
        kind=Kind.COUNTER,
        unit="short",
        labels=("module",),
        group="Bus",
        help="times the safety poll found events that no wake-up announced",
        reason="Must stay 0: anything else is a lost wake-up, a bug worth reporting.",
        alert_above=0,
    ),
    Metric(
        name="tori_refs_routed",
        kind=Kind.COUNTER,
        unit="short",
        group="Bus",
        help="object refs the orchestrator has routed to relays",
        reason="Batches that came in through the doors.",
    ),
    Metric(
        name="tori_dead_letters",
        kind=Kind.COUNTER,
        unit="short",
        labels=("subscriber",),
        group="Bus",
        help="deliveries set aside after their last attempt",
        reason="Nothing is lost, but somebody has to look: tori tail --type DeliveryDeadLettered.",
        alert_above=0,
    ),
    Metric(
        name="tori_task_runs",
        kind=Kind.COUNTER,
        unit="short",
        labels=("task", "outcome"),
        group="Tasks",
        help="ended attempts of a task, by outcome: completed, failed, cancelled",
        reason="Whether the background work gets done. A failed attempt is followed by a retry.",
    ),
    Metric(
        name="tori_task_duration_seconds",
        kind=Kind.HISTOGRAM,
        unit="s",
        labels=("task",),
        group="Tasks",
        help="seconds a completed attempt took",
        reason="A scan that grows towards its interval wants a longer interval or more CPUs.",
        boundaries=_DURATIONS_S,
    ),
    Metric(
        name="tori_checkpoint_bytes",
        kind=Kind.GAUGE,
        unit="bytes",
        group="Tasks",
        help="size of the newest checkpoint",
        reason="What a restart reads, and about what the state takes in memory.",
    ),
    Metric(
        name="tori_checkpoint_age_seconds",
        kind=Kind.GAUGE,
        unit="s",
        group="Tasks",
        help="seconds since the newest checkpoint",
        reason="How much journal a restart replays. Nothing is lost when it is old, a restart only takes longer.",
        alert_above=900,
    ),
    Metric(
        name="tori_errors",
        kind=Kind.COUNTER,
        unit="short",
        labels=("module",),
        group="System",
        help="failures of modules, tasks and actors that were recorded",
        reason="Where things go wrong; tori tail --type ErrorOccurred tells the story.",
        alert_above=10,
    ),
    Metric(
        name="tori_mind_size",
        kind=Kind.GAUGE,
        unit="short",
        labels=("module", "item"),
        group="Mind",
        help="how many documents, concepts, threads, bridges, alarms, gaps ... a module holds",
        reason="The mind growing, as in tori status.",
    ),
)

BY_NAME = {metric.name: metric for metric in CATALOGUE}


def find_metric(name: str) -> Metric:
    """Return a metric of the catalogue; raises BadInput for a name it does not have."""
    metric = BY_NAME.get(name)
    if metric is None:
        raise BadInput(f"there is no metric {name!r}.", remedy=f"Metrics: {', '.join(BY_NAME)}.")
    return metric
