"""Holding background work back: by pressure that a probe reads, and by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.support.scheduling import ASKED, METRICS, Rig
from tori.clock import VirtualClock
from tori.events.system import TaskCancelled, TaskFailed, TaskStarted, WorkThrottled
from tori.machine import Emit
from tori.resources.pressure import Pressure, PressureChanged, PressureMachine, Sample, thresholds_of
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmitDecision, Candidate, SlotPolicy, Usage
from tori.scheduler.machine import Scheduler
from tori.scheduler.spec import Priority, TaskSpec, default_specs
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import IntervalTrigger

CHECK_S = 5.0
URGENT = TaskSpec(task_id="urgent", task_type="urgent", priority=Priority.CRITICAL)
DUE = TaskSpec(task_id="due", task_type="due", trigger=IntervalTrigger(30), priority=Priority.NORMAL)


def started(out: list[Any]) -> list[str]:
    return [i.run_id for i in out if isinstance(i, sig.StartRun)]


def cancelled(out: list[Any]) -> list[tuple[str, bool]]:
    return [(i.run_id, i.force) for i in out if isinstance(i, sig.CancelRun)]


def told(out: list[Any], kind: type) -> list[Any]:
    return [i.payload for i in out if isinstance(i, Emit) and isinstance(i.payload, kind)]


class Machine:
    """A scheduler and a pressure machine that reads what the test puts there, once every check interval of virtual time."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.memory = 0.5
        limits = {"cpu_share": 0.8, "memory_share": 0.85, "disk_share": 0.9}
        self.pressure = PressureMachine(thresholds_of(limits))

    def check(self) -> list[Any]:
        """Let one interval pass and look, as ``PressureWatch`` does."""
        out = self.rig.after(CHECK_S)
        for instruction in self.pressure.handle(Sample({"memory": self.memory, "cpu": 0.1, "disk": 0.1})):
            if isinstance(instruction, PressureChanged):
                out += self.rig.give(instruction)
        return out


def test_under_memory_pressure_background_work_stops_within_one_check_and_resumes_by_itself() -> None:
    machine = Machine(Rig(ASKED, URGENT))
    rig = machine.rig
    assert started(rig.give(sig.RunRequested("asked", "low"), sig.RunRequested("urgent", "critical"))) == [
        "low",
        "critical",
    ]
    assert cancelled(machine.check()) == []

    machine.memory = 0.91
    out = machine.check()
    assert cancelled(out) == [("low", True)], "killed at once; what is critical goes on"
    assert told(out, WorkThrottled) == [WorkThrottled("high", "off", "memory at 91%", "pressure", ("low",))]
    out = rig.give(sig.RunCancelled("low", 1))
    (stopped,) = told(out, TaskCancelled)
    assert (stopped.error, told(out, TaskFailed)) == ("memory at 91%", []), "nothing has failed"
    assert rig.machine.run("low").state is RunState.RETRYING
    assert rig.machine.run("low").hold == "low runs wait: pressure is high (memory at 91%)"
    assert started(machine.check()) == []

    machine.memory = 0.5
    out = machine.check()
    assert started(out) == ["low"], "by itself"
    assert told(out, WorkThrottled) == [WorkThrottled("off", "high", "memory at 50%", "pressure")]
    assert rig.machine.run("low").attempt == 2


def test_attempts_that_were_stopped_for_others_do_not_count_as_tries() -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "x"))
    for attempt in range(1, 6):
        rig.give(PressureChanged(Pressure.HIGH, sheds=True), sig.RunLost("x", attempt))
        assert started(rig.give(PressureChanged(Pressure.NONE))) == ["x"], attempt
    rig.give(sig.RunFailed("x", 6, "no", temporary=True))
    assert rig.machine.run("x").state is RunState.RETRYING, "its first try of four"


def test_pressure_of_cpu_stops_nothing_that_runs() -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "x"))
    assert cancelled(rig.give(PressureChanged(Pressure.HIGH))) == []
    assert rig.machine.run("x").is_active


