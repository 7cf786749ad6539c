"""Runs in flight: a client that asks for another as soon as one has ended, and what their attempts say of themselves."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from actors.client import RayClient
from tests.chaos.repeat import Repeater
from tests.support import exclusive_task
from tests.support.exclusive_task import BEGUN, ENDED, LINES, LOCKS, TASK, TWICE, WHERE
from tori.events.envelope import Event
from tori.events.system import TaskCancelled, TaskCompleted, TaskStarted
from tori.resources.process import start_mark
from tori.scheduler.transition import ACTIVE

ASK_EVERY_S = 0.2
READY_S = 180.0
"""How long it may take after a death until as many attempts execute again as are wanted: each needs a new process."""
DRAIN_S = 600.0
SHOWN = 5
"""How many offenders a failure names."""


class Line(NamedTuple):
    """What an attempt said of itself."""

    what: str
    run_id: str
    attempt: int
    pid: int
    time_ns: int


def read_lines(path: Path) -> list[Line]:
    """Return the whole lines of a file that may not be there yet."""
    if not path.exists():
        return []
    words = [line.split() for line in path.read_text().split("\n")[:-1]]
    return [Line(what, run_id, int(attempt), int(pid), int(at)) for what, run_id, attempt, pid, at in words]


def executing(lines: Iterable[Line]) -> list[Line]:
    """Return the attempts that are being executed: the last word of a living process is that it began."""
    last = {line.pid: line for line in lines}
    return [line for line in last.values() if line.what == BEGUN and start_mark(line.pid)]


class UnderWay(NamedTuple):
    """What is at work at one moment."""

    attempts: int
    """Under way, says the scheduler."""
    executed: list[Line]
    """Those of them that have a process that works."""


class Load(Repeater):
    """Keeps ``runs`` runs in flight until it is stopped. Every attempt takes ``shortest_s`` to ``longest_s``."""

    def __init__(self, folder: Path, runs: int, shortest_s: float, longest_s: float) -> None:
        super().__init__("a run", ASK_EVERY_S)
        (folder / LOCKS).mkdir(parents=True)
        self.folder, self.runs = folder, runs
        self.environment = {WHERE: f"{shortest_s}:{longest_s}:{folder}"}
        """What the cluster has to be started with."""
        self.settings = {"user.tasks": exclusive_task.__name__, "limits.concurrent_runs": runs + 16}
        self.asked: list[str] = []
        self.cancelled: dict[str, int] = {}
        """By run whose cancellation was answered: the attempt that was under way."""
        self._client = RayClient()

    def work(self) -> None:
        for _ in range(self.runs - len(active_runs(self._client))):
            self.asked.append(self._client.run_task(TASK)["run_id"])

    def await_busy(self, client: RayClient, least: int) -> UnderWay:
        """Return once all runs have an attempt under way and ``least`` of these are executed; raises TimeoutError."""
        limit = time.monotonic() + READY_S
        while True:
            found = self.under_way(client)
            if found.attempts >= self.runs and len(found.executed) >= least:
                return found
            if time.monotonic() > limit or self.failure:
                raise TimeoutError(
                    f"{found.attempts} attempts are under way, {len(found.executed)} executed. {self.failure}"
                )
            time.sleep(ASK_EVERY_S)

    def under_way(self, client: RayClient) -> UnderWay:
        """Return what is at work now. What an orchestrator that died has left behind is not counted: its attempts are over."""
        present = {(row["run_id"], row["attempt"]) for row in active_runs(client) if row["state"] in ACTIVE}
        found = [line for line in executing(self.lines()) if (line.run_id, line.attempt) in present]
        return UnderWay(len(present), found)

    def cancel(self, client: RayClient, line: Line) -> None:
        """Cancel the run of an attempt that is executed."""
        client.cancel_run(line.run_id)
        self.cancelled[line.run_id] = line.attempt

    def drain(self, client: RayClient) -> None:
        """Ask for nothing more and return when every run has ended; raises TimeoutError."""
        self.stop()
        limit = time.monotonic() + DRAIN_S
        while left := active_runs(client):
            if time.monotonic() > limit:
                states = Counter(row["state"] for row in left)
                raise TimeoutError(f"{len(left)} runs have not ended after {DRAIN_S:.0f} s: {dict(states)}")
            time.sleep(ASK_EVERY_S)

    def lines(self) -> list[Line]:
        return read_lines(self.folder / LINES)

    def twice(self) -> list[Line]:
        """Return the attempts that found another one of their run at work."""
        return read_lines(self.folder / TWICE)


def active_runs(client: RayClient) -> list[dict[str, Any]]:
    """Return the runs of the task that have not ended."""
    return [row for row in client.tasks()["active"] if row["task_id"] == TASK]


def judge(
    asked: Sequence[str],
    events: Iterable[Event],
    lines: Sequence[Line],
    twice: Sequence[Line],
    cancelled: Mapping[str, int] | None = None,
) -> list[str]:
    """Return which promises about runs were broken: none lost, each ended once, none executed twice at once, or after its cancellation."""
    cancelled = cancelled or {}
    payloads = [event.payload for event in events]
    completed = Counter(p.run_id for p in payloads if isinstance(p, TaskCompleted) and p.task_id == TASK)
    by_hand = [p.run_id for p in payloads if isinstance(p, TaskCancelled) and not p.error]  # others are told why
    ended = completed + Counter(run_id for run_id in by_hand if run_id in cancelled)
    attempts: dict[str, list[int]] = {}
    for payload in payloads:
        if isinstance(payload, TaskStarted) and payload.task_id == TASK:
            attempts.setdefault(payload.run_id, []).append(payload.attempt)
    done = {line.run_id for line in lines if line.what == ENDED}
    wrong = {
        "lost": [run_id for run_id in asked if not ended[run_id]],
        "ended more than once": [run_id for run_id, count in ended.items() if count > 1],
        "never asked for": sorted(attempts.keys() - set(asked)),
        "completed, and never executed to the end": [run_id for run_id in completed if run_id not in done],
        "begun again under an old number": [r for r, found in attempts.items() if found != [*range(1, len(found) + 1)]],
        "begun again after their cancellation": [r for r, last in cancelled.items() if len(attempts.get(r, [])) > last],
        "executed twice at once": sorted({line.run_id for line in twice}),
    }
    return [f"{len(runs)} runs {what}: {', '.join(runs[:SHOWN])}" for what, runs in wrong.items() if runs]
