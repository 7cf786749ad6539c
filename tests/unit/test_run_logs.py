"""The logs of runs: a bounded file an attempt, a bounded number of files, whatever the run is called and however full the disk is."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from tori.scheduler import logs as module
from tori.scheduler.logs import HEAD_BYTES, MAX_BYTES, TAIL_BYTES, RunLogs


@pytest.fixture
def logs(tmp_path: Path) -> RunLogs:
    return RunLogs(tmp_path)


def test_each_attempt_has_its_own_and_another_process_reads_them(logs: RunLogs, tmp_path: Path) -> None:
    logs.add("x", 2, b"again\n")
    logs.add("x", 1, b"one\n")
    logs.add("x", 1, b"two \xff\n")
    logs.add("x.1", 1, b"of a run that is called much the same\n")
    assert RunLogs(tmp_path).read("x") == [(1, "one\ntwo \ufffd\n"), (2, "again\n")]
    assert logs.read("x.1") == [(1, "of a run that is called much the same\n")]
    assert logs.read("y") == []


@pytest.mark.parametrize("run_id", ["../../etc/passwd", "a/b", "..", "\u00fc\u4e2d*[x]?", "nul\0", "x" * 5000, "a b:c"])
def test_whatever_a_run_is_called_its_log_stays_in_the_folder(logs: RunLogs, run_id: str, tmp_path: Path) -> None:
    logs.add(run_id, 1, b"said\n")
    assert logs.read(run_id) == [(1, "said\n")]
    assert logs.read(run_id + "x") == []
    assert [entry.name for entry in tmp_path.iterdir()] == ["logs"]
    assert len(list((tmp_path / "logs" / "runs").iterdir())) == 1


def test_of_a_long_log_beginning_and_end_are_kept_and_what_is_missing_is_counted(logs: RunLogs) -> None:
    written = b""
    for number in range(4000):
        part = b"%06d %s\n" % (number, b"." * 1017)
        written += part
        logs.add("x", 1, part)
    ((_, text),) = logs.read("x")
    assert len(text) <= MAX_BYTES
    head, _, tail = text.partition("\n[")
    count, _, tail = tail.partition(" bytes left out]\n")
    assert head == written[:HEAD_BYTES].decode()
    assert written.endswith(tail.encode())
    assert len(tail) >= TAIL_BYTES
    assert int(count) == len(written) - len(head) - len(tail)


def test_the_oldest_go_first(logs: RunLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_FILES", 3)
    for number in range(5):
        logs.add(f"run-{number}", 1, b"x")
        os.utime(next(logs.folder.glob(f"run-{number}.*")), (number, number))
    assert [bool(logs.read(f"run-{number}")) for number in range(5)] == [False, False, True, True, True]
    monkeypatch.setattr(module, "KEPT_BYTES", 10)
    logs.add("large", 1, b"x" * 9)
    assert sorted(path.name for path in logs.folder.iterdir()) == ["large.1.log", "run-4.1.log"]


def test_a_full_disk_costs_lines_and_is_said_once(
    logs: RunLogs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    logs.add("x", 1, b"one\n")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(logs, "_append", full)
        for _ in range(3):
            logs.add("x", 1, b"two\n")
    logs.add("x", 1, b"three\n")
    assert logs.read("x") == [(1, "one\nthree\n")]
    assert caplog.text.count("the log of run x is not kept") == 1


def test_parts_that_come_together_are_all_there(logs: RunLogs) -> None:
    threads = [
        threading.Thread(target=lambda n=n: [logs.add("x", 1, b"%d\n" % n) for _ in range(50)]) for n in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ((_, text),) = logs.read("x")
    assert sorted(text.split()) == sorted("0123" * 50)
