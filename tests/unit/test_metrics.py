"""The metric catalogue, what is sampled by it, and the dashboard made from it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors import metrics as shell
from actors.metrics import MetricExporter
from scripts import generate_dashboards
from tori.errors import BadInput
from tori.events import system as s
from tori.metrics import collect
from tori.metrics.catalogue import BY_NAME, CATALOGUE, Kind, Metric, find_metric
from tori.metrics.collect import EventMeter, resource_samples, system_samples
from tori.metrics.sample import Sample

SECOND_NS = 1_000_000_000


def module(name: str = "alien", **changes: Any) -> dict[str, Any]:
    entry = {
        "name": name,
        "state": "running",
        "restarts": 2,
        "events": 70,
        "consumed": 500,
        "lag": 9,
        "busy_s": 1.25,
        "late_wakes": 0,
        "summary": {"alarms": 3, "level": 0.05, "note": "quiet", "is_warm": True},
    }
    return entry | changes


def status(*modules: dict[str, Any]) -> dict[str, Any]:
    nodes = [{"alive": True}, {"alive": False}]
    return {"uptime_s": 12.5, "nodes": nodes, "refs_routed": 4, "modules": list(modules)}


def values(samples: list[Sample]) -> dict[str, float]:
    return {sample.series: sample.value for sample in samples}


class TestCatalogue:
    def test_names_are_prometheus_names_and_unique(self) -> None:
        assert len(BY_NAME) == len(CATALOGUE)
        assert [m.name for m in CATALOGUE if not re.fullmatch(r"tori_[a-z]+(_[a-z]+)*", m.name)] == []
        assert [m.name for m in CATALOGUE if m.name.endswith("_total")] == []

    def test_units_are_base_units_and_stand_in_the_name(self) -> None:
        assert [m.name for m in CATALOGUE if (m.unit == "s") != m.name.endswith("_seconds")] == []
        assert [m.name for m in CATALOGUE if (m.unit == "bytes") != m.name.endswith("_bytes")] == []

    def test_every_metric_says_what_it_is_and_what_for(self) -> None:
        assert [m.name for m in CATALOGUE if not m.help or not m.reason.endswith(".") or m.help.endswith(".")] == []
        assert {m.group for m in CATALOGUE} == set(generate_dashboards.GROUPS)

    def test_histograms_have_rising_buckets_and_others_none(self) -> None:
        for metric in CATALOGUE:
            assert bool(metric.boundaries) is (metric.kind is Kind.HISTOGRAM)
            assert list(metric.boundaries) == sorted(set(metric.boundaries))

    def test_ray_renames(self) -> None:
        assert find_metric("tori_module_lag").prometheus_name == "ray_tori_module_lag"
        assert find_metric("tori_events").prometheus_name == "ray_tori_events_total"

    def test_an_unknown_metric_names_the_known(self) -> None:
        with pytest.raises(BadInput, match="tori_module_lag"):
            find_metric("tori_lag")


class TestSamples:
    def test_a_status_becomes_samples(self) -> None:
        assert values(system_samples(status(module(), module("scars", state="degraded", summary={})))) == {
            "tori_uptime_seconds": 12.5,
            "tori_nodes": 1.0,
            "tori_refs_routed": 4.0,
            'tori_module_up{module="alien"}': 1.0,
            'tori_module_restarts{module="alien"}': 2.0,
            'tori_events{journal="alien"}': 70.0,
            'tori_module_consumed{module="alien"}': 500.0,
            'tori_module_lag{module="alien"}': 9.0,
            'tori_module_busy_seconds{module="alien"}': 1.25,
            'tori_module_late_wakes{module="alien"}': 0.0,
            'tori_mind_size{module="alien",item="alarms"}': 3.0,
            'tori_module_up{module="scars"}': 0.0,
            'tori_module_restarts{module="scars"}': 2.0,
            'tori_events{journal="scars"}': 70.0,
            'tori_module_consumed{module="scars"}': 500.0,
            'tori_module_lag{module="scars"}': 9.0,
            'tori_module_busy_seconds{module="scars"}': 1.25,
            'tori_module_late_wakes{module="scars"}': 0.0,
        }

    def test_resources(self) -> None:
        found = values(resource_samples({"memory": 0.5, "cpu": 0.25}))
        assert found == {'tori_resource_use{resource="cpu"}': 0.25, 'tori_resource_use{resource="memory"}': 0.5}

    def test_a_sample_must_fit_its_metric(self) -> None:
        with pytest.raises(BadInput, match="labels"):
            Sample("tori_module_lag", 1.0)
        with pytest.raises(BadInput, match="there is no metric"):
            Sample("lag", 1.0)
        with pytest.raises(BadInput, match="no number"):
            Sample("tori_nodes", float("nan"))

    def test_a_sample_is_an_event(self) -> None:
        event = Sample("tori_module_lag", 7.0, ("alien",)).event()
        assert event == s.MetricsCollected('tori_module_lag{module="alien"}', 7.0)


class TestEventMeter:
    def test_what_events_tell(self) -> None:
        meter = EventMeter()
        meter.take(s.TaskStarted("t", "r", "scar_scan"), 0)
        meter.take(s.TaskCompleted("t", "r", "scar_scan", duration_s=0.5), 0)
        meter.take(s.TaskCompleted("t", "r", "scar_scan"), 0)
        meter.take(s.TaskFailed("t", "r", "scar_scan", error="no"), 0)
        meter.take(s.TaskCancelled("t", "r", "alien_audit"), 0)
        meter.take(s.CheckpointCreated("c", ("alien",), 900), 5 * SECOND_NS)
        meter.take(s.ErrorOccurred("ValueError", "no", "braid"), 0)
        meter.take(s.DeliveryDeadLettered("braid", "clients", 4, 3, "no"), 0)
        totals = {
            'tori_task_runs{task="scar_scan",outcome="completed"}': 2.0,
            'tori_task_runs{task="scar_scan",outcome="failed"}': 1.0,
            'tori_task_runs{task="alien_audit",outcome="cancelled"}': 1.0,
            'tori_errors{module="braid"}': 1.0,
            'tori_dead_letters{subscriber="braid"}': 1.0,
            "tori_checkpoint_bytes": 900.0,
        }
        first = values(meter.samples(now_ns=65 * SECOND_NS))
        assert first == totals | {
            "tori_checkpoint_age_seconds": 60.0,
            'tori_task_duration_seconds{task="scar_scan"}': 0.5,
        }
        assert values(meter.samples(now_ns=0)) == totals | {"tori_checkpoint_age_seconds": 0.0}

    def test_memory_is_bounded_and_nothing_goes_uncounted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collect, "MAX_SERIES", 3)
        meter = EventMeter()
        for number in range(10):
            meter.take(s.ErrorOccurred("E", "", f"module{number}"), 0)
        samples = meter.samples(0)
        assert len(samples) == 4
        assert sum(sample.value for sample in samples) == 10
        assert values(samples)['tori_errors{module="other"}'] == 7.0


class Recorder:
    """Stands in for one of Ray's metric objects."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.calls: list[tuple[str, float, dict[str, str]]] = []

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append(("set", value, tags))

    def inc(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append(("inc", value, tags))

    def observe(self, value: float, tags: dict[str, str]) -> None:
        self.calls.append(("observe", value, tags))


class TestExporter:
    @pytest.fixture
    def made(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
        made: dict[str, Recorder] = {}
        monkeypatch.setattr(shell, "create_metric", lambda metric: made.setdefault(metric.name, Recorder(metric)))
        return made

    def test_each_kind_in_its_way_and_objects_only_when_sampled(self, made: dict[str, Recorder]) -> None:
        exporter = MetricExporter()
        exporter.export([Sample("tori_nodes", 2.0), Sample("tori_events", 5.0, ("alien",))])
        exporter.export([Sample("tori_task_duration_seconds", 0.5, ("scar_scan",))])
        assert set(made) == {"tori_nodes", "tori_events", "tori_task_duration_seconds"}
        assert made["tori_nodes"].calls == [("set", 2.0, {})]
        assert made["tori_events"].calls == [("inc", 5.0, {"journal": "alien"})]
        assert made["tori_task_duration_seconds"].calls == [("observe", 0.5, {"task": "scar_scan"})]

    @given(totals=st.lists(st.integers(0, 50), max_size=20))
    def test_counters_add_up_through_restarts(self, totals: list[int]) -> None:
        recorder = Recorder(find_metric("tori_refs_routed"))
        exporter = MetricExporter()
        exporter._metrics["tori_refs_routed"] = recorder
        for total in totals:
            exporter.export([Sample("tori_refs_routed", float(total))])
        # Prometheus' rule: a fall is a restart from 0.
        pairs = zip([0, *totals], totals, strict=False)
        expected = sum(after - before if after >= before else after for before, after in pairs)
        assert sum(value for _, value, _ in recorder.calls) == expected
        assert all(value > 0 for _, value, _ in recorder.calls)


class TestDashboard:
    def test_the_files_are_current(self) -> None:
        assert generate_dashboards.main(["--check"]) == 0

    def test_every_metric_has_a_panel_that_asks_for_it_by_its_exported_name(self) -> None:
        panels = [p for p in generate_dashboards.dashboard()["panels"] if p["type"] == "timeseries"]
        assert len(panels) == len(CATALOGUE)
        shown = [" ".join(target["expr"] for target in panel["targets"]) for panel in panels]
        for metric in CATALOGUE:
            assert sum(bool(re.search(rf"\b{metric.prometheus_name}(_bucket)?\b", expr)) for expr in shown) == 1
        for expr in shown:
            assert expr.count("(") == expr.count(")")

    def test_panels_do_not_overlap_and_ids_are_unique(self) -> None:
        panels = generate_dashboards.dashboard()["panels"]
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in panels)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells))
        assert max(x for x, _ in cells) < 24
        assert len({panel["id"] for panel in panels}) == len(panels)

    def test_it_is_json(self) -> None:
        assert json.loads(generate_dashboards.text())["uid"] == "tori"
