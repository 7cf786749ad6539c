"""Two campaigns of deaths: the orchestrator's with runs in flight, and every module's while documents come in."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import ray
from ray.exceptions import RayError

from actors.cast import actor_name
from actors.client import RayClient
from actors.names import NAMESPACE
from actors.recovery import BOUND_S
from tests.chaos.fed import ANSWER_S, BACK_S, POLL_S, FedSystem, pid_of
from tests.chaos.load import Load, judge
from tests.support.exclusive_task import BEGUN, ENDED
from tests.support.system import events_of, kill
from tori.errors import ToriError
from tori.events.system import ModuleInitialized
from tori.resources.process import ProcessMark, await_end, mark_process

LONGEST_PAUSE_S = 0.5
"""Each death comes up to this much later than it could, so that it meets everything at every moment."""
LOST_S = 60.0
"""When a module is given up waiting for; ten times its bound."""
GONE_S = 4.0
"""Until nothing of the attempts of a dead orchestrator has a process. After 5 s Ray kills who does not go when asked."""
STORIES = 200
"""How many of the last runs the scheduler itself is asked about."""
FEED_S = 0.5
"""Between two batches while modules die: there is always something that the one that is back has not read."""
RESTART_WINDOW_S = 3.0
"""Supervision gives a module up that fails more often than accidents happen; here they happen every few seconds."""


class Death(msgspec.Struct, frozen=True):
    """One death of the orchestrator."""

    executing: int
    """Attempts that were executed at that moment, beside the one that was cancelled just before."""
    back_s: float
    """Until the new one said that everything runs."""
    gone_s: float
    """Until the last process that executed one of its attempts was gone."""


class OrchestratorReport(msgspec.Struct):
    """What the first campaign showed."""

    seed: int
    deaths: int
    runs_in_flight: int
    executing_median: float
    executing_min: int
    back_median_s: float
    back_max_s: float
    gone_median_s: float
    """Until Ray had ended what executed attempts of the dead one."""
    gone_max_s: float
    runs: int
    """Asked for, all of which have to have been completed once, but for those that were cancelled."""
    cancelled: int
    """Runs under way whose cancellation was answered in the moment before a death: none may begin again."""
    attempts_begun: int
    attempts_ended: int
    adopted: int
    """Living module actors that a new orchestrator took over."""
    documents: int
    ingest_longest_s: float
    """Through the orchestrator."""
    relay_longest_s: float
    """Past it."""
    seconds: float
    failures: list[str]

    @property
    def is_good(self) -> bool:
        return not self.failures


class ModuleRow(msgspec.Struct):
    """How one module came back."""

    module: str
    kills: int
    back_median_s: float
    back_max_s: float


class ModuleReport(msgspec.Struct):
    """What the second campaign showed."""

    seed: int
    bound_s: float
    modules: list[ModuleRow]
    documents: int
    ingest_longest_s: float
    seconds: float
    failures: list[str]

    @property
    def is_good(self) -> bool:
        return not self.failures


# -- the orchestrator --------------------------------------------------------------------------------------------------


def run_orchestrator(
    folder: Path,
    deaths: int,
    *,
    runs: int = 100,
    executing: int = 20,
    shortest_s: float = 5.0,
    longest_s: float = 25.0,
    seed: int = 0,
) -> OrchestratorReport:
    """Kill the orchestrator so often, each time with ``runs`` attempts under way of which ``executing`` are executed at least."""
    began = time.monotonic()
    load = Load(folder / "load", runs, shortest_s, longest_s)
    system = FedSystem(folder / "home", load.settings, is_fed_past=True)
    with patch.dict(os.environ, load.environment), system:
        system.start_feeding()
        load.start()
        done, failures = kill_orchestrator(system, load, deaths, executing, random.Random(seed))
        failures += end_runs(system, load)
        names = system.names()
        failures += system.settle()
    events = events_of(system.home, "orchestrator")
    adopted = sum(isinstance(e.payload, ModuleInitialized) and e.payload.status == "adopted" for e in events)
    if adopted != deaths * len(names):
        failures.append(f"{adopted} living actors were adopted, not {deaths * len(names)}")
    failures += judge(load.asked, events, load.lines(), load.twice(), load.cancelled)
    lines = [line.what for line in load.lines()]
    assert system.past is not None
    return OrchestratorReport(
        seed=seed,
        deaths=len(done),
        runs_in_flight=runs,
        executing_median=statistics.median(death.executing for death in done),
        executing_min=min(death.executing for death in done),
        back_median_s=_rounded(statistics.median(death.back_s for death in done)),
        back_max_s=_rounded(max(death.back_s for death in done)),
        gone_median_s=_rounded(statistics.median(death.gone_s for death in done)),
        gone_max_s=_rounded(max(death.gone_s for death in done)),
        runs=len(load.asked),
        cancelled=len(load.cancelled),
        attempts_begun=lines.count(BEGUN),
        attempts_ended=lines.count(ENDED),
        adopted=adopted,
        documents=len(system.documents()),
        ingest_longest_s=_rounded(system.door.longest_s),
        relay_longest_s=_rounded(system.past.longest_s),
        seconds=_rounded(time.monotonic() - began),
        failures=failures,
    )


def kill_orchestrator(
    system: FedSystem, load: Load, deaths: int, executing: int, chance: random.Random
) -> tuple[list[Death], list[str]]:
    """Do it; return the deaths, and what happened to modules that should not have noticed."""
    names = system.names()
    pids = system.pids(names)
    done: list[Death] = []
    failures: list[str] = []
    for number in range(deaths):
        time.sleep(chance.random() * LONGEST_PAUSE_S)
        done.append(_kill_orchestrator(system, load, executing, chance))
        if done[-1].back_s > BACK_S:
            failures.append(f"death {number}: everything runs after {done[-1].back_s:.1f} s, bound {BACK_S} s")
        if done[-1].gone_s > GONE_S:
            failures.append(f"death {number}: its attempts were gone after {done[-1].gone_s:.1f} s, bound {GONE_S} s")
        status = system.await_running()
        restarts = {m["name"]: m["restarts"] for m in status["modules"] if m["restarts"]}
        found = system.pids(names)
        if restarts or found != pids:
            failures.append(f"death {number}: modules were started again: {restarts}, {pids} -> {found}")
            pids = found
    return done, failures


def _kill_orchestrator(system: FedSystem, load: Load, executing: int, chance: random.Random) -> Death:
    """Kill it as soon as enough is under way, and it has said that one run of them is cancelled."""
    pid = system.orchestrator_pid()
    at_work = load.await_busy(system.client, executing + 1).executed
    marks = [mark_process("worker", line.pid) for line in at_work]
    with ThreadPoolExecutor(1) as pool:
        load.cancel(system.client, chance.choice(at_work))
        began = time.monotonic()
        kill(pid)
        gone = pool.submit(_await_gone, marks, began)
        system.await_running(LOST_S)
        back_s = time.monotonic() - began
        return Death(len(at_work) - 1, back_s, gone.result())


def _await_gone(marks: Sequence[ProcessMark], began: float) -> float:
    """Return how long after ``began`` the last of these processes was gone; raises TimeoutError."""
    if left := await_end(marks, LOST_S):
        raise TimeoutError(f"{len(left)} processes of a dead orchestrator's attempts live after {LOST_S:.0f} s")
    return time.monotonic() - began


def end_runs(system: FedSystem, load: Load) -> list[str]:
    """Let every run end; return what the scheduler says of those that did not succeed."""
    load.drain(system.client)
    failures = [load.failure] if load.failure else []
    states = {run_id: system.client.run_story(run_id)["state"] for run_id in load.asked[-STORIES:]}
    return failures + [
        f"run {run_id} is {state}"
        for run_id, state in states.items()
        if state != "succeeded" and not (state == "cancelled" and run_id in load.cancelled)
    ]


# -- the modules -------------------------------------------------------------------------------------------------------


def run_modules(folder: Path, kills: int, *, seed: int = 0) -> ModuleReport:
    """Kill every module's process so often, two at a time, while documents come in."""
    began = time.monotonic()
    system = FedSystem(folder / "home", {"limits.restart_window_s": RESTART_WINDOW_S}, every_s=FEED_S)
    with system:
        system.start_feeding()
        times, failures = kill_modules(system, kills, random.Random(seed))
        failures += system.settle()
    rows = [
        ModuleRow(name, len(found), _rounded(statistics.median(found)), _rounded(max(found)))
        for name, found in times.items()
    ]
    return ModuleReport(
        seed=seed,
        bound_s=BOUND_S,
        modules=rows,
        documents=len(system.documents()),
        ingest_longest_s=_rounded(system.door.longest_s),
        seconds=_rounded(time.monotonic() - began),
        failures=failures,
    )


