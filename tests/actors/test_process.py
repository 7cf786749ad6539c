"""Ending real processes: asked first, killed when deaf, left alone when the pid is somebody else's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tori.resources.process import ProcessMark, children, descendants, end, is_alive, mark_process

SLEEP = "import time; print(flush=True); time.sleep(60)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python on a piece of code that prints a line once it is ready; ended after the test."""
    with ExitStack() as stack:

        def start_code(code: str) -> subprocess.Popen[bytes]:
            child = stack.enter_context(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE))
            stack.callback(child.kill)
            assert child.stdout is not None
            child.stdout.readline()
            return child

        yield start_code


def test_ending_asks_first_and_a_zombie_counts_as_ended(start: Start) -> None:
    child = start(SLEEP)
    mark = mark_process("child", child.pid)
    assert end([mark, mark], patience_s=5.0) == []
    assert not is_alive(mark)
    assert child.wait() == -15


def test_who_does_not_listen_is_killed(start: Start) -> None:
    deaf = start(DEAF)
    assert end([mark_process("deaf", deaf.pid)], patience_s=0.05) == []
    assert deaf.wait() == -9


def test_a_process_is_not_signalled_when_the_mark_is_an_earlier_owner_s(start: Start) -> None:
    child = start(SLEEP)
    assert end([ProcessMark("earlier owner", child.pid, "boot:1")], patience_s=0.1) == []
    assert child.poll() is None


def test_descendants_are_found_through_a_living_root_only(start: Start) -> None:
    child = start(SLEEP)
    assert child.pid in {mark.pid for mark in descendants([mark_process("me", os.getpid())])}
    assert child.pid in {mark.pid for mark in children()}
    assert descendants([ProcessMark("gone", os.getpid(), "boot:1")]) == []
