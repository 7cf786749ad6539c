"""The scheduler among an executor whose attempts end as they like and a shell that may die between any two instructions.

Whoever drives it (Hypothesis, the simulator) calls its methods in any order, and ``check`` after each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from tori.clock import SECOND_NS, VirtualClock
from tori.events import system as events
from tori.ids import IdSource, source_suffix
from tori.machine import Emit, Tick
from tori.resources.pressure import Pressure, PressureChanged
from tori.scheduler import signal as sig
from tori.scheduler.admission import SlotPolicy
from tori.scheduler.book import KEPT_OF_HOUSE, Run
from tori.scheduler.machine import Scheduler
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Fallback, Missed, Overlap, Priority, Resources, TaskSpec
from tori.scheduler.timetable import CORRECTION_S, LOOK_S
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import AfterTrigger, CronTrigger, EventTrigger, IntervalTrigger

AFTER_HOLD_S = 15.0
RETRY = RetryPolicy(retries=1, first_backoff_s=1, max_backoff_s=4, losses=4)
PERMANENT = "never"
"""The error of an attempt that is not tried again."""
FOLLOWED = ("tick", "queue")
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
        fallback=Fallback(resources=Resources(num_cpus=0.5), timeout_s=20, after_hold_s=AFTER_HOLD_S),
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
    TaskSpec(task_id="after", task_type="after", trigger=AfterTrigger(FOLLOWED, "ended"), retry=RETRY),
)
LATE = TaskSpec(task_id="late", task_type="late", trigger=AfterTrigger(("tick",)), overlap=Overlap.QUEUE, retry=RETRY)
"""It is shipped to a system that runs."""
CHANGED = tuple(
    replace(spec, priority=priority, group=group, resources=Resources(num_cpus=num_cpus))
    for spec in SPECS
    if spec.task_id in ("asked", "allow", "queue")
    for priority, group, num_cpus in ((Priority.HIGH, "g", 1), (Priority.LOW, "", 2), (Priority.NORMAL, "g", 0.5))
)
"""These take the places of those of their names."""
BY_ID = {spec.task_id: spec for spec in (*SPECS, LATE)}
SLOTS = 3
GROUP = 2
BUDGET = 3.0
SETTLE_ROUNDS = 60


def is_try(error: str) -> bool:
    """Whether an attempt that ended with this error failed by itself, or took too long, and may be tried again."""
    return error == "no" or error.startswith("it took longer")


class ScheduleWorld:
    """What one scheduler lives through. AssertionError = a promise was broken."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.facts: list[tuple[Any, int]] = []
        """What was written, with its time: all that outlives a crash, beside what executes."""
        self.executing: dict[str, tuple[str, int]] = {}
        """By run: the attempt that really runs."""
        self.cancelling: set[tuple[str, int]] = set()
        self.asked: set[str] = set()
        self.done: dict[str, str] = {}
        """By run: how its events said it ended."""
        self.crash_in: int | None = None
        """The shell dies after so many acts of the next stimulus; 0 = before what it decided was written."""
        self.retrying: set[tuple[str, int]] = set()
        self.told_to_end: set[tuple[str, int]] = set()
        self.shed: dict[str, int] = {}
        """By run: attempts that were stopped for others' sake, which are no tries."""
        self.tries: dict[str, int] = {}
        """By run: attempts that failed by themselves, or took too long."""
        self.lost: dict[str, int] = {}
        """By run: attempts in a row that ended with the shell."""
        self.varied: set[str] = set()
        """Runs that went on as their fallback."""
        self.cancelled_by_hand: set[str] = set()
        """Runs whose cancellation was answered before they had ended."""
        self.causes: dict[str, list[str]] = {task_id: [] for task_id in ("replace", "after", "late")}
        """By task: what triggered it, in order, as far as that is written."""
        self.made: dict[str, dict[str, int]] = {task_id: {} for task_id in self.causes}
        """By task and run: up to which of its causes the run was made of them."""
        self.untold: list[sig.Triggered] = []
        """Triggers that are written, and that the scheduler has not heard of."""
        self.known: set[str] = set()
        """Tasks that the journal tells of."""
        self.specs = {spec.task_id: spec for spec in SPECS}
        """What the code on disk says now."""
        self.booked: dict[str, TaskSpec] = {}
        """By run: the spec its attempt began with, in this life."""
        self.used = (0.0, 0.0, 0.0)
        self.requested: set[str] = set()
        """Tasks that somebody asks for in the present turn."""
        self.in_line_since: int | None = None
        """Since when one run of ``replace`` or another has been in line without a break, and not as its fallback."""
        self.in_line: set[str] = set()
        """Those runs."""
        self.is_broken_off = False
        """Whether a person has cancelled one since they were looked at."""
        self.is_away = False
        """Whether module ``m`` cannot be worked with."""
        self.has_jumped = False
        self.steady_since_ns = 0
        """Monotonic: since when the wall clock did not jump and nothing held the task that goes by it."""
        self.pressed = "off"
        """What the events of all lives say of the machine's pressure."""
        self.throttled = ("off", "")
        """What the events of all lives say of a person's throttle."""
        self.machine = self.create()
        self.write(events.SystemStarted("cold"))
        self.give(sig.Recovered())

    @property
    def is_shipped(self) -> bool:
        return LATE.task_id in self.specs

    @property
    def task_ids(self) -> list[str]:
        return sorted(self.specs)

    def create(self) -> Scheduler:
        return Scheduler(
            tuple(self.specs.values()),
            self.clock,
            admission=SlotPolicy(SLOTS, groups={"g": GROUP}, budget={"CPU": BUDGET}, ageing_s=30),
            ids=IdSource(source_suffix("scheduler", b"t"), self.clock.wall_ns),
        )

    def write(self, fact: Any) -> None:
        self.facts.append((fact, self.clock.wall_ns()))

    # -- the shell -----------------------------------------------------------------------------------------------

    def give(self, *stimuli: Any) -> None:
        """Let the scheduler take these in one turn: what it decides is written as one unit, records before events."""
        out: list[Any] = []
        asked, cancelled = set(), set()
        self.requested = {stimulus.task_id for stimulus in stimuli if isinstance(stimulus, sig.RunRequested)}
        for stimulus in stimuli:
            if isinstance(stimulus, sig.CancelRequested) and not self.machine.run(stimulus.run_id).is_ended:
                cancelled.add(stimulus.run_id)
                self.is_broken_off |= self.machine.run(stimulus.run_id).task_id == "replace"
            new = self.machine.handle(stimulus)
            if self.machine.throttle[0] is sig.Throttle.STOPPED:
                assert not any(isinstance(act, sig.StartRun) for act in new), "an emergency stop lets something begin"
            if isinstance(stimulus, sig.RunRequested) and not self._is_turned_down(stimulus.run_id):
                asked.add(stimulus.run_id)
            out += new
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
        self.asked |= asked
        self.cancelled_by_hand |= cancelled
        for fact in told:
            if isinstance(fact, events.TaskCancelled) and not fact.error:
                assert fact.run_id in self.cancelled_by_hand, f"nobody asked {fact.run_id} to end"
        self.trace_causes(kept, acts)
        for number, act in enumerate(acts, 1):
            if crash_in == number:
                self.restart()
                return
            self.execute(act)

    def _check_replaced(self, run_id: str) -> None:
        """What a person asked for is replaced by what a person asks for."""
        assert run_id not in self.asked or "replace" in self.requested, f"{run_id} was asked for and was replaced"

    def has_forgotten(self, run_id: str) -> bool:
        """Whether a run ended so long ago that it is not kept any more; the last of each task have to be."""
        if run_id not in self.done or run_id in {run.run_id for run in self.machine.runs()}:
            return False
        task_id = run_id.partition("-")[0]
        kept = [
            r for r in self.machine.runs() if r.task_id == task_id and r.is_ended and r.state is not RunState.SKIPPED
        ]
        assert len(kept) >= KEPT_OF_HOUSE, f"{run_id} is forgotten, and only {len(kept)} are kept"
        return True

    def _is_turned_down(self, run_id: str) -> bool:
        return self.machine.run(run_id).state is RunState.SKIPPED

    def trace_causes(self, kept: list[Any], acts: list[Any]) -> None:
        """No run is made of what a run was made of before."""
        runs = [(fact.task_id, fact.run_id, fact.cause) for fact in kept if isinstance(fact, sig.RunQueued)]
        runs += [(act.spec.task_id, act.run_id, act.cause) for act in acts if isinstance(act, sig.StartRun)]
        for task_id, run_id, cause in runs:
            if not cause or run_id in self.made[task_id]:
                continue
            made, number = self.made[task_id], self.causes[task_id].index(cause)
            assert number > max(made.values(), default=-1), f"{cause} triggers {task_id} again, as {run_id}"
            made[run_id] = number

    def execute(self, act: Any) -> None:
        match act:
            case sig.StartRun(run_id, attempt, spec):
                assert run_id not in self.executing, f"{run_id} runs twice at once"
                self.executing[run_id] = (run_id, attempt)
                self.booked[run_id] = spec
                same = [i for i in self.executing if self.machine.run(i).task_id == spec.task_id]
                assert len(same) <= spec.max_at_once, f"{len(same)} runs of {spec.task_id} at once"
            case sig.CancelRun(run_id, attempt):
                self.told_to_end.add((run_id, attempt))
                if (run_id, attempt) in self.executing.values():
                    self.cancelling.add((run_id, attempt))
                elif self.machine.run(run_id).is_active:  # nothing of it is left anywhere
                    self.give(sig.RunLost(run_id, attempt))

    def hear(self, fact: Any) -> None:
        match fact:
            case sig.TasksKnown(tasks):
                self.known |= tasks.keys()
            case events.WorkThrottled(by="pressure"):
                assert fact.old == self.pressed, f"{fact} follows on {self.pressed}"
                assert fact.runs or fact.level != fact.old, f"{fact} says nothing"
                self.pressed = fact.level
            case events.WorkThrottled():
                self.throttled = (fact.level, fact.reason)
            case sig.RunRetrying(run_id, attempt):
                self.retrying.add((run_id, attempt))
                more = fact.shed - self.shed.get(run_id, 0)
                assert more == 0 or (more == 1 and (run_id, attempt) in self.told_to_end), f"{run_id} was not stopped"
                self.shed[run_id], self.lost[run_id] = fact.shed, fact.lost
            case sig.RunCancelling(run_id, why="replaced"):
                self._check_replaced(run_id)
            case sig.RunVaried(run_id):
                self.varied.add(run_id)
            case events.TaskCompleted() | events.TaskCancelled() | events.TaskFailed():
                is_failure = isinstance(fact, events.TaskFailed)
                self.tries[fact.run_id] = self.tries.get(fact.run_id, 0) + (is_failure and is_try(fact.error or ""))
                if (fact.run_id, fact.attempt) in self.retrying:
                    assert not isinstance(fact, events.TaskCompleted), f"{fact.run_id} goes on, and is complete"
                    self.retrying.discard((fact.run_id, fact.attempt))
                else:
                    if fact.error == "a newer run replaces it" and not self.machine.run(fact.run_id).began_wall_ns:
                        self._check_replaced(fact.run_id)
                    if is_failure:
                        self._check_failure(fact.run_id, fact.error or "")
                    assert fact.run_id not in self.done, "a run ends once"
                    self.done[fact.run_id] = type(fact).__name__
                    for follower in {"after", "late"} & self.known:
                        self._follow(follower, fact)
            case events.TaskStarted():
                assert fact.run_id not in self.done, "nothing begins after its end"
                assert fact.run_id not in self.cancelled_by_hand, f"{fact.run_id} was cancelled and begins again"
                tries = fact.attempt - self.shed.get(fact.run_id, 0)
                assert tries <= 1 + RETRY.retries + (BY_ID[fact.task_id].fallback is not None)

    def _check_failure(self, run_id: str, error: str) -> None:
        """No run is given up before its tries are used up, whatever ended with the shell or was stopped."""
        if is_try(error):
            assert run_id in self.varied or self.tries[run_id] > RETRY.retries, f"{run_id} is given up early: {error}"
        elif error != PERMANENT and not error.startswith("its deadline"):
            assert self.lost.get(run_id, 0) >= RETRY.losses, f"{run_id} is given up without having failed: {error}"

    def _follow(self, follower: str, fact: Any) -> None:
        trigger = BY_ID[follower].trigger
        assert isinstance(trigger, AfterTrigger)
        if fact.task_id in trigger.task_ids and (trigger.on == "ended" or isinstance(fact, events.TaskCompleted)):
            self.causes[follower].append(fact.run_id)

    def kill(self) -> None:
        """Kill the shell between two stimuli: what is due in the next moment is what would have been due."""
        self.machine.handle(Tick())  # it died before it could write what follows
        would = self._due()
        self.restart()
        self.give(Tick())
        if not self.has_jumped:
            assert would - 2 <= self._due() <= would, f"due after a restart: {self._due()}, otherwise: {would}"
        self.has_jumped = False

    def _due(self) -> int:
        """Return how many runs there are that only time made due."""
        return sum(run.task_id in ("queue", "allow") and not run.is_asked for run in self.machine.runs())

    def restart(self) -> None:
        """The shell was killed: everything but the facts, and what still executes, is gone."""
        self.machine, self.untold = self.create(), []
        for fact, time_ns in self.facts:
            self.machine.apply(fact, time_ns)
        self._book_anew()
        self.give(sig.Recovered(("m",) if self.is_away else (), PressureChanged(Pressure.NONE)))

    def _book_anew(self) -> None:
        """What is under way counts by the specs of now, which may want more than those it began with."""
        self.in_line_since = None
        self.booked = {run.run_id: self.specs[run.task_id] for run in self.machine.runs() if run.is_active}
        self.used = self._in_use()

    def restore(self) -> None:
        """The machine goes on from its snapshot, which says everything."""
        other = self.create()
        other.restore(self.machine.snapshot())
        assert other.snapshot() == self.machine.snapshot()
        assert other.wake_ns == self.machine.wake_ns
        self.machine = other
        self._book_anew()

    # -- attempts ------------------------------------------------------------------------------------------------

    def end(self, run_id: str) -> tuple[str, int]:
        """Let an attempt end; return it."""
        found = self.executing.pop(run_id)
        self.cancelling.discard(found)
        return found

    def cancelled(self, found: tuple[str, int]) -> None:
        """An attempt that was asked to end has."""
        self.cancelling.discard(found)
        if self.executing.get(found[0]) == found:
            del self.executing[found[0]]
            self.give(sig.RunCancelled(*found))

    def late_report(self, kind: Any, run: Run) -> None:
        """A word about a run that has ended changes nothing."""
        before = msgspec.structs.replace(run)
        is_killed = self.crash_in is not None
        self.give(kind(run.run_id, run.attempt))
        if is_killed and before.state is RunState.SKIPPED:
            return  # nothing is written of a request that was turned down
        now = self.machine.run(run.run_id)
        # read back from facts, monotonic times and the number of an attempt that never began are not known any more
        assert now.state is before.state if is_killed else now == before

    # -- people and the world ------------------------------------------------------------------------------------

    def ask_for(self, task_id: str, run_id: str) -> None:
        self.give(sig.RunRequested(task_id, run_id))

    def trigger(self, cause: str) -> None:
        """An event comes: it is written with the ledger's cursor, and told when the scheduler has time (``take_triggers``)."""
        self.write(sig.TaskTriggered("replace", cause))
        self.causes["replace"].append(cause)
        self.untold.append(sig.Triggered("replace", cause, kept=True))

    def take_triggers(self) -> list[sig.Triggered]:
        """Return what the scheduler has not heard of, for it to hear."""
        untold, self.untold = self.untold, []
        return untold

    def much(self, choose: Callable[[list[Any]], Any]) -> list[Any]:
        """Return what comes at once, as ``choose`` takes it from what there is."""
        stimuli: list[Any] = []
        for _ in range(choose([2, 3, 4])):
            options: list[Any] = [Tick(), *(sig.CancelRequested(run.run_id) for run in self.machine.runs()[:20])]
            options += [sig.RunStarted(*found) for found in self.executing.values()]
            options += [sig.RunFinished(*found) for found in self.executing.values()]
            options += self.untold[:1] * 3
            run_id = f"asked-{len(self.facts)}-{len(stimuli)}"
            options += [sig.RunRequested(task_id, run_id) for task_id in self.task_ids]
            stimulus = choose(options)
            if isinstance(stimulus, sig.RunFinished):
                self.end(stimulus.run_id)
            elif isinstance(stimulus, sig.Triggered):
                self.untold.pop(0)
            stimuli.append(stimulus)
            if isinstance(stimulus, sig.RunRequested) and choose([True, False]):
                stimuli.append(sig.CancelRequested(run_id))
        return stimuli

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.give(Tick())

    def ship(self, spec: TaskSpec = LATE) -> None:
        """Another task, or another spec of one, comes while life goes on; its code is on disk before the scheduler hears of it."""
        self.specs = self.specs | {spec.task_id: spec}
        self.give(sig.SpecsAdded((spec,)))

    def set_available(self, *, available: bool) -> None:
        self.is_away = not available
        self.give(sig.ModuleAvailable("m", available))

    def jump(self, seconds: float) -> None:
        self.has_jumped = True
        self.clock.jump_wall(seconds)
        self.steady_since_ns = self.clock.monotonic_ns()
        self.give(Tick())

    # -- promises ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Every promise that holds at every moment."""
        self.machine.validate()
        runs = self.machine.runs()
        active = [run for run in runs if run.is_active]
        self._check_slots()
        assert set(self.executing.values()) <= {(run.run_id, run.attempt) for run in active}
        self._check_memory({run.run_id: run for run in runs})
        self._check_clock()
        self._check_fallback()
        assert self.machine.throttle == self.throttled, "nobody asked for that"
        pressed = Pressure.NONE if self.pressed == "off" else Pressure[self.pressed.upper()]
        assert self.machine.pressure[0] is max(pressed, self.machine.throttle[0].pressure), (
            "nobody was told of pressure"
        )
        wake = self.machine.wake_ns
        assert wake is None or wake > self.clock.monotonic_ns() - SECOND_NS
        if active:
            assert wake is not None, "nobody will see that what runs takes too long"

    def _check_slots(self) -> None:
        """What is in use fits, or it was more before and nothing was added."""
        before, self.used = self.used, self._in_use()
        for now, most, then in zip(self.used, (SLOTS, GROUP, BUDGET), before, strict=True):
            assert now <= max(most, then), f"in use are {self.used}, before {before}"

    def _in_use(self) -> tuple[float, float, float]:
        """Return slots, slots of the group and CPUs that runs have."""
        runs = [run for run in self.machine.runs() if run.is_active]
        specs = [self.booked[run.run_id] for run in runs]
        cpus = sum(spec.resources_of(run.variant).num_cpus for spec, run in zip(specs, runs, strict=True))
        return len(runs), sum(spec.group == "g" for spec in specs), cpus

    def _check_fallback(self) -> None:
        """Admission does not hold a task longer than its fallback allows, whichever of its runs stands in line.

        Who comes after a run that a person cancelled has replaced nobody.
        """
        desk, now_ns = self.machine._desk, self.clock.monotonic_ns()
        runs = [run for run in self.machine.runs() if run.task_id == "replace"]
        before, self.in_line = self.in_line, {run.run_id for run in runs if desk.is_in_line(run) and not run.variant}
        if not self.in_line:
            self.in_line_since = None
        elif self.in_line_since is None or (self.is_broken_off and self.in_line.isdisjoint(before)):
            self.in_line_since = now_ns
        self.is_broken_off = False
        held_s = 0.0 if self.in_line_since is None else (now_ns - self.in_line_since) / SECOND_NS
        assert held_s <= AFTER_HOLD_S, f"replace is held for {held_s} s, and goes as no fallback"

    def _check_memory(self, known: dict[str, Run]) -> None:
        for run_id in self.asked:
            ended = run_id not in known or known[run_id].is_ended
            assert ended == (run_id in self.done), f"{run_id} was asked for and is forgotten"
        for task in [t for t in map(self.machine.task, self.task_ids) if t.triggers]:
            assert task.run_ids or task.next_due_ns is not None, f"nobody will make a run of what triggered {task}"
        assert all(reason for _, reason in self.machine.holds()), "nobody says what holds them"

    def _check_clock(self) -> None:
        """However the wall clock jumped: who goes by it is due again before long."""
        task, is_stopped = self.machine.task("allow"), self.machine.throttle[0] is sig.Throttle.STOPPED
        if self.machine.is_paused or task.is_paused or is_stopped:
            self.steady_since_ns = self.clock.monotonic_ns()
        if self.clock.monotonic_ns() - self.steady_since_ns > LOOK_S * SECOND_NS and task.due_wall_ns is not None:
            wait_s = (task.due_wall_ns - self.clock.wall_ns()) / SECOND_NS
            assert wait_s < CORRECTION_S + 2 * 60, f"due every minute, and not for {wait_s} s"

    def settle(self) -> None:
        """Faults are over and attempts succeed: then all that was asked for or triggered has run before long."""
        self.crash_in = None
        self.is_away = False
        self.kill()
        for stimulus in (
            sig.ResumeRequested(),
            *(sig.ResumeRequested(task_id) for task_id in self.task_ids),
            sig.ModuleAvailable("m", available=True),
            PressureChanged(Pressure.NONE),
            sig.ThrottleRequested(sig.Throttle.OFF),
        ):
            self.give(stimulus)
        oldest = {run.run_id for run in self.machine.runs() if not run.is_ended}
        begun = len(self.facts)
        old = {task_id: list(found) for task_id, found in self.causes.items()}
        causes = {cause for task_id in self.task_ids for cause in self.machine.task(task_id).triggers}
        for _ in range(SETTLE_ROUNDS + 2 * len(oldest)):  # those that take nearly all there is run one after the other
            for run_id in sorted(self.executing):
                if run_id in self.executing:
                    self.give(sig.RunFinished(*self.end(run_id)))
            self.pass_time(2.0)
            self.check()
        for task_id, written in old.items():
            last = max(self.made[task_id].values(), default=-1)
            assert last >= len(written) - 1, f"no run of {task_id} was made of {written[last + 1 :]}"
        left = oldest & {run.run_id for run in self.machine.runs() if not run.is_ended}
        assert not left, f"these never ended: {left}; {self.machine.holds()}"
        assert self.asked <= set(self.done), f"these were asked for and never ended: {self.asked - set(self.done)}"
        causes &= {cause for task_id in self.task_ids for cause in self.machine.task(task_id).triggers}
        assert not causes, f"these triggered a task that never ran: {causes}"
        ran = {fact.task_id for fact, _ in self.facts[begun:] if isinstance(fact, events.TaskStarted)}
        assert ran >= {"tick", "queue", "allow"}, f"these are due every minute or oftener and never ran: only {ran} did"
