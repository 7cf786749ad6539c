"""Idle priority: taken by a thread and what it starts, and by nobody else."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tori.resources import background


def in_thread(work: Callable[[], object]) -> list[object]:
    """Return what ``work`` says in a thread that ends with it: a process could not come back."""
    said: list[object] = []
    thread = threading.Thread(target=lambda: said.append(work()))
    thread.start()
    thread.join()
    return said


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="only Linux has SCHED_IDLE")
def test_a_thread_and_its_children_go_to_idle_priority_and_the_others_stay() -> None:
    def work() -> list[object]:
        before = background.is_background()
        background.enter_background()
        background.enter_background()
        return [before, background.is_background(), *in_thread(background.is_background)]

    assert in_thread(work) == [[False, True, True]]
    assert not background.is_background()


def test_without_that_class_it_is_the_lowest_niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    nice = [0]
    monkeypatch.delattr(os, "SCHED_IDLE", raising=False)
    monkeypatch.setattr(os, "getpriority", lambda which, who: nice[0])
    monkeypatch.setattr(os, "setpriority", lambda which, who, value: nice.__setitem__(0, value))
    assert not background.is_background()
    background.enter_background()
    assert nice == [19]
    assert background.is_background()


SAYS = """
import os, sys, time
from tori.resources.background import leave_session
def niceness():
    return (open("/proc/self/autogroup").read().split() or ["none"])[-1]  # the machine's first session has none
session, before = os.getsid(0), niceness()
print(leave_session(), os.getsid(0) == os.getpid(), os.getsid(0) == session, os.getpgrp() == group(), leave_session())
end = time.monotonic() + 30
while niceness() != "19" and os.getsid(0) != session and time.monotonic() < end:
    time.sleep(0.05)  # without privileges one process of the machine may ask in a tenth of a second
print("19" if niceness() == "19" != before else "as it was" if niceness() == before else niceness())
"""
has_groups = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel does not group by session"
)


@has_groups
@pytest.mark.parametrize("lead", ["", "os.setpgid(0, 0)"])
def test_a_process_leaves_its_session_also_if_it_leads_a_group(lead: str) -> None:
    assert _said(f"import os\n{lead}\ngroup = os.getpid{SAYS}") == ["True True False True True", "19"]


@has_groups
def test_who_cannot_leave_leaves_everything_as_it_is() -> None:
    child = "import os, subprocess, sys\nos.setpgid(0, 0)\ngroup = os.getpid"
    stays = "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)"
    said = _said(f"{child}\n{stays}{SAYS}child.communicate()")
    assert said == ["False False True True False", "as it was"], "its child keeps the group's number"


def test_where_only_one_may_ask_at_a_time_it_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    class Busy:
        def write_text(self, text: str) -> None:
            asked.append(text)
            if len(asked) < 4:
                raise BlockingIOError

    monkeypatch.setattr(background, "_AUTOGROUP", Busy())
    monkeypatch.setattr(background.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid())
    assert background.leave_session(10)
    for thread in threading.enumerate():
        if thread.name == "tori-session":
            thread.join()
    assert asked == ["10\n"] * 4


def _said(code: str) -> list[str]:
    """Return what ``code`` prints as the child of a process that leads a session, whatever session these tests run in."""
    outer = "import subprocess, sys\nsys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]]).returncode)"
    done = subprocess.run(
        [sys.executable, "-c", outer, code], check=False, capture_output=True, text=True, start_new_session=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_such_groups_it_only_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid())
    monkeypatch.setattr(background, "_AUTOGROUP", tmp_path / "none" / "autogroup")
    assert background.leave_session()
