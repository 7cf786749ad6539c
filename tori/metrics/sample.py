"""One reading of one metric."""

from __future__ import annotations

import msgspec

from tori.errors import BadInput
from tori.events.system import MetricsCollected
from tori.metrics.catalogue import find_metric


class Sample(msgspec.Struct, frozen=True):
    """A value of a metric of the catalogue. ``labels`` are the values of the metric's labels, in their order."""

    name: str
    value: float
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        wanted = find_metric(self.name).labels
        if len(wanted) != len(self.labels):
            raise BadInput(f"metric {self.name} has the labels {wanted}, not the values {self.labels}.")
        if not abs(self.value) < float("inf"):
            raise BadInput(f"metric {self.name}: {self.value} is no number.")

    @property
    def series(self) -> str:
        """Name of the time series, as Prometheus writes it: ``tori_module_lag{module="alien"}``."""
        keys = find_metric(self.name).labels
        pairs = ",".join(f'{key}="{value}"' for key, value in zip(keys, self.labels, strict=True))
        return f"{self.name}{{{pairs}}}" if pairs else self.name

    def event(self) -> MetricsCollected:
        """Return the sample as the payload of an event."""
        return MetricsCollected(self.series, self.value)
