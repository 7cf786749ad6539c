"""What a restart of the orchestrator must not change: what is due, since when, who asked for it, and what a task never saw."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.scheduling import ASKED, METRICS, SCAN, Rig, acts, kept, started
from tori.events import system as events
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import book
from tori.scheduler import signal as sig
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Missed, Overlap, TaskSpec
from tori.scheduler.timetable import LOOK_S
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import AfterTrigger, CronTrigger, EventTrigger, IntervalTrigger

NEVER = RetryPolicy(retries=0)
SEVERE, CALM = PressureChanged(Pressure.SEVERE), PressureChanged(Pressure.NONE)
DAY_S = 86_400.0


def restart(rig: Rig, *unavailable: str) -> list[object]:
    """Start again from the facts alone, under severe pressure."""
    rig.crash()
    rig.machine._desk.measured = SEVERE  # as it is soon after: nothing begins, whatever was due
    return rig.give(sig.Recovered(unavailable))


@pytest.mark.parametrize("missed", [Missed.ONE, Missed.ALL])
def test_due_times_that_became_runs_are_not_due_again(missed: Missed) -> None:
    rig = Rig(
        TaskSpec(task_id="q", task_type="q", trigger=IntervalTrigger(10), overlap=Overlap.QUEUE, missed=missed),
    )
    rig.give(SEVERE)
    for _ in range(3):
        rig.after(10)
    for _ in range(3):
        restart(rig)
        rig.after(0)
        assert len(rig.machine.runs()) == 3


def test_due_times_that_the_full_queue_turned_down_are_not_due_again() -> None:
    spec = TaskSpec(task_id="q", task_type="q", trigger=IntervalTrigger(10), overlap=Overlap.QUEUE, max_queued=1)
    rig = Rig(replace(spec, missed=Missed.ALL))
    rig.give(SEVERE)
    rig.after(10)
    assert kept(rig.after(20)) == [sig.DuePassed("q", rig.clock.wall_ns())], "one word about both"
    [run] = rig.machine.runs()
    rig.give(sig.CancelRequested(run.run_id))
    restart(rig)
    rig.after(1)
    assert not [run for run in rig.machine.runs() if run.is_waiting]


def test_a_due_run_that_was_cancelled_before_it_began_is_not_due_again() -> None:
    rig = Rig(TaskSpec(task_id="daily", task_type="daily", trigger=CronTrigger("0 3 * * *")))
    rig.give(SEVERE)
    rig.after(DAY_S)
    [run] = rig.machine.runs()
    rig.after(3600, sig.CancelRequested(run.run_id))
    restart(rig)
    assert started(rig.after(3600, CALM)) == []
    assert started(rig.after(DAY_S)) != []


def test_nothing_begins_before_everything_is_read_back() -> None:
    rig = Rig(replace(SCAN, retry=NEVER))
    rig.give(SEVERE, sig.RunRequested("wormhole_scan", "a"))
    rig.crash()
    assert acts(rig.give(sig.Recovered(("wormhole",)))) == []
    assert rig.machine.holds() == [("a", "module wormhole is not running")]
    [order] = started(rig.give(sig.ModuleAvailable("wormhole", available=True)))
    assert (order.run_id, order.attempt) == ("a", 1)


def test_a_task_that_is_shipped_follows_only_what_ends_afterwards() -> None:
    then = TaskSpec(task_id="then", task_type="then", trigger=AfterTrigger(("asked",)))
    rig = Rig(ASKED)
    rig.give(sig.Recovered(), sig.RunRequested("asked", "before"), sig.RunFinished("before", 1))
    rig.specs = (ASKED, then)
    assert started(rig.give(sig.SpecsAdded((then,)))) == []
    assert started(restart(rig) + rig.give(CALM)) == []
    rig.give(sig.RunRequested("asked", "after"))
    [order] = started(rig.give(sig.RunFinished("after", 1)) + rig.after(0))
    assert order.cause == "after"


def test_a_task_that_is_shipped_or_configured_has_missed_nothing_before() -> None:
    def nightly(task_id: str) -> TaskSpec:
        cron = CronTrigger("0 3 * * *")
        return TaskSpec(task_id=task_id, task_type="n", trigger=cron, overlap=Overlap.QUEUE, missed=Missed.ALL)

    rig = Rig(ASKED)
    rig.facts.append((events.SystemStarted("cold"), rig.clock.wall_ns()))
    restart(rig)
    rig.after(3 * DAY_S)
    rig.specs = (ASKED, nightly("shipped"))
    rig.give(sig.SpecsAdded((nightly("shipped"),)))
    rig.specs = (ASKED, nightly("shipped"), nightly("configured"))
    restart(rig)
    assert started(rig.after(0, CALM)) == []
    rig.give(SEVERE)
    rig.clock.advance(2 * DAY_S)
    restart(rig)
    rig.after(0)
    assert sorted(run.task_id for run in rig.machine.runs()) == ["configured"] * 2 + ["shipped"] * 2


def test_tasks_of_a_journal_that_never_told_of_them_keep_their_history() -> None:
    rig = Rig(METRICS)
    rig.facts.append((events.SystemStarted("cold"), rig.clock.wall_ns()))
    rig.clock.advance(60)
    [fact] = kept(restart(rig))
    assert fact == sig.TasksKnown({"metrics": METRICS.trigger.digest()}, rig.clock.wall_ns(), is_new=False)
    assert [order.spec.task_id for order in started(rig.after(0, CALM))] == ["metrics"], "overdue since the start"


def test_who_asked_for_a_run_that_waits_is_known() -> None:
    tick = TaskSpec(task_id="tick", task_type="tick", trigger=IntervalTrigger(10))
    on = TaskSpec(task_id="on", task_type="on", trigger=EventTrigger(("*",)))
    rig = Rig(tick, on)
    rig.give(SEVERE, sig.Triggered("on", "e-1"))
    rig.after(10)
    rig.give(sig.PauseRequested("tick"), sig.PauseRequested("on"))
    rig.give(sig.RunRequested("tick", "mine"), sig.RunRequested("on", "yours", force=False))
    restart(rig)
    assert all(run.is_asked for run in rig.machine.runs() if not run.is_ended)
    assert sorted(order.spec.task_id for order in started(rig.give(CALM))) == ["on", "tick"], "a pause is of triggers"


def test_a_run_that_was_forced_while_it_waited_stays_forced() -> None:
    rig = Rig(ASKED)
    rig.give(sig.PauseRequested(), sig.RunRequested("asked", "a"), sig.RunRequested("asked", "b", force=True))
    restart(rig)
    [order] = started(rig.give(sig.ResumeRequested()))
    assert order.run_id == "a", "under severe pressure"


def test_a_cancellation_after_the_stop_began_is_written() -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "a"), sig.DrainRequested())
    assert kept(rig.give(sig.CancelRequested("a"))) == [sig.RunCancelling("a", 1, "cancelled")]
    rig.give(sig.RunCancelled("a", 1))
    assert rig.machine.run("a").state is RunState.CANCELLED


def test_a_deadline_counts_on_over_restarts() -> None:
    rig = Rig(TaskSpec(task_id="q", task_type="q", deadline_s=35))
    rig.give(SEVERE, sig.RunRequested("q", "waits"))
    for _ in range(2):
        rig.after(14)
        restart(rig)
    assert rig.machine.run("waits").state is RunState.DUE
    rig.clock.advance(14)
    restart(rig)
    assert rig.machine.run("waits").error == "its deadline of 35 s passed: the orchestrator restarted meanwhile"


def test_an_attempt_that_was_too_late_has_no_successor_after_a_restart() -> None:
    rig = Rig(TaskSpec(task_id="q", task_type="q", deadline_s=15))
    rig.give(sig.RunRequested("q", "a"))
    rig.after(16)
    restart(rig)
    assert started(rig.give(CALM, sig.RunLost("a", 1))) == []
    assert rig.machine.run("a").state is RunState.FAILED


def test_an_attempt_that_was_shed_costs_no_try_although_the_orchestrator_died() -> None:
    rig = Rig(replace(ASKED, retry=NEVER))
    rig.give(sig.RunRequested("asked", "a"), sig.ThrottleRequested(sig.Throttle.STOPPED, "fan noise"))
    restart(rig)
    rig.give(sig.RunLost("a", 1))
    [order] = started(rig.give(CALM, sig.ThrottleRequested(sig.Throttle.OFF)))
    assert (order.run_id, order.attempt) == ("a", 2)


def due_in_s(rig: Rig, task_id: str = "n") -> float:
    due_ns = rig.machine.task(task_id).next_due_ns
    assert due_ns is not None
    return (due_ns - rig.clock.monotonic_ns()) / 1e9


def die(rig: Rig, run_id: str, attempt: int) -> list[sig.StartRun]:
    """Let the orchestrator die during an attempt; return what begins until a minute after its next start."""
    rig.crash()
    return started(rig.give(sig.Recovered(), sig.RunLost(run_id, attempt)) + rig.after(60))


def test_a_death_of_the_orchestrator_is_no_try_of_a_run() -> None:
    rig = Rig(replace(ASKED, retry=NEVER))
    rig.give(sig.RunRequested("asked", "a"))
    for attempt in range(1, 6):
        [order] = die(rig, "a", attempt)
        assert (order.run_id, order.attempt) == ("a", attempt + 1)
    rig.give(sig.RunFailed("a", 6, "no", temporary=True))
    assert (rig.machine.run("a").state, rig.machine.run("a").error) == (RunState.FAILED, "no"), "that was its one try"


@pytest.mark.parametrize("is_heard", [True, False])
def test_what_the_stop_of_the_system_ended_begins_again_with_the_next_start(is_heard: bool) -> None:
    rig = Rig(TaskSpec(task_id="on", task_type="on", trigger=EventTrigger(("*",)), retry=RetryPolicy(losses=0)))
    [first] = started(rig.give(sig.Recovered(), sig.Triggered("on", "e-1")))
    assert [i for i in rig.give(sig.DrainRequested()) if isinstance(i, sig.CancelRun)]
    if is_heard:
        rig.give(sig.RunCancelled(first.run_id, 1))
        assert rig.machine.run(first.run_id).hold == "the system stops"
    rig.crash()
    out = rig.give(sig.Recovered())
    [again] = started(out if is_heard else rig.give(sig.RunLost(first.run_id, 1)))
    assert (again.run_id, again.attempt, again.cause) == (first.run_id, 2, "e-1"), "at once, and that was no loss"


def test_what_a_person_cancels_while_the_system_stops_is_cancelled() -> None:
    rig = Rig(ASKED)
    rig.give(sig.RunRequested("asked", "a"), sig.DrainRequested(), sig.CancelRequested("a"))
    rig.crash()
    rig.give(sig.Recovered(), sig.RunLost("a", 1))
    assert rig.machine.run("a").state is RunState.CANCELLED


def test_an_attempt_lost_while_the_orchestrator_lives_is_a_try() -> None:
    rig = Rig(replace(ASKED, retry=NEVER))
    rig.give(sig.RunRequested("asked", "a"), sig.RunLost("a", 1))
    assert rig.machine.run("a").state is RunState.FAILED


def test_a_run_that_ends_with_the_orchestrator_every_time_does_not_go_on_for_ever() -> None:
    rig = Rig(replace(ASKED, retry=RetryPolicy(losses=3)))
    rig.give(sig.RunRequested("asked", "a"))
    for attempt in (1, 2, 3):
        assert die(rig, "a", attempt)
    [order] = started(rig.give(sig.RunFailed("a", 4, "no", temporary=True)) + rig.after(60))
    for attempt in (5, 6, 7):
        assert die(rig, "a", attempt), "one that failed by itself began the count anew"
    assert die(rig, "a", 8) == []
    run = rig.machine.run("a")
    assert (run.state, run.error) == (RunState.FAILED, "the orchestrator died during each of its last 4 attempts")
    assert order.attempt == 5


def test_an_id_that_was_forgotten_and_taken_again_is_the_new_run(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(ASKED)
    with monkeypatch.context() as patch:
        patch.setattr(book, "KEPT_OF_HOUSE", 1)
        for run_id in ("mine", "other"):
            rig.give(sig.RunRequested("asked", run_id), sig.RunFinished(run_id, 1))
        rig.give(sig.PauseRequested(), sig.RunRequested("asked", "mine"))
        assert rig.machine.run("mine").state is RunState.DUE
    restart(rig)  # it keeps more, and has read of the first one
    assert rig.machine.run("mine").state is RunState.DUE


NIGHTLY = TaskSpec(task_id="n", task_type="n", trigger=CronTrigger("0 3 * * *"))


def test_an_event_that_was_written_before_its_task_was_known_counts() -> None:
    on = TaskSpec(task_id="on", task_type="on", trigger=EventTrigger(("*",)))
    rig = Rig(ASKED)
    rig.give(sig.Recovered(), sig.PauseRequested())
    rig.specs = (
        ASKED,
        on,
    )  # it is in the settings from now on, and the ledger tells of events before the scheduler begins
    rig.crash()
    rig.facts.append((sig.TaskTriggered("on", "e-1"), 0))
    rig.give(sig.Recovered(), sig.Triggered("on", "e-1", kept=True))
    restart(rig)
    [order] = started(rig.give(CALM, sig.ResumeRequested()))
    assert order.cause == "e-1"


def test_a_clock_that_was_ahead_hides_nothing_that_is_due_after_it_is_right() -> None:
    rig = Rig(replace(NIGHTLY, overlap=Overlap.QUEUE))
    rig.give(SEVERE)
    rig.clock.jump_wall(400 * DAY_S)
    rig.after(DAY_S)
    assert rig.machine.runs(), "due while the clock was ahead"
    rig.clock.jump_wall(-400 * DAY_S)
    for _ in range(3):
        restart(rig)
        rig.after(DAY_S)
    assert len(rig.machine.runs()) >= 3


def test_runs_that_begin_do_not_use_up_what_was_missed() -> None:
    spec = TaskSpec(task_id="q", task_type="q", trigger=IntervalTrigger(10), overlap=Overlap.QUEUE, missed=Missed.ALL)
    rig = Rig(spec)
    rig.give(SEVERE)
    rig.after(10)
    rig.clock.advance(100)
    rig.crash()
    rig.give(sig.Recovered())  # the run that waited begins, and the orchestrator dies again
    restart(rig)
    rig.after(0)
    assert len(rig.machine.runs()) == 1 + 10


def test_a_run_that_was_asked_for_does_not_put_off_the_next_one() -> None:
    rig = Rig(TaskSpec(task_id="t", task_type="t", trigger=IntervalTrigger(3600)))
    rig.facts.append((events.SystemStarted("cold"), rig.clock.wall_ns()))
    rig.after(3500, sig.RunRequested("t", "mine"), sig.RunFinished("mine", 1))
    restart(rig)
    assert started(rig.after(100, CALM))


def test_a_task_that_comes_back_or_has_another_trigger_is_new() -> None:
    def then(*follows: str) -> TaskSpec:
        return TaskSpec(task_id="then", task_type="then", trigger=AfterTrigger(follows))

    all_nights = replace(NIGHTLY, overlap=Overlap.QUEUE, missed=Missed.ALL)
    rig = Rig(ASKED, METRICS, then("asked"), all_nights)
    rig.give(sig.Recovered())
    rig.give(SEVERE)
    rig.specs = (ASKED, METRICS, then("metrics"))
    assert kept(restart(rig))[0].gone == ("n",)
    rig.give(sig.RunRequested("asked", "x", force=True), sig.RunFinished("x", 1))
    rig.clock.advance(10 * DAY_S)
    rig.specs = (ASKED, METRICS, then("asked"), all_nights)
    restart(rig)
    rig.after(0)
    assert not [run for run in rig.machine.runs() if run.task_id in ("n", "then")]
    assert rig.machine.task("then").triggers == []


def test_what_was_skipped_on_time_is_not_due_after_a_restart() -> None:
    rig = Rig(NIGHTLY)
    [first] = started(rig.after(DAY_S))
    [fact] = kept(rig.after(DAY_S))
    assert isinstance(fact, sig.DuePassed), "the first still runs"
    rig.give(sig.RunFinished(first.run_id, 1))
    restart(rig)
    assert started(rig.after(3600, CALM)) == []


def test_a_task_that_makes_up_for_nothing_keeps_the_run_that_waits() -> None:
    rig = Rig(replace(NIGHTLY, missed=Missed.SKIP))
    rig.give(SEVERE)
    rig.after(due_in_s(rig))
    [run] = rig.machine.runs()
    restart(rig)
    assert [order.run_id for order in started(rig.after(300, CALM))] == [run.run_id]


@pytest.mark.parametrize("how", ["paused", "asleep", "restarted"])
def test_a_single_time_that_was_missed_is_not_made_up_for(how: str) -> None:
    rig = Rig(replace(NIGHTLY, missed=Missed.SKIP))
    rig.give(sig.Recovered())
    due_s = due_in_s(rig)
    if how == "paused":
        rig.give(sig.PauseRequested())
        rig.clock.advance(due_s + 5 * 3600)
        out = rig.give(sig.ResumeRequested())
    elif how == "asleep":
        rig.after(due_s - 3600)
        rig.clock.jump_wall(6 * 3600)
        out = rig.after(LOOK_S)
    else:
        rig.clock.advance(due_s + 5 * 3600)
        rig.crash()
        out = rig.give(sig.Recovered()) + rig.after(1)
    assert started(out) == []
    assert len(started(rig.after(due_in_s(rig)))) == 1, "the next one is on time"


def test_a_time_that_comes_up_a_little_late_is_not_missed() -> None:
    rig = Rig(replace(NIGHTLY, missed=Missed.SKIP))
    rig.give(sig.Recovered())
    assert started(rig.after(due_in_s(rig) + LOOK_S - 1))


def test_a_due_time_whose_jitter_has_not_passed_is_not_missed() -> None:
    rig = Rig(replace(NIGHTLY, missed=Missed.SKIP, jitter_s=3000))
    rig.give(sig.Recovered())
    due_s = (CronTrigger("0 3 * * *")._after_ns(rig.clock.wall_ns()) - rig.clock.wall_ns()) / 1e9
    assert started(rig.after(due_s + 1)) == []
    restart(rig)
    assert started(rig.after(3000, CALM))


def test_what_is_watched_is_looked_at_once_however_often_it_was_missed() -> None:
    rig = Rig(replace(SCAN, overlap=Overlap.QUEUE, missed=Missed.ALL))
    rig.facts.append((events.SystemStarted("cold"), rig.clock.wall_ns()))
    rig.clock.advance(3600)
    restart(rig)
    rig.after(0)
    assert len(rig.machine.runs()) == 1


def test_a_run_that_was_asked_for_while_it_waited_and_cancelled_is_not_due_again() -> None:
    rig = Rig(NIGHTLY)
    rig.give(SEVERE)
    rig.after(DAY_S)
    [run] = rig.machine.runs()
    rig.after(3600, sig.RunRequested("n", "mine"), sig.CancelRequested(run.run_id))
    restart(rig)
    assert started(rig.after(300, CALM)) == []


def test_a_run_that_is_cancelled_settles_only_what_it_was_made_of() -> None:
    rig = Rig(NIGHTLY)
    rig.give(SEVERE)
    rig.after(DAY_S)
    [run] = rig.machine.runs()
    rig.give(sig.PauseRequested("n"))
    rig.after(DAY_S, sig.CancelRequested(run.run_id))
    restart(rig)
    assert len(started(rig.give(sig.ResumeRequested("n")) + rig.after(300, CALM))) == 1
