"""Write dashboards/grafana/tori.json and docs/metrics.md from the metric catalogue; with --check, only look."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tori.metrics.catalogue import CATALOGUE, Kind, Metric

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "dashboards" / "grafana" / "tori.json"
PAGE = ROOT / "docs" / "metrics.md"
GROUPS = ("System", "Bus", "Tasks", "Mind")
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH, _HEIGHT, _COLUMNS = 8, 7, 24
_INTRODUCTION = """# Metrics

Generated from `tori/metrics/catalogue.py` by `scripts/generate_dashboards.py`; change it there. The same list makes
`dashboards/grafana/tori.json`.

Ray's agent serves them in Prometheus' format, with or without the Ray dashboard, under `metrics` of the `ports` in the home's
`cluster.json`; a value is at most 10 s old. Counters begin at 0 again when their process does, as Prometheus expects.
"""


def queries(metric: Metric) -> list[tuple[str, str]]:
    """Return (PromQL, legend) pairs that show a metric over time.

    A value is the newest of its series' processes (``max``): a restarted orchestrator reports under a new worker id.
    """
    name, by = metric.prometheus_name, ", ".join(metric.labels)
    legend = " ".join(f"{{{{{label}}}}}" for label in metric.labels) or metric.help
    clause = f" by ({by})" if by else ""
    if metric.kind is Kind.HISTOGRAM:
        buckets = f"sum by ({', '.join((*metric.labels, 'le'))}) (rate({name}_bucket[$__rate_interval]))"
        return [(f"histogram_quantile({q}, {buckets})", f"{legend} p{round(q * 100)}") for q in (0.5, 0.99)]
    if metric.kind is Kind.GAUGE:
        return [(f"max{clause} ({name})", legend)]
    if metric.alert_above is not None:
        return [(f"sum{clause} (increase({name}[5m]))", legend)]
    return [(f"sum{clause} (rate({name}[$__rate_interval]))", legend)]


def panel(metric: Metric, number: int, x: int, y: int) -> dict[str, Any]:
    """Return one time series panel."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 8, "showPoints": "never"}
    if metric.alert_above is not None:
        steps.append({"color": "red", "value": metric.alert_above})
        custom["thresholdsStyle"] = {"mode": "line"}
    return {
        "id": number,
        "type": "timeseries",
        "title": title(metric),
        "description": f"{metric.help[:1].upper()}{metric.help[1:]}. {metric.reason}",
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {
                "unit": unit(metric),
                "min": 0,
                "custom": custom,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(queries(metric))
        ],
    }


def title(metric: Metric) -> str:
    """Return ``Module lag`` for ``tori_module_lag``; a counter says over what it is counted."""
    words = (
        metric.name.removeprefix("tori_").removesuffix("_seconds").removesuffix("_bytes").replace("_", " ").capitalize()
    )
    if metric.kind is not Kind.COUNTER:
        return words
    return f"{words} in 5 min" if metric.alert_above is not None else f"{words} per second"


def unit(metric: Metric) -> str:
    """Return the unit of what the panel shows: the rate of seconds is a share."""
    if metric.kind is Kind.COUNTER and metric.unit == "s":
        return "percentunit"
    return "short" if metric.unit == "bool" else metric.unit


def dashboard() -> dict[str, Any]:
    """Return the dashboard: a row of panels for each group of the catalogue."""
    panels: list[dict[str, Any]] = []
    y = 0
    for group in GROUPS:
        metrics = [metric for metric in CATALOGUE if metric.group == group]
        row_place = {"x": 0, "y": y, "w": _COLUMNS, "h": 1}
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": group,
                "collapsed": False,
                "gridPos": row_place,
                "panels": [],
            }
        )
        y += 1
        for index, metric in enumerate(metrics):
            column, line = index * _WIDTH % _COLUMNS, index * _WIDTH // _COLUMNS
            panels.append(panel(metric, len(panels) + 1, column, y + line * _HEIGHT))
        y += -(-len(metrics) * _WIDTH // _COLUMNS) * _HEIGHT
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    return {
        "uid": "tori",
        "title": "TORI",
        "description": "Generated from the metric catalogue (tori/metrics) by scripts/generate_dashboards.py.",
        "tags": ["tori"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [variable]},
        "panels": panels,
    }


def text() -> str:
    """Return the dashboard as the file holds it."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def page() -> str:
    """Return docs/metrics.md."""
    parts = [_INTRODUCTION]
    for group in GROUPS:
        lines = [f"## {group}", "", "| name | kind | labels | what | what for |", "|---|---|---|---|---|"]
        lines += [
            f"| `{m.prometheus_name}` | {m.kind} | {', '.join(m.labels)} | {m.help} | {m.reason} |"
            for m in CATALOGUE
            if m.group == group
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write what is stale, or with ``--check`` return 1 when anything is."""
    wanted = {TARGET: text(), PAGE: page()}
    stale = [
        path for path, content in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != content
    ]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.name} is stale: run scripts/generate_dashboards.py")
        return int(bool(stale))
    for path in stale:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[path], encoding="utf-8")
        print(f"wrote {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
