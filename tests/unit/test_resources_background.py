"""Idle priority: taken by a thread and what it starts, and by nobody else."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

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
