"""The lifecycle machine: order, supervision, pauses, stop, adoption, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tori.clock import SECOND_NS, VirtualClock
from tori.errors import BadInput, IllegalTransition
from tori.events import system as events
from tori.machine import Emit, Tick
from tori.orchestrator import signal as sig
from tori.orchestrator.lifecycle import Lifecycle
from tori.orchestrator.record import LifecycleOptions
from tori.orchestrator.state import State
from tori.orchestrator.supervision import RestartPolicy

ORDER = ("reader", "hierarchy", "alien")


class Rig:
    """A lifecycle with its clock; every stimulus is followed by a check of all invariants and a snapshot round trip."""

    def __init__(self, **options: Any) -> None:
        self.clock = VirtualClock()
        self.options = LifecycleOptions(order=ORDER, **options)
        self.machine: Any = Lifecycle(self.clock, self.options, "1.0")
        self.log: list[Any] = []

    def give(self, *stimuli: Any) -> list[Any]:
        out: list[Any] = []
        for stimulus in stimuli:
            out += self.machine.handle(stimulus)
            self.machine.validate()
            data = self.machine.snapshot()
            other = Lifecycle(self.clock, self.options, "1.0")
            other.restore(data)
            other.validate()
            assert other.snapshot() == data
            self.machine = other
        self.log += out
        return out

    def up(self) -> None:
        self.give(sig.StartRequested(), *(sig.ModuleReady(name, 1) for name in ORDER))
        assert self.machine.system is State.RUNNING

    def die(self, name: str, error: str = "killed") -> list[Any]:
        return self.give(sig.ModuleDied(name, self.machine.modules[name].incarnation, error))

    def restart(self, name: str) -> list[Any]:
        """Let the backoff pass and the module come up again."""
        assert self.machine.wake_ns is not None
        self.clock.advance((self.machine.wake_ns - self.clock.monotonic_ns()) / 1e9)
        return self.give(Tick(), sig.ModuleReady(name, self.machine.modules[name].incarnation + 1))


def running() -> Iterator[Rig]:
    """A rig whose modules run. A fixture, where it is wanted."""
    rig = Rig()
    rig.up()
    yield rig
    rig.machine.validate()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.machine.validate()


def kinds(out: list[Any]) -> list[str]:
    return [type(i.payload).__name__ if isinstance(i, Emit) else type(i).__name__ for i in out]


def acts(out: list[Any]) -> list[Any]:
    return [i for i in out if not isinstance(i, Emit)]


def payloads(out: list[Any], kind: type) -> list[Any]:
    return [i.payload for i in out if isinstance(i, Emit) and isinstance(i.payload, kind)]


def test_modules_start_in_order_one_after_the_other(rig: Rig) -> None:
    assert acts(rig.give(sig.StartRequested())) == [sig.StartModule("reader", 1)]
    assert acts(rig.give(sig.ModuleReady("reader", 1))) == [sig.StartModule("hierarchy", 1)]
    assert acts(rig.give(sig.ModuleReady("hierarchy", 1))) == [sig.StartModule("alien", 1)]
    out = rig.give(sig.ModuleReady("alien", 1))
    assert payloads(out, events.SystemStarted) == [events.SystemStarted("cold", None, "1.0")]
    assert rig.machine.states() == {
        "system": "running",
        "reader": "running",
        "hierarchy": "running",
        "alien": "running",
    }
    assert [p.module for p in payloads(rig.log, events.ModuleInitialized)] == list(ORDER)
    assert rig.machine.wake_ns is None, "an idle machine sleeps"


def test_starts_may_overlap_and_still_begin_in_order() -> None:
    rig = Rig(starts_at_once=2)
    assert [a.module for a in acts(rig.give(sig.StartRequested()))] == ["reader", "hierarchy"]
    assert [a.module for a in acts(rig.give(sig.ModuleReady("hierarchy", 1)))] == ["alien"]


def test_every_change_of_state_is_an_event(rig: Rig) -> None:
    rig.up()
    changes = [(p.module, p.old, p.new) for p in payloads(rig.log, events.ModuleStateChanged)]
    assert changes[:2] == [("system", "stopped", "initializing"), ("reader", "stopped", "initializing")]
    assert changes[-1] == ("system", "initializing", "running")
    assert [line.text for line in rig.machine.story("reader")] == [
        "stopped -> initializing: its turn to start",
        "initializing -> running: ready",
    ]


def test_stop_drains_in_reverse_with_a_final_checkpoint_each(rig: Rig) -> None:
    rig.up()
    assert acts(rig.give(sig.StopRequested("bedtime"))) == [sig.TakeCheckpoint("alien", 1)]
    assert acts(rig.give(sig.CheckpointDone("alien", 1))) == [sig.StopModule("alien", 1)]
    assert acts(rig.give(sig.ModuleStopped("alien", 1))) == [sig.TakeCheckpoint("hierarchy", 1)]
    rig.give(sig.CheckpointDone("hierarchy", 1), sig.ModuleStopped("hierarchy", 1), sig.CheckpointDone("reader", 1))
    out = rig.give(sig.ModuleStopped("reader", 1))
    assert acts(out) == [sig.Finish()]
    assert payloads(out, events.SystemShutdown)[0].status == "bedtime"
    assert [p.module for p in payloads(rig.log, events.ModuleShutdown)] == ["alien", "hierarchy", "reader"]
    assert rig.machine.system is State.STOPPED


def test_the_system_can_start_again_after_a_stop(rig: Rig) -> None:
    rig.up()
    rig.give(sig.StopRequested())
    for name in reversed(ORDER):
        rig.give(sig.CheckpointDone(name, 1), sig.ModuleStopped(name, 1))
    assert acts(rig.give(sig.StartRequested())) == [sig.StartModule("reader", 2)]


def test_a_final_checkpoint_that_fails_stops_nobody(rig: Rig) -> None:
    rig.up()
    rig.give(sig.StopRequested())
    out = rig.give(sig.CheckpointFailed("alien", 1, "disk full"))
    assert acts(out) == [sig.StopModule("alien", 1)]
    assert payloads(out, events.ErrorOccurred)[0].message == "disk full"
    assert acts(rig.give(sig.CheckpointDone("alien", 1))) == [], "the second word on it changes nothing"


def test_a_drain_that_takes_too_long_is_killed(rig: Rig) -> None:
    rig.up()
    rig.give(sig.StopRequested())
    rig.clock.advance(29)
    assert rig.give(Tick()) == []
    rig.clock.advance(1)
    out = rig.give(Tick())
    assert acts(out) == [sig.KillModule("alien", 1), sig.TakeCheckpoint("hierarchy", 1)]
    assert payloads(out, events.ModuleShutdown)[0].status == "killed"


def test_stop_during_the_start(rig: Rig) -> None:
    rig.give(sig.StartRequested(), sig.ModuleReady("reader", 1))
    assert acts(rig.give(sig.StopRequested())) == [sig.StopModule("hierarchy", 1)], "not ready: nothing to checkpoint"
    assert acts(rig.give(sig.ModuleStopped("hierarchy", 1))) == [sig.TakeCheckpoint("reader", 1)]


def test_a_dead_module_is_restarted_and_the_others_are_left_alone(rig: Rig) -> None:
    rig.up()
    out = rig.die("hierarchy", "signal 9")
    assert acts(out) == [sig.KillModule("hierarchy", 1)]
    error = payloads(out, events.ErrorOccurred)[0]
    assert (error.module, error.message) == ("hierarchy", "signal 9")
    assert "running -> failed: signal 9" in error.story
    assert rig.machine.system is State.DEGRADED
    out = rig.restart("hierarchy")
    assert acts(out) == [sig.StartModule("hierarchy", 2)]
    assert (
        kinds(out).index("RecoveryAttempted") < kinds(out).index("StartModule") < kinds(out).index("RecoverySucceeded")
    )
    assert payloads(out, events.ModuleInitialized)[0].status == "restarted"
    assert rig.machine.system is State.RUNNING


def test_backoff_doubles_up_to_its_limit() -> None:
    rig = Rig(restart=RestartPolicy(limit=8, window_s=1000, first_backoff_s=0.1, max_backoff_s=1.0))
    rig.up()
    waits = []
    for _ in range(6):
        rig.die("alien")
        assert rig.machine.wake_ns is not None
        waits.append((rig.machine.wake_ns - rig.clock.monotonic_ns()) / 1e9)
        rig.restart("alien")
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


def test_too_many_restarts_degrade_that_module_only(rig: Rig) -> None:
    rig.up()
    for _ in range(5):
        rig.die("hierarchy")
        rig.restart("hierarchy")
    out = rig.die("hierarchy")
    assert [p.message for p in payloads(out, events.RecoveryFailed)] == ["5 restarts in 60 s did not help"]
    assert rig.machine.states() == {
        "system": "degraded",
        "reader": "running",
        "hierarchy": "degraded",
        "alien": "running",
    }
    assert rig.machine.wake_ns is None
    assert {a.module for a in acts(rig.log) if isinstance(a, sig.StartModule) and a.incarnation > 1} == {"hierarchy"}


def test_restarts_outside_the_window_are_forgotten(rig: Rig) -> None:
    rig.up()
    for _ in range(20):
        rig.die("alien")
        rig.restart("alien")
        rig.clock.advance(13)
    assert rig.machine.system is State.RUNNING


def test_a_person_recovers_a_degraded_module_with_a_clean_record() -> None:
    rig = Rig(restart=RestartPolicy(limit=1))
    rig.up()
    rig.die("alien")
    rig.restart("alien")
    rig.die("alien")
    assert rig.machine.modules["alien"].state is State.DEGRADED
    out = rig.give(sig.RecoverRequested("alien"))
    assert acts(out) == [sig.StartModule("alien", 3)]
    assert rig.give(sig.RecoverRequested("alien")) == [], "asked twice, started once"
    rig.give(sig.ModuleReady("alien", 3))
    assert rig.machine.system is State.RUNNING
    rig.die("alien")
    assert rig.machine.modules["alien"].state is State.FAILED, "its restarts count from nothing again"


def test_resuming_a_module_that_is_down_recovers_it() -> None:
    rig = Rig(restart=RestartPolicy(limit=0))
    rig.up()
    rig.give(sig.PauseRequested("alien"))
    rig.die("alien")
    assert acts(rig.give(sig.ResumeRequested("alien"))) == [sig.StartModule("alien", 2)]
    rig.give(sig.ModuleReady("alien", 2))
    assert rig.machine.modules["alien"].state is State.RUNNING


def test_a_person_need_not_wait_for_the_backoff(rig: Rig) -> None:
    rig.up()
    rig.die("alien")
    assert acts(rig.give(sig.RecoverRequested("alien"))) == [sig.StartModule("alien", 2)]


def test_a_start_that_takes_too_long_counts_as_a_failure(rig: Rig) -> None:
    rig.give(sig.StartRequested())
    rig.clock.advance(30)
    out = rig.give(Tick())
    assert acts(out) == [sig.KillModule("reader", 1), sig.StartModule("hierarchy", 1)], "the others do not wait for it"
    assert payloads(out, events.ErrorOccurred)[0].error_type == "StartTimedOut"
    rig.clock.advance(0.1)
    assert acts(rig.give(Tick())) == [sig.StartModule("reader", 2)]


def test_a_system_whose_modules_are_all_given_up_has_failed() -> None:
    rig = Rig(restart=RestartPolicy(limit=0), starts_at_once=3)
    rig.give(sig.StartRequested(), *(sig.ModuleDied(name, 1, "no") for name in ORDER))
    assert rig.machine.system is State.FAILED
    with pytest.raises(IllegalTransition, match="From failed it can go to: degraded, draining"):
        rig.give(sig.StartRequested())
    rig.give(sig.RecoverRequested("reader"))
    assert rig.machine.system is State.DEGRADED
    rig.give(sig.ModuleDied("reader", 2, "no"))
    assert rig.machine.system is State.FAILED
    assert acts(rig.give(sig.StopRequested())) == [sig.Finish()]


def test_pause_and_resume_of_the_system(rig: Rig) -> None:
    rig.up()
    assert acts(rig.give(sig.PauseRequested())) == [sig.PauseModule(name, 1) for name in ORDER]
    assert rig.give(sig.PauseRequested()) == []
    assert acts(rig.give(sig.ResumeRequested())) == [sig.ResumeModule(name, 1) for name in ORDER]
    assert rig.give(sig.ResumeRequested()) == []


def test_a_module_paused_by_name_outlives_the_pause_of_the_system(rig: Rig) -> None:
    rig.up()
    assert acts(rig.give(sig.PauseRequested("alien"))) == [sig.PauseModule("alien", 1)]
    assert rig.machine.system is State.RUNNING, "what a person chose is no damage"
    rig.give(sig.PauseRequested())
    assert [a.module for a in acts(rig.give(sig.ResumeRequested()))] == ["reader", "hierarchy"]
    assert acts(rig.give(sig.ResumeRequested("alien"))) == [sig.ResumeModule("alien", 1)]


def test_resuming_by_name_waits_for_the_system(rig: Rig) -> None:
    rig.up()
    rig.give(sig.PauseRequested("alien"), sig.PauseRequested())
    assert acts(rig.give(sig.ResumeRequested("alien"))) == []
    assert [a.module for a in acts(rig.give(sig.ResumeRequested()))] == list(ORDER)


def test_a_module_that_dies_in_a_pause_comes_back_paused(rig: Rig) -> None:
    rig.up()
    rig.give(sig.PauseRequested())
    rig.die("alien")
    assert acts(rig.restart("alien")) == [sig.StartModule("alien", 2, paused=True)]
    assert rig.machine.modules["alien"].state is State.PAUSED


def test_a_pause_that_comes_or_goes_during_a_start_reaches_the_module(rig: Rig) -> None:
    rig.give(sig.StartRequested(), sig.PauseRequested())
    assert sig.PauseModule("reader", 1) in rig.give(sig.ModuleReady("reader", 1))
    rig.give(sig.ResumeRequested())
    assert rig.machine.modules["reader"].state is State.RUNNING
    assert sig.ResumeModule("hierarchy", 1) in rig.give(sig.ModuleReady("hierarchy", 1)), "it was started paused"
    rig.give(sig.PauseRequested("alien"), sig.ModuleReady("alien", 1))
    assert rig.machine.states() == {"system": "running", "reader": "running", "hierarchy": "running", "alien": "paused"}


def test_a_system_that_was_paused_starts_paused(rig: Rig) -> None:
    rig.give(sig.Adopt("reader", 3, paused=True), sig.Adopt("alien", 2), sig.StartRequested(paused=True))
    rig.give(sig.ModuleReady("hierarchy", 1))
    assert rig.machine.states() == {"system": "paused", "reader": "paused", "hierarchy": "paused", "alien": "paused"}
    rig.give(sig.ResumeRequested())
    assert set(rig.machine.states().values()) == {"running"}


def test_when_every_adopted_module_is_paused_the_system_was(rig: Rig) -> None:
    rig.give(*(sig.Adopt(name, 1, paused=True) for name in ORDER), sig.StartRequested())
    assert rig.machine.system is State.PAUSED
    assert [a.module for a in acts(rig.give(sig.ResumeRequested()))] == list(ORDER)


@pytest.mark.parametrize("was_paused", [True, False])
def test_what_the_shell_knows_of_a_pause_outweighs_what_the_modules_look_like(rig: Rig, was_paused: bool) -> None:
    found = [sig.Adopt(name, 1, paused=not was_paused) for name in ORDER]
    rig.give(*found, sig.StartRequested(paused=was_paused))
    assert rig.machine.system is (State.PAUSED if was_paused else State.RUNNING)


def test_one_module_paused_by_name_stays_so_when_adopted(rig: Rig) -> None:
    rig.give(
        sig.Adopt("reader", 1, paused=True), sig.Adopt("hierarchy", 1), sig.Adopt("alien", 1), sig.StartRequested()
    )
    assert rig.machine.states() == {"system": "running", "reader": "paused", "hierarchy": "running", "alien": "running"}


def test_a_restarted_orchestrator_adopts_what_lives_and_starts_the_rest(rig: Rig) -> None:
    rig.give(sig.Adopt("reader", 4), sig.Adopt("alien", 1))
    assert rig.give(sig.Adopt("reader", 4)) == []
    assert acts(rig.give(sig.StartRequested())) == [sig.StartModule("hierarchy", 1)]
    out = rig.give(sig.ModuleReady("hierarchy", 1))
    assert payloads(out, events.SystemStarted)[0].status == "adopted"
    assert [p.module for p in payloads(rig.log, events.ModuleInitialized) if p.status == "adopted"] == [
        "reader",
        "alien",
    ]
    rig.die("reader")
    assert acts(rig.restart("reader")) == [sig.StartModule("reader", 5)], "incarnations go on from the adopted one"


def test_when_everything_lives_nothing_is_started(rig: Rig) -> None:
    rig.give(*(sig.Adopt(name, 1) for name in ORDER))
    assert acts(rig.give(sig.StartRequested())) == []
    assert rig.machine.system is State.RUNNING


def test_late_reports_are_counted_and_harm_nobody(rig: Rig) -> None:
    rig.up()
    rig.die("alien")
    rig.restart("alien")
    late = [
        sig.ModuleDied("alien", 1, "old news"),
        sig.ModuleReady("alien", 1),
        sig.ModuleStopped("alien", 1),
        sig.CheckpointDone("alien", 2),
        sig.CheckpointFailed("alien", 2, "?"),
        sig.StartTimedOut("alien", 2),
        sig.DrainTimedOut("alien", 2),
    ]
    assert rig.give(*late) == []
    assert rig.machine.stale == len(late)
    assert rig.machine.system is State.RUNNING


def test_a_module_that_stops_unasked_has_failed(rig: Rig) -> None:
    rig.up()
    out = rig.give(sig.ModuleStopped("alien", 1))
    assert payloads(out, events.ErrorOccurred)[0].error_type == "ModuleStopped"
    assert rig.machine.modules["alien"].state is State.FAILED


def test_deaths_while_draining(rig: Rig) -> None:
    rig.up()
    rig.give(sig.StopRequested())
    assert acts(rig.die("reader")) == [sig.KillModule("reader", 1)], "its turn has not come; nobody restarts it"
    assert acts(rig.die("alien")) == [sig.KillModule("alien", 1), sig.TakeCheckpoint("hierarchy", 1)]
    out = rig.give(sig.CheckpointDone("hierarchy", 1), sig.ModuleStopped("hierarchy", 1))
    assert acts(out) == [sig.StopModule("hierarchy", 1), sig.Finish()]


def test_a_module_waiting_for_its_restart_does_not_hold_up_the_stop(rig: Rig) -> None:
    rig.up()
    rig.die("alien")
    out = rig.give(sig.StopRequested())
    assert acts(out) == [sig.TakeCheckpoint("hierarchy", 1)]
    rig.clock.advance(1)
    assert rig.give(Tick()) == []


@pytest.mark.parametrize(
    "request_",
    [sig.PauseRequested(), sig.ResumeRequested(), sig.RecoverRequested("alien"), sig.PauseRequested("alien")],
)
def test_what_makes_no_sense_when_stopped_raises_with_the_story(rig: Rig, request_: Any) -> None:
    before = rig.machine.snapshot()
    with pytest.raises(IllegalTransition) as caught:
        rig.give(request_)
    assert "story" in caught.value.fields
    assert rig.machine.snapshot() == before, "a refusal changes nothing"


def test_what_makes_no_sense_while_draining(rig: Rig) -> None:
    rig.up()
    rig.die("alien")
    rig.give(sig.StopRequested())
    for request in (sig.StartRequested(), sig.PauseRequested(), sig.ResumeRequested(), sig.RecoverRequested("reader")):
        if isinstance(request, sig.RecoverRequested):
            assert rig.give(request) == [], "it still runs"
            continue
        with pytest.raises(IllegalTransition):
            rig.give(request)
    rig.die("reader")
    with pytest.raises(IllegalTransition, match="while the system is draining"):
        rig.give(sig.RecoverRequested("reader"))
    assert rig.give(sig.StopRequested()) == []


def test_a_start_counts_on_from_the_last_one_that_is_remembered(rig: Rig) -> None:
    rig.give(sig.Remember("reader", 3), sig.Remember("alien", 0))
    assert acts(rig.give(sig.StartRequested())) == [sig.StartModule("reader", 4)]
    rig.give(sig.Remember("reader", 9))
    assert rig.machine.modules["reader"].incarnation == 4, "it lives: what was before matters no more"


def test_who_was_given_up_stays_down_until_a_person_asks(rig: Rig) -> None:
    rig.give(sig.Remember("reader", 3), sig.Remember("hierarchy", 3), sig.Remember("alien", 7, is_given_up=True))
    rig.give(*(sig.Adopt(name, 3) for name in ("reader", "hierarchy")))
    assert acts(rig.give(sig.StartRequested())) == []
    assert (rig.machine.system, rig.machine.modules["alien"].state) == (State.DEGRADED, State.DEGRADED)
    assert acts(rig.give(sig.RecoverRequested("alien"))) == [sig.StartModule("alien", 8)]


def test_who_was_given_up_and_lives_is_adopted(rig: Rig) -> None:
    rig.give(*(sig.Remember(name, 3, is_given_up=True) for name in ORDER), *(sig.Adopt(name, 3) for name in ORDER))
    rig.give(sig.StartRequested())
    assert rig.machine.system is State.RUNNING


def test_failures_of_the_life_before_count(rig: Rig) -> None:
    ages = tuple(n * SECOND_NS for n in (5, 10, 20, 50))
    rig.give(*(sig.Remember(name, 5, failure_ages_ns=ages if name == "alien" else ()) for name in ORDER))
    rig.give(*(sig.Adopt(name, 5) for name in ORDER), sig.StartRequested())
    rig.die("alien")
    rig.restart("alien")
    rig.die("alien")
    assert rig.machine.modules["alien"].state is State.DEGRADED, "the sixth failure within a minute"


def test_a_busy_module_is_adopted_when_it_answers(rig: Rig) -> None:
    rig.give(*(sig.Adopt(name, 2, is_ready=name != "alien") for name in ORDER))
    assert acts(rig.give(sig.StartRequested())) == [], "nothing is started in its place"
    assert rig.machine.system is State.INITIALIZING
    out = rig.give(sig.ModuleReady("alien", 2))
    assert rig.machine.system is State.RUNNING
    assert [p.status for p in payloads(out, events.ModuleInitialized)] == ["adopted"]


def test_a_busy_module_that_never_answers_is_started_again(rig: Rig) -> None:
    rig.give(*(sig.Adopt(name, 2, is_ready=name != "alien") for name in ORDER), sig.StartRequested())
    rig.clock.advance(rig.options.start_timeout_s)
    assert acts(rig.give(Tick())) == [sig.KillModule("alien", 2)]
    assert acts(rig.restart("alien")) == [sig.StartModule("alien", 3)]
    assert rig.machine.system is State.RUNNING


def test_a_recovery_that_makes_progress_has_all_the_time_it_needs(rig: Rig) -> None:
    rig.give(sig.StartRequested())
    for _ in range(5):
        rig.clock.advance(rig.options.start_timeout_s - 1)
        assert acts(rig.give(Tick(), sig.ModuleProgressed("reader", 1))) == []
    rig.clock.advance(rig.options.start_timeout_s)
    assert acts(rig.give(Tick())) == [sig.KillModule("reader", 1), sig.StartModule("hierarchy", 1)]


def test_state_changes_name_the_start_they_are_about(rig: Rig) -> None:
    rig.up()
    rig.die("alien")
    changes = payloads(rig.restart("alien"), events.ModuleStateChanged)
    assert {p.incarnation for p in changes if p.module == "alien"} == {2}
    assert {p.incarnation for p in payloads(rig.log, events.ModuleStateChanged) if p.module == "system"} == {0}


def test_a_stop_while_a_module_before_an_adopted_one_waits_for_its_start(rig: Rig) -> None:
    rig.give(sig.Adopt("alien", 1))
    rig.give(sig.StartRequested())
    rig.give(sig.StopRequested())
    assert rig.machine.states() == {
        "system": "draining",
        "reader": "initializing",
        "hierarchy": "stopped",
        "alien": "draining",
    }
    rig.machine.validate()


def test_adopting_at_the_wrong_time(rig: Rig) -> None:
    with pytest.raises(BadInput, match="count from 1"):
        rig.give(sig.Adopt("reader", 0))
    rig.up()
    with pytest.raises(IllegalTransition):
        rig.give(sig.Adopt("reader", 7))


def test_an_unknown_module_is_named_with_those_that_exist(rig: Rig) -> None:
    with pytest.raises(BadInput, match="Modules: reader, hierarchy, alien"):
        rig.give(sig.RecoverRequested("braid"))


def test_a_snapshot_of_other_modules_is_refused(rig: Rig) -> None:
    other = Lifecycle(rig.clock, LifecycleOptions(order=("reader",)))
    with pytest.raises(BadInput, match="other modules"):
        rig.machine.restore(other.snapshot())


def test_deadlines_survive_a_restart_of_the_machine_on_another_clock(rig: Rig) -> None:
    rig.up()
    rig.die("alien")
    fresh = VirtualClock()
    fresh.advance(12345)
    other = Lifecycle(fresh, rig.options)
    other.restore(rig.machine.snapshot())
    assert other.wake_ns == fresh.monotonic_ns() + 100_000_000
