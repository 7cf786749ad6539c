"""How long a checkpoint holds up the handler of a module with much state, and how long that module takes to come back.

    scripts/bench/checkpoint.py --json
    scripts/bench/checkpoint.py --json --state-gb 0.1 --direct

A real cluster, the real actor around a module of ``--state-gb`` (notes of 1 KiB, every one of them a fact in its journal) and the
real task that folds. While events come in steadily (``--rate`` a second, each synced), the module notes the longest time between
two calls of its handler (``gap_ms``; ``gap_on_cpu_ms`` without the time in which its thread was ready and no core was free, which on a
shared machine is others' work) and the age of the oldest event when its handler saw it (``late_ms``):

``quiet``       no checkpoint, for as long as the checkpoint took: what the machine does by itself
``checkpoint``  while one is taken: the state before is read, the journal after it applied, the new state written and synced
``direct``      with --direct, while the living module gives its snapshot itself, as it was before there was folding

``restore_s``: kill -9 of the module's process until a new one answers, from the file of the checkpoint and the journal after it;
its digest must be the one of before. ``same``: the folded file holds the bytes of the living module's snapshot.
Exit code 1: a gap above --max-gap-ms, a restore above --max-restore-s, or anything not the same.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # run as a script: the repository is not on the path
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import ray

from actors import cluster
from actors.checkpoints import Checkpoints
from actors.fold import Folding
from actors.module import ModuleActor, ShellConfig
from actors.options import module_options, on_node, remote_class
from scripts.bench.bulk_module import UNIT_ITEMS
from tori.events.system import CustomEvent
from tori.modules.open import open_host
from tori.settings import load_settings

REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "scars"
NOTE_BYTES = 1024
START_TIMEOUT_S = 300.0
SEGMENT_BYTES = 32 << 20


class Here:
    """Everything lives on one node."""

    here = "here"

    def node_of(self, name: str) -> str:
        return self.here

    def mirrored(self, name: str) -> dict[str, bytes]:
        return {}

    def strategy(self, name: str) -> Any:
        return on_node(ray.get_runtime_context().get_node_id())


class Feed:
    """Writes events into the clients' journal, so many a second, until it is stopped."""

    def __init__(self, home: Path, rate: float) -> None:
        self._host = open_host(home, "clients", segment_bytes=SEGMENT_BYTES, load_snapshot=lambda name: None)
        self._pause_s = 1.0 / rate
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0
        self.slowest_ms = 0.0

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._is_over.is_set():
            begun = time.monotonic()
            self._host.command("say", {"payload": CustomEvent("bench.tick", {"n": self.count})})
            self.slowest_ms = max(self.slowest_ms, (time.monotonic() - begun) * 1e3)
            self.count += 1
            due = max(due + self._pause_s, begun)
            self._is_over.wait(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._host.close()


class Bench:
    """One home, one cluster, one module."""

    def __init__(self, home: Path, state_gb: float, rate: float) -> None:
        self.home = home
        self.settings = load_settings(home).plain()
        self.units = max(1, round(state_gb * (1 << 30) / (UNIT_ITEMS * NOTE_BYTES)))
        self.handle = self.start(1)
        self.feed = Feed(home, rate)
        self.checkpoints = Checkpoints(home, 3, lambda: {NAME: self.handle}, self._tell, {})
        self.checkpoints.folding = Folding(home, self.settings, Here(), self.checkpoints.store)
        self.told: list[str] = []

    def _tell(self, *payloads: Any) -> None:
        self.told += [str(p) for p in payloads if type(p).__name__ not in ("CheckpointCreated",)]

    def start(self, incarnation: int) -> Any:
        config = ShellConfig(str(self.home), NAME, SEGMENT_BYTES, incarnation, START_TIMEOUT_S, self.settings)
        remote = remote_class(ModuleActor, module_options(f"{NAME}-{incarnation}"))
        handle = remote.remote(config)
        ray.get(handle.ready.remote())
        return handle

    def fill(self) -> float:
        begun = time.monotonic()
        for _ in range(self.units):
            ray.get(self.handle.command.remote("fill", {"size_bytes": NOTE_BYTES}))
        return time.monotonic() - begun

    def gaps(self) -> dict[str, Any]:
        found: dict[str, Any] = ray.get(self.handle.query.remote("gaps", {}))
        return found

    def measure(self, work: Any) -> dict[str, Any]:
        """Return how the handler was held up while ``work`` ran."""
        time.sleep(1.0)
        self.gaps()
        self.feed.slowest_ms = 0.0
        begun = time.monotonic()
        work()
        took = time.monotonic() - begun
        found = self.gaps()
        rounded = {key: round(value, 2) for key, value in found.items()}
        return rounded | {"seconds": round(took, 2), "slowest_publish_ms": round(self.feed.slowest_ms, 2)}

    def settle(self) -> None:
        while ray.get(self.handle.view.remote()).lag:
            time.sleep(0.05)

    def is_same(self) -> bool:
        """Take a checkpoint of the resting module both ways; say whether their files hold the same."""
        rows = [self.checkpoints.take(is_last=is_last) for is_last in (False, True)]
        manifests = [self.checkpoints.store.manifest(row["checkpoint_id"]) for row in rows]
        return len({m.modules[NAME].sha256 for m in manifests}) == 1

    def restore(self) -> dict[str, Any]:
        """Kill the module's process; return how long a new one took, and whether it is the same."""
        before = ray.get(self.handle.section.remote())
        pid = ray.get(self.handle.ready.remote())["pid"]
        begun = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        self.handle = self.start(2)
        took = time.monotonic() - begun
        ready = ray.get(self.handle.ready.remote())
        replayed = ready["view"].replayed_units
        return {
            "restore_s": round(took, 2),
            "replayed_units": replayed,
            "is_same": ray.get(self.handle.section.remote()) == before,
            "told": [type(e).__name__ for e in ready["events"]],
        }


def say(found: dict[str, Any]) -> None:
    """Show on standard error how far it is."""
    print(json.dumps(found), file=sys.stderr, flush=True)


def run(options: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Return the figures."""
    bench = Bench(home, options.state_gb, options.rate)
    found: dict[str, Any] = {"state_gb": options.state_gb, "rate": options.rate, "notes": bench.units * UNIT_ITEMS}
    found["fill_s"] = round(bench.fill(), 2)
    say(found)
    begun = time.monotonic()
    row = bench.checkpoints.take()
    found["first_fold_s"], found["size_bytes"] = round(time.monotonic() - begun, 2), row["size_bytes"]
    say(found)
    bench.feed.start()
    found["checkpoint"] = bench.measure(bench.checkpoints.take)
    found["quiet"] = bench.measure(lambda: time.sleep(found["checkpoint"]["seconds"]))
    if options.direct:
        found["direct"] = bench.measure(lambda: bench.checkpoints.take(is_last=True))
    say(found)
    time.sleep(2.0)
    bench.feed.stop()
    bench.settle()
    found["events"] = bench.feed.count
    found |= bench.restore()
    say(found)
    found["same"] = bench.is_same()
    found["problems"] = bench.told
    return found


def main() -> int:
    """Run the benchmark; print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state-gb", type=float, default=1.0, help="size of the module's state, GiB")
    parser.add_argument("--rate", type=float, default=100.0, help="events a second")
    parser.add_argument("--direct", action="store_true", help="also measure a snapshot given by the living module")
    parser.add_argument("--max-gap-ms", type=float, default=50.0)
    parser.add_argument("--max-restore-s", type=float, default=20.0)
    parser.add_argument("--directory", type=Path, help="where the home lies (default: a temporary one)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped
    os.environ["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY / "scripts/bench/bulk"), str(REPOSITORY)])
    home = Path(tempfile.mkdtemp(prefix="tori-checkpoint-", dir=options.directory))
    try:
        info = cluster.start(home)
        try:
            cluster.connect(info)
            found = run(options, home)
        finally:
            ray.shutdown()
            cluster.stop(info)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    pause_s = 1e3 / options.rate
    stall_ms = max(found["checkpoint"]["gap_ms"] - pause_s, 0.0)
    found["stall_ms"] = round(stall_ms, 2)
    is_good = found["same"] and found["is_same"] and not found["problems"]
    is_good &= stall_ms <= options.max_gap_ms and found["restore_s"] <= options.max_restore_s
    print(json.dumps(found | {"is_good": is_good}, indent=None if options.json else 2))
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
