"""A worker of background work is gone as soon as it is asked to go: the next attempt of its run may begin in a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.worker import BACKGROUND, MARK

ROOT = Path(__file__).resolve().parents[2]
STUBBORN = """
import signal, sys, time
from actors.worker import begin_work
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # as Ray's workers do
begin_work()
try:
    print("at work", flush=True)
    time.sleep(600)
finally:
    print("and on", flush=True)
"""


def begin(code: str, mark: str) -> subprocess.Popen[str]:
    """Start a worker of the kind that ``mark`` says, in a session of its own; it says when it is at work."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {MARK: mark},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("mark", "code", "said"), [(BACKGROUND, -signal.SIGTERM, "at work\n"), ("", 1, "at work\nand on\n")]
)
def test_it_ends_in_the_midst_of_its_work_and_no_other_process_does(mark: str, code: int, said: str) -> None:
    worker = begin(STUBBORN, mark)
    assert worker.stdout is not None
    first = worker.stdout.readline()
    worker.terminate()
    rest, _ = worker.communicate()
    assert (worker.returncode, first + rest) == (code, said)


CANCELLED = """
import signal, time
from actors.worker import begin_work
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell's & leaves it
begin_work()
try:
    print("at work", flush=True)
    time.sleep(600)
except KeyboardInterrupt:
    print("cancelled", flush=True)
"""


def test_a_cancellation_is_heard_also_behind_a_shell_s_ampersand() -> None:
    worker = begin(CANCELLED, BACKGROUND)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "at work\n"
    worker.send_signal(signal.SIGINT)
    assert worker.communicate(timeout=30)[0] == "cancelled\n"
