"""Does background work get in the way? Events and questions on a live system: idle, then with both cores saturated by its tasks.

    scripts/bench/background.py --json
    scripts/bench/background.py --source ../shared/data/peps.jsonl.gz --seconds 20

One system, one run. It reads the documents and settles; then, in turns and for the same number of seconds, ``idle`` (no background task)
and ``busy`` (a task that never pauses for every core, and every scan asked for again as soon as it ended). What is reported, and what the
limits are set on, are the medians of --rounds turns; each turn stands beside them:

events   one producer at --rate a second, one follower, actors of their own on the system's cluster, a journal on the same disk, ack
         ``disk``, the follower sees durable frames only; from when an event was due until its handler was called
ask      questions to the braid module, measured inside its actor, so with the wait for its loop and without the call over Ray

``others_cpu_share`` is what processes outside the system took of the cores: with much of it neither phase says anything about TORI.

Exit code 1: the p99 of events is above max(--times idle, --floor-ms), or the p95 of ask above --max-ask-ms, or the cores were not
saturated, or background work did not have idle priority.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

if __package__ in {None, ""}:
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from actors import cluster
from actors.backend import RayBackend
from actors.bench import BenchFollower, BenchProducer
from actors.cast import actor_name
from actors.client import RayClient
from actors.names import NAMESPACE
from tests.support.system import batches, small_corpus, system_settings
from tori.feed import feed
from tori.modules.registry import FULL_PASS
from tori.resources.process import descendants
from tori.sources import open_source

QUESTIONS = (
    "what is known about rose pruning",
    "when is the engine block checked",
    "how does a string quartet tune",
    "which oven temperature does rye flour need",
)
ASK_EVERY_S = 0.1
WARM_UP_S = 5.0
"""Until every scan has run once and its worker is there."""
QUIET_S, QUIET_PERCENT = 2.0, 20.0
"""After the background work has ended: new workers take the place of those that went with it, and are no part of an idle phase."""
LEAST_BUSY = 0.9
"""Share of all cores that must be in use for them to count as saturated."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, compare with the limits."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped
    with tempfile.TemporaryDirectory(prefix="tori-background-", dir=options.directory) as temporary:
        report = measure(Path(temporary), options)
    report["limits"] = limits = {
        "events_p99_ms": round(max(options.times * report["idle"]["events"]["p99_ms"], options.floor_ms), 3),
        "ask_p95_ms": options.max_ask_ms,
    }
    busy = report["busy"]
    report["within_limits"] = (
        busy["events"]["p99_ms"] <= limits["events_p99_ms"]
        and busy["ask"]["p95_ms"] <= limits["ask_p95_ms"]
        and busy["cpu_share"] >= LEAST_BUSY
        and report["idle_priority"]
    )
    print(json.dumps(report) if options.json else _as_text(report))
    return 0 if report["within_limits"] else 1


