"""Pressure: two thresholds, hysteresis, events and one level for the scheduler."""

from __future__ import annotations

import math
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
    NEVER,
    UNREAD_LOOKS,
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


def events(found: PressureMachine, **usage: float) -> list[Any]:
    return [payload for payload in read(found, **usage) if not isinstance(payload, PressureChanged)]


def test_passing_a_threshold_and_coming_back() -> None:
    memory = machine(memory=PLAIN)
    assert read(memory, memory=0.79) == []
    assert read(memory, memory=0.80) == [
        MemoryPressure("memory", 0.80, 0.8, "warning"),
        PressureChanged(Pressure.HIGH, reason="memory at 80%"),
    ]
    assert events(memory, memory=0.75) == [], "between the thresholds nothing changes"
    assert events(memory, memory=0.70) == []
    assert read(memory, memory=0.69) == [
        ResourceRecovered("memory", 0.69, 0.7, "normal"),
        PressureChanged(Pressure.NONE, reason="memory at 69%"),
    ]


def test_severe_and_back_by_steps() -> None:
    cpu = machine(cpu=PLAIN)
    assert events(cpu, cpu=0.99) == [CPUPressure("cpu", 0.99, 0.95, "critical")]
    assert events(cpu, cpu=0.9) == [], "severe ends as far below its threshold as high does"
    assert events(cpu, cpu=0.85) == []
    assert read(cpu, cpu=0.84) == [
        CPUPressure("cpu", 0.84, 0.8, "warning"),
        PressureChanged(Pressure.HIGH, reason="cpu at 84%"),
    ]
    assert events(cpu, cpu=0.94) == []
    assert events(cpu, cpu=0.96, memory=1.0) == [CPUPressure("cpu", 0.96, 0.95, "critical")]
    assert events(cpu, cpu=0.1) == [ResourceRecovered("cpu", 0.1, 0.7, "normal")]


def test_a_value_that_swings_around_the_severe_threshold_is_told_once() -> None:
    memory = PressureMachine()
    told = [event for _ in range(10) for value in (0.951, 0.949) for event in events(memory, memory=value)]
    assert told == [MemoryPressure("memory", 0.951, 0.95, "critical")]


@pytest.mark.parametrize("share", [0.1, 0.8, 0.95, 0.99])
def test_severe_pressure_ends_between_the_lower_threshold_and_its_own(share: float) -> None:
    for name, threshold in thresholds_of({"memory_share": share, "object_store_share": share}).items():
        assert threshold.lower <= threshold.eased < threshold.severe, name


def test_a_changed_reason_is_passed_on() -> None:
    both = machine(disk=PLAIN, memory=PLAIN)
    read(both, disk=0.5, memory=0.9)
    assert read(both, disk=0.9, memory=0.9)[-1] == PressureChanged(Pressure.HIGH, reason="disk at 90%, memory at 90%")
    assert read(both, disk=0.9, memory=0.5)[-1] == PressureChanged(Pressure.HIGH, reason="disk at 90%")
    assert read(both, disk=0.9, memory=0.6) == [], "nothing new"
    assert read(both, disk=0.92, memory=0.6) == [PressureChanged(Pressure.HIGH, reason="disk at 92%")]
    assert read(both, disk=0.5, memory=0.6)[-1] == PressureChanged(Pressure.NONE, reason="disk at 50%")


@pytest.mark.parametrize("gone", [{}, {"memory": math.nan}, {"memory": math.inf}, {"memory": -math.inf}])
def test_what_gives_no_reading_any_more_is_no_pressure_for_ever(gone: dict[str, float]) -> None:
    memory = machine(memory=PLAIN, stall=PLAIN)
    read(memory, memory=0.96)
    for _ in range(UNREAD_LOOKS - 1):
        assert read(memory, **gone) == [], "a moment without a reading changes nothing"
    assert (memory.pressure, memory.reason) == (Pressure.SEVERE, "memory at 96%")
    read(memory, memory=0.97)
    for _ in range(UNREAD_LOOKS - 1):
        assert read(memory, **gone) == []
    assert read(memory, **gone) == [
        ResourceRecovered("memory", 0.97, 0.7, "unread"),
        PressureChanged(Pressure.NONE, reason="memory gives no reading any more"),
    ]
    assert read(memory, **gone) == []
    assert events(memory, memory=0.96) == [MemoryPressure("memory", 0.96, 0.95, "critical")], "it is back"


