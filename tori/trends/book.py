"""The book of trends: a detector a series, the alarms not written yet, and the last ones that were.

It changes by two facts only, the samples of an interval and the alert that was written, so that a replay of the orchestrator's
journal gives the same book: baselines outlive every restart, and an alarm between two crashes is told once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from tori.clock import SECOND_NS
from tori.events.envelope import Event
from tori.events.system import PerformanceAlert
from tori.trends.detector import BLOCK, Change, Detector
from tori.trends.observe import EFFECTS, kind_of

MAX_SERIES = 256
"""Series watched; further ones are counted and not watched. A system has about six a module and two a task."""
KEPT_ALERTS = 50


class TrendsSampled(msgspec.Struct, frozen=True, array_like=True, tag=32):
    """Private record: the samples of one interval by series, and by what rule they were judged."""

    time_s: int
    samples: dict[str, float]
    run_length: float
    least_ratio: float


class Alert(msgspec.Struct, frozen=True, array_like=True):
    """An alert that was written."""

    event_id: bytes
    payload: PerformanceAlert


class TrendState(msgspec.Struct, array_like=True):
    """The whole book."""

    series: list[Detector] = []
    pending: list[PerformanceAlert] = []
    alerts: list[Alert] = []
    unwatched: int = 0


class TrendBook:
    """All series of a system."""

    def __init__(self) -> None:
        self.series: dict[str, Detector] = {}
        self.pending: list[PerformanceAlert] = []
        """Found, and not written yet."""
        self.alerts: deque[Alert] = deque(maxlen=KEPT_ALERTS)
        self.unwatched = 0
        """Samples of series beyond ``MAX_SERIES``."""

    def apply(self, record: TrendsSampled) -> None:
        """Take the samples of an interval."""
        for name, value in sorted(record.samples.items()):
            detector = self.series.get(name)
            if detector is None:
                if len(self.series) >= MAX_SERIES:
                    self.unwatched += 1
                    continue
                detector = self.series[name] = Detector(name)
            effect = EFFECTS[kind_of(name)]._replace(least_ratio=record.least_ratio)
            change = detector.take(value, record.time_s, record.run_length, effect)
            if change is not None:
                self.pending.append(alert_of(name, change, record.run_length))

    def told(self, event: Event) -> None:
        """Take an alert that was written."""
        payload = event.payload
        assert isinstance(payload, PerformanceAlert)
        self.pending = [alert for alert in self.pending if alert != payload]
        self.alerts.append(Alert(event.id, payload))

    def snapshot(self) -> TrendState:
        series = [detector for _, detector in sorted(self.series.items())]
        return TrendState(series, self.pending, list(self.alerts), self.unwatched)

    def restore(self, state: TrendState) -> None:
        self.series = {detector.name: detector for detector in state.series}
        self.pending, self.unwatched = list(state.pending), state.unwatched
        self.alerts = deque(state.alerts, maxlen=KEPT_ALERTS)

    def rows(self, limit: int) -> dict[str, Any]:
        """Return the last ``alerts``, newest first, and every ``series`` with its baseline."""
        alerts = list(self.alerts)[::-1][:limit]
        return {
            "alerts": [alert_row(alert.payload, alert.event_id) for alert in alerts],
            "series": [series_row(detector) for _, detector in sorted(self.series.items())],
            "unwatched": self.unwatched,
        }


def alert_of(series: str, change: Change, run_length: float) -> PerformanceAlert:
    """Return a change as the payload of an event."""
    return PerformanceAlert(
        series,
        change.after,
        None,
        change.direction,
        change.before,
        change.before_samples,
        change.after_samples,
        change.statistic,
        run_length,
        change.since_s * SECOND_NS,
    )


def alert_row(alert: PerformanceAlert, event_id: bytes) -> dict[str, Any]:
    """Return an alert as plain values."""
    row: dict[str, Any] = msgspec.structs.asdict(alert)
    return row | {"id": event_id.hex()}


def series_row(detector: Detector) -> dict[str, Any]:
    """Return what is known of a series."""
    return {
        "series": detector.name,
        "state": "learning" if detector.is_learning else "watched",
        "baseline": detector.baseline,
        "last": detector.values[-1] if detector.values else None,
        "samples": detector.count * BLOCK + len(detector.block),
    }


def sentence(row: Mapping[str, Any]) -> str:
    """Return an alert as a person reads it: what, from where to where, on how much."""
    return (
        f"{row['metric']} {row['trend']} from {row['before']:.4g} to {row['value']:.4g} "
        f"({row['after_samples']} samples against {row['before_samples']})"
    )
