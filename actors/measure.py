"""Samples of the running system: to Ray's metrics, to the journal when they changed, and to the book of trends."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from actors.metrics import MetricExporter
from tori.metrics.collect import EventMeter, system_samples
from tori.trends.observe import Observer

JOURNALED = ("tori_events", "tori_module_lag", "tori_module_restarts", "tori_refs_routed")
"""Metrics whose changes are events; the others would change by being looked at, and an idle system should stay silent."""


class Metrics:
    """Collects what a status and the orchestrator's own events say."""

    def __init__(
        self,
        status: Callable[[], dict[str, Any]],
        emit: Callable[..., None],
        observe: Callable[[dict[str, float]], None] = lambda samples: None,
    ) -> None:
        self._status = status
        self._emit = emit
        self._observe = observe
        self._observer = Observer()
        self._meter = EventMeter()
        self._exporter = MetricExporter()
        self._last: dict[str, float] = {}

    def take(self, payload: Any) -> None:
        """Count an event of the orchestrator."""
        self._meter.take(payload, time.time_ns())

    def collect(self) -> None:
        """Export every metric; write the journaled ones that changed."""
        samples = system_samples(self._status()) + self._meter.samples(time.time_ns())
        self._exporter.export(samples)
        changed = [s for s in samples if s.name in JOURNALED and self._last.get(s.series) != s.value]
        self._last.update({s.series: s.value for s in changed})
        if changed:
            self._emit(*(s.event() for s in changed))
        seen = self._observer.take(samples)
        if seen:
            self._observe(seen)