def test_memory_alone_sheds_also_when_something_else_was_scarce_before() -> None:
    pressure = PressureMachine()
    for _ in range(3):
        out = pressure.handle(Sample({"cpu": 0.9, "memory": 0.5}))
    assert out[-1:] == [PressureChanged(Pressure.HIGH, reason="cpu at 90%")]
    out = pressure.handle(Sample({"cpu": 0.9, "memory": 0.9}))
    both = "cpu at 90%, memory at 90%"
    assert out[-1:] == [PressureChanged(Pressure.HIGH, sheds=True, reason=both)], (
        "the level is the same, what it asks for is not"
    )


def test_every_level_of_pressure_is_told_with_its_reason_and_so_is_its_end() -> None:
    rig = Rig(ASKED)
    found = [
        told(rig.give(PressureChanged(pressure, reason=reason)), WorkThrottled)
        for pressure, reason in (
            (Pressure.HIGH, "cpu at 90%"),
            (Pressure.HIGH, "cpu at 91%"),
            (Pressure.SEVERE, "disk at 98%"),
            (Pressure.NONE, "disk at 80%"),
        )
    ]
    assert found == [
        [WorkThrottled("high", "off", "cpu at 90%", "pressure")],
        [],
        [WorkThrottled("severe", "high", "disk at 98%", "pressure")],
        [WorkThrottled("off", "severe", "disk at 80%", "pressure")],
    ]


def test_what_holds_a_run_is_what_is_scarce_now() -> None:
    rig = Rig(ASKED)
    rig.give(PressureChanged(Pressure.HIGH, reason="memory at 90%"), sig.RunRequested("asked", "x"))
    rig.give(PressureChanged(Pressure.HIGH, reason="disk at 93%"))
    assert rig.machine.run("x").hold == "low runs wait: pressure is high (disk at 93%)"


def test_another_reason_kills_nothing_again() -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "x"))
    assert cancelled(rig.give(PressureChanged(Pressure.HIGH, sheds=True, reason="memory at 90%"))) == [("x", True)]
    assert rig.give(PressureChanged(Pressure.HIGH, sheds=True, reason="memory at 91%")) == []


def test_the_pressure_that_a_life_begins_with_is_told_once() -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "x"))
    rig.crash()
    severe = PressureChanged(Pressure.SEVERE, sheds=True, reason="memory at 96%")
    told_first = told(rig.give(sig.Recovered((), severe)), WorkThrottled)
    assert told_first == [WorkThrottled("severe", "off", "memory at 96%", "pressure")]
    assert rig.give(severe) == []


@pytest.mark.parametrize("last", [Pressure.SEVERE, Pressure.NONE])
def test_after_a_restart_pressure_is_what_is_measured_then_and_no_hand_s(last: Pressure) -> None:
    rig = Rig(ASKED)
    rig.give(sig.ThrottleRequested(sig.Throttle.HIGH, "a demo"))
    rig.give(PressureChanged(Pressure.HIGH, reason="cpu at 90%"), PressureChanged(last))
    rig.crash()
    rig.give(sig.Recovered())
    assert rig.machine.throttle == (sig.Throttle.HIGH, "a demo")
    rig.give(sig.ThrottleRequested(sig.Throttle.OFF))
    assert started(rig.give(sig.RunRequested("asked", "x"))) == ["x"]


def test_what_a_person_insists_on_runs_under_pressure_and_is_not_stopped() -> None:
    rig = Rig(ASKED)
    rig.give(PressureChanged(Pressure.SEVERE, reason="memory at 96%"))
    assert started(rig.give(sig.RunRequested("asked", "patient"))) == []
    assert rig.machine.run("patient").hold == "low runs wait: pressure is severe (memory at 96%)"
    assert started(rig.give(sig.RunRequested("asked", "again", force=True))) == ["patient"], "the one that waits"
    assert cancelled(rig.give(PressureChanged(Pressure.SEVERE, sheds=True))) == []
    rig.give(sig.RunFinished("patient", 1))
    assert started(rig.give(sig.RunRequested("asked", "forced", force=True))) == ["forced"]


