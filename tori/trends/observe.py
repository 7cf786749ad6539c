"""What of the collected metrics has a trend: latency, throughput, error rate and lag, as values of one interval each.

Counters only rise, so what is watched is what they rose by since the last collection. An interval in which a module had nothing
to do says nothing about it and gives no sample: the quiet of a night is no baseline for the day, and an idle system writes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from tori.metrics.sample import Sample
from tori.trends.detector import Effect

EFFECTS = {
    "latency_seconds": Effect(least_difference=0.05),
    "throughput_per_second": Effect(),
    "lag_events": Effect(least_difference=200.0),
    "errors": Effect(least_difference=0.5),
    "duration_seconds": Effect(least_difference=0.5),
    "failed_share": Effect(least_difference=0.1),
}
"""By kind of series: what change matters. ``least_ratio`` is a setting; differences that nobody feels are none, whatever their ratio."""


def kind_of(series: str) -> str:
    """Return the kind of a series, which is its name without the labels."""
    return series.partition("{")[0]


def series_name(kind: str, label: str, value: str) -> str:
    """Return the name of a series, written as metrics are."""
    return f'{kind}{{{label}="{value}"}}'


class Observer:
    """Turns two collections in a row into samples. The first one after a start gives none: there is nothing to compare it with."""

    def __init__(self) -> None:
        self._totals: dict[tuple[str, tuple[str, ...]], float] = {}
        self._is_new = True

    def take(self, samples: Sequence[Sample]) -> dict[str, float]:
        """Return by series the value of the interval since the last call; what did not happen is left out."""
        rises: dict[str, dict[tuple[str, ...], float]] = defaultdict(dict)
        lags: dict[str, float] = {}
        durations: dict[str, list[float]] = defaultdict(list)
        for sample in samples:
            if sample.name == "tori_module_lag":
                lags[sample.labels[0]] = sample.value
            elif sample.name == "tori_task_duration_seconds":
                durations[sample.labels[0]].append(sample.value)
            elif sample.name in _COUNTED:
                rise = self._rise(sample)
                if rise is not None:
                    rises[sample.name][sample.labels] = rise
        if self._is_new:
            self._is_new = False
            return {}
        return _modules(rises, lags) | _tasks(rises["tori_task_runs"], durations)

    def _rise(self, sample: Sample) -> float | None:
        """Return by how much a counter rose; None when it began again, as a restarted module's does.

        One that was not there before has risen from nothing, unless nothing was there before.
        """
        key = (sample.name, sample.labels)
        before = self._totals.get(key, 0.0)
        self._totals[key] = sample.value
        return sample.value - before if sample.value >= before else None


_COUNTED = (
    "tori_module_consumed",
    "tori_module_busy_seconds",
    "tori_module_waited_seconds",
    "tori_errors",
    "tori_dead_letters",
    "tori_task_runs",
)


def _modules(rises: dict[str, dict[tuple[str, ...], float]], lags: dict[str, float]) -> dict[str, float]:
    found = {}
    for module, lag in sorted(lags.items()):
        labels = (module,)
        consumed = rises["tori_module_consumed"].get(labels)
        if consumed is None:
            continue
        waited, busy = (rises[f"tori_module_{word}_seconds"].get(labels) for word in ("waited", "busy"))
        if consumed and waited is not None:
            found[series_name("latency_seconds", "module", module)] = waited / consumed
        if consumed and busy:
            found[series_name("throughput_per_second", "module", module)] = consumed / busy
        if consumed or lag:
            found[series_name("lag_events", "module", module)] = lag
        errors = sum(rises[name].get(labels) or 0.0 for name in ("tori_errors", "tori_dead_letters"))
        if consumed or errors:
            found[series_name("errors", "module", module)] = errors
    return found


def _tasks(runs: dict[tuple[str, ...], float], durations: dict[str, list[float]]) -> dict[str, float]:
    found = {series_name("duration_seconds", "task", task): sum(d) / len(d) for task, d in sorted(durations.items())}
    ended, failed = Counter[str](), Counter[str]()
    for (task, outcome), rise in runs.items():
        if outcome != "cancelled":
            ended[task] += round(rise)
            failed[task] += round(rise) if outcome == "failed" else 0
    shares = {series_name("failed_share", "task", task): failed[task] / n for task, n in sorted(ended.items()) if n}
    return found | shares
