"""Samples of the running system: to the journal when they changed, and to Ray's metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tori.events.system import MetricsCollected


class Metrics:
    """Collects what a status says; an unchanged value is not written again, so an idle system stays silent."""

    def __init__(self, status: Callable[[], dict[str, Any]], emit: Callable[..., None]) -> None:
        self._status = status
        self._emit = emit
        self._last: dict[str, float] = {}

    def collect(self) -> None:
        """Write every metric that changed."""
        values = self.sample(self._status())
        changed = {name: value for name, value in values.items() if self._last.get(name) != value}
        self._last.update(changed)
        if changed:
            self._emit(*(MetricsCollected(name, value) for name, value in sorted(changed.items())))

    @staticmethod
    def sample(status: dict[str, Any]) -> dict[str, float]:
        """Return the metrics inside a status."""
        modules = status["modules"]
        return {
            "events": float(sum(m["events"] for m in modules)),
            "lag": float(max((m["lag"] for m in modules), default=0)),
            "restarts": float(sum(m["restarts"] for m in modules)),
            "refs_routed": float(status["refs_routed"]),
            "busy_s": round(sum(m["busy_s"] for m in modules), 1),
        }
