"""The scheduler: when tasks run, what holds them, how they end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.scheduling import ASKED, METRICS, Rig, begin, names, started
from tori.backoff import FinalDecision, RetryDecision
from tori.errors import BadSettings
from tori.events import system as events
from tori.machine import Tick
from tori.scheduler import signal as sig
from tori.scheduler.book import KEPT_OF_HOUSE
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import default_specs
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import DemandTrigger, IntervalTrigger, Moment

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
    kept, order = rig.give(sig.CancelRequested(run.run_id))
    assert (kept, order) == (
        sig.Keep(sig.RunCancelling(run.run_id, 1, "cancelled")),
        sig.CancelRun(run.run_id, 1),
    )
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
    for _ in range(KEPT_OF_HOUSE + 5):
        rig.clock.advance(10)
        [run] = started(rig.machine.handle(Tick()))
        rig.machine.handle(sig.RunFinished(run.run_id, 1))
    assert len(rig.machine.runs()) == KEPT_OF_HOUSE
    assert rig.machine.runs()[0].run_id == run.run_id, "newest first"
