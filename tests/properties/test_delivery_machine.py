"""Delivery against a plain model: handlers that raise or die at random, processes that die between any two steps.

The model knows only what was sent and what each event's handler does. What must hold: nothing skipped, nothing twice, dead exactly
what deserves it, order by producer and key, and a replay of the journal that equals the life it replays.
"""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.delivery import DEADLY, GOOD, PERMANENT, TEMPORARY, UNKNOWN, DeliveryBench, ProcessDeath
from tori.bus.dead_letter import Redriven
from tori.bus.policy import DeliveryPolicy
from tori.modules.host import HostSnapshot

KEYS = st.sampled_from("abc")
MOODS = st.one_of(
    st.just([GOOD]),
    st.just([GOOD]),
    st.lists(st.sampled_from([TEMPORARY, UNKNOWN]), min_size=1, max_size=3).map(lambda m: [*m, GOOD]),
    st.just([DEADLY, GOOD]),
    st.sampled_from([[PERMANENT], [TEMPORARY], [UNKNOWN], [DEADLY]]),
)


class DeliveryMachine(RuleBasedStateMachine):
    @initialize(held=st.sampled_from([2, 6, 100]), seed=st.integers(0, 100))
    def begin(self, held: int, seed: int) -> None:
        self.bench = DeliveryBench(DeliveryPolicy(max_held=held), seed=seed)
        self.snapshots: list[HostSnapshot | None] = [None]
        self.redriven: Counter[int] = Counter()
        self.died = False

    @rule(
        producer=st.sampled_from(["clients", "reader"]), events=st.lists(st.tuples(KEYS, MOODS), min_size=1, max_size=5)
    )
    def send(self, producer: str, events: list[tuple[str, list[str]]]) -> None:
        numbers = self.bench.send(*(key for key, _ in events), producer=producer)
        for number, (_, mood) in zip(numbers, events, strict=True):
            self.bench.script.moods[number] = list(mood)

    @rule(max_events=st.integers(1, 12))
    def step(self, max_events: int) -> None:
        try:
            self.bench.host.step(max_events=max_events)
        except ProcessDeath:
            self.bench.restart()

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self.bench.clock.advance(seconds)

    @rule(where=st.sampled_from(["before the unit", "after the unit"]))
    def die_at_the_next_unit(self, where: str) -> None:
        self.bench.script.dies_at = lambda step: step == where
        try:
            self.bench.host.step(max_events=5)
        except ProcessDeath:
            self.bench.script.dies_at = lambda step: False
            self.bench.restart()
        self.bench.script.dies_at = lambda step: False

    @rule(data=st.data())
    def die_now(self, data: st.DataObject) -> None:
        """A process dies between two steps; the next one starts from any snapshot that was ever taken."""
        self.bench.restart(data.draw(st.sampled_from(self.snapshots)))

    @rule()
    def take_a_snapshot(self) -> None:
        self.snapshots.append(self.bench.host.snapshot())

    @precondition(lambda self: len(self.bench.host.courier.book))
    @rule(data=st.data(), heals=st.booleans())
    def redrive(self, data: st.DataObject, heals: bool) -> None:
        letter = data.draw(st.sampled_from(self.bench.host.courier.book.letters()))
        number = next(n for n, e in self.bench.sent.items() if e.id == letter.payload.event_id)
        if heals:
            self.bench.script.moods[number] = [GOOD]
        self.redriven[number] += 1
        self.bench.host.record([Redriven(letter.id, letter.entry, 0)])

    @invariant()
    def a_replay_equals_its_life(self) -> None:
        bench = getattr(self, "bench", None)
        if bench is None:
            return
        mark, script = bench.mark, bench.script.moods
        again = bench.start()
        assert bench.mark is mark and bench.script.moods is script
        assert again.module.snapshot() == bench.host.module.snapshot()
        durable = {e.place for e in again.courier.pending.entries()}
        living = {e.place for e in bench.host.courier.pending.entries()}
        assert durable <= living, "only what no unit has passed yet may be unknown after a replay"
        assert again.courier.book.snapshot() == bench.host.courier.book.snapshot()

    def teardown(self) -> None:
        if not hasattr(self, "bench"):
            return
        bench = self.bench
        bench.settle()
        dead = Counter(bench.dead_numbers())
        buried = {n: dead[n] - self.redriven[n] for n in bench.sent}
        delivered = Counter(bench.numbers())
        inputs = Counter(bench.module.inputs_applied)
        assert delivered == inputs, "a record without its input, or an input without its record"
        for number, moods in bench.script.moods.items():
            healed = moods == [GOOD] or moods[-1] == GOOD
            assert delivered[number] == (1 if healed else 0), (
                f"event {number}: {moods}, applied {delivered[number]} times"
            )
            assert buried[number] == (0 if healed else 1), f"event {number}: {moods}, dead {dead[number]} times"
        self._check_order()
        self.a_replay_equals_its_life()
        assert bench.host.lag == 0

    def _check_order(self) -> None:
        lines = [line for line in self.bench.module.lines if not self.redriven[line[2]]]
        for group in {(p, k) for p, k, _ in lines}:
            numbers = [n for p, k, n in lines if (p, k) == group]
            assert numbers == sorted(numbers), f"{group}: {numbers}"


DeliveryMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestDeliveryMachine = DeliveryMachine.TestCase
