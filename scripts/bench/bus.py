"""The bus on this machine: one producer and two followers in Ray actors of their own, and Redis Streams beside it.

    bus.py [--json] [--seconds 5] [--repeats 3] [--only tori|redis]

Events are made in the timed loop with key, causes and correlation; the trace context is set once a frame. Every follower decodes
every event, calls one Python handler an event and folds all payload fields into a checksum that must equal the producer's.
``disk``: at most 8 frames are not on disk when the producer goes on. Latency counts from when an event was due.
Events/s count from before the first event is made until the slower follower has handled the last one. Figures are medians over the
repeats; the fdatasync of the same run stands beside them. The bus alone is measured: no module, no cursor record.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actors import cluster
from actors.bench import BenchFollower, BenchProducer
from scripts.bench import redis_stream

FRAME = 100
RATE = 10_000.0
WARM_UP_S = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; exit code 1 when a follower did not see exactly what was produced."""
    options = _parse(arguments)
    results: list[dict[str, Any]] = []
    import ray

    with tempfile.TemporaryDirectory(prefix="tori-bus-", dir=options.directory) as temporary:
        home = Path(temporary)
        info = cluster.start(home)
        cluster.connect(info)
        try:
            if options.only in (None, "tori"):
                results += tori_results(home, options.seconds, options.repeats)
            if options.only in (None, "redis"):
                results += redis_stream.results(home, options.seconds, options.repeats, FRAME, RATE)
        finally:
            ray.shutdown()
            cluster.stop(info)
    report = {"machine": machine(options.directory or tempfile.gettempdir()), "results": results}
    print(json.dumps(report) if options.json else table(results))
    return 0 if all(r["complete"] for r in results) else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each timed run, after the warm-up")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--only", choices=("tori", "redis"))
    parser.add_argument("--directory", help="where the journals lie; default: the temporary directory")
    return parser.parse_args(arguments)


def machine(directory: str) -> dict[str, Any]:
    """Return what the figures depend on; ``disk`` on a tmpfs says nothing about a disk."""
    import ray

    return {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "ray": ray.__version__,
        "system": platform.platform(),
        "load_1m": round(os.getloadavg()[0], 2),
        "file_system": file_system(Path(directory)),
    }


def file_system(directory: Path) -> str:
    """Return the type of the file system a directory lies on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    return max(((len(at), kind) for at, kind in mounts if directory.resolve().is_relative_to(at)), default=(0, "?"))[1]


def tori_results(home: Path, seconds: float, repeats: int) -> list[dict[str, Any]]:
    """Return the rows of TORI: throughput on ``disk`` and ``os``, latency at a fixed rate on ``disk``."""
    return [
        _median([_throughput(home / f"{mode}{i}", mode, seconds) for i in range(repeats)]) for mode in ("disk", "os")
    ] + [_median([_latency(home / f"pace{i}", seconds) for i in range(repeats)])]


def _throughput(directory: Path, mode: str, seconds: float) -> dict[str, Any]:
    def flood(producer: Any, length: float) -> Any:
        return producer.flood.remote(length, FRAME)

    row = _run(directory, mode, seconds, flood, is_paced=False)
    return row | {"frame": FRAME, "rate": None}


def _latency(directory: Path, seconds: float) -> dict[str, Any]:
    def pace(producer: Any, length: float) -> Any:
        return producer.pace.remote(length, RATE)

    row = _run(directory, "disk", seconds, pace, is_paced=True)
    return row | {"rate": RATE}


def _run(
    directory: Path, mode: str, seconds: float, offer: Callable[[Any, float], Any], *, is_paced: bool
) -> dict[str, Any]:
    """Warm up, measure once, and compare every follower's count and checksum with the producer's."""
    import ray

    visibility = "durable" if mode == "disk" else "written"
    producer = ray.remote(num_cpus=0)(BenchProducer).remote(str(directory), mode)
    ray.get(producer.ready.remote())
    remote = ray.remote(num_cpus=0, max_concurrency=2)(BenchFollower)
    followers = [remote.remote(str(directory), visibility) for _ in range(2)]
    ray.get([f.ready.remote() for f in followers])
    try:
        for length in (WARM_UP_S, seconds):
            running = [f.run.remote(is_paced=is_paced) for f in followers]
            offered = ray.get(offer(producer, length))
            ray.get([f.finish.remote() for f in followers])
            taken = ray.get(running)
        sync = ray.get(producer.sync_latencies_ms.remote(512 if is_paced else 20_000))
        return _row(mode, offered, taken, sync)
    finally:
        ray.get([producer.close.remote(), *(f.close.remote() for f in followers)])
        for actor in (producer, *followers):
            ray.kill(actor)
        for path in directory.glob("*.seg"):
            path.unlink()


def _row(mode: str, offered: Any, taken: list[Any], sync: list[float]) -> dict[str, Any]:
    seconds = max(offered.seconds, *((t.last_ns - offered.begun_ns) / 1e9 for t in taken))
    latencies = sorted(n for t in taken for n in t.latencies_ns)
    return {
        "system": "tori",
        "mode": mode,
        "handler": "event",
        "frame": round(offered.count / max(1, offered.frames), 2),
        "events_per_s": round(offered.count / seconds),
        "p50_ms": percentile(latencies, 0.5),
        "p99_ms": percentile(latencies, 0.99),
        "fresh": True,
        "bytes_per_event": round(offered.bytes_per_event, 1),
        "fdatasync_p50_ms": round(sync[len(sync) // 2], 3),
        "complete": all(t.count == offered.count and t.checksum == offered.checksum for t in taken),
        "late_wakes": sum(t.late_wakes for t in taken),
    }


def percentile(sorted_ns: Sequence[int], share: float) -> float | None:
    """Return a percentile in milliseconds, or None without samples."""
    return round(sorted_ns[min(len(sorted_ns) - 1, int(len(sorted_ns) * share))] / 1e6, 3) if sorted_ns else None


def _median(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one row with the median of every figure; complete only when every repeat was."""
    found = dict(rows[0])
    for name in ("frame", "events_per_s", "p50_ms", "p99_ms", "bytes_per_event", "fdatasync_p50_ms"):
        if rows[0][name] is not None:
            found[name] = statistics.median(r[name] for r in rows)
    found["complete"] = all(r["complete"] for r in rows)
    found["late_wakes"] = sum(r["late_wakes"] for r in rows)
    return found


def table(results: list[dict[str, Any]]) -> str:
    """Return the rows for people."""
    lines = [
        f"{'system':8} {'mode':8} {'frame':>6} {'rate':>8} {'events/s':>10} {'p50 ms':>8} {'p99 ms':>8} {'fdatasync':>10}"
    ]
    for r in results:
        cells = (
            r["frame"] or "-",
            int(r["rate"] or 0) or "-",
            r["events_per_s"],
            r["p50_ms"] or "-",
            r["p99_ms"] or "-",
        )
        lines.append(
            f"{r['system']:8} {r['mode']:8} {cells[0]:>6} {cells[1]:>8} {cells[2]:>10,} {cells[3]:>8} {cells[4]:>8} "
            f"{r.get('fdatasync_p50_ms') or '-':>10}{'' if r['complete'] else '  INCOMPLETE'}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
