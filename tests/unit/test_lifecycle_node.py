"""Nodes that go and come: their modules are offline, loudly, and start again by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from tori.clock import VirtualClock
from tori.errors import IllegalTransition
from tori.events import system as events
from tori.machine import Emit, Tick
from tori.orchestrator import signal as sig
from tori.orchestrator.lifecycle import Lifecycle
from tori.orchestrator.record import LifecycleOptions
from tori.orchestrator.state import State

ORDER = ("clients", "reader", "braid")


class Rig:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.machine = Lifecycle(self.clock, LifecycleOptions(order=ORDER, starts_at_once=3))
        self.out: list[Any] = []

    def give(self, stimulus: Any) -> list[Any]:
        self.out = self.machine.handle(stimulus)
        self.machine.validate()
        return self.out

    def run(self, *names: str) -> None:
        for name in names:
            self.give(sig.ModuleReady(name, self.machine.modules[name].incarnation))

    def told(self, kind: type) -> list[Any]:
        return [i.payload for i in self.out if isinstance(i, Emit) and isinstance(i.payload, kind)]


@pytest.fixture
def rig() -> Rig:
    made = Rig()
    made.give(sig.StartRequested())
    made.run(*ORDER)
    assert made.machine.system is State.RUNNING
    return made


def test_a_lost_node_takes_its_modules_offline_and_says_so(rig: Rig) -> None:
    rig.give(sig.NodeLost("n1", ("braid",)))
    assert rig.machine.states() == {
        "system": "degraded", "clients": "running", "reader": "running", "braid": "offline",
    }  # fmt: skip
    assert sig.KillModule("braid", 1) in rig.out
    assert [(c.module, c.new) for c in rig.told(events.ModuleStateChanged)] == [
        ("braid", "offline"), ("system", "degraded"),
    ]  # fmt: skip
    assert [e.error_type for e in rig.told(events.ErrorOccurred)] == ["NodeLost"]
    assert rig.machine.wake_ns is None, "nobody tries to start it meanwhile"
    assert rig.give(sig.NodeLost("n1", ("braid",))) == []


def test_it_starts_again_when_the_node_is_back_with_a_clean_record(rig: Rig) -> None:
    for _ in range(2):
        rig.give(sig.NodeLost("n1", ("braid",)))
        rig.give(sig.NodeReturned("n1", ("braid", "reader")))
        started = [i for i in rig.out if isinstance(i, sig.StartModule)]
        assert [i.module for i in started] == ["braid"], "reader runs already"
        rig.run("braid")
        assert rig.machine.system is State.RUNNING
        assert rig.told(events.RecoverySucceeded)
    assert rig.machine.modules["braid"].incarnation == 3


def test_death_first_and_loss_later_is_the_same(rig: Rig) -> None:
    rig.give(sig.ModuleDied("braid", 1, "its process is gone"))
    assert rig.machine.states()["braid"] == "failed"
    rig.clock.advance(1)
    rig.give(Tick())
    rig.give(sig.NodeLost("n1", ("braid",)))
    assert rig.machine.states()["braid"] == "offline"
    rig.give(sig.ModuleDied("braid", 2, "could not be created"))
    assert rig.machine.stale == 1
    rig.clock.advance(1000)
    assert rig.give(Tick()) == []


def test_a_system_starts_without_a_node_that_is_away() -> None:
    rig = Rig()
    rig.give(sig.NodeLost("n1", ("braid",), "its node is not there"))
    rig.give(sig.StartRequested())
    assert {i.module for i in rig.out if isinstance(i, sig.StartModule)} == {"clients", "reader"}
    rig.run("clients", "reader")
    assert rig.machine.system is State.DEGRADED
    rig.give(sig.NodeReturned("n1", ("braid",)))
    rig.run("braid")
    assert rig.machine.system is State.RUNNING


def test_a_stop_does_not_wait_for_what_is_away(rig: Rig) -> None:
    rig.give(sig.NodeLost("n1", ("braid", "reader")))
    rig.give(sig.StopRequested())
    rig.give(sig.CheckpointDone("clients", 1))
    rig.give(sig.ModuleStopped("clients", 1))
    assert sig.Finish() in rig.out


def test_losing_a_node_while_it_drains_ends_the_drain(rig: Rig) -> None:
    rig.give(sig.StopRequested())
    assert rig.machine.states()["braid"] == "draining"
    rig.give(sig.NodeLost("n1", ("braid",)))
    assert rig.machine.states()["braid"] == "stopped"
    assert rig.machine.states()["reader"] == "draining"


def test_what_is_offline_can_be_neither_paused_nor_started_by_hand(rig: Rig) -> None:
    rig.give(sig.NodeLost("n1", ("braid",)))
    for request in (sig.PauseRequested("braid"), sig.ResumeRequested("braid"), sig.RecoverRequested("braid")):
        with pytest.raises(IllegalTransition):
            rig.machine.handle(request)


def test_a_missing_journal_is_not_tried_again(rig: Rig) -> None:
    rig.give(sig.ModuleDied("braid", 1, "journal braid is not on its node any more", "JournalMissing"))
    assert rig.machine.states()["braid"] == "degraded"
    assert [p.message for p in rig.told(events.RecoveryFailed)] == ["a restart does not bring back what is missing"]
    assert rig.machine.wake_ns is None