def test_insisting_outlives_a_crash() -> None:
    rig = Rig(ASKED, admission=SlotPolicy(1))
    rig.give(PressureChanged(Pressure.HIGH), sig.PauseRequested(), sig.RunRequested("asked", "x", force=True))
    rig.crash()
    rig.give(sig.Recovered(), PressureChanged(Pressure.HIGH))
    assert started(rig.give(sig.ResumeRequested())) == ["x"]


def test_under_high_pressure_what_is_let_in_has_half_of_the_slots() -> None:
    policy = SlotPolicy(4, groups={"scans": 2})
    waiting = [Candidate(Priority.NORMAL, n, f"n{n}", "scans") for n in range(3)]
    waiting += [Candidate(Priority.HIGH, n, f"h{n}") for n in range(4)]

    def admitted(pressure: Pressure) -> list[str]:
        return [d.run_id for d in policy.decide(waiting, 0, pressure, Usage()) if isinstance(d, AdmitDecision)]

    assert admitted(Pressure.NONE) == ["h0", "h1", "h2", "h3"]
    assert admitted(Pressure.HIGH) == ["h0", "h1"]
    urgent = Candidate(Priority.CRITICAL, 9, "critical")
    waiting.append(urgent)
    assert admitted(Pressure.HIGH) == ["critical", "h0"]
    waiting[-1] = urgent._replace(priority=Priority.LOW, is_forced=True, run_id="forced")
    assert admitted(Pressure.HIGH) == ["h0", "h1", "forced"]


def test_a_throttle_by_hand_counts_as_pressure_and_says_why() -> None:
    rig = Rig(ASKED, URGENT)
    (event,) = told(rig.give(sig.ThrottleRequested(sig.Throttle.HIGH, "a demo")), WorkThrottled)
    assert event == WorkThrottled("high", "off", "a demo")
    assert rig.give(sig.ThrottleRequested(sig.Throttle.HIGH, "a demo")) == [], "asked for twice"
    assert started(rig.give(sig.RunRequested("asked", "x"), sig.RunRequested("urgent", "u"))) == ["u"]
    assert rig.machine.run("x").hold == "low runs wait: pressure is high (throttled by hand, a demo)"
    rig.give(PressureChanged(Pressure.NONE))
    assert started(rig.give(PressureChanged(Pressure.HIGH))) == [], "the machine's own pressure comes and goes"
    assert started(rig.give(PressureChanged(Pressure.NONE))) == []
    assert started(rig.give(sig.ThrottleRequested(sig.Throttle.OFF))) == ["x"]


@pytest.mark.parametrize(
    "held", [PressureChanged(Pressure.SEVERE, sheds=True), sig.ThrottleRequested(sig.Throttle.SEVERE)]
)
def test_under_severe_pressure_the_system_goes_on_measuring_and_saving_itself(held: Any) -> None:
    rig = Rig(*default_specs())
    rig.give(held)
    (metrics,) = started(rig.after(10))
    assert metrics.startswith("performance_metrics-")
    assert cancelled(rig.give(PressureChanged(Pressure.SEVERE, sheds=True))) == [], "nor is it stopped"
    rig.give(sig.RunFinished(metrics, 1))
    begun = started(rig.after(290))
    assert {run_id.partition("-")[0] for run_id in begun} == {"performance_metrics", "state_persistence"}


@pytest.mark.parametrize("stop", [sig.ThrottleRequested(sig.Throttle.STOPPED), sig.PauseRequested()])
def test_an_emergency_stop_and_a_pause_hold_that_too(stop: Any) -> None:
    rig = Rig(*default_specs())
    rig.give(stop)
    assert started(rig.after(300)) == []
    go = sig.ThrottleRequested(sig.Throttle.OFF) if isinstance(stop, sig.ThrottleRequested) else sig.ResumeRequested()
    assert any(run_id.startswith("performance_metrics-") for run_id in started(rig.give(go)))


