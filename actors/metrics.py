"""The catalogue's metrics as Ray's: they appear on Ray's Prometheus endpoint under ``Metric.prometheus_name``.

The endpoint is an agent's that runs with or without the Ray dashboard; it shows a new value within 10 s.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tori.metrics.catalogue import Kind, Metric, find_metric
from tori.metrics.sample import Sample


class MetricExporter:
    """Hands samples to Ray. Ray's objects are made when a metric is first sampled. Used by one thread."""

    def __init__(self) -> None:
        self._metrics: dict[str, Any] = {}
        self._totals: dict[tuple[str, tuple[str, ...]], float] = {}

    def export(self, samples: Iterable[Sample]) -> None:
        """Set, add or observe each sample. A counter that fell has started again from 0."""
        for sample in samples:
            metric = find_metric(sample.name)
            tags = dict(zip(metric.labels, sample.labels, strict=True))
            target = self._metrics.get(sample.name)
            if target is None:
                target = self._metrics[sample.name] = create_metric(metric)
            if metric.kind is Kind.GAUGE:
                target.set(sample.value, tags)
            elif metric.kind is Kind.HISTOGRAM:
                target.observe(sample.value, tags)
            else:
                self._add(target, sample, tags)

    def _add(self, target: Any, sample: Sample, tags: dict[str, str]) -> None:
        key = (sample.name, sample.labels)
        before = self._totals.get(key, 0.0)
        added = sample.value - before if sample.value >= before else sample.value
        self._totals[key] = sample.value
        if added > 0:
            target.inc(added, tags)


def create_metric(metric: Metric) -> Any:
    """Return the ``ray.util.metrics`` object of a metric of the catalogue."""
    from ray.util import metrics

    if metric.kind is Kind.HISTOGRAM:
        boundaries = list(metric.boundaries)
        return metrics.Histogram(metric.name, metric.help, boundaries=boundaries, tag_keys=metric.labels)
    cls = metrics.Counter if metric.kind is Kind.COUNTER else metrics.Gauge
    return cls(metric.name, metric.help, tag_keys=metric.labels)
