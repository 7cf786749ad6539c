"""Reload in the lifecycle machine: asked for, replaced, refused, overtaken by a death."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_lifecycle_machine import Rig, acts, payloads, running
from tori.errors import BadInput, IllegalTransition
from tori.events import system as events
from tori.orchestrator import signal as sig
from tori.orchestrator.state import State

ASK = sig.ReloadRequested("alien", "aaa", "bbb")


rig = pytest.fixture(running)


def test_new_code_takes_over_while_the_module_runs(rig: Rig) -> None:
    out = rig.give(ASK)
    assert acts(out) == [sig.ReplaceModule("alien", 2)]
    assert payloads(out, events.HotReloadTriggered) == [events.HotReloadTriggered("alien", "aaa", "bbb")]
    assert rig.machine.states()["alien"] == State.RUNNING
    out = rig.give(sig.ModuleReplaced("alien", 2, 0.25, "bbb"))
    assert acts(out) == [sig.ResumeModule("alien", 2)]
    (told,) = payloads(out, events.HotReloadCompleted)
    assert told == events.HotReloadCompleted("alien", "aaa", "bbb", None, 2, 0.25)
    (changed,) = payloads(out, events.ModuleStateChanged)
    assert (changed.new, changed.incarnation) == (State.RUNNING, 2)
    assert acts(rig.give(sig.ModuleDied("alien", 1, "the old process ended"))) == [], "its end is meant"
    assert rig.machine.states()["alien"] == State.RUNNING


def test_a_paused_module_is_reloaded_and_stays_paused(rig: Rig) -> None:
    rig.give(ASK, sig.PauseRequested("alien"))
    assert acts(rig.give(sig.ModuleReplaced("alien", 2))) == [sig.PauseModule("alien", 2)]


def test_refused_code_leaves_the_module_as_it_was(rig: Rig) -> None:
    rig.give(ASK)
    out = rig.give(sig.ReplaceFailed("alien", 2, "ZeroDivisionError"))
    assert acts(out) == [sig.KillSuccessor("alien", 2)]
    (told,) = payloads(out, events.HotReloadFailed)
    assert (told.module, told.error, told.incarnation) == ("alien", "ZeroDivisionError", 2)
    assert rig.machine.modules["alien"].incarnation == 1
    assert acts(rig.give(ASK)) == [sig.ReplaceModule("alien", 2)], "it may be tried again"


def test_a_death_overtakes_a_reload(rig: Rig) -> None:
    rig.give(ASK)
    out = rig.die("alien")
    assert sig.KillSuccessor("alien", 2) in acts(out)
    assert payloads(out, events.HotReloadFailed)
    rig.restart("alien")
    late = rig.give(sig.ModuleReplaced("alien", 2), sig.ReplaceFailed("alien", 2, "late"))
    assert acts(late) == [sig.KillSuccessor("alien", 2)]
    assert rig.machine.stale == 1
    assert rig.machine.states()["alien"] == State.RUNNING


@pytest.mark.parametrize("way", [sig.StopRequested(), sig.NodeLost("n", ("alien",))])
def test_a_stop_or_a_lost_node_ends_a_reload(rig: Rig, way: Any) -> None:
    out = rig.give(ASK, way)
    assert sig.KillSuccessor("alien", 2) in acts(out)
    assert payloads(out, events.HotReloadFailed)


def test_what_cannot_be_reloaded_is_refused_with_nothing_changed(rig: Rig) -> None:
    with pytest.raises(BadInput, match="no module 'nobody'"):
        rig.give(sig.ReloadRequested("nobody"))
    rig.give(ASK)
    with pytest.raises(IllegalTransition, match="on its way already"):
        rig.give(ASK)
    rig.die("alien")
    with pytest.raises(IllegalTransition, match="it is failed"):
        rig.give(ASK)
