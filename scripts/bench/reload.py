"""Hot reload under load: what it costs in pause, and whether an event is lost or handled twice over it.

    python scripts/bench/reload.py [--rate 20000] [--seconds 20] [--reloads 3] [--json]

A module of the benchmark's own follows the clients' journal on a real cluster; numbered events are published at the given rate through the
door, while its source is changed and the module reloaded. A last reload raises, and must be rolled back. What was handled is read from
the module's journal on disk, after the system has stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
SOURCE = """
import time
from collections.abc import Sequence

import msgspec

from tori.events.envelope import Event
from tori.events.system import CustomEvent
from tori.modules.base import Context, Fact, Module
from tori.modules.user import module

REVISION = 0


class Counted(msgspec.Struct, array_like=True, tag=1):
    revision: int
    time_ns: int
    numbers: list[int]


@module(follows=("clients",))
class BenchTally(Module):
    name = "bench_tally"
    inputs = (CustomEvent,)
    records = Counted

    def __init__(self) -> None:
        self.count = self.total = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return [Counted(REVISION, time.time_ns(), [e.payload.data["n"] for e in batch])]

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Counted):
            self.count += len(fact.numbers)
            self.total += sum(fact.numbers)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.count, self.total))

    def restore(self, data: bytes) -> None:
        self.count, self.total = msgspec.msgpack.decode(data)

    def section(self):
        return {"count": self.count, "total": self.total}

    def query(self, name, arguments):
        return self.section()
"""
FRAME = 500


def revision(number: int) -> str:
    """Return the module's source as its ``number``-th revision."""
    return SOURCE.replace("REVISION = 0", f"REVISION = {number}")


class Load(threading.Thread):
    """Publishes numbered events at a rate until it is told to stop."""

    def __init__(self, client: Any, rate: float) -> None:
        super().__init__(name="bench-load", daemon=True)
        from tori.bus.producer import Producer

        self._producer = Producer(client, "bench-reload")
        self._rate = rate
        self._stopped = threading.Event()
        self.published = 0
        self.seconds = 0.0
        self.error: BaseException | None = None

    def run(self) -> None:
        from tori.events.system import CustomEvent

        begun = time.monotonic()
        try:
            while not self._stopped.is_set():
                ahead_s = begun + self.published / self._rate - time.monotonic()
                if ahead_s > 0:
                    self._stopped.wait(ahead_s)
                numbers = range(self.published, self.published + FRAME)
                self._producer.publish(*(CustomEvent("bench", {"n": n}) for n in numbers))
                self.published += FRAME
        except BaseException as error:
            self.error = error
        self.seconds = time.monotonic() - begun

    def finish(self) -> None:
        self._stopped.set()
        self.join()
        if self.error is not None:
            raise self.error


def handled(home: Path) -> tuple[Counter[int], list[int], set[int]]:
    """Return how often each number was handled, when units were decided, and by which revisions: from the journal on disk."""
    from tori.journal.reader import JournalReader
    from tori.journal.unit import units

    class Counted(msgspec.Struct, array_like=True, tag=1):
        revision: int
        time_ns: int
        numbers: list[int]

    decoder = msgspec.msgpack.Decoder(list[Counted])
    reader = JournalReader(home / "journals" / "bench_tally")
    seen: Counter[int] = Counter()
    times: list[int] = []
    revisions: set[int] = set()
    for unit in units(reader, reader.first_offset(), reader.limit()):
        for record in unit.records(decoder):
            seen.update(record.numbers)
            times.append(record.time_ns)
            revisions.add(record.revision)
    reader.close()
    return seen, times, revisions


def measure(rate: float, seconds: float, reloads: int) -> dict[str, Any]:
    """Run the benchmark on a cluster of its own; return its figures."""
    from actors.backend import RayBackend
    from tori.errors import PermanentError
    from tori.settings import load_settings

    with tempfile.TemporaryDirectory(prefix="tori-bench-") as folder:
        home, code = Path(folder) / "home", Path(folder) / "code"
        home.mkdir()
        code.mkdir()
        file = code / "bench_tally_code.py"
        file.write_text(revision(0))
        os.environ["PYTHONPATH"] = os.pathsep.join([str(code), str(ROOT), os.environ.get("PYTHONPATH", "")])
        settings = load_settings(
            home,
            {
                "user.modules": file.stem,
                "ray.dashboard": False,
                "ray.object_store_bytes": 128 << 20,
                "limits.credit_events": 10_000_000,
                "limits.lag_alarm_events": 5_000_000,
                "limits.resource_check_s": 3600.0,
            },
        )
        backend = RayBackend()
        backend.up(settings, None)
        client = backend.connect(settings, None)
        pauses, refused = [], ""
        load = Load(client, rate)
        load.start()
        try:
            step_s = seconds / (reloads + 2)
            for number in range(1, reloads + 1):
                time.sleep(step_s)
                file.write_text(revision(number))
                pauses.append(client.reload("bench_tally")["pause_s"])
            time.sleep(step_s)
            file.write_text(revision(reloads + 1).replace("self.count += len", "self.count += 1 / 0 + len"))
            try:
                client.reload("bench_tally")
            except PermanentError as error:
                refused = str(error)
            time.sleep(step_s)
        finally:
            load.finish()
        deadline = time.monotonic() + 60.0
        while client.query("bench_tally", "all", {})["count"] < load.published and time.monotonic() < deadline:
            time.sleep(0.1)
        file.write_text(revision(reloads))
        client.close()
        backend.down(settings, None)
        seen, times, revisions = handled(home)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return {
        "events": load.published,
        "events_per_s": round(load.published / load.seconds, 1),
        "reloads": len(pauses),
        "revisions": sorted(revisions),
        "pause_s": round(max(pauses, default=0.0), 4),
        "pauses_s": pauses,
        "longest_gap_s": round(max(gaps, default=0) / 1e9, 4),
        "lost": sum(1 for n in range(load.published) if n not in seen),
        "doubled": sum(count - 1 for count in seen.values()),
        "invented": sum(1 for n in seen if not 0 <= n < load.published),
        "rolled_back": bool(refused),
        "refused": refused,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Hot reload under load.")
    parser.add_argument("--rate", type=float, default=20_000.0, help="Events per second.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--reloads", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")
    options = parser.parse_args()
    found = measure(options.rate, options.seconds, options.reloads)
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:16} {value}")
    is_good = not (found["lost"] or found["doubled"] or found["invented"]) and found["rolled_back"]
    sys.exit(0 if is_good and found["pause_s"] <= 2.0 else 1)


if __name__ == "__main__":
    main()
