"""Whatever happens in whatever order, kill -9 included: nothing runs twice at once and nothing asked for is forgotten."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support.schedule_world import CHANGED, LATE, PERMANENT, SPECS, ScheduleWorld
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.spec import TaskSpec
from tori.scheduler.transition import ENDED, RUN_TABLE, RunState

task_ids = st.sampled_from(sorted(spec.task_id for spec in SPECS))


class World(RuleBasedStateMachine):
    """Hypothesis decides what comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.world = ScheduleWorld()
        self.number = 0

    def one_that_executes(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(sorted(self.world.executing)))

    @precondition(lambda self: self.world.executing)
    @rule(data=st.data())
    def starts(self, data: st.DataObject) -> None:
        self.world.give(sig.RunStarted(*self.world.executing[self.one_that_executes(data)]))

    @precondition(lambda self: self.world.executing)
    @rule(data=st.data())
    def finishes(self, data: st.DataObject) -> None:
        self.world.give(sig.RunFinished(*self.world.end(self.one_that_executes(data))))

    @precondition(lambda self: self.world.executing)
    @rule(data=st.data(), temporary=st.booleans())
    def fails(self, data: st.DataObject, temporary: bool) -> None:
        found = self.world.end(self.one_that_executes(data))
        self.world.give(sig.RunFailed(*found, error="no" if temporary else PERMANENT, temporary=temporary))

    @precondition(lambda self: self.world.cancelling)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        self.world.cancelled(data.draw(st.sampled_from(sorted(self.world.cancelling))))

    @precondition(lambda self: self.world.executing)
    @rule(data=st.data(), done=st.floats(0, 10))
    def makes_progress(self, data: st.DataObject, done: float) -> None:
        found = self.world.executing[self.one_that_executes(data)]
        self.world.give(sig.RunProgressed(*found, done, 10.0))

    @rule(kind=st.sampled_from([sig.RunStarted, sig.RunFinished, sig.RunLost, sig.RunCancelled]), data=st.data())
    def late_report(self, kind: Any, data: st.DataObject) -> None:
        ended = [run for run in self.world.machine.runs() if run.is_ended]
        if ended:
            self.world.late_report(kind, data.draw(st.sampled_from(ended)))

    @precondition(lambda self: self.world.is_shipped)
    @rule(number=st.integers(0, 5))
    def a_late_one_is_asked_for(self, number: int) -> None:
        self.world.ask_for("late", f"late-asked-{number}")

    @rule(task_id=task_ids, number=st.integers(0, 5))
    def is_asked_for(self, task_id: str, number: int) -> None:
        self.world.ask_for(task_id, f"{task_id}-asked-{number}")

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        runs = self.world.machine.runs()
        if runs:
            self.world.give(sig.CancelRequested(data.draw(st.sampled_from(runs)).run_id))

    @rule(
        task_id=st.sampled_from(["", "scan", "asked", "replace"]),
        kind=st.sampled_from([sig.PauseRequested, sig.ResumeRequested]),
    )
    def pause(self, task_id: str, kind: Any) -> None:
        self.world.give(kind(task_id))

    @rule()
    def an_event_comes(self) -> None:
        self.number += 1
        self.world.trigger(f"event-{self.number}")

    @precondition(lambda self: self.world.untold)
    @rule()
    def hears_of_events(self) -> None:
        self.world.give(*self.world.take_triggers())

    @rule(data=st.data())
    def much_at_once(self, data: st.DataObject) -> None:
        self.world.give(*self.world.much(lambda options: data.draw(st.sampled_from(options))))

    @rule(seconds=st.sampled_from([-21_600.0, -3600.0, -60.0, 60.0, 3600.0, 21_600.0]))
    def the_wall_clock_jumps(self, seconds: float) -> None:
        self.world.jump(seconds)

    @rule(incarnation=st.integers(1, 2), version=st.integers(0, 3))
    def version_moves(self, incarnation: int, version: int) -> None:
        self.world.give(sig.VersionMoved("m", (incarnation, version)))

    @rule(available=st.booleans())
    def module_comes_or_goes(self, available: bool) -> None:
        self.world.set_available(available=available)

    @rule(pressure=st.sampled_from(Pressure), sheds=st.booleans())
    def pressure_changes(self, pressure: Pressure, sheds: bool) -> None:
        self.world.give(PressureChanged(pressure, sheds))

    @rule(level=st.sampled_from(sig.Throttle), reason=st.sampled_from(["", "fan noise"]))
    def a_person_throttles(self, level: sig.Throttle, reason: str) -> None:
        self.world.give(sig.ThrottleRequested(level, reason))
        assert self.world.machine.throttle == (level, reason) or self.world.crash_in is None

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 10.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule(step=st.integers(0, 3))
    def will_be_killed(self, step: int) -> None:
        self.world.crash_in = step

    @rule()
    def is_killed(self) -> None:
        self.world.kill()

    @rule(spec=st.sampled_from([LATE, *CHANGED]))
    def a_task_is_shipped(self, spec: TaskSpec) -> None:
        self.world.ship(spec)

    @rule()
    def restored_elsewhere(self) -> None:
        self.world.restore()

    @invariant()
    def promises_hold(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        self.world.settle()


World.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase


def test_every_edge_says_when() -> None:
    assert all(edge.when for edge in RUN_TABLE.edges)
    reachable = {str(RunState.DUE)}
    for _ in RunState:
        reachable |= {edge.new for edge in RUN_TABLE.edges if edge.old in reachable}
    assert reachable == set(RunState)
    assert {edge.old for edge in RUN_TABLE.edges} == set(RunState) - set(ENDED), "what ended stays ended"
