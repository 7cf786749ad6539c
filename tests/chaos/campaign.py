"""A whole run: start, load, faults in a seeded order, quiesce, compare with an undisturbed mind, cold restart, check."""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
from ray.exceptions import RayError

from tests.chaos.arena import Arena
from tests.chaos.checker import Expectation, check
from tests.chaos.history import Fault
from tests.chaos.nemesis import KINDS
from tests.chaos.producer import JOURNAL
from tests.chaos.verdict import Verdict
from tests.chaos.worker_fault import ECHO, PROCESS_KINDS
from tests.chaos.yard import Yard
from tori.errors import ToriError
from tori.local import LocalSystem

DOCUMENT_READERS = ("reader", "hierarchy", "braid", "wormhole", "alien", "scars")
"""Modules that must handle every document."""
DISK_BYTES = 512 << 20
"""Each start of a module reserves room for segments, and campaigns start modules often."""
SMALL_DISK_BYTES = 64 << 20
RPC_FAILURES = {
    "CoreWorkerService.grpc_client.PushTask": {"num_failures": -1, "req_failure_prob": 1, "resp_failure_prob": 1}
}
"""Of every hundred calls between actors and clients one does not arrive and one arrives unanswered; after each Ray mends for 2 s."""
RPC = "rpc_failure"
RPC_LIMIT_S = 240.0
ALL_KINDS = PROCESS_KINDS | KINDS
BOUNDS_S = {kind: known.bound_s for kind, known in ALL_KINDS.items()} | {RPC: RPC_LIMIT_S}


class Report(msgspec.Struct):
    """What a run showed."""

    seed: int
    faults: list[dict[str, Any]]
    checker: dict[str, int]
    operations: int
    verdict: str
    digest_equal: bool | None
    """Whether the mind is that of an undisturbed run; None where there is none."""
    read_back_equal: bool | None
    seconds: float
    failures: list[str]
    story: str
    counts: dict[str, int] = {}

    @property
    def is_good(self) -> bool:
        """Every set empty, every bound kept, every digest equal."""
        is_same = self.digest_equal is not False and self.read_back_equal is not False
        return self.verdict == "valid" and is_same and not self.failures

    def told(self) -> str:
        """Return everything, for a person who must find out."""
        rows = [str(row) for row in self.faults]
        digests = f"digest as undisturbed: {self.digest_equal}, as read back: {self.read_back_equal}"
        return "\n".join([f"seed {self.seed}", self.story, digests, *self.failures, *rows])


def run(
    folder: Path,
    faults: Mapping[str, int],
    *,
    seed: int = 0,
    rpc_publishes: int = 0,
    limit_s: float = math.inf,
    is_cold: bool = True,
    **arena_options: Any,
) -> Report:
    """Run a campaign with so many faults of each kind in ``folder``; nothing is left running.

    ``is_cold``: at the end everything is killed and started once more, and must be as it was. After ``limit_s`` of faults no
    further one begins, and those that were done must suffice the checker. With ``rpc_publishes`` Ray loses calls all the time, and
    the load goes on until so many publishes of the clients were answered.
    """
    began = time.monotonic()
    home = folder / "home"
    (home / "journals").mkdir(parents=True)
    with ExitStack() as stack:
        stack.enter_context(_environment("RAY_gcs_storage", "rocksdb"))
        if faults.get("fill_disk"):
            stack.enter_context(small_disk(home / "journals"))
        if rpc_publishes:
            stack.enter_context(_environment("RAY_testing_rpc_failure", json.dumps(RPC_FAILURES)))
        arena = Arena(home, folder / "history", **arena_options)
        try:
            _begin(arena)
            done, failures = _disturb(arena, plan_of(faults, seed), random.Random(seed), limit_s)
            if rpc_publishes:
                done.append(_lose_calls(arena, rpc_publishes))
            digest_equal, read_back_equal = _settle(arena, is_cold=is_cold)
        finally:
            arena.stop_workload()
            arena.down()
        verdict = check(folder / "history", home, _expectation(Counter(fault.kind for fault in done)))
    return _report(seed, done, failures, verdict, digest_equal, read_back_equal, time.monotonic() - began)


def plan_of(faults: Mapping[str, int], seed: int) -> list[str]:
    """Return the faults in the order in which they will be done."""
    plan = [kind for kind, count in sorted(faults.items()) for _ in range(count)]
    random.Random(seed).shuffle(plan)
    return plan


