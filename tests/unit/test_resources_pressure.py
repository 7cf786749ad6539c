"""Pressure: two thresholds, hysteresis, events and one level for the scheduler."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.system import system_settings
from tori.errors import BadSettings
from tori.events.system import CPUPressure, MemoryPressure, ResourceRecovered, ResourceThresholdExceeded
from tori.machine import Emit
from tori.resources.pressure import (
    DEFAULT_THRESHOLDS,
    MORE_THRESHOLDS,
    Pressure,
    PressureChanged,
    PressureMachine,
    Sample,
    Threshold,
    thresholds_of,
)

PLAIN = Threshold(upper=0.8, lower=0.7, severe=0.95)


def machine(**thresholds: Threshold) -> PressureMachine:
    return PressureMachine(thresholds)


def read(found: PressureMachine, **usage: float) -> list[Any]:
    out = found.handle(Sample(usage))
    found.validate()
    other = PressureMachine(found.thresholds)
    other.restore(found.snapshot())
    assert other.snapshot() == found.snapshot()
    return [i.payload if isinstance(i, Emit) else i for i in out]


def test_passing_a_threshold_and_coming_back() -> None:
    memory = machine(memory=PLAIN)
    assert read(memory, memory=0.79) == []
    assert read(memory, memory=0.80) == [MemoryPressure("memory", 0.80, 0.8, "warning"), PressureChanged(Pressure.HIGH)]
    assert read(memory, memory=0.75) == [], "between the thresholds nothing changes"
    assert read(memory, memory=0.70) == []
    assert read(memory, memory=0.69) == [
        ResourceRecovered("memory", 0.69, 0.7, "normal"),
        PressureChanged(Pressure.NONE),
    ]


def test_severe_and_back_by_steps() -> None:
    cpu = machine(cpu=PLAIN)
    assert read(cpu, cpu=0.99) == [CPUPressure("cpu", 0.99, 0.95, "critical"), PressureChanged(Pressure.SEVERE)]
    assert read(cpu, cpu=0.9) == [CPUPressure("cpu", 0.9, 0.8, "warning"), PressureChanged(Pressure.HIGH)]


def test_a_spike_is_no_pressure() -> None:
    cpu = machine(cpu=Threshold(upper=0.8, lower=0.7, severe=0.95, samples=3))
    for usage in (0.9, 0.9, 0.5, 0.9, 0.9):
        assert read(cpu, cpu=usage) == []
    assert len(read(cpu, cpu=0.9)) == 2
    for usage in (0.1, 0.1, 0.9, 0.1, 0.1):
        assert read(cpu, cpu=usage) == []
    assert len(read(cpu, cpu=0.1)) == 2


def test_the_scarcest_resource_sets_the_level() -> None:
    both = machine(disk=PLAIN, memory=PLAIN)
    assert read(both, disk=0.85, memory=0.1) == [
        ResourceThresholdExceeded("disk", 0.85, 0.8, "warning"),
        PressureChanged(Pressure.HIGH),
    ]
    assert [type(p) for p in read(both, disk=0.85, memory=0.96)] == [MemoryPressure, PressureChanged]
    assert [type(p) for p in read(both, disk=0.1, memory=0.96)] == [ResourceRecovered], "the level is that of memory"
    assert both.pressure is Pressure.SEVERE


def test_what_has_no_threshold_or_no_reading_changes_nothing() -> None:
    memory = machine(memory=PLAIN)
    read(memory, memory=0.9)
    assert read(memory, gpu=1.0) == []
    assert memory.pressure is Pressure.HIGH
    assert PressureMachine().thresholds["cpu"].upper == 0.8


def test_a_snapshot_of_other_resources() -> None:
    memory = machine(memory=PLAIN)
    read(memory, memory=0.9)
    other = machine(disk=PLAIN)
    other.restore(memory.snapshot())
    assert other.pressure is Pressure.NONE
    assert set(other.gauges) == {"disk"}


@pytest.mark.parametrize(
    "values",
    [
        {"upper": 0.7, "lower": 0.8, "severe": 0.9},
        {"upper": 0.9, "lower": 0.8, "severe": 0.85},
        {"lower": 0.0},
        {"samples": 0},
    ],
)
def test_thresholds_that_make_no_sense_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        Threshold(**({"upper": 0.8, "lower": 0.7, "severe": 0.95} | values))


@given(st.lists(st.floats(0, 1.2), max_size=60), st.integers(1, 4))
def test_laws_of_hysteresis(readings: list[float], samples: int) -> None:
    """Every event changes the level, events alternate, and a change needs as many readings as it says."""
    cpu = machine(cpu=Threshold(upper=0.8, lower=0.7, severe=0.95, samples=samples))
    levels, changed_at = [Pressure.NONE], []
    for number, usage in enumerate(readings):
        out = read(cpu, cpu=usage)
        assert len(out) in (0, 2)
        if out:
            changed_at.append(number)
            assert cpu.pressure is not levels[-1]
            assert isinstance(out[0], ResourceRecovered) == (cpu.pressure is Pressure.NONE)
            assert (usage < 0.7) == (cpu.pressure is Pressure.NONE)
        levels.append(cpu.pressure)
    assert all(later - earlier >= samples for earlier, later in pairwise(changed_at))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.8, 0.99])
def test_thresholds_of_any_share_are_in_order_and_cpu_is_never_severe(share: float) -> None:
    found = thresholds_of({"cpu_share": share, "memory_share": share, "disk_share": share})
    assert {t.upper for t in found.values()} == {share}
    machine = PressureMachine(found)
    for _ in range(5):
        machine.handle(Sample({"cpu": 1.0}))
    assert machine.pressure is Pressure.HIGH
    machine.handle(Sample({"memory": 1.0}))
    assert machine.pressure is Pressure.SEVERE


def test_the_settings_defaults_are_the_machine_s() -> None:
    found = thresholds_of({"cpu_share": 0.80, "memory_share": 0.85, "disk_share": 0.90})
    for name, default in DEFAULT_THRESHOLDS.items():
        assert (found[name].upper, found[name].samples) == (default.upper, default.samples)
        assert found[name].lower == pytest.approx(default.lower)


def test_what_only_a_running_system_knows_is_pressure_too() -> None:
    found = thresholds_of({"stall_share": 0.1, "object_store_share": 0.8, "lag_share": 0.5})
    assert set(found) == set(MORE_THRESHOLDS)
    machine = PressureMachine(found)
    assert [type(i) for i in machine.handle(Sample({"lag": 0.6}))] == [Emit, PressureChanged]
    assert (machine.pressure, machine.sheds, machine.reason) == (Pressure.HIGH, False, "lag at 60%")
    machine.handle(Sample({"lag": 1.0}))
    assert machine.pressure is Pressure.HIGH, "only reading takes a lag away"
    assert machine.handle(Sample({"lag": 0.1, "stall": 0.5}))[-1] == PressureChanged(Pressure.SEVERE, sheds=True)
    machine.handle(Sample({"stall": 0.0, "object_store": 0.9}))
    assert (machine.pressure, machine.sheds) == (Pressure.HIGH, False)


def test_the_settings_defaults_of_those_are_the_machine_s(tmp_path: Path) -> None:
    found = thresholds_of(system_settings(tmp_path).plain()["limits"])
    assert set(found) == set(DEFAULT_THRESHOLDS) | set(MORE_THRESHOLDS)
    for name, default in MORE_THRESHOLDS.items():
        assert (found[name].upper, found[name].severe, found[name].sheds) == (
            default.upper,
            default.severe,
            default.sheds,
        )
        assert found[name].lower == pytest.approx(default.lower)
