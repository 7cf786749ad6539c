"""The contract on real Ray under load: each fault once or twice, recovered within its bound, and every set of the checker empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import RPC, run
from tests.chaos.nemesis import KINDS

TWICE = ("kill_module",)


def test_each_fault_is_survived_within_its_bound(folder: Path, can_mount: bool) -> None:
    faults = {kind: 2 if kind in TWICE else 1 for kind in KINDS if kind != "fill_disk"}
    report = run(folder, faults, seed=7, documents=60, is_cold=False)
    assert report.failures == [], report.told()
    assert report.verdict == "valid", report.told()
    assert report.digest_equal, report.told()
    assert {row["kind"]: row["count"] for row in report.faults} == faults
    assert report.checker.keys() > {"acked_not_delivered", "acked_not_in_journal", "phantom"}


def test_a_full_disk_refuses_and_recovers(folder: Path, can_mount: bool) -> None:
    if not can_mount:
        pytest.skip("mounting a small disk needs root")
    report = run(folder, {"fill_disk": 1}, seed=8, documents=30, is_cold=False)
    assert report.is_good, report.told()
    assert report.counts["rejected"] > 0, "a full disk refused nothing"


def test_calls_that_ray_loses_are_made_again_and_count_once(folder: Path) -> None:
    report = run(folder, {}, seed=9, rpc_publishes=150, documents=60, pace_s=0.0, is_cold=False)
    assert report.is_good, report.told()
    assert report.faults[0]["kind"] == RPC