def pairs_of(names: Sequence[str], kills: int, chance: random.Random) -> list[tuple[str, ...]]:
    """Return who is killed together: every name so often, never one twice in a round."""
    waiting = [name for _ in range(kills) for name in chance.sample(names, len(names))]
    rounds: list[tuple[str, ...]] = []
    while waiting:
        first = waiting.pop(0)
        second = next((name for name in waiting if name != first), None)
        if second is not None:
            waiting.remove(second)
        rounds.append((first,) if second is None else (first, second))
    return rounds


def kill_modules(system: FedSystem, kills: int, chance: random.Random) -> tuple[dict[str, list[float]], list[str]]:
    """Do it; return by module how long it was away each time, and what went wrong."""
    names = system.names()
    times: dict[str, list[float]] = {name: [] for name in names}
    failures: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        for victims in pairs_of(names, kills, chance):
            before = {m["name"]: m["restarts"] for m in system.await_running()["modules"]}
            time.sleep(chance.random() * LONGEST_PAUSE_S)
            for name, back_s in zip(victims, pool.map(_kill_module, victims), strict=True):
                times[name].append(back_s)
                if back_s > BOUND_S:
                    failures.append(f"{name} was back after {back_s:.2f} s, bound {BOUND_S} s")
            after = {m["name"]: m["restarts"] for m in system.await_running()["modules"]}
            restarted = {name: after[name] - before[name] for name in names if after[name] != before[name]}
            if restarted != dict.fromkeys(victims, 1):
                failures.append(f"{', '.join(victims)} were killed, started again were {restarted}")
    return times, failures


def _kill_module(name: str) -> float:
    """Kill a module's process; return after how many seconds it runs, says the orchestrator, and a new process answers a question."""
    old = pid_of(name)
    client = RayClient()
    began = time.monotonic()
    kill(old)
    while time.monotonic() < began + LOST_S:
        if _answers(name, old) and _row(client, name)["state"] == "running":
            return time.monotonic() - began
        time.sleep(POLL_S)
    raise TimeoutError(f"{name} is not back after {LOST_S:.0f} s: {_row(client, name)}")


def _answers(name: str, old: int) -> bool:
    try:
        handle = ray.get_actor(actor_name(name), namespace=NAMESPACE)
        is_new = bool(ray.get(handle.ready.remote(), timeout=ANSWER_S)["pid"] != old)
        ray.get(handle.query.remote("summary", {}), timeout=ANSWER_S)
    except (ValueError, RayError, ToriError):
        return False
    return is_new


def _row(client: RayClient, name: str) -> dict[str, Any]:
    row: dict[str, Any] = next(m for m in client.status()["modules"] if m["name"] == name)
    return row


def _rounded(seconds: float) -> float:
    return round(seconds, 3)
