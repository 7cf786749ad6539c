"""Delivery: retry with backoff, order by key, dead letters, deaths of the process, loops."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.delivery import (
    DEADLY,
    GOOD,
    MALFORMED,
    PERMANENT,
    TEMPORARY,
    UNKNOWN,
    DeliveryBench,
)
from tori.backoff import FinalDecision, RetryDecision
from tori.bus.dead_letter import DeadLetterBook
from tori.bus.mark import Coroner, MappedMark, MemoryMark
from tori.bus.pending import Entry, Pending
from tori.bus.policy import DeliveryPolicy
from tori.clock import SECOND_NS, VirtualClock
from tori.errors import BadSettings, JournalDamaged
from tori.events.envelope import Event
from tori.events.system import CustomEvent
from tori.ids import IdSource, source_suffix
from tori.modules.base import Context


def assert_replay_is_the_same(bench: DeliveryBench) -> None:
    again = bench.start()
    live = bench.host
    assert again.module.snapshot() == live.module.snapshot()
    assert again.courier.pending.entries() == live.courier.pending.entries()
    assert again.courier.book.snapshot() == live.courier.book.snapshot()


def test_a_temporary_error_is_tried_again_with_growing_pauses() -> None:
    bench = DeliveryBench(DeliveryPolicy(jitter=0.0))
    (poor,) = bench.send("a", mood=[TEMPORARY, TEMPORARY, GOOD])
    bench.send("b")
    bench.step()
    assert bench.numbers() == [1], "other keys go on"
    assert bench.host.lag == 1
    (held,) = bench.host.courier.pending
    assert held.due_ns - bench.clock.monotonic_ns() == SECOND_NS // 2
    bench.clock.advance(0.49)
    assert not bench.host.has_work
    bench.clock.advance(0.02)
    assert bench.host.has_work
    bench.step()
    assert held.due_ns - bench.clock.monotonic_ns() == 2 * SECOND_NS
    bench.settle()
    assert bench.numbers() == [1, poor]
    assert bench.dead() == []
    assert bench.host.lag == 0
    assert_replay_is_the_same(bench)


def test_backoff_blocks_its_key_and_no_other() -> None:
    bench = DeliveryBench()
    first = bench.send("a", "b", "a", mood=[GOOD])
    (poor,) = bench.send("a", mood=[TEMPORARY, GOOD])
    behind = bench.send("a", "c", "a")
    other_producer = bench.send("a", producer="reader")
    bench.step()
    assert sorted(bench.numbers()) == sorted([*first, behind[1], *other_producer])
    late = bench.send("a", "d")
    bench.step()
    assert late[1] in bench.numbers()
    assert late[0] not in bench.numbers()
    assert_replay_is_the_same(bench)
    bench.settle()
    by_key = [n for p, k, n in bench.module.lines if (p, k) == ("clients", "a")]
    assert by_key == [first[0], first[2], poor, behind[0], behind[2], late[0]]
    assert_replay_is_the_same(bench)


@pytest.mark.parametrize(
    ("mood", "attempts", "error_type"),
    [
        (TEMPORARY, 4, "TemporaryError"),
        (UNKNOWN, 4, "KeyError"),
        (PERMANENT, 1, "PermanentError"),
        (MALFORMED, 1, "BadInput"),
    ],
)
def test_what_always_fails_becomes_a_dead_letter(mood: str, attempts: int, error_type: str) -> None:
    bench = DeliveryBench()
    good = bench.send(*"abcdefgh", mood=[GOOD])
    (poison,) = bench.send("a", mood=[mood])
    after = bench.send("a", "b")
    bench.settle()
    assert sorted(bench.numbers()) == sorted([*good, *after])
    (letter,) = bench.dead()
    assert (letter.subscriber, letter.journal, letter.sequence) == ("scars", "clients", poison)
    assert (letter.attempts, letter.error_type, letter.key) == (attempts, error_type, "a")
    assert letter.event_id == bench.sent[poison].id
    assert letter.event_type == "CustomEvent"
    assert len([line for line in letter.story.splitlines() if line.startswith("attempt")]) == attempts
    assert bench.host.counters.dead == len(bench.host.courier.book) == 1
    assert_replay_is_the_same(bench)


def test_a_death_over_a_batch_is_narrowed_to_one_event() -> None:
    bench = DeliveryBench()
    good = bench.send(*"abc")
    (poison,) = bench.send("x", mood=[DEADLY])
    after = bench.send(*"xyz")
    bench.step()
    assert bench.clock.monotonic_ns() < 3 * SECOND_NS, "the innocent do not wait for the guilty"
    assert sorted(bench.numbers()) == sorted([*good, *after[1:]]), "but for the event behind it, a suspect with its key"
    bench.settle()
    assert bench.clock.monotonic_ns() < 61 * SECOND_NS
    assert sorted(bench.numbers()) == sorted([*good, *after])
    assert bench.deaths == 4, "one over the batch, three over the event alone: below the five restarts a minute"
    (letter,) = bench.dead()
    assert (letter.error_type, letter.attempts, letter.sequence) == ("HandlerDied", 3, poison)
    assert_replay_is_the_same(bench)
    bench.send("x")
    bench.step()
    assert bench.deaths == 4


def test_one_death_is_nobodys_fault() -> None:
    bench = DeliveryBench()
    numbers = bench.send("a", "b", mood=[DEADLY, DEADLY, GOOD])
    bench.settle()
    assert sorted(bench.numbers()) == numbers
    assert bench.dead() == []
    assert not bench.host.courier._coroner.has_suspects


def test_many_deadly_events_never_die_faster_than_supervision_allows() -> None:
    bench = DeliveryBench()
    times: list[int] = []
    restart = bench.restart

    def noted(snapshot: object = None) -> None:
        times.append(bench.clock.monotonic_ns())
        restart()

    bench.restart = noted  # type: ignore[method-assign]  # to count
    deadly = bench.send(*"abcdefgh", mood=[DEADLY])
    bench.step()
    good = bench.send(*"ijk")
    bench.step()
    assert sorted(bench.numbers()) == good, "the others do not wait for the suspects"
    bench.settle()
    assert sorted(bench.dead_numbers()) == deadly
    for i in range(len(times) - 5):
        assert times[i + 5] - times[i] > 60 * SECOND_NS, "six deaths within a minute would degrade the module"
    assert_replay_is_the_same(bench)


def test_too_many_held_deliveries_block_the_follower() -> None:
    bench = DeliveryBench(DeliveryPolicy(max_held=4))
    bench.send(*"aaaa", mood=[TEMPORARY])
    for _ in range(10):
        bench.send("a", "b")
    bench.step()
    assert 4 <= len(bench.host.courier.pending) <= 4 + 8
    assert not bench.host.has_input
    assert bench.host.lag > 8
    bench.settle()
    assert len(bench.numbers()) == 20
    assert len(bench.dead()) == 4


def test_deep_causation_is_a_loop() -> None:
    bench = DeliveryBench()
    (deep,) = bench.send("a", depth=17)
    (fine,) = bench.send("a", depth=16)
    bench.settle()
    assert bench.numbers() == [fine]
    (letter,) = bench.dead()
    assert (letter.error_type, letter.attempts, letter.sequence) == ("CausationLoop", 0, deep)
    answers = [e for f in bench.own.frames(0, bench.own.limit()) if f.header.kind == 1 for e in f.events]
    assert [e.depth for e in answers] == [0, 17], "a dead letter reacts to nothing; an answer is one deeper"
    assert_replay_is_the_same(bench)


def test_depth_counts_reactions_not_history() -> None:
    ids = IdSource(source_suffix("x", b"test"), VirtualClock().wall_ns)
    old, new = Event(ids.next(), CustomEvent("old"), depth=12), Event(ids.next(), CustomEvent("new"), depth=2)
    context = Context(0, ids, lambda _: old, depths={new.id: new.depth})
    answer = context.event(CustomEvent("answer"), causes=[old.id, new.id])
    assert answer.depth == 3, "the old event is history"
    beside = context.event(CustomEvent("beside"), causes=[answer.id])
    assert beside.depth == 3, "facts of one decision are one reaction"
    assert context.event(CustomEvent("own")).depth == 0


def test_the_journals_own_errors_are_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = DeliveryBench()
    bench.send("a")

    def damaged(*_: object) -> None:
        raise JournalDamaged("a text is gone.")

    monkeypatch.setattr(bench.module, "decide", damaged)
    with pytest.raises(JournalDamaged):
        bench.host.step()
    assert bench.dead() == []
    assert bench.mark.found() is None


def test_an_interrupt_from_the_keyboard_is_no_death(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = DeliveryBench()
    bench.send("a")
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(type(bench.module), "decide", interrupted)
        for is_restarted in (True, True, True, True, False):
            with pytest.raises(KeyboardInterrupt):
                bench.host.step()
            if is_restarted:
                bench.restart()
    bench.settle()
    assert (bench.numbers(), bench.dead()) == ([0], [])


def test_an_apply_that_fails_is_loud(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = DeliveryBench()
    bench.send("a")

    def broken(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(bench.module, "apply", broken)
    with pytest.raises(ZeroDivisionError):
        bench.host.step()
    assert bench.dead() == []


def test_a_snapshot_carries_what_is_held_and_dead() -> None:
    bench = DeliveryBench()
    bench.send("a", "b", mood=[TEMPORARY, GOOD])
    bench.send("c", mood=[PERMANENT])
    bench.step()
    snapshot = bench.host.snapshot()
    assert len(snapshot.held) == 2
    bench.restart(snapshot)
    assert len(bench.host.courier.book) == 1
    assert bench.host.needed() == {"clients": 0, "reader": 0}
    bench.settle()
    assert sorted(bench.numbers()) == [0, 1]
    assert_replay_is_the_same(bench)


def test_policy_decides_within_its_bounds() -> None:
    policy, rng = DeliveryPolicy(retries=2, max_backoff_s=3.0), random.Random(1)
    pauses = [policy.decide(n, rng, permanent=False) for n in (1, 2)]
    assert all(isinstance(p, RetryDecision) for p in pauses)
    assert [0.45 <= p.after_s <= 3.0 for p in pauses if isinstance(p, RetryDecision)] == [True, True]
    assert isinstance(policy.decide(3, rng, permanent=False), FinalDecision)
    assert isinstance(policy.decide(1, rng, permanent=True), FinalDecision)
    for wrong in ({"retries": -1}, {"jitter": 2.0}, {"max_held": 0}, {"first_backoff_s": 9.0, "max_backoff_s": 1.0}):
        with pytest.raises(BadSettings):
            DeliveryPolicy(**wrong)


def test_pending_keeps_order_within_a_group() -> None:
    pending = Pending()
    entries = [Entry("j", 0, 8, n, 2, key) for n, key in enumerate("aba")]
    for entry in entries:
        pending.hold(entry)
    pending.hold(entries[0]).due_ns = 100
    assert [h.entry.sequence for h in pending.due(50)] == [1]
    assert pending.wake_ns == 0
    assert pending.inside("j", 0, 8) == (0, 1, 2)
    pending.discard(("j", 1))
    assert pending.wake_ns == 100
    assert pending.blocks(Entry("j", 8, 16, 9, 2, "a"))
    assert not pending.blocks(Entry("j", 8, 16, 9, 2, "a", is_redriven=True)), "a redrive is out of order by name"
    with pytest.raises(TypeError):
        DeadLetterBook().add(Event(bytes(16), CustomEvent("x")))


def test_the_mapped_mark_outlives_its_process(tmp_path: Path) -> None:
    mark = MappedMark(tmp_path)
    assert mark.found() is None
    mark.begin([Entry("a", 0, 8, 3, 2, ""), Entry("a", 0, 8, 9, 2, ""), Entry("b", 0, 8, 1, 2, "")], 5)
    mark.close()
    again = MappedMark(tmp_path)
    found = again.found()
    assert found is not None
    assert (found.events, found.begun_ns, len(found.spans)) == (3, 5, 2)
    coroner = Coroner(again, budget=4, window_s=60)
    assert coroner.examine(10)
    assert not coroner.examine(10)
    assert coroner.suspects(Entry("a", 0, 8, 5, 2, ""))
    again.close()
    third = Coroner(MappedMark(tmp_path), budget=4, window_s=60)
    assert third.suspects(Entry("b", 0, 8, 1, 2, ""))
    third.prune([("a", 10), ("b", 0)], [])
    assert not third.suspects(Entry("a", 0, 8, 5, 2, ""))
    assert third.suspects(Entry("b", 0, 8, 1, 2, ""))
    (tmp_path / "deaths").write_bytes(b"\xc1torn")
    assert not Coroner(MappedMark(tmp_path), budget=4, window_s=60).has_suspects


def test_a_death_past_the_timeout_says_so() -> None:
    mark, entry = MemoryMark(), Entry("a", 0, 8, 3, 2, "")
    coroner = Coroner(mark, budget=4, window_s=60)
    mark.begin([entry], 0)
    coroner.examine(SECOND_NS)
    mark.begin([entry], SECOND_NS)
    coroner.examine(4 * SECOND_NS, "in decide")
    assert coroner.deaths(entry) == (2, 1, "in decide")
    coroner.clear(entry)
    assert coroner.deaths(entry) == (0, 0, "")


WATCHED = """
import ctypes, sys, threading
from pathlib import Path
from tori.bus.watchdog import ProcessWatchdog
dog = ProcessWatchdog(float(sys.argv[1]), 20.0, Path(sys.argv[2]))
def handler():
    dog.arm(dog.timeout_s); dog.disarm()          # one that returns in time
    dog.arm(dog.timeout_s)
    ctypes.PyDLL(None).usleep(900_000)  # holds the interpreter lock: no thread of Python can run
    dog.disarm()
thread = threading.Thread(target=handler); thread.start(); thread.join()
dog.close(); ProcessWatchdog(20.0, 20.0, Path(sys.argv[2])).close()  # a second one in the same process, as after a restore
print("survived")
"""


@pytest.mark.parametrize(("timeout_s", "is_killed"), [(0.1, True), (20.0, False)])
def test_the_watchdog_needs_no_interpreter_lock(tmp_path: Path, timeout_s: float, is_killed: bool) -> None:
    trace = tmp_path / "timeout.trace"
    ended = subprocess.run(
        [sys.executable, "-c", WATCHED, str(timeout_s), str(trace)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ended.returncode == -14) is is_killed, ended.stderr
    assert ("survived" in ended.stdout) is not is_killed
    assert ("in handler" in trace.read_text()) is is_killed, "it says where the handler stood"
