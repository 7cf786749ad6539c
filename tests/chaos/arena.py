"""A real system on Ray under load, and what the nemesis needs to know of it: who is who, who answers, how long it took."""

from __future__ import annotations

import contextlib
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

from actors.backend import RayBackend
from actors.cast import actor_name
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR
from tests.chaos.client import recorded
from tests.chaos.corpus import document_items, encode, refused_items, slot_batches, slot_documents
from tests.chaos.history import Fault, HistoryWriter, Line, Ok, Seen
from tests.chaos.producer import JOURNAL
from tests.chaos.sabotage import ROOT
from tests.support.system import kill, system_settings
from tori.errors import NotRunning, TemporaryError
from tori.journal.files import SYSTEM_FILES
from tori.modules.registry import START_ORDER
from tori.resources.process import descendants

MODULES = START_ORDER
POLL_S = 0.02
LOST_S = 90.0
"""After this a recovery is called lost, whatever its bound."""
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


class Arena:
    """One home, one cluster, a workload that is kept alive, and the connection of the nemesis."""

    def __init__(self, home: Path, history: Path, *, slots: int = 2, documents: int = 90, pace_s: float = 0.05) -> None:
        self.home = home
        self.history_path = history
        self.history = HistoryWriter(history, "nemesis")
        self.slots = slots
        self.documents = documents
        self.backend = RayBackend()
        self.settings = system_settings(
            home,
            **{"limits.restart_window_s": 3.0, "limits.start_timeout_s": 30.0},
        )
        self._pace_s = pace_s
        self._workload: dict[str, subprocess.Popen[bytes]] = {}
        self._starts: dict[str, int] = {}
        self._spawned: dict[str, float] = {}
        self._early_deaths: dict[str, int] = {}

    # -- life ------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start the system, or start it again."""
        self.backend.up(self.settings, None)

    def down(self) -> None:
        self.disconnect()
        self.backend.down(self.settings, None)

    def disconnect(self) -> None:
        """Leave Ray: a driver does not survive its raylet."""
        import ray

        ray.shutdown()

    def client(self, patience_s: float = 30.0) -> RayClient:
        """Return a connected client."""
        from actors import cluster

        info = recorded(self.home)
        if info is None:
            raise NotRunning("no cluster is recorded.")
        cluster.connect(info)
        return RayClient(patience_s)

    def cluster_info(self) -> Any:
        return recorded(self.home)

    # -- workload --------------------------------------------------------------------------------------------------

    def start_workload(self) -> None:
        """Start every client; they run until ``stop_workload``."""
        for name in self.workers():
            self.spawn(name)

    def workers(self) -> list[str]:
        return [*(f"client-{slot}" for slot in range(self.slots)), "producer", "observer"]

    def spawn(self, name: str) -> subprocess.Popen[bytes]:
        """Start a worker (again) under a process name of its own."""
        number = self._starts[name] = self._starts.get(name, 0) + 1
        where = [str(self.home), str(self.history_path), f"{name}-{number}"]
        module, _, slot = name.partition("-")
        more = {
            "client": [slot, str(self.documents), str(self._pace_s)],
            "producer": [str(number), "0.01"],
            "observer": [],
        }[module]
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
        """Kill every client; what they had open stays unknown."""
        for name, child in self._workload.items():
            if child.poll() is None:
                self.kill_worker(name)
        self._workload.clear()

    def confirm(self) -> None:
        """Put every document in once more, so that the accepted input is known whatever was left open."""
        client = self.client()
        for slot in range(self.slots):
            for batch in slot_batches(slot, self.documents, size=16):
                call = self.history.invoke("ingest", document_items(batch))
                receipt = client.ingest(encode(batch))
                self.history.ok(call, refused_items(batch, receipt.refused))

    def corpus(self) -> list[Any]:
        """Return every document that will have been accepted."""
        return [d for slot in range(self.slots) for d in slot_documents(slot, self.documents)]

    # -- who is who ------------------------------------------------------------------------------------------------

    def owner(self, journal: str) -> Owner:
        """Return who writes a journal, a blank one while nobody is recorded."""
        try:
            record = json.loads((self.home / "journals" / journal / "owner.json").read_text())
        except (FileNotFoundError, ValueError):
            return Owner()
        return Owner(int(record["pid"]), int(record["started"]), int(record["epoch"]))

    def orchestrator_pid(self) -> int:
        return self.owner(ORCHESTRATOR).pid

    def head_pid(self, program: str) -> int:
        return next(p.pid for p in self.cluster_info().processes if p.name == program)

    def kill_cluster(self) -> None:
        """kill -9 everything Ray, at once."""
        info = self.cluster_info()
        self.disconnect()
        for process in (*descendants(info.processes), *info.processes):
            with contextlib.suppress(ProcessLookupError):
                kill(process.pid)

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

    def await_owner(self, journal: str, old: Owner) -> int:
        """Return when a new process has taken a journal over and its module answers."""

        def is_back() -> bool:
            now = self.owner(journal)
            return now.lives and (now.pid, now.started) != (old.pid, old.started) and self.is_ready(journal)

        return self.await_true(f"a new {journal}", is_back)

    def is_ready(self, module: str) -> bool:
        import ray
        from ray.exceptions import RayError

        self.client()
        try:
            handle = ray.get_actor(actor_name(module), namespace=NAMESPACE)
            method = handle.pid if module == ORCHESTRATOR else handle.ready
            ray.get(method.remote(), timeout=5.0)
        except (ValueError, RayError, TemporaryError):
            return False
        return True

    def await_ok(self, since_ns: int, workers: str = "client-") -> int:
        """Return the time of the first answer that a client got to a call it made after ``since_ns``."""
        found: list[int] = []

        def is_answered() -> bool:
            for lines in self._recent(workers):
                found.extend(line.time_ns for line in lines if isinstance(line, Ok) and line.time_ns > since_ns)
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
