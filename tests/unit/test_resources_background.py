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
import os
from tori.resources.background import leave_session
before = os.getsid(0)
print(leave_session(), os.getsid(0) == os.getpid() == os.getpgrp(), os.getsid(0) == before, leave_session())
print(open("/proc/self/autogroup").read().split()[-1])
"""


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not group by session")
@pytest.mark.parametrize("lead", ["", "os.setpgid(0, 0)"])
def test_a_process_leaves_its_session_also_if_it_leads_a_group(lead: str) -> None:
    assert _said(f"import os\n{lead}{SAYS}") == ["True True False True", "19"]


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="this kernel does not group by session")
def test_who_cannot_leave_leaves_its_session_as_it_is() -> None:
    refuse = "import os\ndef refuse(*_): raise PermissionError\nos.setpgid = os.setsid = refuse"
    assert _said(f"{refuse}{SAYS}") == ["False False True False", "0"]


def _said(code: str) -> list[str]:
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_without_such_groups_it_only_leaves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "setsid", lambda: None)
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid())
    monkeypatch.setattr(background, "_AUTOGROUP", tmp_path / "none" / "autogroup")
    assert background.leave_session()
