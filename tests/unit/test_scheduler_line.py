"""The line of waiting runs: who is in which class, and that nobody is in two."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.scheduling import Rig, acts, started
from tori.clock import SECOND_NS
from tori.machine import Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import Candidate, SlotPolicy
from tori.scheduler.desk import LOOK_AHEAD
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Fallback, Overlap, Priority, Resources, TaskSpec
from tori.scheduler.trigger import EventTrigger, IntervalTrigger
from tori.scheduler.waiting import MOST_CLASSES, TURNS, WaitingLine


def task(task_id: str, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, task_type=task_id, **fields)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by the number of candidates each time that admission is asked."""
    asked: list[int] = []
    decide = SlotPolicy.decide

    def count(self: SlotPolicy, candidates: Sequence[Candidate], *more: Any) -> Any:
        asked.append(len(candidates))
        return decide(self, candidates, *more)

    monkeypatch.setattr(SlotPolicy, "decide", count)
    return asked


@pytest.mark.parametrize("fields", [{"priority": Priority.HIGH}, {"group": "disk"}])
def test_a_run_whose_task_is_shipped_again_stands_in_its_new_class_alone(fields: dict[str, Any]) -> None:
    side_by_side: dict[str, Any] = {"overlap": Overlap.ALLOW, "max_at_once": 2}
    rig = Rig(task("t", priority=Priority.LOW, **side_by_side), admission=SlotPolicy(4))
    rig.give(PressureChanged(Pressure.SEVERE), sig.RunRequested("t", "mine"))
    changed = task("t", **({"priority": Priority.LOW} | side_by_side | fields))
    rig.specs = (changed,)
    rig.give(sig.SpecsAdded((changed,)))
    assert [run.run_id for run in started(rig.give(PressureChanged(Pressure.NONE)))] == ["mine"]


def test_a_candidate_that_moves_is_found_once() -> None:
    line = WaitingLine()
    for candidate in (
        Candidate(Priority.LOW, 5, "a"),
        Candidate(Priority.HIGH, 5, "a"),
        Candidate(Priority.LOW, 5, "a"),
    ):
        line.add(candidate)
        assert line.first(9) == [candidate]
    line.add(Candidate(Priority.LOW, 3, "a"))
    assert [candidate.due_ns for candidate in line.first(9)] == [3]


def test_who_a_person_insists_on_passes_any_number_that_pressure_holds() -> None:
    many = [task(f"t{n}", priority=Priority.LOW) for n in range(3 * LOOK_AHEAD)]
    rig = Rig(*many, task("urgent", priority=Priority.LOW))
    rig.give(PressureChanged(Pressure.HIGH), *(sig.RunRequested(one.task_id, one.task_id) for one in many))
    assert [run.run_id for run in started(rig.give(sig.RunRequested("urgent", "urgent", force=True)))] == ["urgent"]


def test_a_run_that_is_forced_later_passes_too() -> None:
    many = [task(f"t{n}", priority=Priority.LOW) for n in range(3 * LOOK_AHEAD)]
    rig = Rig(*many)
    rig.give(PressureChanged(Pressure.HIGH), *(sig.RunRequested(one.task_id, one.task_id) for one in many))
    last = many[-1].task_id
    assert [run.run_id for run in started(rig.give(sig.RunRequested(last, force=True)))] == [last]


def test_admission_is_asked_about_few_however_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [task(f"t{n:03}") for n in range(10 * LOOK_AHEAD)]
    big = task("big", resources=Resources(num_cpus=2))
    rig = Rig(*many, big, admission=SlotPolicy(budget={"CPU": 2.5}))
    machine = rig.machine
    for one in (big, *many):
        machine.handle(sig.RunRequested(one.task_id, one.task_id))
    asked = counted(monkeypatch)
    assert len(started(machine.handle(sig.RunFinished("big", 1)))) == 2
    assert sum(asked) <= 2 * LOOK_AHEAD


def test_nobody_is_asked_about_while_no_slot_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = [task(f"t{n:03}", resources=Resources(memory_bytes=1 + n)) for n in range(3 * MOST_CLASSES)]
    machine = Rig(*apart, admission=SlotPolicy(2, budget={"CPU": 9.0, "memory": 1e9})).machine
    for one in apart[:2]:
        machine.handle(sig.RunRequested(one.task_id, one.task_id))
    asked = counted(monkeypatch)
    for one in apart[2:]:
        machine.handle(sig.RunRequested(one.task_id, one.task_id))
    assert asked == []
    assert [run.run_id for run in started(machine.handle(sig.RunFinished("t000", 1)))] == ["t002"]
    assert len(asked) == 1, "it took the last slot"
    assert MOST_CLASSES <= asked[0] <= MOST_CLASSES + TURNS
    assert {reason for _, reason in machine.holds()} == {"all 2 slots are taken"}


