"""Pressure: when the use of a resource is too much, and when it is fine again. A pure machine over samples.

Two thresholds a resource: from ``upper`` on for ``samples`` readings in a row it is under pressure, and stays so until it falls below
``lower`` for as many. From ``severe`` on it is severe, until it falls below ``eased``, which is as far down again. Between the two of a
pair nothing changes, so a value that swings around one of them makes no noise. What can no longer be read is no pressure for ever.
"""

from __future__ import annotations

import math
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

    @property
    def eased(self) -> float:
        """Below it severe pressure is severe no more: as far below ``severe`` as ``lower`` is below ``upper``."""
        return max(self.lower, self.severe - (self.upper - self.lower))


DEFAULT_THRESHOLDS: dict[str, Threshold] = {
    "cpu": Threshold(upper=0.80, lower=0.70, severe=0.97, samples=3),
    "memory": Threshold(upper=0.85, lower=0.80, severe=0.95, sheds=True),
    "disk": Threshold(upper=0.90, lower=0.88, severe=0.97),
}
"""CPU swings, so it needs three readings (15 s at the default interval); memory and disk do not come back by themselves.

Only memory sheds: a run that ends gives its memory back at once. One that is stopped for CPU would only have to begin again.
"""

NEVER = 2.0
"""A severe threshold that no reading reaches."""

UNREAD_LOOKS = 6
"""Looks in a row without a reading after which a resource counts as plenty: half a minute, so that a cluster that restarts its tables,
or one file that is away for a moment, ends no pressure."""

MORE_THRESHOLDS: dict[str, Threshold] = {
    "stall": Threshold(upper=0.10, lower=0.05, severe=0.40, sheds=True),
    "object_store": Threshold(upper=0.80, lower=0.60, severe=0.95),
    "lag": Threshold(upper=0.50, lower=0.25, severe=NEVER),
}
"""What not everybody can read: the share of time that somebody waited for memory (``stall``), and what only a running system knows;
``lag`` is the share of the credit that the module furthest behind has used up."""


def thresholds_of(limits: Mapping[str, Any]) -> dict[str, Threshold]:
    """Return the thresholds that the section ``limits`` of the settings asks for: ``cpu_share``, ``memory_share``, ... A share that is
    not there is not watched.

    The distances between the thresholds stay those of the defaults. CPU alone is never severe: others, or TORI's own scans, may
    take all of it for hours, and a scan that waits so long is worse than one that is slow. Nor is lag, which only reading takes away.
    """
    found = {}
    for name, default in (DEFAULT_THRESHOLDS | MORE_THRESHOLDS).items():
        if f"{name}_share" not in limits:
            continue
        upper = float(limits[f"{name}_share"])
        found[name] = Threshold(
            upper=upper,
            lower=max(upper / 2, upper - (default.upper - default.lower)),
            severe=NEVER if name in ("cpu", "lag") else max(upper, default.severe),
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
    """What is scarce, for people; of none, what is scarce no more."""


PressureInstruction: TypeAlias = Emit | PressureChanged


class Gauge(msgspec.Struct):
    """What the machine remembers of one resource."""

    pressure: Pressure = Pressure.NONE
    toward: Pressure = Pressure.NONE
    """Where the last readings point."""
    count: int = 0
    """How many in a row."""
    usage: float = 0.0
    """The last reading."""
    missed: int = 0
    """Looks since then that had none."""


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
        """Return what follows from one look: an event a resource that changed, and what the scheduler is told if that changed.

        A resource without a finite reading is as it was, for ``UNREAD_LOOKS``.
        """
        before = self.report
        out: list[PressureInstruction] = []
        over = []
        for name, gauge in sorted(self.gauges.items()):
            usage, was_scarce = sample.usage.get(name, math.nan), gauge.pressure > Pressure.NONE
            out += self._read(name, usage) if math.isfinite(usage) else self._miss(name)
            if was_scarce and gauge.pressure is Pressure.NONE:
                over.append(f"{name} gives no reading any more" if gauge.missed else f"{name} at {gauge.usage:.0%}")
        after = self.report
        if after != before:
            out.append(msgspec.structs.replace(after, reason=after.reason or ", ".join(over)))
        return out

    @property
    def report(self) -> PressureChanged:
        """Return what the scheduler goes by."""
        return PressureChanged(self.pressure, self.sheds, self.reason)

    def _miss(self, name: str) -> list[PressureInstruction]:
        """Take note that there is no reading; nobody knows for ever that a resource is scarce."""
        gauge = self.gauges[name]
        gauge.missed += 1
        if gauge.missed < UNREAD_LOOKS or gauge.pressure is Pressure.NONE:
            return []
        gauge.pressure, gauge.toward, gauge.count = Pressure.NONE, Pressure.NONE, 0
        return [Emit(ResourceRecovered(name, gauge.usage, self.thresholds[name].lower, "unread"))]

    def _read(self, name: str, usage: float) -> list[PressureInstruction]:
        gauge, threshold = self.gauges[name], self.thresholds[name]
        gauge.usage, gauge.missed = usage, 0
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
    if usage >= (threshold.eased if present is Pressure.SEVERE else threshold.severe):
        return Pressure.SEVERE
    if usage >= threshold.upper:
        return Pressure.HIGH
    if usage < threshold.lower:
        return Pressure.NONE
    return min(present, Pressure.HIGH)
