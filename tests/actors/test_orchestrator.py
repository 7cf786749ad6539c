"""The orchestrator's actor around control: who starts it is told what is wrong, who finds it waiting what it waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import orchestrator as shell
from actors.orchestrator import OrchestratorActor, OrchestratorConfig
from tori.errors import JournalRefused, NoRoom

FULL = JournalRefused("journal orchestrator cannot be opened: No space left on device.", errno=28)


class Stage:
    """A control that is built as a test says, in a process that ``os._exit`` does not end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, is_reborn: bool) -> None:
        self.room, self.is_over, self.exits = threading.Event(), threading.Event(), list[int]()
        self.begin: Callable[[Any], None] = lambda on_wait: None
        context = SimpleNamespace(was_current_actor_reconstructed=is_reborn)
        monkeypatch.setattr(shell, "ray", SimpleNamespace(get_runtime_context=lambda: context))
        monkeypatch.setattr(shell, "tune", lambda: None)
        monkeypatch.setattr(shell, "Control", self._control)
        monkeypatch.setattr(shell, "os", SimpleNamespace(_exit=self._exit))

    def _control(self, home: Path, settings: Any, *, is_reborn: bool, on_wait: Any) -> Any:
        self.begin(on_wait)
        return SimpleNamespace(pid=7, start=lambda: None, wait_failure=self.is_over.wait)

    def _exit(self, code: int) -> None:
        self.exits.append(code)
        self.is_over.set()
        threading.Event().wait()  # the process would be gone

    def actor(self) -> OrchestratorActor:
        return OrchestratorActor(OrchestratorConfig("home", {}))

    def wait_for_room(self, on_wait: Any) -> None:
        if on_wait is None:
            raise FULL
        on_wait(str(FULL))
        self.room.wait(10)


def test_who_starts_it_on_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, is_reborn=False)
    stage.begin = stage.wait_for_room
    with pytest.raises(JournalRefused, match="No space left"):
        stage.actor()
    assert stage.exits == []


def test_one_that_died_on_a_full_disk_waits_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, is_reborn=True)
    stage.begin = stage.wait_for_room
    actor = stage.actor()
    with pytest.raises(NoRoom, match="waits for room on its disk: journal orchestrator"):
        actor.pid()
    stage.room.set()
    while actor._ready is None:
        pass
    assert actor.pid() == 7


def test_one_that_cannot_go_on_after_the_wait_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, is_reborn=True)

    def break_later(on_wait: Any) -> None:
        stage.wait_for_room(on_wait)
        raise FULL

    stage.begin = break_later
    stage.actor()
    stage.room.set()
    assert stage.is_over.wait(10)
    assert stage.exits == [1], "Ray starts the next one"


def test_a_thread_that_fails_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, is_reborn=False)
    assert stage.actor().pid() == 7
    assert stage.exits == []
    stage.is_over.set()
    while not stage.exits:
        pass
    assert stage.exits == [1]
