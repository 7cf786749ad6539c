"""The contract without Ray: processes that meet through journals, killed, stopped, woken, and left without room."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.campaign import run_processes
from tests.chaos.worker_fault import PROCESS_KINDS


def test_processes_survive_each_fault_within_its_bound(folder: Path, can_mount: bool) -> None:
    faults = {kind: 1 for kind in PROCESS_KINDS if can_mount or kind != "fill_under_processes"}
    report = run_processes(folder, faults, seed=5)
    assert report.is_good, report.told()
    assert {row["kind"]: row["count"] for row in report.faults} == faults
    assert report.operations > 200
    assert report.counts["rejected"] > 0 or not can_mount, "a full disk refused nothing"
