"""The scheduler: when tasks run, what holds them, how they end, and what a crash leaves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tori.clock import VirtualClock
from tori.errors import BadInput, BadSettings, IllegalTransition
from tori.events import system as events
from tori.ids import IdSource, source_suffix
from tori.machine import Emit, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmitDecision, Candidate, HoldDecision, SlotPolicy
from tori.scheduler.book import KEPT_RUNS
from tori.scheduler.machine import Scheduler
from tori.scheduler.retry import FinalDecision, RetryDecision, RetryPolicy
from tori.scheduler.spec import Priority, TaskSpec, default_specs
from tori.scheduler.transition import RUN_TABLE, RunState
from tori.scheduler.trigger import DemandTrigger, IntervalTrigger, Moment

SCAN = TaskSpec(
    task_id="wormhole_scan",
    task_type="wormhole_scan",
    module="wormhole",
    trigger=IntervalTrigger(30),
    timeout_s=100,
    retry=RetryPolicy(retries=2, first_backoff_s=1, max_backoff_s=8, jitter=0),
    watches=("wormhole",),
)
METRICS = TaskSpec(
    task_id="metrics", task_type="performance_metrics", trigger=IntervalTrigger(10), priority=Priority.HIGH
)
ASKED = TaskSpec(task_id="asked", task_type="asked", priority=Priority.LOW)


class Rig:
    """A scheduler with its clock; after every stimulus all invariants hold and the snapshot comes back the same."""

    def __init__(self, *specs: TaskSpec, **options: Any) -> None:
        self.clock = VirtualClock()
        self.specs = specs or (SCAN,)
        self.options = options
        self.machine = self.create()
        self.facts: list[tuple[Any, int]] = []

    def create(self) -> Scheduler:
        ids = IdSource(source_suffix("scheduler", b"t"), self.clock.wall_ns)
        return Scheduler(self.specs, self.clock, ids=ids, **self.options)

    def give(self, *stimuli: Any) -> list[Any]:
        out: list[Any] = []
        for stimulus in stimuli:
            new = self.machine.handle(stimulus)
            out += new
            self.facts += [(i.record, self.clock.wall_ns()) for i in new if isinstance(i, sig.Keep)]
            self.facts += [(i.payload, self.clock.wall_ns()) for i in new if isinstance(i, Emit)]
            self.machine.validate()
            other = self.create()
            other.restore(self.machine.snapshot())
            other.validate()
            assert other.snapshot() == self.machine.snapshot()
        return out

    def after(self, seconds: float, *stimuli: Any) -> list[Any]:
        self.clock.advance(seconds)
        return self.give(Tick(), *stimuli)

    def wait(self) -> float:
        """Return how long the machine may sleep, in seconds."""
        assert self.machine.wake_ns is not None
        return (self.machine.wake_ns - self.clock.monotonic_ns()) / 1e9

    def crash(self) -> None:
        """Start again from the facts alone."""
        self.machine = self.create()
        for fact, time_ns in self.facts:
            self.machine.apply(roundtrip(fact), time_ns)


def roundtrip(fact: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(fact), type=type(fact))


def started(out: list[Any]) -> list[sig.StartRun]:
    return [i for i in out if isinstance(i, sig.StartRun)]


def names(out: list[Any]) -> list[str]:
    return [type(i.payload).__name__ if isinstance(i, Emit) else type(i).__name__ for i in out]


def begin(rig: Rig, seconds: float = 30) -> sig.StartRun:
    [run] = started(rig.after(seconds))
    rig.give(sig.RunStarted(run.run_id, run.attempt))
    return run


# -- triggers ---------------------------------------------------------------------------------------------------------


def test_a_task_runs_on_its_interval() -> None:
    rig = Rig(METRICS)
    assert rig.wait() == 10
    assert rig.after(9.9) == []
    out = rig.after(0.1)
    assert names(out) == ["TaskStarted", "StartRun"], "the fact comes before the act"
    [run] = started(out)
    assert (run.attempt, run.spec) == (1, METRICS)
    rig.clock.advance(2)
    out = rig.give(sig.RunStarted(run.run_id, 1), sig.RunFinished(run.run_id, 1))
    assert [i.payload for i in out] == [events.TaskCompleted("metrics", run.run_id, "performance_metrics", 1, 2.0)]
    assert rig.wait() == 8, "the grid does not drift with the length of the run"


def test_the_default_tasks_have_the_intervals_of_the_catalogue() -> None:
    specs = default_specs()
    intervals = {s.task_type: s.trigger.interval_s for s in specs if isinstance(s.trigger, IntervalTrigger)}
    assert intervals == {
        "wormhole_scan": 30,
        "alien_audit": 60,
        "hierarchy_optimization": 120,
        "memory_cleanup": 180,
        "state_persistence": 300,
        "performance_metrics": 10,
        "concept_selection": 30,
        "scar_scan": 120,
    }
    assert {s.task_type for s in default_specs(("reader",))} == {
        "concept_selection",
        "state_persistence",
        "performance_metrics",
    }
    assert next(
        s for s in default_specs(intervals={"alien_audit": 5}) if s.task_id == "alien_audit"
    ).trigger == IntervalTrigger(5)
    with pytest.raises(BadSettings, match="no periodic task 'alien'"):
        default_specs(intervals={"alien": 5})


def test_missed_times_become_one_run() -> None:
    rig = Rig(METRICS)
    assert len(started(rig.after(95))) == 1
    assert rig.wait() == 5


def test_a_trigger_that_never_fires() -> None:
    rig = Rig(ASKED)
    assert rig.machine.wake_ns is None
    assert DemandTrigger().next(0, Moment(0, 0)) is None
    with pytest.raises(BadSettings):
        IntervalTrigger(0)


def test_the_first_time_after_a_restart_counts_from_the_last_run_whatever_the_clocks_did() -> None:
    trigger, second = IntervalTrigger(30), 10**9
    now = Moment(1000 * second, 5 * second)
    assert trigger.first(now, None) == 35 * second
    assert trigger.first(now, 990 * second) == 25 * second
    assert trigger.first(now, 100 * second) == 5 * second, "overdue: at once, once"
    assert trigger.first(now, 2000 * second) == 35 * second, "the wall clock went back: not later than one interval"


# -- nothing to do ----------------------------------------------------------------------------------------------------


def test_an_idle_system_is_asleep() -> None:
    rig = Rig()
    rig.give(sig.VersionMoved("wormhole", (1, 7)))
    run = begin(rig)
    rig.give(sig.RunFinished(run.run_id, 1, {"wormhole": (1, 8)}), sig.VersionMoved("wormhole", (1, 8)))
    for _ in range(5):
        assert rig.after(30) == []
    assert rig.machine.task("wormhole_scan").counts == {"succeeded": 1, "skipped: unchanged": 5}
    rig.give(sig.VersionMoved("wormhole", (1, 9)))
    assert len(started(rig.after(30))) == 1


def test_what_changed_during_a_run_is_seen_by_the_next_one() -> None:
    rig = Rig()
    rig.give(sig.VersionMoved("wormhole", (1, 7)))
    run = begin(rig)
    rig.give(sig.VersionMoved("wormhole", (1, 8)), sig.RunFinished(run.run_id, 1))
    assert len(started(rig.after(30))) == 1


def test_a_module_that_restarted_counts_as_changed() -> None:
    rig = Rig()
    rig.give(sig.VersionMoved("wormhole", (1, 7)))
    run = begin(rig)
    rig.give(sig.RunFinished(run.run_id, 1))
    rig.give(sig.VersionMoved("wormhole", (2, 7)))
    assert len(started(rig.after(30))) == 1


def test_a_run_that_failed_covers_nothing() -> None:
    rig = Rig()
    rig.give(sig.VersionMoved("wormhole", (1, 7)))
    run = begin(rig)
    rig.give(sig.RunFailed(run.run_id, 1, "no", temporary=False))
    assert len(started(rig.after(30))) == 1


def test_without_a_known_version_a_task_runs() -> None:
    rig = Rig()
    for _ in range(3):
        run = begin(rig)
        rig.give(sig.RunFinished(run.run_id, 1))


def test_runs_of_one_task_do_not_overlap() -> None:
    rig = Rig()
    begin(rig)
    assert rig.after(30) == []
    assert rig.machine.task("wormhole_scan").counts == {"skipped: overlap": 1}


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_temporary_error_is_retried_with_growing_pauses() -> None:
    rig = Rig()
    run = begin(rig)
    out = rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    assert names(out) == ["Keep", "TaskFailed"]
    assert out[0].record == sig.RunRetrying(run.run_id, 1)
    assert rig.wait() == 1
    assert rig.after(0.5) == []
    [second] = started(rig.after(0.5))
    assert (second.run_id, second.attempt) == (run.run_id, 2)
    rig.give(sig.RunFailed(run.run_id, 2, "busy", temporary=True))
    assert rig.wait() == 2
    assert [a.attempt for a in started(rig.after(2))] == [3]
    out = rig.give(sig.RunFailed(run.run_id, 3, "busy", temporary=True))
    assert names(out) == ["TaskFailed"]
    assert rig.machine.run(run.run_id).state is RunState.FAILED
    assert "attempt 3 was the last" in rig.machine.story(run.run_id)[-2].text


def test_waking_late_for_a_retry_does_not_lose_it() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    rig.clock.advance(1.5)
    assert rig.machine.wake_ns is not None
    assert rig.machine.wake_ns <= rig.clock.monotonic_ns(), "a shell that asks after the time is told to come at once"
    assert len(started(rig.give(Tick()))) == 1


def test_a_permanent_error_is_not_retried() -> None:
    rig = Rig()
    run = begin(rig)
    out = rig.give(sig.RunFailed(run.run_id, 1, "bad input", temporary=False))
    assert [(i.payload.error, i.payload.attempt) for i in out] == [("bad input", 1)]
    assert rig.machine.is_idle


def test_jitter_spreads_and_is_the_same_every_time() -> None:
    policy = RetryPolicy(retries=9, first_backoff_s=10, max_backoff_s=10, jitter=0.5)
    pauses = [policy.decide(f"run-{n}", 1, temporary=True) for n in range(20)]
    assert pauses == [policy.decide(f"run-{n}", 1, temporary=True) for n in range(20)]
    waits = [p.after_s for p in pauses if isinstance(p, RetryDecision)]
    assert len(set(waits)) == 20
    assert all(5 <= wait <= 10 for wait in waits)
    assert isinstance(policy.decide("run-1", 10, temporary=True), FinalDecision)


def test_an_attempt_that_takes_too_long_is_ended_and_tried_again() -> None:
    rig = Rig()
    run = begin(rig)
    assert rig.after(99) == []
    assert rig.after(1) == [sig.CancelRun(run.run_id, 1)]
    assert rig.after(9) == []
    assert rig.after(1) == [sig.CancelRun(run.run_id, 1, force=True)]
    assert rig.after(10) == [sig.CancelRun(run.run_id, 1, force=True)], "until somebody answers"
    assert not rig.machine.is_idle, "it may still run, so nothing else of its task does"
    out = rig.give(sig.RunCancelled(run.run_id, 1))
    assert out[-1].payload.error == "it took longer than 100 s"
    assert [a.attempt for a in started(rig.after(1))] == [2]


def test_a_result_that_comes_after_the_time_out_still_counts() -> None:
    rig = Rig()
    run = begin(rig)
    rig.after(100)
    out = rig.give(sig.RunFinished(run.run_id, 1))
    assert names(out) == ["TaskCompleted"]


def test_cancelling_a_run_under_way_waits_for_its_end() -> None:
    rig = Rig()
    run = begin(rig)
    assert rig.give(sig.CancelRequested(run.run_id)) == [sig.CancelRun(run.run_id, 1)]
    assert rig.give(sig.CancelRequested(run.run_id)) == []
    assert names(rig.give(sig.RunFailed(run.run_id, 1, "TaskCancelledError", temporary=True))) == ["TaskCancelled"]
    assert rig.machine.run(run.run_id).state is RunState.CANCELLED
    assert rig.give(sig.CancelRequested(run.run_id)) == []


def test_cancelling_a_run_that_waits_to_be_retried() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    assert names(rig.give(sig.CancelRequested(run.run_id))) == ["TaskCancelled"]
    assert started(rig.after(5)) == []


def test_a_run_that_somebody_else_cancelled() -> None:
    rig = Rig()
    run = begin(rig)
    assert names(rig.give(sig.RunCancelled(run.run_id, 1))) == ["TaskCancelled"]


def test_a_lost_run_is_tried_again() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.RunLost(run.run_id, 1, "node died"))
    assert [a.attempt for a in started(rig.after(1))] == [2]


def test_late_reports_are_counted_and_change_nothing() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    rig.after(1)
    before = rig.machine.run(run.run_id)
    late: list[Any] = [
        sig.RunStarted(run.run_id, 1),
        sig.RunFinished(run.run_id, 1),
        sig.RunFailed(run.run_id, 1, "?", temporary=False),
        sig.RunCancelled(run.run_id, 1),
        sig.RunLost("unknown", 1),
    ]
    assert rig.give(*late) == []
    assert rig.machine.stale == 5
    assert rig.machine.run(run.run_id) == before


def test_a_result_may_overtake_the_word_of_its_start() -> None:
    rig = Rig()
    [run] = started(rig.after(30))
    assert names(rig.give(sig.RunFinished(run.run_id, 1))) == ["TaskCompleted"]
    assert rig.give(sig.RunStarted(run.run_id, 1)) == []


def test_the_history_is_bounded() -> None:
    rig = Rig(METRICS)
    for _ in range(KEPT_RUNS + 5):
        rig.clock.advance(10)
        [run] = started(rig.machine.handle(Tick()))
        rig.machine.handle(sig.RunFinished(run.run_id, 1))
    assert len(rig.machine.runs()) == KEPT_RUNS
    assert rig.machine.runs()[0].run_id == run.run_id, "newest first"


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


def test_a_request_hurries_a_run_that_waits() -> None:
    rig = Rig()
    run = begin(rig)
    rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    assert [a.attempt for a in started(rig.give(sig.RunRequested("wormhole_scan")))] == [2]


def test_a_request_that_has_to_wait_is_kept() -> None:
    rig = Rig(ASKED)
    rig.give(sig.PauseRequested())
    assert rig.give(sig.RunRequested("asked", "mine")) == [sig.Keep(sig.RunQueued("asked", "mine"))]
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


def test_a_stop_cancels_what_runs_and_begins_nothing() -> None:
    rig = Rig()
    run = begin(rig)
    assert rig.give(sig.DrainRequested()) == [sig.CancelRun(run.run_id, 1)]
    assert not rig.machine.is_idle
    assert names(rig.give(sig.RunCancelled(run.run_id, 1))) == ["TaskCancelled"]
    assert rig.machine.is_idle
    assert rig.after(300) == []
    assert started(rig.give(sig.RunRequested("wormhole_scan", "late"))) == []
    assert rig.machine.holds() == [("late", "the system stops")]


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
    assert rig.give(sig.Recovered()) == [sig.CancelRun(run.run_id, 1, force=True)]
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
    assert rig.give(sig.Recovered()) == []
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
        RUN_TABLE.check(run.run_id, RunState.RUNNING, RunState.DUE, rig.machine._stories)
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
