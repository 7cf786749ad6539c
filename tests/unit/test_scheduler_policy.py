"""Policies of a task: overlap, deadline, fallback, groups, budget, ageing, progress, results."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.support.scheduling import Rig, acts, begin, names, started
from tori.clock import SECOND_NS
from tori.errors import BadSettings
from tori.machine import Emit, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import Candidate, HoldDecision, SlotPolicy, Usage
from tori.scheduler.book import KEPT_IN_ALL, KEPT_OF_HOUSE, KEPT_RUNS, Book, Run
from tori.scheduler.calendar import Calendar
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Fallback, Missed, Overlap, Priority, Resources, TaskSpec
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import IntervalTrigger
from tori.scheduler.user import USER

ONCE = RetryPolicy(retries=0)


def task(task_id: str, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, task_type=task_id, **fields)


def every(seconds: float, **fields: Any) -> TaskSpec:
    return task("t", trigger=IntervalTrigger(seconds), **fields)


# -- overlap ----------------------------------------------------------------------------------------------------------


def test_queue_lets_runs_wait_their_turn_up_to_a_bound() -> None:
    rig = Rig(every(10, overlap=Overlap.QUEUE, max_queued=2))
    first = begin(rig, 10)
    for _ in range(3):
        rig.after(10)
    assert rig.machine.task("t").counts == {"skipped: queue full": 1}
    assert len(rig.machine.task("t").run_ids) == 3
    assert {reason for _, reason in rig.machine.holds()} == {f"run {first.run_id} of its task has not ended"}
    rig.crash()
    assert acts(rig.give(sig.Recovered())) == [sig.CancelRun(first.run_id, 1, force=True)]
    assert len(rig.machine.task("t").run_ids) == 3, "queued runs survive a crash"
    [second] = started(rig.give(sig.RunFinished(first.run_id, 1)))
    assert second.run_id != first.run_id


def test_replace_cancels_the_earlier_run_and_begins_when_it_has_ended() -> None:
    rig = Rig(every(10, overlap=Overlap.REPLACE))
    first = begin(rig, 10)
    out = rig.after(10)
    assert [i for i in out if isinstance(i, sig.CancelRun)] == [sig.CancelRun(first.run_id, 1)]
    assert started(out) == []
    waiting = rig.machine.task("t").run_ids[1]
    rig.after(10)
    assert rig.machine.run(waiting).state is RunState.CANCELLED, "an even newer one takes its place at once"
    [newest] = started(rig.give(sig.RunCancelled(first.run_id, 1)))
    assert rig.machine.run(first.run_id).error == "a newer run replaces it"
    assert newest.run_id not in (first.run_id, waiting)


def test_allow_runs_side_by_side_up_to_a_bound() -> None:
    rig = Rig(every(10, overlap=Overlap.ALLOW, max_at_once=2, max_queued=1))
    runs = [begin(rig, 10), begin(rig, 10)]
    assert started(rig.after(10)) == []
    assert started(rig.after(10)) == []
    assert rig.machine.task("t").counts == {"skipped: queue full": 1}
    assert len(started(rig.give(sig.RunFinished(runs[0].run_id, 1)))) == 1


def test_a_request_when_the_queue_is_full_says_so() -> None:
    rig = Rig(task("t", overlap=Overlap.QUEUE, max_queued=1))
    rig.give(sig.RunRequested("t", "a"), sig.RunRequested("t", "b"), sig.RunRequested("t", "c"))
    assert (rig.machine.run("b").state, rig.machine.run("c").state) == (RunState.DUE, RunState.SKIPPED)
    assert rig.machine.run("c").error == "2 runs of this task have not ended"


# -- deadline ---------------------------------------------------------------------------------------------------------


def test_a_run_that_waits_past_its_deadline_fails_and_says_what_held_it() -> None:
    rig = Rig(every(10, deadline_s=5, module="m", overlap=Overlap.QUEUE))
    rig.give(sig.PauseRequested(), sig.RunRequested("t", "mine"))
    assert rig.wait() == 5
    out = rig.after(5)
    assert [i.payload.error for i in out if isinstance(i, Emit)] == [
        "its deadline of 5 s passed: the scheduler is paused"
    ]
    assert rig.machine.run("mine").state is RunState.FAILED


def test_a_run_under_way_past_its_deadline_is_ended_and_not_tried_again() -> None:
    rig = Rig(every(10, deadline_s=7, timeout_s=100))
    run = begin(rig, 10)
    assert rig.after(7) == [sig.CancelRun(run.run_id, 1)]
    out = rig.give(sig.RunCancelled(run.run_id, 1))
    assert names(out) == ["TaskFailed"]
    assert rig.machine.run(run.run_id).error == "its deadline of 7 s passed"


def test_a_pause_before_a_retry_does_not_outlast_the_deadline() -> None:
    rig = Rig(every(100, deadline_s=5, retry=RetryPolicy(first_backoff_s=60, jitter=0)))
    run = begin(rig, 100)
    rig.give(sig.RunFailed(run.run_id, 1, "busy", temporary=True))
    assert rig.wait() == 5
    rig.after(5)
    assert rig.machine.run(run.run_id).state is RunState.FAILED


def test_an_attempt_that_was_stopped_for_others_is_not_begun_again_past_the_deadline() -> None:
    rig = Rig(every(10, deadline_s=5, timeout_s=100))
    run = begin(rig, 10)
    rig.give(PressureChanged(Pressure.SEVERE, sheds=True))
    rig.after(6)
    rig.give(PressureChanged(Pressure.NONE))
    assert names(rig.give(sig.RunCancelled(run.run_id, 1))) == ["TaskFailed"]
    assert rig.machine.run(run.run_id).state is RunState.FAILED
    assert "its deadline of 5 s passed" in rig.machine.run(run.run_id).error


def test_a_task_that_is_shipped_again_gives_back_what_it_took_and_may_have_no_deadline_any_more() -> None:
    big, small = Resources(num_cpus=3), Resources(num_cpus=1)
    other = TaskSpec(task_id="other", task_type="other", resources=big)
    rig = Rig(
        every(10, deadline_s=5, timeout_s=100, resources=big), other, admission=SlotPolicy(8, budget={"CPU": 4.0})
    )
    run = begin(rig, 10)
    rig.give(sig.SpecsAdded((every(10, timeout_s=100, resources=small),)))
    rig.after(6)
    rig.give(sig.RunCancelled(run.run_id, 1))
    assert rig.machine.run(run.run_id).error == "its deadline passed"
    assert [i.spec.task_id for i in started(rig.give(sig.PauseRequested("t"), sig.RunRequested("other", "o")))] == [
        "other"
    ]


@pytest.mark.parametrize("temporary", [True, False])
def test_no_fallback_begins_past_the_deadline(temporary: bool) -> None:
    rig = Rig(every(10, deadline_s=5, timeout_s=4, retry=RetryPolicy(retries=0), fallback=Fallback(variant="cheap")))
    run = begin(rig, 10)
    rig.clock.advance(10)
    out = rig.give(sig.RunFailed(run.run_id, 1, "too much", temporary=temporary))
    assert started(out) == []
    assert rig.machine.run(run.run_id).error == "its deadline of 5 s passed: too much"


# -- fallback ---------------------------------------------------------------------------------------------------------

CHEAP = Fallback(variant="cheap", resources=Resources(num_cpus=0.5), timeout_s=20, after_hold_s=30)


@pytest.mark.parametrize("temporary", [True, False])
def test_when_the_last_attempt_failed_the_fallback_runs_once(temporary: bool) -> None:
    rig = Rig(every(100, retry=ONCE, fallback=CHEAP))
    run = begin(rig, 100)
    assert run.variant == ""
    [again] = started(rig.give(sig.RunFailed(run.run_id, 1, "too much", temporary=temporary)))
    assert (again.run_id, again.attempt, again.variant) == (run.run_id, 2, "cheap")
    assert rig.machine.wake_ns == rig.clock.monotonic_ns() + 20 * SECOND_NS, "with its own time-out"
    rig.crash()
    rig.give(sig.Recovered(), sig.RunLost(run.run_id, 2))
    [again] = started(rig.after(1))
    assert (again.attempt, again.variant) == (3, "cheap"), "known after a crash, which is no failure of the fallback"
    rig.give(sig.RunFailed(run.run_id, 3, "no", temporary=True))
    assert rig.machine.run(run.run_id).state is RunState.FAILED, "the fallback has no fallback"
    assert rig.machine.story(run.run_id)[-2].text == "a fallback that failed is not tried again"


def test_a_fallback_that_was_stopped_for_others_is_tried_again() -> None:
    rig = Rig(every(100, retry=ONCE, fallback=CHEAP))
    run = begin(rig, 100)
    rig.give(sig.RunFailed(run.run_id, 1, "too much", temporary=False), PressureChanged(Pressure.SEVERE, sheds=True))
    [again] = started(rig.give(sig.RunCancelled(run.run_id, 2), PressureChanged(Pressure.NONE)))
    assert (again.attempt, again.variant) == (3, "cheap")


def test_a_run_that_admission_holds_for_too_long_goes_as_its_fallback() -> None:
    rig = Rig(every(100, resources=Resources(num_cpus=4), fallback=CHEAP), admission=SlotPolicy(budget={"CPU": 2}))
    assert started(rig.after(100)) == []
    [(run_id, reason)] = rig.machine.holds()
    assert "it asks for 4 CPU, and the budget is 2" in reason
    assert rig.wait() == 30
    [run] = started(rig.after(30))
    assert (run.run_id, run.variant, run.spec.resources_of(run.variant).num_cpus) == (run_id, "cheap", 0.5)
    assert any("held for 30 s" in line.text for line in rig.machine.story(run_id))


# -- groups, budget, ageing -------------------------------------------------------------------------------------------


def test_a_group_has_slots_of_its_own() -> None:
    specs = [task(f"g{n}", trigger=IntervalTrigger(10), group="disk") for n in range(3)]
    rig = Rig(*specs, task("other", trigger=IntervalTrigger(10)), admission=SlotPolicy(groups={"disk": 1}))
    out = started(rig.after(10))
    assert sorted(a.spec.group for a in out) == ["", "disk"]
    assert {reason for _, reason in rig.machine.holds()} == {"group disk has its 1 runs under way"}
    [disk] = [a for a in out if a.spec.group]
    assert len(started(rig.give(sig.RunFinished(disk.run_id, 1)))) == 1


def test_a_small_run_passes_one_that_the_budget_is_too_small_for_now() -> None:
    big = [task(f"b{n}", trigger=IntervalTrigger(10), resources=Resources(num_cpus=3)) for n in range(50)]
    small = task("small", trigger=IntervalTrigger(10.5), resources=Resources(num_cpus=1))
    rig = Rig(*big, small, admission=SlotPolicy(budget={"CPU": 4}))
    assert len(started(rig.after(10))) == 1
    assert [a.spec.task_id for a in started(rig.after(0.5))] == ["small"], "although fifty wait before it"
    assert any("1 of 4 are free" not in reason for _, reason in rig.machine.holds())


def test_custom_resources_and_memory_are_counted() -> None:
    policy = SlotPolicy(budget={"memory": 100.0, "gpu": 1.0})
    used = Usage([("", Resources(num_cpus=0, memory_bytes=60, custom={"gpu": 1.0}))])
    wants = [
        Candidate(Priority.NORMAL, 0, "m", "", Resources(num_cpus=0, memory_bytes=50)),
        Candidate(Priority.NORMAL, 0, "g", "", Resources(num_cpus=0, custom={"gpu": 0.5})),
    ]
    found = {d.run_id: d for d in policy.decide(wants, used.runs, Pressure.NONE, used)}
    assert found["m"] == HoldDecision("m", "it needs 50 memory, 40 of 100 are free")
    assert isinstance(found["g"], HoldDecision)
    used.add("", Resources(num_cpus=0, memory_bytes=60, custom={"gpu": 1.0}), -1)
    assert not any(isinstance(d, HoldDecision) for d in policy.decide(wants, used.runs, Pressure.NONE, used))


def test_who_waits_long_grows_urgent_but_not_under_pressure() -> None:
    specs = [task("urgent", trigger=IntervalTrigger(10), priority=Priority.NORMAL, overlap=Overlap.QUEUE)]
    patient = task("patient", priority=Priority.BACKGROUND)
    rig = Rig(*specs, patient, admission=SlotPolicy(1, ageing_s=20))
    run = begin(rig, 10)
    rig.give(sig.RunRequested("patient", "mine"))
    order = []
    for _ in range(8):
        rig.after(10)
        [run] = started(rig.give(sig.RunFinished(run.run_id, 1)))
        order.append(run.spec.task_id)
    assert "patient" in order[2:7], "after a while it goes before what is always due"
    rig.give(PressureChanged(Pressure.HIGH), sig.RunRequested("patient", "again"))
    rig.after(300)
    out = rig.give(sig.RunFinished(run.run_id, 1))
    assert "patient" not in [a.spec.task_id for a in started(out)]


def test_those_behind_know_what_they_wait_for() -> None:
    rig = Rig(*(task(f"t{n}", trigger=IntervalTrigger(10)) for n in range(60)), admission=SlotPolicy(1))
    rig.after(10)
    reasons = {reason for _, reason in rig.machine.holds()}
    assert reasons == {"all 1 slots are taken"}


# -- progress and results ---------------------------------------------------------------------------------------------


def test_progress_tells_how_long_it_still_takes() -> None:
    rig = Rig(every(10))
    run = begin(rig, 10)
    now = rig.clock.monotonic_ns
    assert rig.machine.run(run.run_id).eta_s(now()) is None
    rig.clock.advance(10)
    rig.give(sig.RunProgressed(run.run_id, 1, 25.0, 100.0))
    assert rig.machine.run(run.run_id).eta_s(now()) == 30
    rig.give(sig.RunProgressed(run.run_id, 1, 500.0, 100.0), sig.RunProgressed("gone", 1, 1.0, 2.0))
    assert rig.machine.run(run.run_id).eta_s(now()) == 0
    rig.give(sig.RunFinished(run.run_id, 1))
    assert rig.machine.run(run.run_id).eta_s(now()) is None


def test_a_result_is_kept_bounded_over_a_crash() -> None:
    rig = Rig(every(10))
    run = begin(rig, 10)
    out = rig.give(sig.RunFinished(run.run_id, 1, result='{"found": 3}' + " " * 20_000))
    assert names(out) == ["Keep", "TaskCompleted"]
    assert len(rig.machine.run(run.run_id).result) == sig.MAX_RESULT
    rig.crash()
    rig.give(sig.Recovered())
    assert rig.machine.run(run.run_id).result.startswith('{"found": 3}')


def test_what_runs_often_pushes_out_its_own_kind_only() -> None:
    rig = Rig(every(10), task("nightly"), task("busy"))
    rig.give(sig.RunRequested("nightly", "n"), sig.RunFinished("n", 1, result='{"pages": 10}'))
    rig.give(sig.RunRequested("busy", "b"))
    for number in range(600):
        rig.clock.advance(10)
        out = [*rig.machine.handle(Tick()), *rig.machine.handle(sig.RunRequested("busy", f"turned down {number}"))]
        for order in started(out):
            rig.facts += [(i.payload, rig.clock.wall_ns()) for i in out if isinstance(i, Emit)]
            rig.give(sig.RunFinished(order.run_id, 1))
    assert rig.machine.run("n").result == '{"pages": 10}'
    assert rig.machine.story("n")[-1].text == "running -> succeeded"
    assert len(rig.machine.runs()) == 2 + 2 * KEPT_OF_HOUSE
    assert rig.give(sig.RunRequested("nightly", "n")) == [], "the same request is the same run for as long"
    rig.crash()
    rig.give(sig.Recovered())
    assert rig.machine.run("n").result == '{"pages": 10}'


def test_what_a_person_brings_is_remembered_longer_and_all_together_are_bounded() -> None:
    kept = Book([TaskSpec(task_id=f"u{n}", task_type=USER) for n in range(1000)])

    def end(task_id: str, number: int) -> None:
        run = Run(f"{task_id}-{number}", task_id, RunState.RUNNING, result="x")
        kept.open(run)
        run.state = RunState.SUCCEEDED
        kept.close(run)

    end("u999", 0)
    for number in range(KEPT_RUNS + 1):
        end("u0", number)
    assert (kept.find("u0-0"), kept.find("u0-1") is None) == (None, False)
    for number in range(10):
        for task_number in range(1000):
            end(f"u{task_number}", KEPT_RUNS + 1 + number)
    assert len(kept.ended) == KEPT_IN_ALL
    counts = Counter(run.task_id for run in kept.ended)
    assert set(counts.values()) == {KEPT_IN_ALL // 1000}, "each has its share"


# -- rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"deadline_s": 0},
        {"jitter_s": -1},
        {"jitter_s": 30.5, "trigger": IntervalTrigger(30)},
        {"max_queued": 0},
        {"max_at_once": 2},
        {"missed": Missed.ALL},
    ],
)
def test_specs_that_make_no_sense_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        task("t", **fields)


@pytest.mark.parametrize("fields", [{"groups": {"g": 0}}, {"budget": {"CPU": -1.0}}, {"ageing_s": -1.0}])
def test_limits_that_let_nothing_run_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadSettings):
        SlotPolicy(**fields)
    with pytest.raises(BadSettings):
        Fallback(variant="")


def test_the_calendar_keeps_the_newest_time_of_each() -> None:
    calendar = Calendar()
    calendar.set("due", "a", 5)
    calendar.set("due", "a", 9)
    calendar.set("rest", "a", 7)
    calendar.set("due", "b", 1)
    calendar.set("due", "b", None)
    assert calendar.next_ns == 7
    assert [(e.time_ns, e.purpose) for e in calendar.take(9)] == [(7, "rest"), (9, "due")]
    calendar.set("expiry", "c", 1)
    calendar.forget("c")
    assert calendar.next_ns is None


def test_a_jitter_below_the_interval_makes_no_due_time_vanish() -> None:
    rig = Rig(every(10, jitter_s=9, missed=Missed.SKIP))
    count = 0
    for _ in range(1200):
        begun = started(rig.after(0.5))
        rig.give(*(sig.RunFinished(run.run_id, 1) for run in begun))
        count += len(begun)
    assert count >= 58, "sixty were due"