def _disturb(yard: Yard, plan: Sequence[str], chance: random.Random, limit_s: float) -> tuple[list[Fault], list[str]]:
    """Do what is planned, as much of it as fits into ``limit_s``; return the faults and what went wrong."""
    done: list[Fault] = []
    failures: list[str] = []
    limit = time.monotonic() + limit_s
    for kind in plan:
        if time.monotonic() > limit:
            break
        time.sleep(0.1 + chance.random() * 0.4)
        try:
            yard.tend()
            done.append(ALL_KINDS[kind].do(yard, chance))
        except (AssertionError, RuntimeError, ToriError, RayError) as error:
            failures.append(f"{kind}: {type(error).__name__}: {error}")
    time.sleep(0.5)
    return done, failures


def _begin(arena: Arena) -> None:
    """Start everything, and wait until clients and producer were answered."""
    arena.up()
    arena.start_workload()
    for worker in ("client-", "producer"):
        arena.await_ok(0, worker)


def run_processes(folder: Path, faults: Mapping[str, int], *, seed: int = 0, limit_s: float = math.inf) -> Report:
    """Run a campaign without Ray: a producer, a module's process and an observer that meet through journals."""
    began = time.monotonic()
    home = folder / "home"
    (home / "journals").mkdir(parents=True)
    with ExitStack() as stack:
        if faults.get("fill_under_processes"):
            stack.enter_context(small_disk(home / "journals", SMALL_DISK_BYTES))
        yard = Yard(home, folder / "history")
        try:
            yard.start_workload()
            yard.await_ok(0, "producer")
            yard.await_true("the echo's journal", lambda: yard.owner(ECHO).lives)
            done, failures = _disturb(yard, plan_of(faults, seed), random.Random(seed), limit_s)
        finally:
            yard.stop_workload()
        expectation = Expectation(
            accepting=(JOURNAL,),
            subscribers=(ECHO,),
            effects=(ECHO,),
            observers=("observer",),
            min_operations=100,
            min_faults=Counter(fault.kind for fault in done),
        )
        verdict = check(folder / "history", home, expectation)
    return _report(seed, done, failures, verdict, None, None, time.monotonic() - began)


def _lose_calls(arena: Arena, publishes: int) -> Fault:
    """Wait until so many publishes were answered while Ray lost calls; the fault lasts as long as the run."""
    began = time.monotonic_ns()
    reached = arena.await_true(
        f"{publishes} answers", lambda: arena.answers("client-") >= publishes, limit_s=RPC_LIMIT_S
    )
    return arena.note(RPC, f"{publishes} publishes", began, reached, RPC_LIMIT_S)


def _settle(arena: Arena, *, is_cold: bool) -> tuple[bool, bool | None]:
    """Return whether the digest is that of an undisturbed mind, and whether it is the same after a cold restart."""
    time.sleep(0.3)
    arena.stop_workload()
    arena.confirm()
    settled = arena.client().quiesce()["sections"]
    with LocalSystem() as mind:
        mind.ingest(arena.corpus())
        mind.quiesce()
        undisturbed = mind.digests()
    if not is_cold:
        return settled == undisturbed, None
    arena.kill_cluster()
    arena.up()
    back = arena.client().quiesce()["sections"]
    return settled == undisturbed, back == settled


def _expectation(faults: Mapping[str, int]) -> Expectation:
    return Expectation(
        accepting=("clients", JOURNAL),
        subscribers=DOCUMENT_READERS,
        observers=("observer",),
        serves=dict.fromkeys(DOCUMENT_READERS, ("clients",)) | {"observer": (JOURNAL,)},
        min_operations=100,
        min_faults=dict(faults),
    )


def _report(
    seed: int,
    done: Sequence[Fault],
    failures: list[str],
    verdict: Verdict,
    digest_equal: bool | None,
    read_back_equal: bool | None,
    seconds: float,
) -> Report:
    failures = failures + [
        f"{f.kind} of {f.target}: {f.recovery_s:.2f} s, bound {f.bound_s} s" for f in done if f.recovery_s > f.bound_s
    ]
    rows = []
    for kind in sorted({f.kind for f in done}):
        times = [f.recovery_s for f in done if f.kind == kind]
        rows.append(
            {
                "kind": kind,
                "count": len(times),
                "recovery_p50_s": round(statistics.median(times), 3),
                "recovery_max_s": round(max(times), 3),
                "bound_s": BOUNDS_S[kind],
            }
        )
    return Report(
        seed,
        rows,
        verdict.sizes(),
        verdict.counts["operations"],
        verdict.verdict,
        digest_equal,
        read_back_equal,
        round(seconds, 1),
        failures,
        verdict.story(),
        verdict.counts,
    )


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable for the processes that start meanwhile."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@contextmanager
def small_disk(path: Path, size_bytes: int = DISK_BYTES) -> Iterator[None]:
    """Mount a small disk in memory at ``path`` for as long as the block lasts; raises PermissionError where that is not allowed."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tori-chaos", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PermissionError(f"no small disk can be mounted: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
