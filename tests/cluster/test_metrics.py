"""Samples of every kind arrive on Ray's Prometheus endpoint under the names the dashboards ask for."""

from __future__ import annotations

import time
import urllib.request

from actors.cluster import ClusterInfo
from actors.metrics import MetricExporter
from tori.metrics.catalogue import Kind, find_metric
from tori.metrics.sample import Sample


def test_samples_arrive_under_their_prometheus_names(shared_cluster: ClusterInfo) -> None:
    exporter = MetricExporter()
    samples = [
        Sample("tori_module_lag", 7.0, ("alien",)),
        Sample("tori_events", 5.0, ("alien",)),
        Sample("tori_task_duration_seconds", 0.5, ("scar_scan",)),
    ]
    exporter.export(samples)
    url = f"http://127.0.0.1:{shared_cluster.ports['metrics']}/metrics"
    deadline = time.monotonic() + 30
    text = ""
    while "ray_tori_module_lag" not in text and time.monotonic() < deadline:
        time.sleep(0.25)
        with urllib.request.urlopen(url, timeout=5) as answer:
            text = answer.read().decode()

    lines = [line for line in text.splitlines() if line.startswith("ray_tori_")]
    for sample in samples:
        metric = find_metric(sample.name)
        wanted = metric.prometheus_name + ("_sum" if metric.kind is Kind.HISTOGRAM else "") + "{"
        found = [line for line in lines if line.startswith(wanted)]
        assert len(found) == 1, text[:2000]
        assert f'{metric.labels[0]}="{sample.labels[0]}"' in found[0]
