"""Whose recovery is checked, and what becomes of a check whose orchestrator died."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from actors.conductor import Past
from actors.recovery import RecoveryCheck
from tests.actors.test_conductor import Begin, begin, module_actor
from tori.errors import Unavailable
from tori.modules.loop import LoopView
from tori.orchestrator import signal as sig
from tori.orchestrator.state import State

__all__ = ["begin"]


def paused_actor(incarnation: int) -> Any:
    """Return an actor that was left paused."""
    found = {"pid": 1, "incarnation": incarnation, "view": LoopView("", paused=True), "events": (), "code": ""}
    return module_actor(incarnation, ready=lambda: found)


def test_where_everything_is_paused_nothing_is_checked_and_that_is_said() -> None:
    lifecycle = SimpleNamespace(
        system=State.RUNNING,
        states=lambda: {"reader": State.PAUSED, "alien": State.RUNNING},
        modules={"reader": SimpleNamespace(successor=0), "alien": SimpleNamespace(successor=2)},
    )
    asked: list[Any] = []
    conductor = SimpleNamespace(lifecycle=lifecycle, ask=asked.append)
    with pytest.raises(Unavailable, match="no module runs that could be checked"):
        RecoveryCheck(conductor, ("reader", "alien"), lambda *_: None, lambda: 0).run()
    assert asked == []


def test_a_pause_that_only_a_check_wanted_ends_with_the_orchestrator_that_checked(begin: Begin) -> None:
    stage = begin(Past(2, {"reader": 1, "hierarchy": 1}, is_reborn=True, checked=["reader"]))
    stage.ray.named["reader"] = reader = paused_actor(1)
    stage.ray.named["hierarchy"] = other = paused_actor(1)
    stage.conductor.start()
    stage.conductor.tell(sig.StartRequested(paused=False))
    stage.await_state(State.RUNNING)
    states = {name: module.state for name, module in stage.lifecycle.modules.items()}
    assert states == {"reader": State.RUNNING, "hierarchy": State.PAUSED}, "a person paused the other"
    assert ("pause", False) in reader.calls
    assert ("pause", False) not in other.calls
