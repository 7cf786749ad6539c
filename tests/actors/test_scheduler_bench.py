"""The benchmark of the scheduler runs, counts every due run, and says whether it stayed within its limits."""

from __future__ import annotations

import json

import pytest

from scripts.bench import scheduler as bench

QUICK = ["--tasks", "20", "--seconds", "1", "--idle-seconds", "0.5", "--json"]


def test_every_due_run_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main([*QUICK, "--max-p99-ms", "2000", "--max-idle-percent", "100"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["spread"]["machine"]["runs"] >= 15
    assert report["spread"]["durable"]["runs"] >= 15
    assert report["spread"]["apscheduler"]["runs"] >= 15
    assert report["burst"]["machine"]["runs"] >= 40
    assert 0 < report["spread"]["machine"]["p50_ms"] <= report["spread"]["machine"]["p99_ms"]


def test_what_is_late_or_not_measured_is_not_within_the_limits() -> None:
    assert bench.is_within({"p99_ms": 5.0}, 0.5, 5.0, 0.5)
    assert not bench.is_within({"p99_ms": 5.1}, 0.5, 5.0, 0.5)
    assert not bench.is_within({"p99_ms": 5.0}, 0.6, 5.0, 0.5)
    assert not bench.is_within(None, 0.0, 5.0, 0.5)


def test_the_share_that_is_late_is_said_in_milliseconds() -> None:
    late = [n * 1_000_000 for n in range(1, 101)]
    assert bench.summary(late) == {"runs": 100, "p50_ms": 51.0, "p99_ms": 100.0, "max_ms": 100.0}
    assert bench.summary([]) is None
