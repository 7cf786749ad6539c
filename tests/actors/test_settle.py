"""Quiesce over fake actors: it ends when the mind is at rest, and says why when that will not be."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors import settle as shell
from actors.settle import ATTEMPTS, SETTLE_S, STALLED_S, NotSettling, Quiesce, check_unpaused
from tests.actors.fake_ray import FakeActor, FakeRay, Ref
from tori.errors import IllegalTransition, Unavailable
from tori.modules.loop import LoopView


class Rig:
    """One module whose views the test chooses, on a clock that only sleeping moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, view: Callable[[int], Any]) -> None:
        self.now = 0.0
        self.sweeps = 0
        self._view = view
        monkeypatch.setattr(shell, "ray", FakeRay())
        monkeypatch.setattr(shell, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self._sleep))
        actor = FakeActor(settle=self._settle)
        self.quiesce = Quiesce(lambda: {"reader": actor}, lambda m, t: 0, lambda s: None, lambda step: None)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds

    def _settle(self) -> Any:
        self.sweeps += 1
        return self._view(self.sweeps)


def test_two_sweeps_without_movement_and_without_lag_are_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, lambda sweep: LoopView("reader", consumed=min(sweep, 5), lag=max(0, 5 - sweep)))
    rig.quiesce.settle()
    assert rig.sweeps == 6


def test_a_mind_that_stands_still_with_work_left_is_told_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, lambda sweep: LoopView("reader", lag=3))
    with pytest.raises(NotSettling, match=r"nothing has moved for 120 s; behind: reader \(lag 3\)"):
        rig.quiesce.run()
    assert STALLED_S <= rig.now < STALLED_S + 5, "it was tried again"


def test_a_mind_that_moves_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(monkeypatch, lambda sweep: LoopView("reader", consumed=sweep))
    with pytest.raises(NotSettling, match="still moves after 3600 s"):
        rig.quiesce.run()
    assert SETTLE_S <= rig.now < SETTLE_S + 5


def test_a_module_that_does_not_end_its_batch_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "STALLED_S", 0.05)
    rig = Rig(monkeypatch, lambda sweep: Ref())
    with pytest.raises(NotSettling, match="reader did not end a batch"):
        rig.quiesce.run()


def test_a_module_that_died_over_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def view(sweep: int) -> LoopView:
        if sweep < 4:
            raise Unavailable("module reader has stopped.")
        return LoopView("reader")

    rig = Rig(monkeypatch, view)
    rig.quiesce._insist("settling", rig.quiesce.settle)
    assert rig.sweeps == 5
    assert ATTEMPTS > 4


@pytest.mark.parametrize(
    ("states", "is_scheduler_paused", "sentence"),
    [
        ({"system": "paused", "reader": "paused"}, True, "the system is paused. tori resume, then again."),
        ({"system": "running", "reader": "running"}, True, "the system is paused. tori resume, then again."),
        ({"system": "running", "reader": "paused"}, False, "module reader is paused. tori resume reader, then again."),
    ],
)
def test_what_is_paused_is_said_at_once(states: dict[str, str], is_scheduler_paused: bool, sentence: str) -> None:
    with pytest.raises(IllegalTransition) as error:
        check_unpaused(states, is_scheduler_paused=is_scheduler_paused)
    assert str(error.value) == sentence


def test_nothing_is_said_of_what_runs_or_is_down() -> None:
    check_unpaused({"system": "degraded", "reader": "failed", "alien": "running"}, is_scheduler_paused=False)