def test_a_spike_is_no_pressure() -> None:
    cpu = machine(cpu=Threshold(upper=0.8, lower=0.7, severe=0.95, samples=3))
    for usage in (0.9, 0.9, 0.5, 0.9, 0.9):
        assert read(cpu, cpu=usage) == []
    assert len(read(cpu, cpu=0.9)) == 2
    for usage in (0.1, 0.1, 0.9, 0.1, 0.1):
        assert events(cpu, cpu=usage) == []
    assert len(read(cpu, cpu=0.1)) == 2


def test_the_scarcest_resource_sets_the_level() -> None:
    both = machine(disk=PLAIN, memory=PLAIN)
    assert read(both, disk=0.85, memory=0.1) == [
        ResourceThresholdExceeded("disk", 0.85, 0.8, "warning"),
        PressureChanged(Pressure.HIGH, reason="disk at 85%"),
    ]
    assert [type(p) for p in read(both, disk=0.85, memory=0.96)] == [MemoryPressure, PressureChanged]
    assert read(both, disk=0.1, memory=0.96) == [
        ResourceRecovered("disk", 0.1, 0.7, "normal"),
        PressureChanged(Pressure.SEVERE, reason="memory at 96%"),
    ], "the level is that of memory"
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


USAGE = st.floats(0, 1.2) | st.sampled_from([0.69, 0.7, 0.79, 0.8, 0.84, 0.85, 0.94, 0.95]) | st.just(math.nan)


@given(st.lists(USAGE, max_size=60), st.integers(1, 4))
def test_laws_of_hysteresis(readings: list[float], samples: int) -> None:
    """Each change of level is an event, needs as many readings as it says, and one beyond the border that it crosses."""
    threshold = Threshold(upper=0.8, lower=0.7, severe=0.95, samples=samples)
    cpu = machine(cpu=threshold)
    changed_at, told = [], PressureChanged(Pressure.NONE)
    for number, usage in enumerate(readings):
        old = cpu.pressure
        out = read(cpu, cpu=usage)
        found = [payload for payload in out if not isinstance(payload, PressureChanged)]
        assert len(found) == (cpu.pressure is not old)
        if cpu.pressure is not old:
            changed_at.append(number)
            assert isinstance(found[0], ResourceRecovered) == (cpu.pressure is Pressure.NONE)
            _check_border(old, cpu.pressure, usage, threshold)
        reports = [payload for payload in out if isinstance(payload, PressureChanged)]
        told = reports[-1] if reports else told
        assert len(reports) <= 1
        assert (told.pressure, told.reason if told.pressure else "") == (cpu.pressure, cpu.reason), "what was told last"
        assert "nan" not in cpu.reason
    assert all(later - earlier >= samples for earlier, later in pairwise(changed_at))


def _check_border(old: Pressure, new: Pressure, usage: float, threshold: Threshold) -> None:
    if math.isnan(usage):
        assert new is Pressure.NONE, "it was not read for long"
    elif new is Pressure.SEVERE:
        assert usage >= threshold.severe
    elif new is Pressure.NONE:
        assert usage < threshold.lower
    elif old is Pressure.SEVERE:
        assert threshold.lower <= usage < threshold.eased
    else:
        assert threshold.upper <= usage < threshold.severe


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
    found = machine.handle(Sample({"lag": 0.1, "stall": 0.5}))[-1]
    assert found == PressureChanged(Pressure.SEVERE, sheds=True, reason="stall at 50%")
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


def test_the_page_has_the_thresholds(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    for name, threshold in thresholds_of(system_settings(tmp_path).plain()["limits"]).items():
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        values = [threshold.upper, threshold.lower]
        values += [] if threshold.severe == NEVER else [threshold.severe, threshold.eased]
        assert [cell.strip() for cell in row.split("|")[2:6] if "%" in cell] == [
            f"{value:.0%}".replace("%", " %") for value in values
        ]
