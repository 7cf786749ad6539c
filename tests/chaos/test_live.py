"""The contract on real Ray under load: each fault once or twice, recovered within its bound, and every set of the checker empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import RPC, Report, run
from tests.chaos.nemesis import KINDS

TWICE = ("kill_module",)


@pytest.fixture(scope="module")
def faults(can_mount: bool) -> dict[str, int]:
    """How often each fault is done; a disk can be full where a small one can be mounted."""
    return {kind: 2 if kind in TWICE else 1 for kind in KINDS if can_mount or kind != "fill_disk"}


@pytest.fixture(scope="module")
def report(faults: dict[str, int], tmp_path_factory: pytest.TempPathFactory) -> Report:
    """One campaign with all of them; each says itself when nobody met it."""
    return run(tmp_path_factory.mktemp("live"), faults, seed=7, documents=60, is_cold=False)


def test_each_fault_is_survived_within_its_bound(report: Report, faults: dict[str, int]) -> None:
    assert report.failures == [], report.told()
    assert report.verdict == "valid", report.told()
    assert report.digest_equal, report.told()
    assert {row["kind"]: row["count"] for row in report.faults} == faults
    assert report.checker.keys() > {"acked_not_delivered", "acked_not_in_journal", "phantom"}


def test_a_full_disk_refuses(report: Report, can_mount: bool) -> None:
    if not can_mount:
        pytest.skip("mounting a small disk needs root")
    assert report.counts["rejected"] > 0, "a full disk refused nothing"


def test_calls_that_ray_loses_are_made_again_and_count_once(folder: Path) -> None:
    report = run(folder, {}, seed=9, rpc_publishes=150, documents=60, pace_s=0.0, is_cold=False)
    assert report.is_good, report.told()
    assert report.faults[0]["kind"] == RPC