def test_who_may_begin_is_found_behind_any_number_that_may_not() -> None:
    hopeless = [task(f"h{n:03}", resources=Resources(memory_bytes=100 + n)) for n in range(3 * MOST_CLASSES)]
    machine = Rig(*hopeless, task("modest"), admission=SlotPolicy(budget={"CPU": 9.0, "memory": 10.0})).machine
    for one in (*hopeless, task("modest")):
        machine.handle(sig.RunRequested(one.task_id, one.task_id))
    for _ in range(2 * 3 * MOST_CLASSES // TURNS):
        machine.handle(Tick())
    assert machine.run("modest").is_active
    assert dict(machine.holds())["h700"] == "it asks for 800 memory, and the budget is 10: it cannot start here"


def test_the_oldest_of_more_classes_than_are_looked_at_are_among_those() -> None:
    line = WaitingLine()
    for n in reversed(range(2 * MOST_CLASSES)):
        line.add(Candidate(Priority.LOW, n, f"r{n}", resources=Resources(memory_bytes=1 + n)))
    for gone in range(0, 100, 2):
        line.discard(f"r{gone}")
    oldest = [n for n in range(2 * MOST_CLASSES) if n >= 100 or n % 2][:MOST_CLASSES]
    for _ in range(3):
        assert [candidate.due_ns for candidate in line.first(1)][:MOST_CLASSES] == oldest


def test_those_who_leave_and_come_back_leave_nothing_behind() -> None:
    line = WaitingLine()
    for _ in range(50):
        for n in range(50):
            line.add(Candidate(Priority.LOW, n, f"r{n}"))
        assert [candidate.run_id for candidate in line.first(2)] == ["r0", "r1"]
        assert (
            sum(
                len(heap)
                for lane in line._lanes.values()
                for heap in (*[of.heap for of in lane.classes.values()], lane.heads)
            )
            <= 2 * 50 + 2 + 2 + MOST_CLASSES
        )
        for n in range(50):
            line.discard(f"r{n}")
    assert line.first(2) == []
    assert not line._lanes


# -- since when a run waits -------------------------------------------------------------------------------------------

BUSY = task("busy", overlap=Overlap.QUEUE)


def test_who_is_asked_for_again_keeps_its_place() -> None:
    rig = Rig(BUSY, task("old"), task("young"), admission=SlotPolicy(1))
    rig.give(sig.RunRequested("busy", "busy"), sig.RunRequested("old", "old"))
    rig.after(1, sig.RunRequested("young", "young"))
    rig.after(1, sig.RunRequested("old", "again"))
    assert [run.run_id for run in started(rig.give(sig.RunFinished("busy", 1)))] == ["old"]


@pytest.mark.parametrize("is_shed", [True, False])
def test_a_run_ages_from_when_it_was_due_over_its_attempts(is_shed: bool) -> None:
    patient = task("patient", priority=Priority.BACKGROUND, retry=RetryPolicy(first_backoff_s=1, jitter=0))
    rig = Rig(BUSY, patient, admission=SlotPolicy(1, ageing_s=20))
    rig.give(sig.RunRequested("patient", "patient"))
    rig.after(70)
    if is_shed:
        rig.give(PressureChanged(Pressure.SEVERE, sheds=True), sig.RunCancelled("patient", 1))
    else:
        rig.give(sig.RunFailed("patient", 1, "no", temporary=True))
    rig.give(PressureChanged(Pressure.SEVERE), *(sig.RunRequested("busy", f"busy{n}") for n in range(3)))
    begun = [run.run_id for run in started(rig.after(2, PressureChanged(Pressure.NONE)))]
    assert begun == ["patient"], "it waits since 70 s longer than the others"


def test_a_run_ages_over_a_restart_between_two_attempts() -> None:
    patient = task("patient", priority=Priority.BACKGROUND, retry=RetryPolicy(first_backoff_s=1, jitter=0))
    rig = Rig(BUSY, patient, admission=SlotPolicy(1, ageing_s=20))
    rig.give(sig.RunRequested("patient", "patient"))
    rig.after(70, sig.RunFailed("patient", 1, "no", temporary=True), sig.RunRequested("busy", "busy"))
    rig.crash()
    rig.give(sig.Recovered(), sig.RunRequested("busy", "next"), sig.RunLost("busy", 1))
    rig.after(60)
    run = rig.machine.run("patient")
    assert (rig.clock.monotonic_ns() - run.due_ns) // SECOND_NS == 130


def test_a_request_ends_a_pause_before_another_attempt_and_no_place_in_line_is_lost() -> None:
    rig = Rig(task("t", retry=RetryPolicy(first_backoff_s=60, jitter=0), deadline_s=100))
    rig.give(sig.RunRequested("t", "t"), sig.RunFailed("t", 1, "no", temporary=True))
    [run] = started(rig.after(10, sig.RunRequested("t", "again")))
    assert (run.run_id, run.attempt) == ("t", 2)
    assert rig.machine.run("t").due_ns == 0


# -- who takes the place of one that waits ----------------------------------------------------------------------------

CHEAP = Fallback(variant="cheap", after_hold_s=30)


def replacing(**fields: Any) -> TaskSpec:
    return task("t", trigger=IntervalTrigger(10), overlap=Overlap.REPLACE, **fields)


def test_who_replaces_one_that_waits_has_waited_as_long() -> None:
    rig = Rig(BUSY, replacing(priority=Priority.LOW), admission=SlotPolicy(1, ageing_s=20))
    rig.give(sig.RunRequested("busy", "busy0"))
    for _ in range(5):
        rig.after(10)
    rig.give(sig.RunRequested("busy", "busy1"))
    out = rig.give(sig.RunFinished("busy0", 1))
    assert [run.spec.task_id for run in started(out)] == ["t"], "for 40 s: it is urgent by now"


def test_who_replaces_one_that_admission_holds_goes_as_its_fallback_when_that_would_have() -> None:
    rig = Rig(BUSY, replacing(fallback=CHEAP), admission=SlotPolicy(1))
    rig.give(sig.RunRequested("busy", "busy"))
    for _ in range(5):
        rig.after(10)
    [run] = [run for run in rig.machine.runs() if run.is_waiting]
    assert run.variant == "cheap"
    rig.after(10)
    [newer] = [run for run in rig.machine.runs() if run.is_waiting]
    assert newer.run_id != run.run_id
    assert newer.variant == "cheap", "held for 50 s together"


def test_the_deadline_of_who_replaces_another_is_its_own() -> None:
    rig = Rig(BUSY, replacing(deadline_s=15), admission=SlotPolicy(1))
    rig.give(sig.RunRequested("busy", "busy"))
    for _ in range(5):
        rig.after(10)
    assert rig.machine.task("t").counts == {"cancelled": 4}
    rig.give(sig.PauseRequested("t"))
    rig.after(15)
    assert rig.machine.task("t").counts == {"cancelled": 4, "failed": 1}


def test_an_inherited_place_outlasts_a_restart() -> None:
    rig = Rig(BUSY, replacing(priority=Priority.LOW), admission=SlotPolicy(1, ageing_s=20))
    rig.give(sig.RunRequested("busy", "busy"))
    for _ in range(5):
        rig.after(10)
    rig.crash()
    rig.give(sig.Recovered())
    [run] = [run for run in rig.machine.runs() if run.task_id == "t" and run.is_waiting]
    assert (rig.clock.monotonic_ns() - run.due_ns, rig.clock.monotonic_ns() - run.waits_ns) == (0, 40 * SECOND_NS)


@pytest.mark.parametrize("is_under_way", [True, False])
def test_a_run_that_a_person_asked_for_is_replaced_by_a_person_only(is_under_way: bool) -> None:
    rig = Rig(BUSY, replacing(), admission=SlotPolicy(2 if is_under_way else 1))
    rig.give(sig.RunRequested("busy", "busy"), sig.RunRequested("t", "mine"))
    rig.after(10)
    assert rig.machine.task("t").counts == {"skipped: overlap": 1}
    assert rig.machine.run("mine").is_active is is_under_way
    rig.give(sig.RunRequested("t", "newer"))
    if is_under_way:
        rig.give(sig.RunCancelled("mine", 1))
    assert str(rig.machine.run("mine").state) == "cancelled"


def test_what_is_triggered_meanwhile_waits_for_what_a_person_asked_for() -> None:
    rig = Rig(task("t", trigger=EventTrigger(("*",)), overlap=Overlap.REPLACE))
    rig.give(sig.RunRequested("t", "mine"))
    assert acts(rig.give(sig.Triggered("t", "e-1"))) == []
    [run] = started(rig.give(sig.RunFinished("mine", 1), Tick()))
    assert run.cause == "e-1"
