"""What Hypothesis found, each as its shortest sequence: reading facts back says the same as living through them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.scheduling import ASKED, SCAN, Rig, begin, names, started
from tori.events import system as events
from tori.machine import Emit, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import SlotPolicy
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Fallback, Missed, Overlap, Resources, TaskSpec
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import AfterTrigger, CronTrigger, EventTrigger, IntervalTrigger

NEVER = RetryPolicy(retries=0)
ON_EVENT = TaskSpec(task_id="on", task_type="on", trigger=EventTrigger(("*",), min_gap_s=60), overlap=Overlap.QUEUE)
QUEUE = TaskSpec(
    task_id="queue",
    task_type="queue",
    trigger=IntervalTrigger(10),
    overlap=Overlap.QUEUE,
    missed=Missed.ALL,
    deadline_s=15,
)
DEAR = TaskSpec(
    task_id="dear",
    task_type="dear",
    resources=Resources(num_cpus=2),
    retry=NEVER,
    fallback=Fallback(resources=Resources(num_cpus=0.5), after_hold_s=5),
)


def recover(rig: Rig) -> list[Any]:
    rig.crash()
    return rig.give(sig.Recovered())


def states(rig: Rig, task_id: str) -> list[RunState]:
    return [run.state for run in rig.machine.runs() if run.task_id == task_id]


def test_what_an_attempt_uses_is_given_back_as_what_it_was() -> None:
    rig = Rig(DEAR, admission=SlotPolicy(budget={"CPU": 2}))
    [run] = started(rig.give(sig.RunRequested("dear")))
    [again] = started(rig.give(sig.RunFailed(run.run_id, 1, "no", temporary=False)))
    assert again.variant == "fallback"
    rig.give(sig.RunFinished(run.run_id, 2))
    assert dict(rig.machine._desk.usage.amounts) == {"CPU": 0}


def test_a_variant_that_is_under_way_is_known_after_a_crash() -> None:
    rig = Rig(DEAR, admission=SlotPolicy(budget={"CPU": 2}))
    rig.give(sig.RunRequested("dear", "first"), sig.RunRequested("dear", "first"))
    rig.give(PressureChanged(Pressure.SEVERE), sig.CancelRequested("first"), sig.RunCancelled("first", 1))
    rig.give(sig.RunRequested("dear", "second"))
    rig.after(5)
    [order] = started(rig.give(PressureChanged(Pressure.NONE)))
    assert order.variant == "fallback"
    recover(rig)
    assert rig.machine.run("second").variant == "fallback"


def test_a_trigger_counts_once_when_its_run_waits_over_a_crash() -> None:
    rig = Rig(ON_EVENT)
    assert started(rig.give(PressureChanged(Pressure.SEVERE), sig.Triggered("on", "e-1"))) == []
    [run] = started(recover(rig))
    rig.give(sig.RunFinished(run.run_id, 1))
    assert started(rig.after(600)) == []
    assert states(rig, "on") == [RunState.SUCCEEDED]


def test_a_trigger_outlives_a_run_that_was_asked_for() -> None:
    rig = Rig(ON_EVENT)
    [first] = started(rig.give(sig.Triggered("on", "e-1")))
    rig.give(sig.RunFinished(first.run_id, 1), sig.Triggered("on", "e-2"))
    [asked] = started(rig.give(sig.RunRequested("on", "asked")))
    rig.give(sig.RunFinished(asked.run_id, 1))
    recover(rig)
    [last] = started(rig.after(60))
    assert last.cause == "e-2"


def test_a_queued_run_that_was_cancelled_does_not_come_back() -> None:
    rig = Rig(QUEUE)
    begin(rig, 10)
    rig.after(10)
    [waiting] = [run for run in rig.machine.runs() if run.is_waiting]
    out = rig.give(sig.CancelRequested(waiting.run_id))
    assert [i.payload for i in out if isinstance(i, Emit)] == [
        events.TaskCancelled("queue", waiting.run_id, "queue", 1, None, None)
    ]
    recover(rig)
    assert rig.machine.run(waiting.run_id).state is RunState.CANCELLED


def test_a_run_that_opens_too_late_is_known_after_a_crash() -> None:
    rig = Rig(QUEUE)
    rig.give(PressureChanged(Pressure.SEVERE))
    rig.after(40)
    late = [run.run_id for run in rig.machine.runs() if run.state is RunState.FAILED]
    assert late, "due at 10 s, and at 40 s its deadline of 15 s has passed"
    rig.crash()
    assert all(rig.machine.run(run_id).state is RunState.FAILED for run_id in late)


def test_no_id_comes_twice_after_the_wall_clock_went_back() -> None:
    rig = Rig(QUEUE)
    first = begin(rig, 10)
    rig.give(sig.RunFinished(first.run_id, 1))
    rig.crash()
    rig.clock.jump_wall(-10)
    rig.give(sig.Recovered())
    second = begin(rig, 10)
    assert second.run_id != first.run_id


def test_the_deadline_of_a_run_that_is_ending_is_over() -> None:
    rig = Rig(QUEUE)
    run = begin(rig, 10)
    rig.after(15)
    assert rig.machine.run(run.run_id).ending == "too late"
    rig.machine, state = rig.create(), rig.machine.snapshot()
    rig.machine.restore(state)
    assert rig.wait() > 0, "nobody is woken again and again for what is being ended"


def test_a_pause_is_felt_as_soon_as_it_is_read() -> None:
    rig = Rig(QUEUE)
    rig.give(sig.PauseRequested())
    rig.crash()
    assert rig.machine.wake_ns is None


def test_all_who_go_by_the_wall_clock_look_at_the_same_moment() -> None:
    rig = Rig(
        *(TaskSpec(task_id=f"c-{n}", task_type="c", trigger=CronTrigger(f"0 {n} 1 1 *")) for n in range(3)),
    )
    rig.give(sig.PauseRequested())
    rig.clock.advance(17)
    rig.give(sig.ResumeRequested())
    assert rig.wait() == 43


def test_a_run_that_ended_before_it_began_is_known_after_a_crash() -> None:
    busy = TaskSpec(task_id="busy", task_type="busy")
    rig = Rig(busy, TaskSpec(task_id="one", task_type="one", trigger=IntervalTrigger(10)), admission=SlotPolicy(1))
    rig.give(sig.RunRequested("busy"))
    rig.after(10)
    [waiting] = [run.run_id for run in rig.machine.runs() if run.task_id == "one"]
    rig.give(sig.CancelRequested(waiting))
    recover(rig)
    assert rig.machine.run(waiting).state is RunState.CANCELLED


def test_attempts_that_were_stopped_for_others_are_no_tries_after_a_crash_either() -> None:
    rig = Rig(TaskSpec(task_id="asked", task_type="asked", retry=RetryPolicy(retries=1, first_backoff_s=1, jitter=0)))
    [run] = started(rig.give(sig.RunRequested("asked")))
    rig.give(PressureChanged(Pressure.SEVERE, sheds=True), sig.RunCancelled(run.run_id, 1))
    [again] = started(recover(rig))
    assert again.attempt == 2
    rig.give(sig.RunFailed(run.run_id, 2, "no", temporary=True))
    assert rig.machine.run(run.run_id).state is RunState.RETRYING


@pytest.mark.parametrize("written", [events.TaskCancelled, events.TaskFailed])
def test_an_attempt_that_ended_with_the_system_goes_on_and_nothing_follows_it(written: type[Any]) -> None:
    """An earlier version wrote that it had failed."""
    specs = [TaskSpec(task_id=name, task_type=name) for name in ("asked", "other")]
    rig = Rig(*specs, TaskSpec(task_id="after", task_type="after", trigger=AfterTrigger(("asked",), on="ended")))
    [run] = started(rig.give(sig.RunRequested("asked")))
    rig.give(sig.DrainRequested(), sig.RunCancelled(run.run_id, 1))
    assert [type(fact).__name__ for fact, _ in rig.facts[-2:]] == ["RunRetrying", "TaskCancelled"]
    stopped, at_ns = rig.facts[-1]
    *before, record, _ = rig.facts
    last = written(*msgspec.structs.astuple(stopped)), at_ns
    for facts in ([*before, record, last], [*before, last, record]):
        machine = rig.create()
        for fact, time_ns in facts:
            machine.apply(fact, time_ns)
        assert machine.run(run.run_id).state is RunState.RETRYING
        assert machine.run(run.run_id).shed == 1
        assert [n for task in ("asked", "after") for n in machine.task(task).counts.values() if n] == []
    rig.facts[-1] = last
    assert [a.attempt for a in started(recover(rig)) if a.run_id == run.run_id] == [2]
    out = rig.give(sig.CancelRequested(run.run_id), sig.RunCancelled(run.run_id, 2))
    assert "TaskCancelled" in names(out)
    rig.crash()
    assert rig.machine.run(run.run_id).state is RunState.CANCELLED
    assert rig.machine.task("asked").counts[str(RunState.CANCELLED)] == 1


def ended_as(rig: Rig, run_id: str) -> tuple[RunState, str]:
    run = rig.machine.run(run_id)
    return run.state, run.error


def test_a_cancellation_that_was_answered_outlives_the_orchestrator() -> None:
    rig = Rig(QUEUE)
    run = begin(rig, 10)
    rig.give(sig.CancelRequested(run.run_id))
    out = recover(rig)
    assert [i for i in out if isinstance(i, sig.CancelRun)] == [sig.CancelRun(run.run_id, 1, force=True)]
    assert started(rig.give(sig.RunLost(run.run_id, 1))) == []
    assert ended_as(rig, run.run_id) == (RunState.CANCELLED, "")


def test_a_cancellation_in_the_unit_of_its_attempts_start_is_read_back() -> None:
    rig = Rig(QUEUE)
    run = begin(rig, 10)
    rig.give(sig.CancelRequested(run.run_id))
    rig.facts.sort(key=lambda fact: not isinstance(fact[0], sig.SchedulerRecord))  # as the journal has it
    recover(rig)
    rig.give(sig.RunLost(run.run_id, 1))
    assert ended_as(rig, run.run_id) == (RunState.CANCELLED, "")


def test_a_result_that_was_faster_than_its_cancellation_stays() -> None:
    rig = Rig(QUEUE)
    run = begin(rig, 10)
    rig.give(sig.CancelRequested(run.run_id), sig.RunFinished(run.run_id, 1))
    recover(rig)
    assert ended_as(rig, run.run_id) == (RunState.SUCCEEDED, "")


def test_a_run_that_was_replaced_does_not_come_back() -> None:
    rig = Rig(TaskSpec(task_id="on", task_type="on", trigger=EventTrigger(("*",)), overlap=Overlap.REPLACE))
    [old] = started(rig.give(sig.Triggered("on", "e-1")))
    rig.give(sig.Triggered("on", "e-2"))
    recover(rig)
    [new] = started(rig.give(sig.RunLost(old.run_id, 1)))
    assert new.cause == "e-2"
    assert ended_as(rig, old.run_id) == (RunState.CANCELLED, "a newer run replaces it")


def test_what_triggers_a_task_in_the_midst_of_a_run_is_not_used_up_by_it() -> None:
    rig = Rig(ON_EVENT)
    for cause in ("e-1", "e-2"):  # both are written with the ledger's cursor before the scheduler hears of the first
        rig.facts.append((sig.TaskTriggered("on", cause), rig.clock.wall_ns()))
    [first] = started(rig.give(sig.Triggered("on", "e-1", kept=True), sig.Triggered("on", "e-2", kept=True)))
    rig.give(sig.RunFinished(first.run_id, 1))
    recover(rig)
    [second] = started(rig.after(60))
    assert (first.cause, second.cause) == ("e-1", "e-2")


def test_a_task_that_follows_another_runs_once_for_it_over_a_crash() -> None:
    rig = Rig(ASKED, TaskSpec(task_id="then", task_type="then", trigger=AfterTrigger(("asked",))))
    rig.give(sig.RunRequested("asked", "a"))
    [then] = started(rig.give(sig.RunFinished("a", 1), Tick()))
    rig.facts.sort(key=lambda fact: not isinstance(fact[0], sig.SchedulerRecord))
    assert started(recover(rig)) == []
    [again] = started(rig.after(60, sig.RunLost(then.run_id, 1), Tick()) + rig.after(60))
    assert (again.run_id, again.cause) == (then.run_id, "a")
    rig.give(sig.RunFinished(then.run_id, 2))
    assert started(rig.after(600)) == []


def test_a_request_that_was_turned_down_has_nothing_that_follows() -> None:
    rig = Rig(SCAN, TaskSpec(task_id="then", task_type="then", trigger=AfterTrigger(("wormhole_scan",), "ended")))
    rig.give(sig.RunRequested("wormhole_scan", "a"), sig.RunRequested("wormhole_scan", "b"))
    assert rig.machine.run("b").state is RunState.SKIPPED
    assert started(rig.after(1)) == []
