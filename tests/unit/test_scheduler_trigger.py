"""Triggers: times of day, events, other tasks; missed times, jitter, and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.scheduling import Rig, acts, kept, names, started
from tori.errors import BadSettings
from tori.events import system as events
from tori.events.envelope import Event
from tori.events.mind import AlienDetected
from tori.ids import IdSource, source_suffix
from tori.machine import Emit, Tick
from tori.scheduler import signal as sig
from tori.scheduler.hearing import Hearing
from tori.scheduler.spec import Missed, Overlap, TaskSpec
from tori.scheduler.timetable import LOOK_S
from tori.scheduler.trigger import AfterTrigger, CronTrigger, EventTrigger, IntervalTrigger, Moment

SECOND = 10**9
HOUR = 3600


def task(task_id: str, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, task_type=task_id, **fields)


def at(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp()) * SECOND  # type: ignore[misc,arg-type]  # year, month, day, ...


def finish(rig: Rig, out: list[Any]) -> list[Any]:
    return rig.give(*(sig.RunFinished(a.run_id, a.attempt) for a in started(out)))


# -- times of day -----------------------------------------------------------------------------------------------------


def test_a_cron_task_is_due_at_its_times_of_day() -> None:
    trigger = CronTrigger("30 6 * * 1-5")
    friday = Moment(at(2026, 11, 27, 7, 0), 5 * SECOND)
    assert trigger.next(0, friday) == 5 * SECOND + at(2026, 11, 30, 6, 30) - friday.wall_ns, "Monday"
    assert trigger.first(friday, None) == trigger.next(0, friday)
    assert trigger.first(friday, at(2026, 11, 26, 6, 30)) == 5 * SECOND, "Friday's was missed: at once"
    assert trigger.first(friday, at(2030, 1, 1)) == trigger.next(0, friday), "a last time in the future is none"


def test_a_time_zone_and_its_summer_time() -> None:
    trigger = CronTrigger("30 2 * * *", "Europe/Berlin")
    before = Moment(at(2026, 3, 28, 12), 0)
    assert trigger.next(0, before) == at(2026, 3, 29, 1) - before.wall_ns, (
        "02:30 does not exist: it comes when the clock jumps"
    )
    autumn, due = Moment(at(2026, 10, 24, 12), 0), []
    for _ in range(2):
        step = trigger.next(0, autumn)
        assert step is not None
        autumn = Moment(autumn.wall_ns + step, 0)
        due.append(autumn.wall_ns)
    assert due == [at(2026, 10, 25, 0, 30), at(2026, 10, 26, 1, 30)], "02:30 comes twice: it is due once"


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 0 30 2 *", "day-of-month"),
        ("0 0 31 4,6 *", "day-of-month"),
        ("61 * * * *", "minute"),
        ("* * *", "fields"),
        ("", "fields"),
        ("every day", "fields"),
    ],
)
def test_an_expression_that_is_wrong_or_never_fires_is_refused(expression: str, says: str) -> None:
    with pytest.raises(BadSettings, match=says) as caught:
        CronTrigger(expression)
    assert "Five fields" in str(caught.value) or "never fires" in str(caught.value)
    with pytest.raises(BadSettings, match="no time zone"):
        CronTrigger("0 0 * * *", "Europe/Atlantis")


@pytest.mark.parametrize(("jumps", "most_minutes"), [((-5,), 2), ((-2, -2), 2), ((-2,), 122)])
def test_a_wall_clock_that_goes_back_far_was_wrong_and_silences_nothing(
    jumps: tuple[int, ...], most_minutes: int
) -> None:
    rig = Rig(task("t", trigger=CronTrigger("* * * * *")))
    began = [minute for minute in range(5) if _runs_in_a_minute(rig)]
    assert began == [0, 1, 2, 3, 4]
    for hours in jumps:
        _runs_in_a_minute(rig)
        rig.clock.jump_wall(hours * HOUR)
    silent = next(minute for minute in range(24 * 60) if _runs_in_a_minute(rig))
    assert most_minutes - 4 <= silent <= most_minutes, "what was done is not repeated after a small step"
    assert sum(_runs_in_a_minute(rig) for _ in range(10)) == 10


def _runs_in_a_minute(rig: Rig) -> int:
    orders = started(rig.after(60))
    rig.give(*(sig.RunFinished(order.run_id, order.attempt) for order in orders))
    return len(orders)


def test_a_wall_clock_that_jumps_moves_a_cron_task() -> None:
    rig = Rig(task("nightly", trigger=CronTrigger("0 * * * *")))
    due_s = rig.machine.task("nightly").next_due_ns
    assert due_s is not None
    rig.clock.jump_wall(-HOUR)
    assert rig.wait() <= LOOK_S, "it looks at the clock meanwhile"
    rig.after(LOOK_S)
    moved = rig.machine.task("nightly").next_due_ns
    assert moved == due_s + HOUR * SECOND, "an hour back: an hour later"
    rig.clock.jump_wall(2 * HOUR)
    assert [a.spec.task_id for a in started(rig.after(LOOK_S))] == ["nightly"], "over its time: at once"


# -- missed times, jitter ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "runs"), [(Missed.ONE, 1), (Missed.SKIP, 0), (Missed.ALL, 9)])
def test_missed_times(policy: Missed, runs: int) -> None:
    overlap = Overlap.QUEUE if policy is Missed.ALL else Overlap.SKIP
    rig = Rig(task("t", trigger=IntervalTrigger(10), missed=policy, overlap=overlap))
    rig.after(95)
    assert len(rig.machine.runs()) == runs
    assert rig.wait() == 5 or policy is Missed.ALL
    if policy is Missed.SKIP:
        assert rig.machine.task("t").counts == {"skipped: missed": 9}
        assert len(started(rig.after(5))) == 1, "the next one is not missed"


@pytest.mark.parametrize(("policy", "runs"), [(Missed.ONE, 1), (Missed.SKIP, 0), (Missed.ALL, 4)])
def test_times_missed_while_nobody_lived(policy: Missed, runs: int) -> None:
    overlap = Overlap.QUEUE if policy is Missed.ALL else Overlap.SKIP
    rig = Rig(task("t", trigger=IntervalTrigger(10), missed=policy, overlap=overlap))
    finish(rig, rig.after(10))
    rig.clock.advance(45)
    rig.crash()
    rig.give(sig.Recovered(), Tick())
    assert len([run for run in rig.machine.runs() if not run.is_ended]) == runs


def test_jitter_spreads_tasks_of_one_interval_and_does_not_drift() -> None:
    specs = [task(f"t{n}", trigger=IntervalTrigger(60), jitter_s=20) for n in range(30)]
    rig = Rig(*specs)
    times: dict[str, list[float]] = {}
    for _ in range(400):
        for start in (out := started(rig.after(0.5))):
            times.setdefault(start.spec.task_id, []).append(rig.clock.monotonic_ns() / SECOND)
        rig.give(*(sig.RunFinished(a.run_id, 1) for a in out))
    assert all(60 * k <= t <= 60 * k + 20.5 for found in times.values() for k, t in enumerate(found, 1))
    assert len({found[0] for found in times.values()}) > 10


# -- events -----------------------------------------------------------------------------------------------------------


def test_an_event_makes_a_task_due_at_most_once_a_gap() -> None:
    rig = Rig(task("look", trigger=EventTrigger(("alien:AlienDetected",), min_gap_s=60)))
    ids = IdSource(source_suffix("alien", b"t"), rig.clock.wall_ns)
    event = Event(ids.next(), AlienDetected("a-1", "c", "label", 0.01, 1.0, "2020"), "c")
    hearing = Hearing({spec.task_id: spec.trigger for spec in rig.machine.specs.values()})
    assert hearing.due(event, "alien") == ["look"]
    assert hearing.due(event, "reader") == []
    out = rig.give(sig.Triggered("look", event.id.hex()))
    assert [type(record) for record in kept(out)] == [sig.TaskTriggered, sig.RunQueued]
    assert names(out)[2:] == ["TaskStarted", "StartRun"]
    assert started(out)[0].cause == event.id.hex()
    finish(rig, out)
    assert names(rig.give(sig.Triggered("look", "e2"), sig.Triggered("look", "e3"))) == ["Keep", "Keep"]
    assert rig.wait() == 60
    [run] = started(rig.after(60))
    assert run.cause == "e3", "two events, one run"


def test_an_event_during_a_run_is_not_missed() -> None:
    rig = Rig(task("look", trigger=EventTrigger(("*",))))
    out = rig.give(sig.Triggered("look", "e1"))
    assert started(rig.give(sig.Triggered("look", "e2"))) == []
    again = finish(rig, out)
    assert started(again) == [], "it is due now"
    assert [a.cause for a in started(rig.give(Tick()))] == ["e2"]


def test_a_trigger_survives_a_crash_until_a_run_is_made_of_it() -> None:
    rig = Rig(task("look", trigger=EventTrigger(("*",)), module="m"))
    rig.give(sig.ModuleAvailable("m", available=False), sig.Triggered("look", "e1"))
    rig.crash()
    rig.give(sig.Recovered())
    [run] = started(rig.give(Tick()))
    assert run.cause == "e1"
    rig.give(sig.RunFinished(run.run_id, 1))
    rig.crash()
    rig.give(sig.Recovered())
    assert started(rig.give(Tick())) == []


def test_a_record_that_the_ledger_wrote_is_not_written_twice() -> None:
    rig = Rig(task("look", trigger=EventTrigger(("*",))))
    [record] = kept(rig.give(sig.Triggered("look", "e1", kept=True)))
    assert isinstance(record, sig.RunQueued)


def test_a_topic_that_fits_nothing_is_refused() -> None:
    with pytest.raises(BadSettings, match="no event type fits"):
        EventTrigger(("*:AlienDetcted",))
    with pytest.raises(BadSettings, match="min_gap_s"):
        EventTrigger(("*",), min_gap_s=-1)


# -- after another task -----------------------------------------------------------------------------------------------


def chain(on: Any = "succeeded") -> Rig:
    return Rig(task("first", trigger=IntervalTrigger(30)), task("then", trigger=AfterTrigger(("first",), on)))


def test_a_task_follows_another() -> None:
    rig = chain()
    out = rig.after(30)
    assert [a.spec.task_id for a in started(out)] == ["first"]
    assert started(finish(rig, out)) == []
    [then] = started(rig.give(Tick()))
    assert (then.spec.task_id, then.cause) == ("then", started(out)[0].run_id)
    assert finish(rig, [then])
    assert started(rig.give(Tick())) == [], "once"


@pytest.mark.parametrize(("on", "follows"), [("succeeded", 0), ("ended", 1)])
def test_after_a_failure(on: str, follows: int) -> None:
    rig = chain(on)
    [run] = started(rig.after(30))
    rig.give(sig.RunFailed(run.run_id, 1, "no", temporary=False))
    assert len(started(rig.give(Tick()))) == follows


def test_what_follows_is_not_forgotten_by_a_crash() -> None:
    rig = chain()
    finish(rig, rig.after(30))
    rig.crash()
    rig.give(sig.Recovered())
    assert [a.spec.task_id for a in started(rig.give(Tick()))] == ["then"]


def test_circles_and_unknown_tasks_are_refused_by_name() -> None:
    with pytest.raises(BadSettings, match="a -> b -> a"):
        Rig(task("a", trigger=AfterTrigger(("b",))), task("b", trigger=AfterTrigger(("a",))))
    with pytest.raises(BadSettings, match="'x', which is no task"):
        Rig(task("a", trigger=AfterTrigger(("x",))))
    with pytest.raises(BadSettings, match="names at least one"):
        AfterTrigger(())


def test_facts_of_triggers_that_are_gone_are_ignored() -> None:
    rig = chain()
    for fact in (sig.TaskTriggered("gone", "e"), sig.RunResulted("gone", "{}"), events.SystemStarted("cold")):
        rig.machine.apply(fact, rig.clock.wall_ns())
    assert acts(rig.give(sig.Recovered())) == []
    assert not any(isinstance(i, Emit) for i in rig.give(Tick()))
