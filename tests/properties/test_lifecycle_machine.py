"""Whatever happens in whatever order, the lifecycle machine keeps its promises."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tori.clock import SECOND_NS, VirtualClock
from tori.errors import IllegalTransition
from tori.events import system as events
from tori.events.envelope import Event
from tori.ids import IdSource, source_suffix
from tori.machine import Emit, Tick
from tori.orchestrator import signal as sig
from tori.orchestrator.ledger import Ledger
from tori.orchestrator.lifecycle import Lifecycle
from tori.orchestrator.record import LifecycleOptions
from tori.orchestrator.state import MODULE_TABLE, SYSTEM_TABLE, State
from tori.orchestrator.supervision import RestartPolicy

ORDER = ("reader", "hierarchy", "alien")
OPTIONS = LifecycleOptions(order=ORDER, restart=RestartPolicy(limit=2, window_s=60))
names = st.sampled_from(ORDER)


class World(RuleBasedStateMachine):
    """Module actors that become ready, die, hang or stop when they like, and an orchestrator that is killed now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = VirtualClock()
        self.machine = Lifecycle(self.clock, OPTIONS)
        self.alive: dict[str, int] = {}
        """Incarnations that live, as the world knows it."""
        self.successors: dict[str, int] = {}
        """New code on its way to take over."""
        self.ready: set[str] = set()
        self.paused: dict[str, bool] = {}
        self.checkpointed: set[tuple[str, int]] = set()
        self.stop_asked: set[tuple[str, int]] = set()
        self.restarts: dict[str, list[int]] = {name: [] for name in ORDER}
        self.states: dict[str, str] = {}
        self.finished = 0
        self.ids = IdSource(source_suffix("orchestrator", b""), self.clock.wall_ns)
        self.ledger = Ledger()
        """What the next orchestrator knows."""

    # -- the shell -----------------------------------------------------------------------------------------------

    def give(self, stimulus: Any) -> None:
        before = self.machine.snapshot()
        try:
            out = self.machine.handle(stimulus)
        except IllegalTransition:
            assert self.machine.snapshot() == before, "a refusal changes nothing"
            return
        for instruction in out:
            self.execute(instruction)

    def execute(self, instruction: Any) -> None:
        match instruction:
            case sig.StartModule(name, incarnation, paused):
                assert name not in self.alive, "two incarnations at once"
                assert self.machine.modules[name].incarnation == incarnation
                self.alive[name] = incarnation
                self.paused[name] = paused
            case sig.KillModule(name, incarnation):
                if self.alive.get(name) == incarnation:
                    self.die(name)
            case sig.PauseModule(name, incarnation) | sig.ResumeModule(name, incarnation):
                assert self.alive.get(name) == incarnation
                self.paused[name] = isinstance(instruction, sig.PauseModule)
            case sig.TakeCheckpoint(name, incarnation):
                assert self.alive.get(name) == incarnation
                assert not set(ORDER[ORDER.index(name) + 1 :]) & set(self.alive), "it stops out of order"
            case sig.StopModule(name, incarnation):
                assert name not in self.ready or (name, incarnation) in self.checkpointed, "no final checkpoint"
                self.stop_asked.add((name, incarnation))
            case sig.ReplaceModule(name, incarnation):
                assert name not in self.successors, "two successors at once"
                assert incarnation == self.alive[name] + 1
                self.successors[name] = incarnation
            case sig.KillSuccessor(name, incarnation):
                if self.successors.get(name) == incarnation:
                    del self.successors[name]
            case sig.Finish():
                assert not self.successors, "finished while new code is on its way"
                assert not self.alive, "finished while something lives"
                self.finished += 1
            case Emit(payload):
                self.hear(payload)

    def hear(self, payload: Any) -> None:
        if isinstance(payload, events.ModuleStateChanged):
            table = SYSTEM_TABLE if payload.module == "system" else MODULE_TABLE
            assert table.allows(payload.old, payload.new)
            assert self.states.get(payload.module, "stopped") == payload.old, "the events tell a whole story"
            self.ledger.apply(Event(self.ids.next(), payload))
            self.states[payload.module] = payload.new
        elif isinstance(payload, events.RecoveryAttempted) and payload.message == "restart":
            now = self.clock.monotonic_ns()
            recent = [at for at in self.restarts[payload.module] if at > now - 50 * SECOND_NS]
            assert len(recent) < OPTIONS.restart.limit, "restarts are bounded"
            self.restarts[payload.module] = [*recent, now]

    def die(self, name: str) -> int:
        self.ready.discard(name)
        return self.alive.pop(name)

    # -- people --------------------------------------------------------------------------------------------------

    @rule(paused=st.booleans())
    def start(self, paused: bool) -> None:
        self.give(sig.StartRequested(paused))

    @rule()
    def stop(self) -> None:
        self.give(sig.StopRequested())

    @rule(module=st.sampled_from(["", *ORDER]), kind=st.sampled_from([sig.PauseRequested, sig.ResumeRequested]))
    def pause(self, module: str, kind: Any) -> None:
        self.give(kind(module))

    @rule(module=names, ends=st.booleans())
    def check(self, module: str, ends: bool) -> None:
        self.give(sig.CheckRequested(module, ends))

    @rule(module=names)
    def recover(self, module: str) -> None:
        self.restarts[module].clear()
        self.give(sig.RecoverRequested(module))

    @rule(module=names)
    def reload(self, module: str) -> None:
        self.give(sig.ReloadRequested(module, "a", "b"))

    # -- modules -------------------------------------------------------------------------------------------------

    @precondition(lambda self: set(self.alive) - self.ready)
    @rule(data=st.data())
    def becomes_ready(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(set(self.alive) - self.ready)))
        self.ready.add(name)
        self.give(sig.ModuleReady(name, self.alive[name]))

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def dies(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.alive)))
        self.give(sig.ModuleDied(name, self.die(name), "killed"))

    @precondition(lambda self: self.ready)
    @rule(data=st.data(), good=st.booleans())
    def answers_checkpoint(self, data: st.DataObject, good: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.ready)))
        incarnation = self.alive[name]
        if self.machine.modules[name].state is State.DRAINING:
            self.checkpointed.add((name, incarnation))
        self.give(sig.CheckpointDone(name, incarnation) if good else sig.CheckpointFailed(name, incarnation, "full"))

    @precondition(lambda self: self.successors)
    @rule(data=st.data(), good=st.booleans())
    def new_code_ends_its_rehearsal(self, data: st.DataObject, good: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.successors)))
        incarnation, old = self.successors[name], self.alive[name]
        if not good:
            self.give(sig.ReplaceFailed(name, incarnation, "refused"))
            assert (self.alive[name], name in self.successors) == (old, False)
            return
        self.alive[name] = self.successors.pop(name)
        self.give(sig.ModuleReplaced(name, incarnation))
        assert self.machine.modules[name].incarnation == incarnation
        before = self.machine.states()
        self.give(sig.ModuleDied(name, old, "its end is meant"))
        assert self.machine.states() == before

    @rule(modules=st.sets(names, min_size=1))
    def node_is_lost(self, modules: set[str]) -> None:
        was_draining = self.machine.system is State.DRAINING
        self.give(sig.NodeLost("n", tuple(sorted(modules))))
        if not was_draining:
            assert {self.machine.modules[name].state for name in modules} == {State.OFFLINE}
        assert not modules & set(self.alive)

    @rule(modules=st.sets(names, min_size=1))
    def node_returns(self, modules: set[str]) -> None:
        was_stopping = self.machine.system in (State.DRAINING, State.STOPPED)
        self.give(sig.NodeReturned("n", tuple(sorted(modules))))
        if not was_stopping:
            assert State.OFFLINE not in {self.machine.modules[name].state for name in modules}

    @precondition(lambda self: self.stop_asked)
    @rule(data=st.data())
    def stops(self, data: st.DataObject) -> None:
        name, incarnation = data.draw(st.sampled_from(sorted(self.stop_asked)))
        self.stop_asked.discard((name, incarnation))
        if self.alive.get(name) == incarnation:
            self.die(name)
            self.give(sig.ModuleStopped(name, incarnation))

    @rule(
        name=names,
        incarnation=st.integers(0, 3),
        kind=st.sampled_from([sig.ModuleReady, sig.ModuleStopped, sig.CheckpointDone]),
    )
    def late_report(self, name: str, incarnation: int, kind: Any) -> None:
        if incarnation != self.machine.modules[name].incarnation:
            before = self.machine.states()
            self.give(kind(name, incarnation))
            assert self.machine.states() == before

    # -- time and crashes ----------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.give(Tick())

    @rule()
    def restored_elsewhere(self) -> None:
        other = Lifecycle(self.clock, OPTIONS)
        other.restore(self.machine.snapshot())
        assert other.snapshot() == self.machine.snapshot()
        assert other.wake_ns == self.machine.wake_ns
        self.machine = other

    @precondition(lambda self: self.machine.system in (State.RUNNING, State.DEGRADED, State.PAUSED))
    @rule()
    def orchestrator_is_killed(self) -> None:
        was_paused = self.machine.system is State.PAUSED
        self.machine = Lifecycle(self.clock, OPTIONS)
        given_up = {name for name, state in self.states.items() if state == State.DEGRADED and name in ORDER}
        self.states.clear()
        self.successors.clear()  # they do not have the module, and say so
        lost = set(self.alive) - self.ready
        for name in lost:  # a module that was starting was the child of a call that is gone
            self.die(name)
        starts, failures = self.ledger.query("starts", {}), self.ledger.query("failures", {})
        for name in ORDER:
            ages = tuple(self.clock.wall_ns() - at for at in failures.get(name, ()))
            self.give(sig.Remember(name, starts.get(name, 0), name in given_up, ages))
        checked = self.ledger.query("checked", {})
        for name, incarnation in sorted(self.alive.items()):
            if name in checked:
                self.paused[name] = False
            self.give(sig.Adopt(name, incarnation, self.paused[name]))
        self.give(sig.StartRequested(was_paused))
        assert set(self.alive) >= self.ready
        assert not given_up & set(self.alive), "only a person starts it again"

    # -- promises ------------------------------------------------------------------------------------------------

    @invariant()
    def holds(self) -> None:
        self.machine.validate()
        wake = self.machine.wake_ns
        assert wake is None or wake > self.clock.monotonic_ns() - 31 * SECOND_NS

    @invariant()
    def the_machine_knows_who_lives(self) -> None:
        up = (State.INITIALIZING, State.RUNNING, State.PAUSED, State.DRAINING)
        assert {m.name for m in self.machine.modules.values() if m.state in up} == set(self.alive)

    @invariant()
    def who_is_paused_is_told(self) -> None:
        for m in self.machine.modules.values():
            if m.state in (State.RUNNING, State.PAUSED):
                assert self.paused[m.name] == (m.state is State.PAUSED), m

    @invariant()
    def a_pause_that_only_a_check_wants_is_known_to_the_next_orchestrator(self) -> None:
        checked = self.ledger.query("checked", {})
        for m in self.machine.modules.values():
            if m.state in (State.RUNNING, State.PAUSED):
                assert (m.name in checked) == (m.is_checked and not m.is_held), m

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        """Unless everything is settled, some time or some answer is awaited."""
        if self.machine.system in (State.INITIALIZING, State.DRAINING):
            assert self.machine.wake_ns is not None


World.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestWorld = World.TestCase


def test_every_edge_says_when() -> None:
    for table in (MODULE_TABLE, SYSTEM_TABLE):
        assert all(edge.when for edge in table.edges)
        assert "| stopped | initializing |" in table.markdown()
        states = set(State) if table is MODULE_TABLE else set(State) - {State.OFFLINE}
        reachable = {"stopped"}
        for _ in State:
            reachable |= {edge.new for edge in table.edges if edge.old in reachable}
        assert reachable == states, "every state can be reached, and left"
        assert {edge.old for edge in table.edges} == states
