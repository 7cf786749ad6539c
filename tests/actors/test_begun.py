"""An attempt runs when its worker says so; before, Ray has not placed it, and people are told that it waits."""

from __future__ import annotations

from typing import Any

import pytest

from actors import runs as shell
from tests.actors.test_runs import Rig, _AtOnce
from tori.scheduler import signal as sig
from tori.scheduler.transition import RunState


@pytest.fixture
def rig(tmp_path: Any) -> Rig:
    return Rig(tmp_path, **{"user.tasks": "tests.support.user_tasks"})


def test_a_run_that_ray_has_not_placed_does_not_run_and_says_what_it_waits_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(rig.runs._pool, _AtOnce)
    later: list[Any] = []
    monkeypatch.setattr(rig.runs._pool, "submit", lambda work, *arguments: later.append((work, *arguments)))
    rig.runs.tell(sig.RunRequested("plain", "x"))
    rig.work()

    def get(ref: Any, **_: Any) -> Any:
        rig.work()
        row = rig.runs.story("x")
        assert (row["state"], row["held_by"]) == ("admitted", None), "a moment is nothing to speak of"
        rig.clock.advance(30)
        held = rig.runs.story("x")["held_by"]
        assert held.startswith("Ray has not begun it in 30 s: its resources are taken")
        assert [(run["run_id"], run["held_by"]) for run in rig.runs.active()] == [("x", held)]
        rig.runs.begun("x", 1)
        rig.work()
        row = rig.runs.story("x")
        assert (row["state"], row["held_by"]) == ("running", None)
        return "[1]"

    monkeypatch.setattr(shell, "start_user", lambda *_: "a ref")
    monkeypatch.setattr(shell, "settle", lambda refs: None)
    monkeypatch.setattr(shell.ray, "get", get)
    ((work, order),) = later
    work(order)
    rig.work()
    assert rig.runs.scheduler.run("x").state is RunState.SUCCEEDED
