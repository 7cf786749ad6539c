"""A worker of background work is gone as soon as it is asked to go: the next attempt of its run may begin in a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from actors.worker import BACKGROUND, MARK

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


@pytest.mark.parametrize(
    ("mark", "code", "said"), [(BACKGROUND, -signal.SIGTERM, "at work\n"), ("", 1, "at work\nand on\n")]
)
def test_it_ends_in_the_midst_of_its_work_and_no_other_process_does(mark: str, code: int, said: str) -> None:
    root = Path(__file__).resolve().parents[2]
    worker = subprocess.Popen(
        [sys.executable, "-c", STUBBORN],
        cwd=root,
        env=os.environ | {MARK: mark},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert worker.stdout is not None
    first = worker.stdout.readline()
    worker.terminate()
    rest, _ = worker.communicate()
    assert (worker.returncode, first + rest) == (code, said)
