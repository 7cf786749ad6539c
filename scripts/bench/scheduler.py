"""How late the scheduler begins what is due, beside APScheduler in the same run, and what it costs when nothing is to be done.

    scripts/bench/scheduler.py --json
    scripts/bench/scheduler.py --tasks 100 --seconds 5

1,000 tasks are each due once a second for ten seconds, evenly spread: 10,000 due runs. Lateness is the time from the moment a
task is due until the function of its run is entered in a thread of a pool of the same size, on the same clock, for every side:

``machine``      the scheduler with a loop around it that keeps nothing
``durable``      the same, with every fact written to the journal of an orchestrator and synced before its run begins
``apscheduler``  BackgroundScheduler with the memory store (``make install`` brings it; null where it is not)

APScheduler promises less (no facts, no admission, no replay) and does less for it; what is compared is how late work begins.
``burst``: all 1,000 are due at the same moment; the last one waits for 999 others, on both sides.
``idle``: 1,000 tasks of 60 s whose module does not change: they come due and are skipped.
Exit code 1: the p99 of ``machine`` is above --max-p99-ms, or the idle share above --max-idle-percent.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import queue
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script: the repository is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tori.clock import SECOND_NS, SystemClock
from tori.interpreter import SWITCH_INTERVAL_S
from tori.machine import Emit, Tick
from tori.modules.loop import ModuleLoop
from tori.modules.open import input_directories, open_host
from tori.scheduler import signal as sig
from tori.scheduler.admission import SlotPolicy
from tori.scheduler.inbox import take
from tori.scheduler.machine import Scheduler
from tori.scheduler.spec import TaskSpec
from tori.scheduler.trigger import IntervalTrigger

WORKERS = 16
EVERY_S = 1.0
IDLE_EVERY_S = 60.0


class Shell:
    """The least that a scheduler needs around it: a thread that feeds it and a pool that runs what it starts."""

    def __init__(self, scheduler: Scheduler, clock: SystemClock, commit: Callable[[list[Any]], None]) -> None:
        self.scheduler = scheduler
        self.late_ns: list[int] = []
        self._clock = clock
        self._commit = commit
        self._stimuli: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._pool = ThreadPoolExecutor(WORKERS)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def run(self, seconds: float) -> None:
        self._thread.start()
        time.sleep(seconds)
        self._is_over = True
        self._stimuli.put(Tick())
        self._thread.join()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._is_over:
            wake_ns = self.scheduler.wake_ns
            wait_s = 3600.0 if wake_ns is None else max(0.0, (wake_ns - self._clock.monotonic_ns()) / SECOND_NS)
            stimuli = take(self._stimuli, wait_s) or [Tick()]
            self._execute([i for stimulus in stimuli for i in self.scheduler.handle(stimulus)])

    def _execute(self, instructions: list[Any]) -> None:
        facts = [i for i in instructions if isinstance(i, (Emit, sig.Keep))]
        if facts:
            self._commit(facts)
        for order in instructions:
            if isinstance(order, sig.StartRun):
                self._pool.submit(self._attempt, order, self.scheduler.run(order.run_id).due_ns)

    def _attempt(self, order: sig.StartRun, due_ns: int) -> None:
        self.late_ns.append(self._clock.monotonic_ns() - due_ns)
        self._stimuli.put(sig.RunFinished(order.run_id, order.attempt))


def specs(tasks: int, every_s: float, *, spread: bool = True, watches: tuple[str, ...] = ()) -> list[TaskSpec]:
    """Return periodic tasks whose due times are spread over the interval, or all the same."""
    jitter_s = every_s if spread else 0.0
    return [
        TaskSpec(
            task_id=f"task-{n}", task_type="bench", trigger=IntervalTrigger(every_s), jitter_s=jitter_s, watches=watches
        )
        for n in range(tasks)
    ]


def measure_machine(tasks: int, seconds: float, *, spread: bool) -> list[int]:
    """Return the latenesses of a scheduler that keeps nothing."""
    clock = SystemClock()
    # a due time with its jitter may be up to one interval after its place on the grid
    scheduler = Scheduler(specs(tasks, EVERY_S, spread=spread), clock, admission=SlotPolicy(1024))
    shell = Shell(scheduler, clock, lambda facts: None)
    shell.run(seconds + EVERY_S)
    return shell.late_ns


def measure_durable(tasks: int, seconds: float) -> list[int]:
    """Return the latenesses when every fact is on the disk before its run begins."""
    with tempfile.TemporaryDirectory(prefix="tori-scheduler-") as temporary:
        home = Path(temporary)
        ledger = ModuleLoop(
            "orchestrator",
            lambda: open_host(home, "orchestrator", segment_bytes=64 << 20, load_snapshot=lambda _: None),
            input_directories(home, "orchestrator"),
        )
        ledger.start()
        ledger.wait_ready(30.0)

        def commit(facts: list[Any]) -> None:
            records = [fact.record for fact in facts if isinstance(fact, sig.Keep)]
            events = [(fact.payload, fact.key) for fact in facts if isinstance(fact, Emit)]
            ledger.call(lambda host: host.emit(records, events))

        clock = SystemClock()
        shell = Shell(Scheduler(specs(tasks, EVERY_S), clock, admission=SlotPolicy(1024)), clock, commit)
        shell.run(seconds + EVERY_S)
        ledger.stop()
        return shell.late_ns


def measure_apscheduler(tasks: int, seconds: float, *, spread: bool) -> list[int] | None:
    """Return the latenesses of APScheduler with jobs of the same times; None when it is not installed."""
    try:
        background = importlib.import_module("apscheduler.schedulers.background")
        executors = importlib.import_module("apscheduler.executors.pool")
    except ImportError:
        return None
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
    scheduler = background.BackgroundScheduler(
        executors={"default": executors.ThreadPoolExecutor(WORKERS)}, timezone=UTC
    )
    late_ns: list[int] = []
    begin = time.time() + EVERY_S

    def job(first: float) -> None:
        since = time.time() - first
        late_ns.append(round(since % EVERY_S * SECOND_NS))

    for number in range(tasks):
        first = begin + (EVERY_S * number / tasks if spread else 0.0)
        start = datetime.fromtimestamp(first, UTC)
        scheduler.add_job(job, "interval", seconds=EVERY_S, start_date=start, args=[start.timestamp()])
    scheduler.start()
    time.sleep(max(0.0, begin + seconds - time.time()) + timedelta(milliseconds=50).total_seconds())
    scheduler.shutdown()
    return late_ns


def measure_idle(tasks: int, seconds: float) -> float:
    """Return the share of a core, in percent, that tasks cost which come due and have nothing to do."""
    clock = SystemClock()
    scheduler = Scheduler(specs(tasks, IDLE_EVERY_S, watches=("m",)), clock)
    scheduler.handle(sig.VersionMoved("m", (1, 1)))
    for task_id in scheduler.specs:
        scheduler.task(task_id).covered = {"m": (1, 1)}
    begun, cpu = time.perf_counter(), time.process_time()
    Shell(scheduler, clock, lambda facts: None).run(seconds)
    return 100.0 * (time.process_time() - cpu) / (time.perf_counter() - begun)


def summary(late_ns: Sequence[int] | None) -> dict[str, float] | None:
    """Return count, median, p99 and maximum in milliseconds."""
    if not late_ns:
        return None
    found = sorted(late_ns)
    at = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {"runs": len(found)} | {
        name: round(found[min(len(found) - 1, int(share * len(found)))] / 1e6, 3) for name, share in at.items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, compare with the limits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each side runs (default 10)")
    parser.add_argument("--idle-seconds", type=float, default=20.0)
    parser.add_argument("--max-p99-ms", type=float, default=5.0)
    parser.add_argument("--max-idle-percent", type=float, default=0.5)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    tasks, seconds = options.tasks, options.seconds
    sys.setswitchinterval(SWITCH_INTERVAL_S)  # as in every process of TORI, and for every side
    spread = {
        "machine": summary(measure_machine(tasks, seconds, spread=True)),
        "durable": summary(measure_durable(tasks, seconds)),
        "apscheduler": summary(measure_apscheduler(tasks, seconds, spread=True)),
    }
    burst = {
        "machine": summary(measure_machine(tasks, 2.0, spread=False)),
        "apscheduler": summary(measure_apscheduler(tasks, 2.0, spread=False)),
    }
    idle = round(measure_idle(tasks, options.idle_seconds), 3)
    machine = spread["machine"]
    is_good = is_within(machine, idle, options.max_p99_ms, options.max_idle_percent)
    report = {"tasks": tasks, "spread": spread, "burst": burst, "idle_percent": idle, "within_limits": is_good}
    print(json.dumps(report) if options.json else _as_text(report))
    return 0 if is_good else 1


def is_within(found: dict[str, float] | None, idle_percent: float, max_p99_ms: float, max_idle_percent: float) -> bool:
    """Say whether something was measured and stayed within both limits."""
    return found is not None and found["p99_ms"] <= max_p99_ms and idle_percent <= max_idle_percent


def _as_text(report: dict[str, Any]) -> str:
    lines = []
    for shape in ("spread", "burst"):
        for side, found in report[shape].items():
            lines.append(f"{shape:8} {side:12} " + ("not installed" if found is None else str(found)))
    return "\n".join([*lines, f"idle: {report['idle_percent']} % of a core"])


if __name__ == "__main__":
    sys.exit(main())
