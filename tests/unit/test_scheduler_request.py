"""The scheduler: requests, admission, and what a crash leaves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.scheduling import ASKED, METRICS, SCAN, Rig, acts, begin, names, started
from tori.clock import VirtualClock
from tori.errors import BadInput, BadSettings, IllegalTransition, PermanentError
from tori.events import system as events
from tori.machine import Emit, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmitDecision, Candidate, HoldDecision, SlotPolicy
from tori.scheduler.machine import Scheduler
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Priority, TaskSpec, default_specs, demand_specs
from tori.scheduler.transition import RUN_TABLE, RunState
from tori.scheduler.trigger import IntervalTrigger

# -- requests ---------------------------------------------------------------------------------------------------------


def test_a_run_on_demand_starts_at_once_changed_or_not() -> None:
    rig = Rig()
    rig.give(sig.VersionMoved("wormhole", (1, 1)))
    run = begin(rig)
    rig.give(sig.RunFinished(run.run_id, 1))
    assert [a.run_id for a in started(rig.give(sig.RunRequested("wormhole_scan", "mine")))] == ["mine"]
    assert rig.give(sig.RunRequested("wormhole_scan", "mine")) == [], "the same request twice is one run"


def test_a_request_while_a_run_is_under_way_is_skipped_and_says_why() -> None:
    rig = Rig()
    run = begin(rig)
    assert rig.give(sig.RunRequested("wormhole_scan", "mine")) == []
    mine = rig.machine.run("mine")
    assert mine.state is RunState.SKIPPED
    assert run.run_id in mine.error


OWN = tuple(spec for spec in (*default_specs(), *demand_specs()) if not spec.module)


@pytest.mark.parametrize("spec", OWN, ids=lambda spec: spec.task_id)
def test_the_orchestrators_own_work_says_that_it_cannot_be_interrupted(spec: TaskSpec) -> None:
    rig = Rig(spec)
    rig.give(sig.PauseRequested(), sig.RunRequested(spec.task_id, "waits"), sig.CancelRequested("waits"))
    assert rig.machine.run("waits").state is RunState.CANCELLED, "it had not begun"
    rig.give(sig.ResumeRequested(), sig.RunRequested(spec.task_id, "mine"))
    with pytest.raises(PermanentError, match="it cannot be interrupted"):
        rig.give(sig.CancelRequested("mine"))
    assert acts(rig.after(spec.timeout_s)) == []
    assert rig.machine.story("mine")[-1].text == f"under way for {spec.timeout_s:.0f} s; it cannot be interrupted"
    assert [i for i in rig.give(sig.ThrottleRequested(sig.Throttle.STOPPED)) if isinstance(i, sig.CancelRun)] == []
    assert acts(rig.after(spec.timeout_s)) == []
    rig.give(sig.RunFinished("mine", 1))
    assert rig.machine.run("mine").state is RunState.SUCCEEDED


def test_a_request_hurries_a_run_that_waits() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    assert [a.attempt for a in started(rig.give(sig.RunRequested("wormhole_scan")))] == [2]


def test_a_request_that_has_to_wait_is_kept() -> None:
    rig = Rig(ASKED)
    rig.give(sig.PauseRequested())
    record = sig.RunQueued("asked", "mine", due_wall_ns=rig.clock.wall_ns())
    assert rig.give(sig.RunRequested("asked", "mine")) == [sig.Keep(record)]
    assert rig.machine.holds() == [("mine", "the scheduler is paused")]
    rig.crash()
    rig.give(sig.Recovered())
    assert rig.machine.holds() == [("mine", "the scheduler is paused")], "and so is the pause"
    assert [a.run_id for a in started(rig.give(sig.ResumeRequested()))] == ["mine"]


def test_a_waiting_request_can_be_cancelled() -> None:
    rig = Rig(ASKED)
    rig.give(sig.PauseRequested(), sig.RunRequested("asked", "mine"))
    assert names(rig.give(sig.CancelRequested("mine"))) == ["TaskCancelled"]


def test_unknown_tasks_and_runs_are_named() -> None:
    rig = Rig()
    with pytest.raises(BadInput, match="Tasks: wormhole_scan"):
        rig.give(sig.RunRequested("wormhole"))
    with pytest.raises(BadInput, match="no run 'x'"):
        rig.give(sig.CancelRequested("x"))
    with pytest.raises(BadInput):
        rig.give(sig.PauseRequested("x"))


def test_a_paused_scheduler_begins_nothing_and_catches_up_once() -> None:
    rig = Rig()
    out = rig.give(sig.PauseRequested(), sig.PauseRequested())
    assert out == [sig.Keep(sig.TaskPaused("", paused=True))]
    assert rig.machine.wake_ns is None
    assert rig.after(300) == []
    assert len(started(rig.give(sig.ResumeRequested()))) == 1


def test_a_paused_task_rests_but_runs_when_asked() -> None:
    rig = Rig(SCAN, METRICS)
    rig.give(sig.PauseRequested("wormhole_scan"))
    assert {a.spec.task_id for a in started(rig.after(60))} == {"metrics"}
    [run] = started(rig.give(sig.RunRequested("wormhole_scan")))
    rig.give(sig.RunFinished(run.run_id, 1))
    assert len(started(rig.give(sig.ResumeRequested("wormhole_scan")))) == 1, "it was due meanwhile"


def test_a_paused_task_is_not_retried_until_the_pause_is_over() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.PauseRequested("wormhole_scan"), sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    assert started(rig.after(10)) == []
    assert rig.machine.holds() == [(run.run_id, "its task is paused")]
    assert [a.attempt for a in started(rig.give(sig.ResumeRequested("wormhole_scan")))] == [2]


def test_a_scan_waits_for_its_module() -> None:
    rig = Rig()
    rig.give(sig.ModuleAvailable("wormhole", available=False))
    assert rig.after(60) == []
    rig.give(sig.RunRequested("wormhole_scan", "mine"))
    assert rig.machine.holds() == [("mine", "module wormhole is not running")]
    assert [a.run_id for a in started(rig.give(sig.ModuleAvailable("wormhole", available=True)))] == ["mine"]


def test_a_stop_ends_what_runs_and_begins_nothing() -> None:
    rig = Rig(SCAN, ASKED)
    run = begin(rig)
    assert acts(rig.give(sig.DrainRequested())) == [sig.CancelRun(run.run_id, 1)]
    assert not rig.machine.is_idle
    assert names(rig.give(sig.RunCancelled(run.run_id, 1))) == ["Keep", "TaskCancelled"]
    assert rig.machine.is_idle
    assert rig.after(300) == []
    assert started(rig.give(sig.RunRequested("asked", "late"))) == []
    assert rig.machine.holds() == [(run.run_id, "the system stops"), ("late", "the system stops")]


# -- admission --------------------------------------------------------------------------------------------------------


def test_slots_go_to_the_most_urgent() -> None:
    specs = [TaskSpec(task_id=p.name, task_type=p.name, priority=p, trigger=IntervalTrigger(1)) for p in Priority]
    rig = Rig(*reversed(specs), admission=SlotPolicy(2))
    out = started(rig.after(1))
    assert [a.spec.task_id for a in out] == ["CRITICAL", "HIGH"]
    assert {reason for _, reason in rig.machine.holds()} == {"all 2 slots are taken"}
    out = started(rig.give(sig.RunFinished(out[0].run_id, 1)))
    assert [a.spec.task_id for a in out] == ["NORMAL"]


def test_sixteen_runs_at_once_by_default() -> None:
    rig = Rig(*(TaskSpec(task_id=f"t{n}", task_type="t", trigger=IntervalTrigger(1)) for n in range(20)))
    assert len(started(rig.after(1))) == 16


@pytest.mark.parametrize(
    ("pressure", "expected"), [(Pressure.NONE, "0 1 2 3 4"), (Pressure.HIGH, "0 1 2"), (Pressure.SEVERE, "0")]
)
def test_pressure_holds_what_is_less_urgent(pressure: Pressure, expected: str) -> None:
    candidates = [Candidate(p, 0, str(int(p))) for p in Priority]
    decisions = SlotPolicy().decide(candidates, 0, pressure)
    assert " ".join(d.run_id for d in decisions if isinstance(d, AdmitDecision)) == expected
    assert all("pressure" in d.reason for d in decisions if isinstance(d, HoldDecision))


def test_when_pressure_falls_what_was_held_runs() -> None:
    rig = Rig(ASKED)
    rig.give(PressureChanged(Pressure.HIGH), sig.RunRequested("asked", "mine"))
    assert rig.machine.holds() == [("mine", "low runs wait: pressure is high")]
    assert [a.run_id for a in started(rig.give(PressureChanged(Pressure.NONE)))] == ["mine"]


# -- crashes ----------------------------------------------------------------------------------------------------------


def test_a_run_that_was_under_way_is_looked_for_before_anything_else_of_its_task_runs() -> None:
    rig = Rig()
    run = begin(rig)
    rig.clock.advance(40)
    rig.crash()
    assert acts(rig.give(sig.Recovered())) == [sig.CancelRun(run.run_id, 1, force=True)]
    assert started(rig.after(5)) == [], "it may still run"
    assert rig.after(5) == [sig.CancelRun(run.run_id, 1, force=True)]
    out = rig.give(sig.RunLost(run.run_id, 1))
    assert names(out) == ["Keep", "TaskFailed"]
    assert [(a.run_id, a.attempt) for a in started(rig.after(1))] == [(run.run_id, 2)]


def test_a_retry_survives_a_crash_in_either_order_of_its_facts() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    assert [type(f).__name__ for f, _ in rig.facts] == ["TaskStarted", "RunRetrying", "TaskFailed"]
    for facts in (rig.facts, [rig.facts[0], rig.facts[2], rig.facts[1]]):
        machine = rig.create()
        for fact, time_ns in facts:
            machine.apply(fact, time_ns)
        assert [a.attempt for a in started(machine.handle(sig.Recovered()))] == [2]
        machine.validate()
        assert machine.task("wormhole_scan").counts.get("failed", 0) == 0


def test_what_ended_stays_ended_after_a_crash() -> None:
    rig = Rig(SCAN, METRICS)
    done = started(rig.after(30))
    rig.give(*(sig.RunFinished(a.run_id, 1) for a in done))
    [failed] = started(rig.after(10))
    rig.give(sig.RunFailed(failed.run_id, 1, "no", temporary=False))
    [cancelled] = started(rig.after(10))
    rig.give(sig.CancelRequested(cancelled.run_id), sig.RunCancelled(cancelled.run_id, 1))
    before = {run.run_id: (run.state, run.error, run.duration_s, run.ended_wall_ns) for run in rig.machine.runs()}
    rig.crash()
    assert acts(rig.give(sig.Recovered())) == []
    assert {r.run_id: (r.state, r.error, r.duration_s, r.ended_wall_ns) for r in rig.machine.runs()} == before


def test_nothing_due_is_forgotten_by_a_crash() -> None:
    rig = Rig(SCAN, METRICS)
    done = started(rig.after(30))
    rig.give(*(sig.RunFinished(a.run_id, 1) for a in done))
    rig.clock.advance(25)
    rig.crash()
    rig.give(sig.Recovered())
    assert rig.wait() == 0, "metrics were due while nobody was there"
    assert [a.spec.task_id for a in started(rig.give(Tick()))] == ["metrics"]
    assert {a.spec.task_id for a in started(rig.after(5))} == {"wormhole_scan"}


def test_a_task_that_never_ran_is_due_even_if_the_orchestrator_dies_more_often_than_its_interval() -> None:
    rig = Rig()
    rig.facts.append((events.SystemStarted("cold"), rig.clock.wall_ns()))
    for _ in range(3):
        rig.clock.advance(12)
        rig.crash()
        rig.give(sig.Recovered())
    assert len(started(rig.give(Tick()))) == 1


def test_a_run_of_a_task_that_no_longer_exists_is_cancelled() -> None:
    rig = Rig(SCAN, METRICS)
    [run] = [a for a in started(rig.after(30)) if a.spec is SCAN]
    rig.specs = (METRICS,)
    rig.crash()
    out = rig.give(sig.Recovered())
    assert sig.CancelRun(run.run_id, 1, force=True) in out
    assert [i.payload.error for i in out if isinstance(i, Emit)] == ["its task no longer exists"]
    assert rig.machine.run(run.run_id).state is RunState.CANCELLED


def test_facts_about_nothing_known_are_ignored() -> None:
    rig = Rig()
    for fact in (
        events.TaskCompleted("wormhole_scan", "unknown", "wormhole_scan"),
        events.ModuleInitialized("cold"),
        sig.TaskPaused("gone", paused=True),
        sig.RunRetrying("unknown", 1),
    ):
        rig.machine.apply(fact, 1)
    rig.give(sig.Recovered())
    assert rig.machine.runs() == []


def test_the_pause_of_a_task_survives_a_crash() -> None:
    rig = Rig()
    rig.give(sig.PauseRequested("wormhole_scan"))
    rig.crash()
    rig.give(sig.Recovered())
    assert rig.machine.task("wormhole_scan").is_paused


# -- rules ------------------------------------------------------------------------------------------------------------


def test_an_illegal_edge_raises_with_the_story() -> None:
    rig = Rig()
    run = begin(rig)
    with pytest.raises(IllegalTransition, match="cannot go from running to due") as caught:
        RUN_TABLE.check(run.run_id, RunState.RUNNING, RunState.DUE, rig.machine._desk.stories)
    assert "due -> admitted: attempt 1" in caught.value.fields["story"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: TaskSpec(task_id="", task_type="x"),
        lambda: TaskSpec(task_id="x", task_type="x", timeout_s=0),
        lambda: RetryPolicy(retries=-1),
        lambda: SlotPolicy(0),
        lambda: Scheduler([SCAN, SCAN], VirtualClock()),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Any) -> None:
    with pytest.raises(BadSettings):
        make()
