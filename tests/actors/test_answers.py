"""Questions to many actors, over fake ones: what comes in time is taken, and patience is spent once."""

from __future__ import annotations

import time

import pytest

from actors import answers as shell
from actors.answers import Answers
from tests.actors.fake_ray import FakeActor, FakeRay, Ref


def test_questions_asked_together_share_one_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "ray", FakeRay())
    dead = FakeActor()
    dead.die()
    handles = {
        "near": FakeActor(view=lambda: 1, query=lambda name: 2),
        "far": FakeActor(view=Ref, query=lambda n: Ref()),
    }
    handles["dead"] = dead
    begun = time.monotonic()
    asked = [Answers(handles, "view"), Answers(handles, "query", "summary")]
    found = [answers.until(begun + 0.2) for answers in asked]
    assert found == [{"near": 1}, {"near": 2}]
    assert 0.2 <= time.monotonic() - begun < 0.35


def test_nobody_to_ask_is_no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "ray", FakeRay())
    begun = time.monotonic()
    assert Answers({}, "view").until(begun + 5.0) == {}
    assert time.monotonic() - begun < 0.1
