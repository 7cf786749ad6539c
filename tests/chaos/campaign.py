"""A whole run: start, load, faults in a seeded order, quiesce, compare with an undisturbed mind, cold restart, check."""

from __future__ import annotations

import random
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.arena import Arena
from tests.chaos.checker import Expectation, check
from tests.chaos.history import Fault
from tests.chaos.nemesis import KINDS
from tests.chaos.producer import JOURNAL
from tests.chaos.verdict import Verdict
from tori.local import LocalSystem

DOCUMENT_READERS = ("reader", "hierarchy", "braid", "wormhole", "alien", "scars")
"""Modules that must handle every document."""
DISK_BYTES = 160 << 20
RPC_FAILURES = "{}"


class Report(msgspec.Struct):
    """What a run showed."""

    seed: int
    faults: list[dict[str, Any]]
    checker: dict[str, int]
    operations: int
    verdict: str
    digest_equal: bool
    read_back_equal: bool
    seconds: float
    failures: list[str]
    story: str
    counts: dict[str, int] = {}

    @property
    def is_good(self) -> bool:
        return self.verdict == "valid" and self.digest_equal and self.read_back_equal and not self.failures


def run(folder: Path, faults: Mapping[str, int], *, seed: int = 0, **arena_options: Any) -> Report:
    """Run a campaign with so many faults of each kind in ``folder``; nothing is left running."""
    began = time.monotonic()
    home = folder / "home"
    (home / "journals").mkdir(parents=True)
    disk = small_disk(home / "journals") if "fill_disk" in faults else nullcontext()
    with disk:
        arena = Arena(home, folder / "history", **arena_options)
        try:
            done, failures = _disturb(arena, _plan(faults, seed), random.Random(seed))
            digest_equal, read_back_equal = _settle(arena)
        finally:
            arena.stop_workload()
            arena.down()
        verdict = check(folder / "history", home, _expectation(faults))
    failures += [
        f"{f.kind} of {f.target}: {f.recovery_s:.2f} s, bound {f.bound_s} s" for f in done if f.recovery_s > f.bound_s
    ]
    return _report(seed, done, failures, verdict, digest_equal, read_back_equal, time.monotonic() - began)


def _plan(faults: Mapping[str, int], seed: int) -> list[str]:
    plan = [kind for kind, count in sorted(faults.items()) for _ in range(count)]
    random.Random(seed).shuffle(plan)
    return plan


def _disturb(arena: Arena, plan: Sequence[str], chance: random.Random) -> tuple[list[Fault], list[str]]:
    done: list[Fault] = []
    failures: list[str] = []
    arena.up()
    arena.start_workload()
    arena.await_ok(0)
    for worker in ("client-", "producer"):
        arena.await_ok(0, worker)
    for kind in plan:
        time.sleep(0.2 + chance.random() * 0.8)
        arena.tend()
        try:
            done.append(KINDS[kind].do(arena, chance))
        except AssertionError as error:
            failures.append(f"{kind}: {error}")
    time.sleep(0.5)
    return done, failures


def _settle(arena: Arena) -> tuple[bool, bool]:
    """Return whether the digest is that of an undisturbed mind, and whether it is the same after a cold restart."""
    time.sleep(0.3)
    arena.stop_workload()
    arena.confirm()
    settled = arena.client().quiesce()["sections"]
    with LocalSystem() as mind:
        mind.ingest(arena.corpus())
        mind.quiesce()
        undisturbed = mind.digests()
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
    digest_equal: bool,
    read_back_equal: bool,
    seconds: float,
) -> Report:
    rows = []
    for kind in sorted({f.kind for f in done}):
        times = [f.recovery_s for f in done if f.kind == kind]
        rows.append(
            {
                "kind": kind,
                "count": len(times),
                "recovery_p50_s": round(statistics.median(times), 3),
                "recovery_max_s": round(max(times), 3),
                "bound_s": KINDS[kind].bound_s,
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