def measure(home: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the report of one system that lives in ``home``."""
    import ray

    settings = system_settings(home, **{"user.tasks": "scripts.bench.burn"})
    backend = RayBackend()
    backend.up(settings, None)
    try:
        client = backend.connect(settings, None)
        _read(client, options)
        client.quiesce()
        rig = _Rig(home / "bench", options)
        idle, busy = [], []
        for _ in range(options.rounds):
            idle.append(rig.phase())
            with _burning(client):
                busy.append(rig.phase())
                is_idle_class = _has_idle_priority(client)
        runs = [run for run in client.tasks()["runs"] if run["state"] == "succeeded"]
        return {
            "cpus": os.cpu_count(),
            "documents": client.query("reader", "summary", {})["documents"],
            "seconds": options.seconds,
            "rate": options.rate,
            "idle": _medians(idle),
            "busy": _medians(busy) | {"scans_done": len(runs)},
            "turns_p99_ms": [[turn["events"]["p99_ms"] for turn in pair] for pair in zip(idle, busy, strict=True)],
            "idle_priority": is_idle_class,
        }
    finally:
        ray.shutdown()
        backend.down(settings, None)


def _read(client: RayClient, options: argparse.Namespace) -> None:
    if options.source:
        feed(client, open_source(options.source))
        return
    for batch in batches(small_corpus(options.documents), 64):
        client.ingest(batch)


class _Rig:
    """What measures: a producer, a follower, and the actor that is asked."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        import ray

        self._options = options
        self._home = directory.parent
        self._producer = ray.remote(num_cpus=0)(BenchProducer).remote(str(directory), "disk")
        ray.get(self._producer.ready.remote())
        self._follower = ray.remote(num_cpus=0, max_concurrency=2)(BenchFollower).remote(str(directory), "durable")
        ray.get(self._follower.ready.remote())
        self._braid = ray.get_actor(actor_name("braid"), namespace=NAMESPACE)
        self._run(1.0)  # what is slow only once is not measured

    def phase(self) -> dict[str, Any]:
        """Return what events and questions took, both measured over the same seconds."""
        seconds = self._options.seconds
        psutil.cpu_percent()
        own_s, begun = _own_cpu_s(self._home), time.monotonic()
        asked = self._braid.__ray_call__.remote(ask, QUESTIONS, seconds, ASK_EVERY_S)
        events_ms = self._run(seconds)
        import ray

        ask_ms = ray.get(asked)
        used, passed_s = psutil.cpu_percent() / 100, time.monotonic() - begun
        own = (_own_cpu_s(self._home) - own_s) / passed_s / (os.cpu_count() or 1)
        return {
            "events": _summary(events_ms, {"p50_ms": 0.5, "p99_ms": 0.99, "p999_ms": 0.999}),
            "ask": _summary(ask_ms, {"p50_ms": 0.5, "p95_ms": 0.95, "p99_ms": 0.99}),
            "cpu_share": round(used, 3),
            "others_cpu_share": round(max(0.0, used - own), 3),
        }

    def _run(self, seconds: float) -> list[float]:
        import ray

        taken = self._follower.run.remote(is_paced=True)
        offered = ray.get(self._producer.pace.remote(seconds, self._options.rate))
        ray.get(self._follower.finish.remote())
        found = ray.get(taken)
        if (found.count, found.checksum) != (offered.count, offered.checksum):
            raise AssertionError(f"{offered.count} events were produced, and {found.count} handled.")
        return [ns / 1e6 for ns in found.latencies_ns]


def _own_cpu_s(home: Path) -> float:
    """Return the CPU seconds that the living processes of the system in ``home`` have used."""
    info = cluster.find(home)
    assert info is not None
    total = 0.0
    for mark in (*info.processes, *descendants(info.processes)):
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(mark.pid).cpu_times()
            total += times.user + times.system
    return total


def ask(actor: Any, questions: Sequence[str], seconds: float, every_s: float) -> list[float]:
    """Ask a module actor, inside its process, for so long; return what each answer took, in milliseconds."""
    taken, end, number = [], time.monotonic() + seconds, 0
    while time.monotonic() < end:
        question = {"question": f"{questions[number % len(questions)]} {number}", "top": 3}  # no answer is remembered
        begun = time.perf_counter()
        actor.query("ask", question)
        taken.append((time.perf_counter() - begun) * 1e3)
        number += 1
        time.sleep(every_s)
    return taken


@contextmanager
def _burning(client: RayClient) -> Iterator[None]:
    """Keep every core and every scan busy inside."""
    runs = [client.run_task("burn")["run_id"] for _ in range(os.cpu_count() or 1)]
    ended = threading.Event()
    scans = threading.Thread(target=_scan_again, args=(client, ended), daemon=True)
    scans.start()
    deadline = time.monotonic() + 60
    while any(client.run_story(run_id)["done"] == 0 for run_id in runs):
        if time.monotonic() > deadline:
            raise AssertionError(f"the tasks do not begin: {[client.run_story(run_id) for run_id in runs]}")
        time.sleep(0.1)
    time.sleep(WARM_UP_S)
    try:
        yield
    finally:
        ended.set()
        scans.join()
        for run_id in runs:
            client.cancel_run(run_id)
        deadline = time.monotonic() + 60
        while (left := client.tasks()["active"]) or psutil.cpu_percent(QUIET_S) > QUIET_PERCENT:
            if time.monotonic() > deadline:
                raise AssertionError(f"it does not come to rest: {left}")


def _scan_again(client: RayClient, ended: threading.Event) -> None:
    """Ask for every scan again and again; one that is under way is not begun twice."""
    while not ended.wait(0.5):
        for _, task in FULL_PASS:
            client.run_task(task)


def _has_idle_priority(client: RayClient) -> bool:
    """Return what a task says of its own priority."""
    run_id = client.run_task("priority")["run_id"]
    deadline = time.monotonic() + 60
    while (story := client.run_story(run_id))["state"] != "succeeded":
        if time.monotonic() > deadline:
            raise AssertionError(f"it does not end: {story}")
        time.sleep(0.05)
    return json.loads(story["result"]) is True


def _summary(values_ms: Sequence[float], at: dict[str, float]) -> dict[str, float]:
    found = sorted(values_ms)
    return {"count": len(found)} | {
        name: round(found[min(len(found) - 1, int(share * len(found)))], 3) for name, share in at.items()
    }


def _medians(turns: Sequence[Any]) -> Any:
    """Return the median of every number of phases, by name."""
    if isinstance(turns[0], dict):
        return {name: _medians([turn[name] for turn in turns]) for name in turns[0]}
    return round(statistics.median(turns), 3)


def _as_text(report: dict[str, Any]) -> str:
    lines = [f"{report['documents']} documents, {report['cpus']} cores, {report['rate']:.0f} events/s"]
    for phase in ("idle", "busy"):
        found = report[phase]
        lines.append(f"{phase}: cores {found['cpu_share']:.0%}, events {found['events']}, ask {found['ask']}")
    lines.append(f"limits: {report['limits']}; background work at idle priority: {report['idle_priority']}")
    return "\n".join(lines)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each turn (default 10)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each phase (default 3)")
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second (default 1,000)")
    parser.add_argument("--documents", type=int, default=400, help="made ones, without --source (default 400)")
    parser.add_argument("--source", default="", help="documents to read instead, as for tori ingest")
    parser.add_argument("--directory", help="where the home lies; default: the temporary directory")
    parser.add_argument("--times", type=float, default=2.0)
    parser.add_argument("--floor-ms", type=float, default=5.0)
    parser.add_argument("--max-ask-ms", type=float, default=300.0)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