def test_an_emergency_stop_ends_all_admits_none_and_outlives_a_crash() -> None:
    rig = Rig(ASKED, URGENT, DUE, METRICS)
    rig.give(sig.RunRequested("asked", "a"), sig.RunRequested("urgent", "u"))
    out = rig.give(sig.ThrottleRequested(sig.Throttle.STOPPED, "smoke"))
    assert isinstance(out[0], Emit), "the fact comes first"
    assert out[0].payload == WorkThrottled("stopped", "off", "smoke", "person", ("a", "u"))
    assert cancelled(out) == [("a", True), ("u", True)]
    out = rig.give(sig.RunCancelled("a", 1), sig.RunLost("u", 1))
    assert [e.error for e in told(out, TaskCancelled)] == ["emergency stop: smoke"] * 2
    assert started(rig.after(100)) == []
    assert started(rig.give(sig.RunRequested("due", "asked for", force=True))) == []
    assert rig.machine.run("asked for").hold == "emergency stop (smoke): tori resume"

    rig.crash()
    assert started(rig.give(sig.Recovered())) == []
    assert rig.machine.throttle == (sig.Throttle.STOPPED, "smoke")
    assert started(rig.after(100)) == []

    out = rig.give(sig.ThrottleRequested(sig.Throttle.OFF, "resumed"))
    assert told(out, WorkThrottled) == [WorkThrottled("off", "stopped", "resumed")]
    assert {"a", "asked for", "u"} <= set(started(out))
    assert len([e for e in told(out, TaskStarted) if e.task_id == "metrics"]) == 1, "what was due meanwhile runs once"


@pytest.mark.parametrize("level", ["stopped", "pressure"])
def test_what_was_asked_to_end_is_not_waited_for_either(level: str) -> None:
    rig = Rig(replace(ASKED, timeout_s=5), TaskSpec(task_id="other", task_type="other", priority=Priority.LOW))
    rig.give(sig.RunRequested("asked", "late"))
    rig.after(5, sig.RunRequested("other", "unwanted"), sig.CancelRequested("unwanted"))
    hard = sig.ThrottleRequested(sig.Throttle.STOPPED) if level == "stopped" else PressureChanged(Pressure.HIGH, True)
    out = rig.give(hard)
    assert cancelled(out) == [("late", True), ("unwanted", True)]
    assert [event.runs for event in told(out, WorkThrottled)] in ([()], []), "they end as they would have"
    rig.give(sig.RunCancelled("late", 1), sig.RunCancelled("unwanted", 1))
    states = rig.machine.run("late").state, rig.machine.run("unwanted").state
    assert states == (RunState.RETRYING, RunState.CANCELLED)
    assert rig.machine.run("late").error == "it took longer than 5 s"


def test_a_run_that_was_under_way_at_the_crash_waits_for_the_end_of_the_stop() -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "x"), sig.ThrottleRequested(sig.Throttle.STOPPED))
    rig.crash()
    assert cancelled(rig.give(sig.Recovered())) == [("x", True)], "it is made sure that nothing of it runs"
    rig.give(sig.RunLost("x", 1))
    rig.after(60)
    assert rig.machine.run("x").hold == "emergency stop (by hand): tori resume"
    assert started(rig.give(sig.ThrottleRequested(sig.Throttle.OFF))) == ["x"]


@pytest.mark.parametrize("level", [sig.Throttle.HIGH, sig.Throttle.SEVERE])
def test_a_throttle_lets_what_runs_go_on(level: sig.Throttle) -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "x"))
    assert cancelled(rig.give(sig.ThrottleRequested(level))) == []
    assert rig.machine.run("x").is_active


def test_the_end_of_a_pressure_is_told_by_the_next_life_too() -> None:
    def live(*facts: Any) -> Scheduler:
        machine = Scheduler([URGENT], VirtualClock())
        for fact in facts:
            machine.apply(fact, 0)
        return machine

    told = WorkThrottled("high", "off", "cpu at 95%", "pressure")
    calm, same = PressureChanged(Pressure.NONE), PressureChanged(Pressure.HIGH, reason="cpu at 96%")
    said = [i.payload for i in live(told).handle(sig.Recovered((), calm)) if isinstance(i, Emit)]
    assert [(p.level, p.old, p.by) for p in said] == [("off", "high", "pressure")]
    assert [i for i in live(told).handle(sig.Recovered((), same)) if isinstance(i, Emit)] == []
    assert [i for i in live().handle(sig.Recovered((), calm)) if isinstance(i, Emit)] == []
