"""A module that hangs outside its handler is killed by its watchdog too, and the next process says where it stood."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support.system import small_corpus
from tori.local import LocalSystem
from tori.modules.open import open_host


def live(home: Path, where: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.support.hanging_process", str(home), where],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def wait_in_journal(home: Path) -> None:
    """Leave documents in the journal of the clients that no reader has taken."""
    host = open_host(home, "clients", segment_bytes=1 << 20, load_snapshot=lambda _: None)
    host.command("ingest", {"documents": msgspec.msgpack.encode(small_corpus(2))})
    host.close()


@pytest.mark.parametrize(("where", "stood"), [("query", "in query"), ("apply", "in apply")])
def test_it_is_killed_and_the_next_process_says_where_it_stood(tmp_path: Path, where: str, stood: str) -> None:
    wait_in_journal(tmp_path)
    ended = live(tmp_path, where)
    assert ended.returncode == -signal.SIGALRM, ended.stdout + ended.stderr
    assert "answered" not in ended.stdout
    name = "reader" if where == "apply" else "clients"
    trace = (tmp_path / "journals" / name / "timeout.trace").read_text()
    assert stood in trace and "in hang" in trace
    if where == "query":
        again = live(tmp_path, "nowhere")
        assert "answered {'documents': 2" in again.stdout, again.stdout + again.stderr
        assert "clients was past its time-out" in again.stdout and "in hang" in again.stdout


def test_one_that_returns_in_time_lives(tmp_path: Path) -> None:
    with LocalSystem(tmp_path) as mind:
        mind.ingest(small_corpus(2))
    assert "answered {'documents': 2" in live(tmp_path, "nowhere").stdout
