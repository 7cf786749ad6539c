"""Whatever happens in whatever order, kill -9 included: nothing runs twice at once and nothing asked for is forgotten."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tori.clock import SECOND_NS, VirtualClock
from tori.events import system as events
from tori.ids import IdSource, source_suffix
from tori.machine import Emit, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import SlotPolicy
from tori.scheduler.machine import Scheduler
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Fallback, Missed, Overlap, Priority, Resources, TaskSpec
from tori.scheduler.transition import ENDED, RUN_TABLE, RunState
from tori.scheduler.trigger import AfterTrigger, CronTrigger, EventTrigger, IntervalTrigger

RETRY = RetryPolicy(retries=1, first_backoff_s=1, max_backoff_s=4)
SPECS = (
    TaskSpec(
        task_id="scan",
        task_type="scan",
        module="m",
        trigger=IntervalTrigger(30),
        timeout_s=50,
        retry=RETRY,
        watches=("m",),
    ),
    TaskSpec(task_id="tick", task_type="tick", trigger=IntervalTrigger(10), priority=Priority.CRITICAL, retry=RETRY),
    TaskSpec(task_id="asked", task_type="asked", priority=Priority.LOW, retry=RETRY),
    TaskSpec(
        task_id="queue",
        task_type="queue",
        trigger=IntervalTrigger(7),
        overlap=Overlap.QUEUE,
        missed=Missed.ALL,
        max_queued=3,
        deadline_s=40,
        retry=RETRY,
        group="g",
    ),
    TaskSpec(
        task_id="replace",
        task_type="replace",
        trigger=EventTrigger(("*",), min_gap_s=5),
        overlap=Overlap.REPLACE,
        retry=RETRY,
        fallback=Fallback(resources=Resources(num_cpus=0.5), timeout_s=20, after_hold_s=15),
        resources=Resources(num_cpus=2),
    ),
    TaskSpec(
        task_id="allow",
        task_type="allow",
        trigger=CronTrigger("* * * * *"),
        overlap=Overlap.ALLOW,
        max_at_once=2,
        jitter_s=3,
        retry=RETRY,
        group="g",
    ),
    TaskSpec(task_id="after", task_type="after", trigger=AfterTrigger(("tick", "queue"), "ended"), retry=RETRY),
)
BY_ID = {spec.task_id: spec for spec in SPECS}
SLOTS = 3
GROUP = 2
BUDGET = 3.0
task_ids = st.sampled_from([spec.task_id for spec in SPECS])


class World(RuleBasedStateMachine):
    """An executor whose attempts end as they like, and a shell that may die between any two instructions."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.facts: list[tuple[Any, int]] = []
        self.executing: dict[str, tuple[str, int]] = {}
        """By run: the attempt that really runs."""
        self.cancelling: set[tuple[str, int]] = set()
        self.asked: set[str] = set()
        self.done: dict[str, str] = {}
        """By run: how its events said it ended."""
        self.crash_in: int | None = None
        self.machine = self.create()
        self.write(events.SystemStarted("cold"))

    def create(self) -> Scheduler:
        return Scheduler(
            SPECS,
            self.clock,
            admission=SlotPolicy(SLOTS, groups={"g": GROUP}, budget={"CPU": BUDGET}, ageing_s=30),
            ids=IdSource(source_suffix("scheduler", b"t"), self.clock.wall_ns),
        )

    def write(self, fact: Any) -> None:
        self.facts.append((fact, self.clock.wall_ns()))

    # -- the shell -----------------------------------------------------------------------------------------------

    def give(self, stimulus: Any) -> None:
        out = self.machine.handle(stimulus)
        kept = [i.record for i in out if isinstance(i, sig.Keep)]
        told = [i.payload for i in out if isinstance(i, Emit)]
        acts = [i for i in out if not isinstance(i, (sig.Keep, Emit))]
        crash_in, self.crash_in = self.crash_in, None
        if crash_in == 0:  # before the commit
            self.restart()
            return
        for fact in (*kept, *told):
            self.write(fact)
            self.hear(fact)
        for number, act in enumerate(acts, 1):
            if crash_in == number:
                self.restart()
                return
            self.execute(act)

    def execute(self, act: Any) -> None:
        match act:
            case sig.StartRun(run_id, attempt, spec):
                assert run_id not in self.executing, f"{run_id} runs twice at once"
                self.executing[run_id] = (run_id, attempt)
                same = [i for i in self.executing if self.machine.run(i).task_id == spec.task_id]
                assert len(same) <= spec.max_at_once, f"{len(same)} runs of {spec.task_id} at once"
            case sig.CancelRun(run_id, attempt):
                if (run_id, attempt) in self.executing.values():
                    self.cancelling.add((run_id, attempt))
                elif self.machine.run(run_id).is_active:  # nothing of it is left anywhere
                    self.give(sig.RunLost(run_id, attempt))

    def hear(self, fact: Any) -> None:
        match fact:
            case events.TaskCompleted() | events.TaskCancelled() | events.TaskFailed():
                retried = isinstance(fact, events.TaskFailed) and any(
                    isinstance(f, sig.RunRetrying) and (f.run_id, f.attempt) == (fact.run_id, fact.attempt)
                    for f, _ in self.facts
                )
                if not retried:
                    assert fact.run_id not in self.done, "a run ends once"
                    self.done[fact.run_id] = type(fact).__name__
            case events.TaskStarted():
                assert fact.run_id not in self.done, "nothing begins after its end"
                assert fact.attempt <= 1 + RETRY.retries + (BY_ID[fact.task_id].fallback is not None)

    def restart(self) -> None:
        """The shell was killed: everything but the facts, and what still executes, is gone."""
        self.machine = self.create()
        for fact, time_ns in self.facts:
            self.machine.apply(fact, time_ns)
        self.give(sig.Recovered())

    def end(self, data: st.DataObject) -> tuple[str, int]:
        found = self.executing.pop(data.draw(st.sampled_from(sorted(self.executing))))
        self.cancelling.discard(found)
        return found

    # -- attempts ------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.executing)
    @rule(data=st.data())
    def starts(self, data: st.DataObject) -> None:
        run_id, attempt = self.executing[data.draw(st.sampled_from(sorted(self.executing)))]
        self.give(sig.RunStarted(run_id, attempt))

    @precondition(lambda self: self.executing)
    @rule(data=st.data())
    def finishes(self, data: st.DataObject) -> None:
        self.give(sig.RunFinished(*self.end(data)))

    @precondition(lambda self: self.executing)
    @rule(data=st.data(), temporary=st.booleans())
    def fails(self, data: st.DataObject, temporary: bool) -> None:
        self.give(sig.RunFailed(*self.end(data), error="no", temporary=temporary))

    @precondition(lambda self: self.cancelling)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        found = data.draw(st.sampled_from(sorted(self.cancelling)))
        self.cancelling.discard(found)
        if self.executing.get(found[0]) == found:
            del self.executing[found[0]]
            self.give(sig.RunCancelled(*found))

    @rule(kind=st.sampled_from([sig.RunStarted, sig.RunFinished, sig.RunLost, sig.RunCancelled]), data=st.data())
    def late_report(self, kind: Any, data: st.DataObject) -> None:
        ended = [run for run in self.machine.runs() if run.is_ended]
        if ended:
            run = data.draw(st.sampled_from(ended))
            before = msgspec.structs.replace(run)
            is_killed = self.crash_in is not None
            self.give(kind(run.run_id, run.attempt))
            if is_killed and before.state is RunState.SKIPPED:
                return  # nothing is written of a request that was turned down
            now = self.machine.run(run.run_id)
            # read back from facts, monotonic times and the number of an attempt that never began are not known any more
            assert now.state is before.state if is_killed else now == before

    # -- people and the world ------------------------------------------------------------------------------------

    @rule(task_id=task_ids, number=st.integers(0, 5))
    def is_asked_for(self, task_id: str, number: int) -> None:
        run_id = f"{task_id}-asked-{number}"
        survives = self.crash_in is None
        self.give(sig.RunRequested(task_id, run_id))
        if survives and self.machine.run(run_id).state is not RunState.SKIPPED:
            self.asked.add(run_id)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        runs = self.machine.runs()
        if runs:
            self.give(sig.CancelRequested(data.draw(st.sampled_from(runs)).run_id))

    @rule(
        task_id=st.sampled_from(["", "scan", "asked"]), kind=st.sampled_from([sig.PauseRequested, sig.ResumeRequested])
    )
    def pause(self, task_id: str, kind: Any) -> None:
        self.give(kind(task_id))

    @rule(number=st.integers(0, 1000))
    def an_event_comes(self, number: int) -> None:
        self.give(sig.Triggered("replace", f"event-{number}"))

    @rule(seconds=st.sampled_from([-3600.0, -60.0, 60.0, 3600.0]))
    def the_wall_clock_jumps(self, seconds: float) -> None:
        self.clock.jump_wall(seconds)
        self.give(Tick())

    @precondition(lambda self: self.executing)
    @rule(data=st.data(), done=st.floats(0, 10))
    def makes_progress(self, data: st.DataObject, done: float) -> None:
        run_id, attempt = self.executing[data.draw(st.sampled_from(sorted(self.executing)))]
        self.give(sig.RunProgressed(run_id, attempt, done, 10.0))

    @rule(incarnation=st.integers(1, 2), version=st.integers(0, 3))
    def version_moves(self, incarnation: int, version: int) -> None:
        self.give(sig.VersionMoved("m", (incarnation, version)))

    @rule(available=st.booleans())
    def module_comes_or_goes(self, available: bool) -> None:
        self.give(sig.ModuleAvailable("m", available))

    @rule(pressure=st.sampled_from(Pressure))
    def pressure_changes(self, pressure: Pressure) -> None:
        self.give(PressureChanged(pressure))

    @rule(seconds=st.sampled_from([0.5, 1.0, 5.0, 10.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.give(Tick())

    @rule(step=st.integers(0, 3))
    def will_be_killed(self, step: int) -> None:
        self.crash_in = step

    @rule()
    def is_killed(self) -> None:
        self.restart()

    @rule()
    def restored_elsewhere(self) -> None:
        other = self.create()
        other.restore(self.machine.snapshot())
        assert other.snapshot() == self.machine.snapshot()
        assert other.wake_ns == self.machine.wake_ns
        self.machine = other

    # -- promises ------------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        self.machine.validate()

    @invariant()
    def slots_are_kept(self) -> None:
        active = [run for run in self.machine.runs() if run.is_active]
        assert len(active) <= SLOTS
        assert sum(BY_ID[run.task_id].group == "g" for run in active) <= GROUP
        assert sum(BY_ID[run.task_id].resources_of(run.variant).num_cpus for run in active) <= BUDGET

    @invariant()
    def what_runs_is_known(self) -> None:
        active = {(run.run_id, run.attempt) for run in self.machine.runs() if run.is_active}
        assert set(self.executing.values()) <= active

    @invariant()
    def what_was_asked_for_is_never_forgotten(self) -> None:
        known = {run.run_id: run for run in self.machine.runs()}
        for run_id in self.asked:
            assert known[run_id].is_ended == (run_id in self.done)
        triggered = [t for t in map(self.machine.task, BY_ID) if t.triggers]
        for task in triggered:
            blocked = task.run_ids or task.is_paused or self.machine.wake_ns is None
            assert blocked or task.next_due_ns is not None, f"nobody will make a run of what triggered {task}"
        assert all(reason for _, reason in self.machine.holds()), "nobody says what holds them"

    @invariant()
    def whoever_waits_for_time_is_woken(self) -> None:
        wake = self.machine.wake_ns
        assert wake is None or wake > self.clock.monotonic_ns() - SECOND_NS
        if any(run.is_active for run in self.machine.runs()):
            assert wake is not None


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase


def test_every_edge_says_when() -> None:
    assert all(edge.when for edge in RUN_TABLE.edges)
    reachable = {str(RunState.DUE)}
    for _ in RunState:
        reachable |= {edge.new for edge in RUN_TABLE.edges if edge.old in reachable}
    assert reachable == set(RunState)
    assert {edge.old for edge in RUN_TABLE.edges} == set(RunState) - set(ENDED), "what ended stays ended"
