"""Pressure: when the use of a resource is too much, and when it is fine again. A pure machine over samples.

Two thresholds a resource: above ``upper`` for ``samples`` readings in a row it is under pressure, and stays so until it
falls below ``lower`` for as many. A reading above ``severe`` counts as severe. Between the thresholds nothing changes, so
a value that swings around one of them makes no noise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, TypeAlias

import msgspec

from tori.errors import BadSettings
from tori.events.system import CPUPressure, MemoryPressure, ResourceRecovered, ResourceThresholdExceeded
from tori.machine import Emit


class Pressure(IntEnum):
    """How short the machine is of its scarcest resource."""

    NONE = 0
    HIGH = 1
    SEVERE = 2


class Threshold(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of one resource, as fractions of what there is."""

    upper: float
    lower: float
    severe: float
    samples: int = 1
    """Readings in a row that make a change: a spike is no pressure."""
    sheds: bool = False
    """Whether work under way is stopped too, because it holds what is scarce; otherwise only nothing new begins."""

    def __post_init__(self) -> None:
        if not 0 < self.lower < self.upper <= self.severe or self.samples < 1:
            raise BadSettings(
                "a threshold needs 0 < lower < upper <= severe and samples >= 1.",
                remedy=f"It has {self.lower}, {self.upper}, {self.severe} and {self.samples}.",
            )


DEFAULT_THRESHOLDS: Mapping[str, Threshold] = {
    "cpu": Threshold(upper=0.80, lower=0.70, severe=0.97, samples=3),
    "memory": Threshold(upper=0.85, lower=0.80, severe=0.95, sheds=True),
    "disk": Threshold(upper=0.90, lower=0.88, severe=0.97),
}
"""CPU swings, so it needs three readings (15 s at the default interval); memory and disk do not come back by themselves.

Only memory sheds: a run that ends gives its memory back at once. One that is stopped for CPU would only have to begin again.
"""

NEVER = 2.0
"""A severe threshold that no reading reaches."""


def thresholds_of(limits: Mapping[str, Any]) -> dict[str, Threshold]:
    """Return the thresholds that the section ``limits`` of the settings asks for: ``cpu_share``, ``memory_share``, ``disk_share``.

    The distances between the thresholds stay those of the defaults. CPU alone is never severe: others, or TORI's own scans, may
    take all of it for hours, and a scan that waits so long is worse than one that is slow.
    """
    found = {}
    for name, default in DEFAULT_THRESHOLDS.items():
        upper = float(limits[f"{name}_share"])
        found[name] = Threshold(
            upper=upper,
            lower=max(upper / 2, upper - (default.upper - default.lower)),
            severe=NEVER if name == "cpu" else max(upper, default.severe),
            samples=default.samples,
            sheds=default.sheds,
        )
    return found


_WORDS = {Pressure.HIGH: "warning", Pressure.SEVERE: "critical"}
_PAYLOADS: dict[str, Any] = {"cpu": CPUPressure, "memory": MemoryPressure}


class Sample(msgspec.Struct, frozen=True):
    """Stimulus: one reading a resource, as fractions of what there is."""

    usage: dict[str, float]


class PressureChanged(msgspec.Struct, frozen=True):
    """Instruction, and a stimulus of the scheduler: the pressure of the whole machine."""

    pressure: Pressure
    sheds: bool = False
    """Stop what is under way and would not be let in now."""
    reason: str = ""
    """What is scarce, for people; empty when nothing is."""


PressureInstruction: TypeAlias = Emit | PressureChanged


class Gauge(msgspec.Struct):
    """What the machine remembers of one resource."""

    pressure: Pressure = Pressure.NONE
    toward: Pressure = Pressure.NONE
    """Where the last readings point."""
    count: int = 0
    """How many in a row."""
    usage: float = 0.0


class PressureMachine:
    """Turns samples into events and one level for the scheduler. Resources without a threshold are ignored."""

    def __init__(self, thresholds: Mapping[str, Threshold] | None = None) -> None:
        self.thresholds = dict(DEFAULT_THRESHOLDS if thresholds is None else thresholds)
        self.gauges: dict[str, Gauge] = {name: Gauge() for name in self.thresholds}

    @property
    def pressure(self) -> Pressure:
        """Return the pressure of the scarcest resource."""
        return max((gauge.pressure for gauge in self.gauges.values()), default=Pressure.NONE)

    @property
    def sheds(self) -> bool:
        """Return whether work under way has to give back what it holds."""
        return any(g.pressure > Pressure.NONE and self.thresholds[name].sheds for name, g in self.gauges.items())

    @property
    def reason(self) -> str:
        """Return what is scarce, in words; empty when nothing is."""
        scarce = [(name, gauge.usage) for name, gauge in sorted(self.gauges.items()) if gauge.pressure > Pressure.NONE]
        return ", ".join(f"{name} at {usage:.0%}" for name, usage in scarce)

    def handle(self, sample: Sample) -> list[PressureInstruction]:
        """Return what follows from one sample: an event a resource that changed, and the new level if that changed."""
        before = self.pressure, self.sheds
        out: list[PressureInstruction] = []
        for name, usage in sorted(sample.usage.items()):
            if name in self.gauges:
                out += self._read(name, usage)
        if (self.pressure, self.sheds) != before:
            out.append(PressureChanged(self.pressure, self.sheds))
        return out

    def _read(self, name: str, usage: float) -> list[PressureInstruction]:
        gauge, threshold = self.gauges[name], self.thresholds[name]
        gauge.usage = usage
        toward = _point(usage, threshold, gauge.pressure)
        gauge.count = gauge.count + 1 if toward is gauge.toward else 1
        gauge.toward = toward
        if toward is gauge.pressure or gauge.count < threshold.samples:
            return []
        gauge.pressure = toward
        if toward is Pressure.NONE:
            return [Emit(ResourceRecovered(name, usage, threshold.lower, "normal"))]
        limit = threshold.severe if toward is Pressure.SEVERE else threshold.upper
        return [Emit(_PAYLOADS.get(name, ResourceThresholdExceeded)(name, usage, limit, _WORDS[toward]))]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.gauges, order="sorted")

    def restore(self, data: bytes) -> None:
        """Replace the state by what ``snapshot`` returned; gauges of resources that are no longer watched are dropped."""
        found = msgspec.msgpack.decode(data, type=dict[str, Gauge])
        self.gauges = {name: found.get(name, Gauge()) for name in self.thresholds}

    def validate(self) -> None:
        """Raise AssertionError with the facts when an invariant does not hold."""
        for name, gauge in self.gauges.items():
            settled = gauge.toward is gauge.pressure or gauge.count < self.thresholds[name].samples
            assert settled, f"{name}: {gauge} should have changed"


def _point(usage: float, threshold: Threshold, present: Pressure) -> Pressure:
    """Return where one reading points, given where the gauge is."""
    if usage >= threshold.severe:
        return Pressure.SEVERE
    if usage >= threshold.upper:
        return Pressure.HIGH
    if usage < threshold.lower:
        return Pressure.NONE
    return min(present, Pressure.HIGH)
