"""Simulated worlds: no promise is broken, the same seed is the same world, and a broken promise is noticed.

``TORI_SIMULATION_STEPS`` sets the length of the campaign (12,000 steps by default); ``scripts/simulate.py`` runs longer ones.
"""

from __future__ import annotations

import io
import json
import logging
import os
import random
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from scripts import simulate as script
from tests.sim.campaign import STEPS_A_WORLD, simulate
from tests.sim.sabotage import SABOTAGES
from tests.sim.world import World

ROOT = Path(__file__).resolve().parents[2]
STEPS = int(os.environ.get("TORI_SIMULATION_STEPS", "12000"))
WORLDS = max(45, STEPS // STEPS_A_WORLD)
MOST_SEEDS = 150
"""A missing protection shows within this many worlds."""
HAPPENS = """ack answer audit checkpoint corrupted error eviction fuse gone kill partition restored rot scrub send standstill
start step stop take-over zombie""".split()
FAULTS = [
    "clock jump",
    "dead letters",
    "disk full",
    "late copy",
    "no checkpoint",
    "no start",
    "power cut",
    "taken for dead",
    "write back",
]
SHAPES = [f"world of {kind} modules, {layout}" for kind in ("real", "small") for layout in ("actors", "local")]


FORBIDDEN: dict[Any, list[str]] = {
    io: ["open"],
    os: ["open", "mkdir", "rename", "replace", "unlink", "listdir", "scandir", "fsync", "kill", "getpid", "urandom"],
    random: ["seed", "random", "randbytes", "getrandbits"],
    socket: ["socket"],
    time: ["time", "time_ns", "monotonic", "monotonic_ns", "sleep"],
    uuid: ["uuid1", "uuid4"],
}


def test_no_promise_is_broken() -> None:
    report = simulate(STEPS, seed=4, worlds=WORLDS)
    assert [f"{v.what}; again: {v.replay}" for v in report.violations] == []
    assert (report.steps, report.worlds) == (STEPS, WORLDS)
    missing = [kind for kind in (*HAPPENS, *FAULTS, *SHAPES) if not report.counts.get(kind)]
    assert missing == [], "these never happened, so nothing is known about them"


def run_script(hash_seed: int) -> bytes:
    command = [
        sys.executable,
        str(ROOT / "scripts" / "simulate.py"),
        "--steps",
        "2400",
        "--seed",
        "11",
        "--seeds",
        "6",
        "--json",
    ]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=300).stdout


def test_a_seed_is_the_same_world_in_every_process() -> None:
    other = 2 if os.environ.get("PYTHONHASHSEED") == "1" else 1
    report = json.loads(run_script(other))
    assert (report["steps"], report["worlds"], report["violations"]) == (2400, 6, [])
    here = simulate(2400, 11, worlds=6)
    assert (here.digest, here.story) == (report["digest"], report["story"])


def test_a_world_takes_nothing_from_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its clocks, nor its randomness, nor its processes, nor its files."""
    monkeypatch.setattr(logging.getLogger("tori.journal"), "disabled", True)  # a line of the log has the time of day
    expected = [World(seed, real_share=0.0).run(300) for seed in range(4)]

    def forbidden(*arguments: object, **options: object) -> Any:
        raise AssertionError("a simulated world asked this machine for something")

    for module, names in FORBIDDEN.items():
        for name in names:
            monkeypatch.setattr(module, name, forbidden)
    assert [World(seed, real_share=0.0).run(300) for seed in range(4)] == expected
    assert {outcome.violation for outcome in expected} == {""}


def test_other_seeds_are_other_worlds() -> None:
    digests = {simulate(300, seed, worlds=1).digest for seed in range(5)}
    assert len(digests) == 5


@pytest.mark.parametrize("name", sorted(SABOTAGES))
def test_a_missing_protection_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    SABOTAGES[name](monkeypatch)
    worlds = (World(seed, real_share=0.0).run(400) for seed in range(MOST_SEEDS))
    assert any(outcome.violation for outcome in worlds), f"{MOST_SEEDS} worlds did not miss {name}"


def test_a_violation_is_told_and_can_be_seen_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    SABOTAGES["no_dedupe"](monkeypatch)
    assert script.main(["--steps", "1200", "--seed", "3", "--seeds", "3", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    broken = report["violations"][0]
    assert "taken twice" in broken["what"]
    assert "VIOLATION" in report["story"][-1]
    assert script.main(broken["replay"].split()[1:]) == 1
    shown = capsys.readouterr().out
    assert broken["what"] in shown
    assert f"seed {broken['seed']}, step {broken['step']}" in shown
    assert report["story"][-1] in shown.splitlines()


def test_nonsense_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        script.main(["--steps", "0"])
    assert refused.value.code == 2
    assert "--steps" in capsys.readouterr().err
