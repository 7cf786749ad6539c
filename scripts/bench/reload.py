"""Hot reload under load: what it costs in pause, and whether an event is lost or handled twice over it.

    python scripts/bench/reload.py [--rate 20000] [--seconds 20] [--reloads 3] [--json]

On a real cluster one module of the benchmark's own emits numbered events at the given rate and another follows it, while the source of
that one is changed and the module reloaded. A last reload raises, and must be rolled back. What was handled is read from
the module's journal on disk, after the system has stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''
import time
from collections.abc import Sequence

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.events.system import CustomEvent
from tori.modules.base import Context, Fact, Module
from tori.modules.user import module

REVISION = 0


class Counted(msgspec.Struct, array_like=True, tag=1):
    revision: int
    time_ns: int
    numbers: list[int]


@module(follows=())
class BenchSource(Module):
    """Emits numbered events when it is told to; the same numbers again are nothing new."""

    name = "bench_source"

    def __init__(self) -> None:
        self.next = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return []

    def command(self, name, arguments, context):
        first, end = arguments["first"], arguments["first"] + arguments["count"]
        if first > self.next:
            raise BadInput(f"{first} comes after {self.next}.")
        return [context.event(CustomEvent("bench", {"n": n})) for n in range(max(first, self.next), end)], self.next

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event):
            self.next = fact.payload.data["n"] + 1

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.next)

    def restore(self, data: bytes) -> None:
        self.next = msgspec.msgpack.decode(data)


@module(follows=("bench_source",))
class BenchTally(Module):
    """Writes down what it handled, and by which revision of this file."""

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
        return self.section() | {"revision": REVISION}
'''
FRAME = 500
STEM = "bench_reload_code"


def revision(number: int) -> str:
    """Return the modules' source as its ``number``-th revision."""
    return SOURCE.replace("REVISION = 0", f"REVISION = {number}")


def broken() -> str:
    """Return a source that imports, and raises over the first record of the past."""
    return SOURCE.replace("self.count += len", "self.count += 1 // 0 + len")


def prepared(folder: Path) -> tuple[Path, Path, dict[str, Any]]:
    """Return a home, the file of the modules in its first revision, and the settings; workers will find the file on PYTHONPATH."""
    home, code = folder / "home", folder / "code"
    home.mkdir()
    code.mkdir()
    file = code / f"{STEM}.py"
    file.write_text(revision(0))
    settings = {
        "user.modules": STEM,
        "ray.dashboard": False,
        "ray.object_store_bytes": 128 << 20,
        "limits.resource_check_s": 3600.0,
    }
    return home, file, settings


def search_path(file: Path) -> str:
    """Return a PYTHONPATH on which workers find the modules."""
    return os.pathsep.join([str(file.parent), str(ROOT), os.environ.get("PYTHONPATH", "")])


class Load(threading.Thread):
    """Has numbered events emitted at a rate until it is told to stop."""

    def __init__(self, client: Any, rate: float, start: int = 0) -> None:
        super().__init__(name="bench-load", daemon=True)
        self._client = client
        self._rate = rate
        self._start = start
        self._stopped = threading.Event()
        self.published = start
        self.seconds = 0.0
        self.error: BaseException | None = None

    @property
    def events_per_s(self) -> float:
        return (self.published - self._start) / self.seconds

    def run(self) -> None:
        begun = time.monotonic()
        try:
            while not self._stopped.is_set():
                ahead_s = begun + (self.published - self._start) / self._rate - time.monotonic()
                if ahead_s > 0:
                    self._stopped.wait(ahead_s)
                self._client.command("bench_source", "emit", {"first": self.published, "count": FRAME})
                self.published += FRAME
        except BaseException as error:
            self.error = error
        self.seconds = time.monotonic() - begun

    def finish(self) -> int:
        """Stop; return how many events there are. Raises what went wrong."""
        self._stopped.set()
        self.join()
        if self.error is not None:
            raise self.error
        return self.published


def await_all(client: Any, count: int, patience_s: float = 60.0) -> None:
    """Return once the tally has handled so many events; raises AssertionError when it does not come to that."""
    deadline = time.monotonic() + patience_s
    while (found := client.query("bench_tally", "all", {}))["count"] < count:
        assert time.monotonic() < deadline, f"{found} of {count}"
        time.sleep(0.05)


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
    from tori.settings import load_settings

    with tempfile.TemporaryDirectory(prefix="tori-bench-") as folder:
        home, file, chosen = prepared(Path(folder))
        os.environ["PYTHONPATH"] = search_path(file)
        settings = load_settings(home, chosen)
        backend = RayBackend()
        try:
            backend.up(settings, None)
            client = backend.connect(settings, None)
            load, pauses, refused = reload_under_load(client, file, rate, seconds, reloads)
            client.close()
        finally:
            backend.down(settings, None)
        seen, times, revisions = handled(home)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    return {
        "events": load.published,
        "events_per_s": round(load.events_per_s, 1),
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


def reload_under_load(
    client: Any, file: Path, rate: float, seconds: float, reloads: int
) -> tuple[Load, list[float], str]:
    """Change the source and reload while events come in, at last with code that raises; return the pauses and what was refused."""
    from tori.errors import PermanentError

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
        file.write_text(broken())
        try:
            client.reload("bench_tally")
        except PermanentError as error:
            refused = str(error)
        file.write_text(revision(reloads))
        time.sleep(step_s)
    finally:
        published = load.finish()
    await_all(client, published)
    return load, pauses, refused


def main() -> None:
    parser = argparse.ArgumentParser(description="Hot reload under load.")
    parser.add_argument("--rate", type=float, default=20_000.0, help="Events per second.")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--reloads", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cluster is stopped
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
