"""A pause for a check of a module's recovery: over its death, beside what a person wants, and not beyond the orchestrator that checks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.test_lifecycle_machine import Rig, acts, payloads, running
from tori.errors import IllegalTransition
from tori.events import system as events
from tori.local import LocalSystem
from tori.orchestrator import signal as sig
from tori.orchestrator.state import State

BEGIN, END = sig.CheckRequested("alien"), sig.CheckRequested("alien", ends=True)
PAUSE, RESUME = sig.PauseRequested("alien"), sig.ResumeRequested("alien")


rig = pytest.fixture(running)


def kept(*outs: list[Any]) -> list[str]:
    """Return which modules the ledger takes for paused by a check only, after what the machine said."""
    with LocalSystem(modules=("orchestrator",)) as mind:
        host = mind.hosts["orchestrator"]
        for out in outs:
            host.emit([], [(payload, "") for payload in payloads(out, events.ModuleStateChanged)])
        host.module.restore(host.module.snapshot())
        found: list[str] = host.query("checked", {})
        return found


def test_the_module_rests_over_its_death_and_goes_on_after_the_check(rig: Rig) -> None:
    outs = [rig.give(BEGIN)]
    assert acts(outs[0]) == [sig.PauseModule("alien", 1)]
    outs.append(rig.die("alien"))
    assert kept(*outs) == ["alien"], "it may be found paused from now on, at any moment"
    assert acts(restarted := rig.restart("alien")) == [sig.StartModule("alien", 2, paused=True)]
    assert rig.machine.modules["alien"].state is State.PAUSED
    assert kept(*outs, restarted) == ["alien"]
    ended = rig.give(END)
    assert acts(ended) == [sig.ResumeModule("alien", 2)]
    assert kept(*outs, restarted, ended) == []


def test_a_person_s_pause_during_the_check_outlasts_it(rig: Rig) -> None:
    outs = [rig.give(BEGIN), rig.give(PAUSE)]
    assert rig.give(PAUSE) == []
    assert kept(*outs) == [], "a person wants it by now"
    assert acts(rig.give(END)) == []
    assert rig.machine.modules["alien"].state is State.PAUSED
    assert acts(rig.give(RESUME)) == [sig.ResumeModule("alien", 1)]


def test_a_person_s_pause_while_it_starts_again_outlasts_it_too(rig: Rig) -> None:
    outs = [rig.give(BEGIN), rig.die("alien")]
    rig.clock.advance(60)
    outs += [rig.give(sig.RecoverRequested("alien")), rig.give(PAUSE), rig.give(sig.ModuleReady("alien", 2))]
    assert kept(*outs) == []
    assert acts(rig.give(END)) == []


def test_a_person_cannot_end_the_pause_of_a_check_and_takes_back_only_his_own(rig: Rig) -> None:
    outs = [rig.give(BEGIN)]
    assert rig.give(RESUME) == []
    outs += [rig.give(PAUSE), rig.give(RESUME)]
    assert acts(outs[-1]) == []
    assert kept(*outs) == ["alien"]
    assert acts(rig.give(sig.PauseRequested())) == [sig.PauseModule("reader", 1), sig.PauseModule("hierarchy", 1)]
    assert [a.module for a in acts(rig.give(sig.ResumeRequested()))] == ["reader", "hierarchy"]
    assert acts(rig.give(END)) == [sig.ResumeModule("alien", 1)]


def test_the_end_of_a_check_waits_for_the_system(rig: Rig) -> None:
    rig.give(BEGIN, sig.PauseRequested())
    assert acts(rig.give(END)) == []
    assert {a.module for a in acts(rig.give(sig.ResumeRequested()))} == {"reader", "hierarchy", "alien"}


def test_a_person_s_pause_after_a_check_that_ended_while_all_was_paused_is_his(rig: Rig) -> None:
    outs = [rig.give(BEGIN), rig.give(sig.PauseRequested()), rig.give(END)]
    assert kept(*outs) == []
    assert rig.give(END) == []
    outs += [rig.give(PAUSE), rig.give(sig.ResumeRequested())]
    assert rig.machine.modules["alien"].state is State.PAUSED
    assert kept(*outs) == []


def test_a_check_may_end_while_the_module_starts_again(rig: Rig) -> None:
    outs = [rig.give(BEGIN), rig.die("alien")]
    rig.clock.advance(60)
    stimuli = sig.RecoverRequested("alien"), sig.PauseRequested(), END, sig.ModuleReady("alien", 2), PAUSE
    assert kept(*outs, *[rig.give(stimulus) for stimulus in stimuli]) == []


def test_only_what_runs_is_checked(rig: Rig) -> None:
    rig.give(PAUSE)
    with pytest.raises(IllegalTransition):
        rig.give(BEGIN)
    assert not rig.machine.modules["alien"].is_checked
