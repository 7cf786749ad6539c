"""A home under load from processes of its own, and what the nemesis needs to know: who is who, who answers, how long it took.

It knows nothing of Ray: producers, observers and module processes meet through journals on disk alone.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.history import Fault, HistoryWriter, Invoke, Line, Ok, Seen
from tests.chaos.producer import JOURNAL
from tests.chaos.sabotage import ROOT
from tori.journal.files import SYSTEM_FILES
from tori.journal.reader import JournalReader

POLL_S = 0.02
LOST_S = 90.0
"""After this a recovery is called lost, whatever its bound."""
FOLLOW_S = 20.0
FOLLOWERS = ("echo", "observer")
YOUNG_S, EARLY_DEATHS = 5.0, 5
_decoder = msgspec.json.Decoder(Line)


class Owner(msgspec.Struct):
    """Who writes a journal, as the journal's own record says."""

    pid: int = 0
    started: int = 0
    epoch: int = 0

    @property
    def lives(self) -> bool:
        return self.pid > 0 and SYSTEM_FILES.processes.started(self.pid) == self.started


class Yard:
    """One home and a workload that is kept alive."""

    def __init__(self, home: Path, history: Path) -> None:
        self.home = home
        self.history_path = history
        self.history = HistoryWriter(history, "nemesis")
        self._workload: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, int] = {}
        self._spawned: dict[str, float] = {}
        self._early_deaths: dict[str, int] = {}

    # -- workload --------------------------------------------------------------------------------------------------

    def workers(self) -> list[str]:
        """Return the names of the workload's processes, the observer last."""
        return ["producer", "echo", "observer"]

    def arguments(self, worker: str, number: int) -> list[str]:
        """Return what a worker is told besides home, history and its process name."""
        return [str(number), "0.003"] if worker == "producer" else []

    def start_workload(self) -> None:
        """Start every client; they run until ``stop_workload``."""
        for name in self.workers():
            self.spawn(name)

    def spawn(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker (again) under a process name of its own."""
        number = self._starts[name] = self._starts.get(name, 0) + 1
        where = [str(self.home), str(self.history_path), f"{name}-{number}"]
        module, more = name.partition("-")[0], self.arguments(name, number)
        log = (self.history_path / f"{name}-{number}.log").open("wb")
        with log:
            child = subprocess.Popen(
                [sys.executable, "-m", f"tests.chaos.{module}", *where, *more],
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        self._workload[name] = child
        self._spawned[name] = time.monotonic()
        return child

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        return self._workload[name]

    def name_of(self, worker: str) -> str:
        """Return the process name under which a worker writes its history now."""
        return f"{worker}-{self._starts[worker]}"

    def tend(self) -> None:
        """Start again whoever died; raises if one keeps dying young."""
        for name, child in list(self._workload.items()):
            if child.poll() is None:
                continue
            is_young = time.monotonic() - self._spawned[name] < YOUNG_S
            self._early_deaths[name] = self._early_deaths.get(name, 0) + 1 if is_young else 0
            if self._early_deaths[name] > EARLY_DEATHS:
                said = (self.history_path / f"{self.name_of(name)}.log").read_text()
                raise RuntimeError(f"{name} keeps dying: {said[-1500:]}")
            self.spawn(name)

    def kill_worker(self, name: str) -> None:
        child = self._workload[name]
        child.send_signal(signal.SIGKILL)
        child.wait()

    def stop_workload(self) -> None:
        """Kill every client, what they had open stays unknown; then the followers, once they have seen everything."""
        followers = [name for name in self._workload if name in FOLLOWERS]
        for name in [name for name in self._workload if name not in FOLLOWERS]:
            self.kill_worker(name)
            del self._workload[name]
        if followers:
            self.await_true("the last entry at the followers", self.is_followed, FOLLOW_S)
        for name in followers:
            self.kill_worker(name)
            del self._workload[name]

    def is_followed(self) -> bool:
        """Whether every follower has taken all that the producer's journal holds."""
        reader = JournalReader(self.home / "journals" / JOURNAL)
        try:
            limit = reader.limit("durable")
        finally:
            reader.close()
        observed = (self.history_path / "observer.cursor").read_text() == str(limit)
        return observed and ("echo" not in self._workload or self.entries("echo") >= self.entries(JOURNAL))

    def entries(self, journal: str) -> int:
        """Return how many entries a journal has on disk."""
        reader = JournalReader(self.home / "journals" / journal)
        try:
            return reader.sequence("durable")
        finally:
            reader.close()

    # -- who is who ------------------------------------------------------------------------------------------------

    def owner(self, journal: str) -> Owner:
        """Return who writes a journal, a blank one while nobody is recorded."""
        try:
            record = json.loads((self.home / "journals" / journal / "owner.json").read_text())
        except (FileNotFoundError, ValueError):
            return Owner()
        return Owner(int(record["pid"]), int(record["started"]), int(record["epoch"]))

    # -- how long it took ------------------------------------------------------------------------------------------

    def await_true(self, what: str, test: Callable[[], bool], limit_s: float = LOST_S) -> int:
        """Return when ``test`` came true, in monotonic nanoseconds; tends the workload meanwhile."""
        limit = time.monotonic() + limit_s
        while not test():
            self.tend()
            if time.monotonic() > limit:
                raise AssertionError(f"{what} did not come in {limit_s:.0f} s")
            time.sleep(POLL_S)
        return time.monotonic_ns()

    def await_ok(self, since_ns: int, workers: str = "client-") -> int:
        """Return when a client first got an answer to a call that it began after ``since_ns``."""
        found: list[int] = []

        def is_answered() -> bool:
            for lines in self._recent(workers):
                young = {line.call for line in lines if isinstance(line, Invoke) and line.time_ns > since_ns}
                found.extend(line.time_ns for line in lines if isinstance(line, Ok) and line.call in young)
            return bool(found)

        self.await_true(f"an answer to {workers}", is_answered)
        return min(found)

    def _recent(self, prefix: str, size: int = 65536) -> Iterator[list[Any]]:
        """Yield the newest lines of each history whose process begins with ``prefix``."""
        for path in self.history_path.glob(f"{prefix}*.jsonl"):
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - size))
                lines = file.read().split(b"\n")
            whole = lines[1:-1] if len(lines) > 2 and path.stat().st_size > size else lines[:-1]
            yield [_decoder.decode(line) for line in whole]

    def answers(self, prefix: str) -> int:
        """Return how many calls of these processes were answered so far."""
        paths = self.history_path.glob(f"{prefix}*.jsonl")
        return sum(path.read_bytes().count(b'"type":"ok"') for path in paths)

    def silence_s(self, since_ns: int, until_ns: int) -> float:
        """Return the longest time without a delivery of the producer's events in a stretch of time."""
        times = sorted(
            line.time_ns
            for lines in self._recent("observer", 4 << 20)
            for line in lines
            if isinstance(line, Seen) and line.journal == JOURNAL and since_ns <= line.time_ns <= until_ns
        )
        marks = [since_ns, *times, until_ns]
        return max(after - before for before, after in itertools.pairwise(marks)) / 1e9

    def note(self, kind: str, target: str, began_ns: int, recovered_ns: int, bound_s: float) -> Fault:
        """Write a fault into the history and return it."""
        fault = Fault("nemesis", kind, target, began_ns, recovered_ns, bound_s)
        self.history.append(fault)
        return fault
