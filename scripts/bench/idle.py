"""What actors cost when nothing happens: memory (PSS) and CPU, above the same number of empty actors in the same run.

``idle.py``              compare the candidates of ``idle_actors`` on a cluster of its own
``idle.py --home DIR``   measure every named actor of the TORI that runs in DIR
``idle.py --actor package.module:Class``   measure N of any actor

Exit code 1 when the actors together are above the limits.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from actors import cluster
from scripts.bench.idle_actors import AsyncEventReader, BusyReader, Empty, EventReader

CANDIDATES: dict[str, tuple[type, dict[str, Any]]] = {
    "threads": (EventReader, {"max_concurrency": 4}),
    "threads, 24": (EventReader, {"max_concurrency": 24}),
    "concurrency groups": (EventReader, {"concurrency_groups": {"query": 2, "control": 2}}),
    "async": (AsyncEventReader, {"max_concurrency": 4}),
    "threads, 50 ms poll": (BusyReader, {"max_concurrency": 4}),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, compare with the limits."""
    options = _parse(arguments)
    import ray

    with tempfile.TemporaryDirectory(prefix="tori-idle-") as temporary:
        home = Path(options.home or temporary)
        info = cluster.find(home) if options.home else cluster.start(home)
        if info is None:
            sys.exit(f"No TORI runs in {home}. Start it with `tori up`.")
        cluster.connect(info)
        try:
            report = measure(_groups(options), options.seconds, options.settle)
        finally:
            ray.shutdown()
            if not options.home:
                cluster.stop(info)
    report["within_limits"] = all(
        group["above_empty_pss_mb"] <= options.max_pss_mb
        and group["above_empty_cpu_percent"] <= options.max_cpu_percent
        for group in report["groups"].values()
    )
    print(json.dumps(report, indent=2) if options.json else _table(report))
    return 0 if report["within_limits"] or not options.home else 1


def measure(groups: dict[str, list[int]], seconds: float, settle_s: float) -> dict[str, Any]:
    """Return per group of pids the sums of PSS and CPU and what they are above as many empty actors."""
    import ray

    count = max(map(len, groups.values()))
    empty = [ray.remote(num_cpus=0)(Empty).remote() for _ in range(count)]
    empty_pids = ray.get([actor.ready.remote() for actor in empty])
    time.sleep(settle_s)
    everyone = {pid: psutil.Process(pid) for pids in (*groups.values(), empty_pids) for pid in pids}
    before = {pid: _cpu_s(process) for pid, process in everyone.items()}
    began = time.monotonic()
    time.sleep(seconds)
    passed = time.monotonic() - began
    cpu = {pid: (_cpu_s(process) - before[pid]) / passed * 100 for pid, process in everyone.items()}
    pss = {pid: process.memory_full_info().pss / 1e6 for pid, process in everyone.items()}
    empty_pss = sum(pss[pid] for pid in empty_pids) / count
    empty_cpu = sum(cpu[pid] for pid in empty_pids) / count
    report: dict[str, Any] = {
        "seconds": round(passed, 1),
        "cores": os.cpu_count(),
        "empty_actor": {"pss_mb": round(empty_pss, 1), "cpu_percent": round(empty_cpu, 2), "measured": count},
        "groups": {},
    }
    for name, pids in groups.items():
        group_pss, group_cpu = sum(pss[pid] for pid in pids), sum(cpu[pid] for pid in pids)
        report["groups"][name] = {
            "actors": len(pids),
            "pss_mb": round(group_pss, 1),
            "cpu_percent": round(group_cpu, 2),
            "above_empty_pss_mb": round(group_pss - empty_pss * len(pids), 1),
            "above_empty_cpu_percent": round(group_cpu - empty_cpu * len(pids), 2),
            "threads": sum(everyone[pid].num_threads() for pid in pids) // len(pids),
        }
    return report


def _groups(options: argparse.Namespace) -> dict[str, list[int]]:
    """Return the pids to measure: those of a running TORI, of one named class, or of the candidates."""
    import ray

    if options.home:
        names = sorted(entry["name"] for entry in ray.util.list_named_actors(all_namespaces=True))
        handles = [ray.get_actor(name, namespace=cluster.NAMESPACE) for name in names]
        return {"TORI: " + ", ".join(names): ray.get([handle.__ray_call__.remote(_pid) for handle in handles])}
    chosen = CANDIDATES
    if options.actor:
        module, _, name = options.actor.partition(":")
        chosen = {options.actor: (getattr(importlib.import_module(module), name), {})}
    actors = {
        name: [ray.remote(num_cpus=0, **extra)(cls).remote() for _ in range(options.count)]
        for name, (cls, extra) in chosen.items()
    }
    _keep.extend(actors.values())
    return {name: ray.get([h.__ray_call__.remote(_pid) for h in handles]) for name, handles in actors.items()}


_keep: list[Any] = []
"""Handles of actors under measurement: an actor ends with its last handle."""


def _pid(_: object) -> int:
    return os.getpid()


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _table(report: dict[str, Any]) -> str:
    empty = report["empty_actor"]
    lines = [f"an empty actor: {empty['pss_mb']} MB PSS, {empty['cpu_percent']} % of a core over {report['seconds']} s"]
    for name, group in report["groups"].items():
        lines.append(
            f"{name} x{group['actors']}: {group['pss_mb']} MB, {group['cpu_percent']} %; above as many empty ones "
            f"{group['above_empty_pss_mb']:+} MB, {group['above_empty_cpu_percent']:+} %; {group['threads']} threads each"
        )
    return "\n".join(lines)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", help="measure the TORI running in this home")
    parser.add_argument("--actor", help="package.module:Class to measure")
    parser.add_argument("--count", type=int, default=3, help="actors of each kind")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=5.0, help="seconds before measuring")
    parser.add_argument("--max-pss-mb", type=float, default=150.0, help="of all actors, above as many empty ones")
    parser.add_argument("--max-cpu-percent", type=float, default=2.0, help="of a core, likewise")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
