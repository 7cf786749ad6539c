"""The checker proves itself: worlds in which all went right pass, and each single thing that is put wrong is found."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.chaos.checker import Expectation, judge
from tests.chaos.forge import Forged
from tests.chaos.history import Damage, Dead, Fail, Fault, Invoke, Item, Line, Ok, Seen, Unknown
from tests.chaos.journal import Flaw, JournalReading
from tests.chaos.verdict import SETS, Verdict
from tests.chaos.world import WORLD, Step, World

Readings = dict[str, JournalReading]
steps = st.lists(
    st.builds(
        Step,
        st.integers(0, 2),
        st.integers(0, 2),
        st.integers(1, 3),
        st.sampled_from(["ok", "ok", "ok", "fail", "lost", "applied", "open"]),
        st.booleans(),
    ),
    min_size=3,
    max_size=25,
)
PLAIN = (
    Step(0, 0, 2, "ok"),
    Step(1, 0, 2, "applied", True),
    Step(0, 0, 2, "ok"),
    Step(2, 1, 1, "fail"),
    Step(1, 1, 1, "lost"),
    Step(0, 1, 1, "ok"),
)


@given(steps)
def test_worlds_in_which_all_went_right_pass(plan: list[Step]) -> None:
    world = World(plan)
    verdict = judge(world.lines, world.readings(), WORLD)
    assert verdict.is_valid, verdict.story()
    assert verdict.counts["acked"] + verdict.counts["rejected"] + verdict.counts["indeterminate"] > 0


def _spoiled(spoil: Callable[[World, Readings], None]) -> Verdict:
    world = World(PLAIN)
    readings = world.readings()
    assert judge(world.lines, readings, WORLD).is_valid
    spoil(world, readings)
    return judge(world.lines, readings, WORLD)


def _index(lines: list[Line], kind: type, number: int = 0) -> int:
    return [i for i, line in enumerate(lines) if isinstance(line, kind)][number]


def _change(lines: list[Line], kind: type, number: int, **fields: object) -> None:
    at = _index(lines, kind, number)
    lines[at] = msgspec.structs.replace(lines[at], **fields)  # type: ignore[type-var]  # every line is a Struct


# -- one wrong thing in a journal ------------------------------------------------------------------------------------


def drop_an_acked_event(world: World, readings: Readings) -> None:
    del readings["clients"].entries[1]


def invent_an_event(world: World, readings: Readings) -> None:
    last = readings["clients"].entries[-1]
    new = last._replace(sequence=last.sequence + 1, event_id=b"x" * 16, item="nobody/1/1")
    readings["clients"].entries.append(new)


def record_what_was_refused(world: World, readings: Readings) -> None:
    last = readings["clients"].entries[-1]
    new = last._replace(sequence=last.sequence + 1, event_id=b"x" * 16, item="client-2/1/0")
    readings["clients"].entries.append(new)


def record_twice(world: World, readings: Readings) -> None:
    entries = readings["clients"].entries
    entries.append(entries[0]._replace(sequence=entries[-1].sequence + 1, event_id=b"x" * 16))


def one_event_id_twice(world: World, readings: Readings) -> None:
    entries = readings["echo"].entries
    entries[1] = entries[1]._replace(event_id=entries[0].event_id)


def swap_within_a_key(world: World, readings: Readings) -> None:
    entries = readings["clients"].entries
    first, second = entries[0], entries[1]
    entries[0] = second._replace(sequence=0, digest=first.digest, causes=first.causes)
    entries[1] = first._replace(sequence=1, digest=second.digest, causes=second.causes)


def another_content(world: World, readings: Readings) -> None:
    entries = readings["clients"].entries
    entries[2] = entries[2]._replace(digest="0" * 24)


def lose_an_effect(world: World, readings: Readings) -> None:
    del readings["echo"].entries[0]


def double_an_effect(world: World, readings: Readings) -> None:
    entries = readings["echo"].entries
    entries.append(entries[0]._replace(sequence=99, event_id=b"x" * 16))


def handle_twice(world: World, readings: Readings) -> None:
    consumed = readings["echo"].consumed
    consumed.append(consumed[0]._replace(at=9999))


def hold_and_forget(world: World, readings: Readings) -> None:
    readings["echo"].consumed[0] = readings["echo"].consumed[0]._replace(held=(0,))
    del readings["echo"].entries[0]


def handle_late_what_was_never_held(world: World, readings: Readings) -> None:
    consumed = readings["echo"].consumed
    consumed.append(consumed[0]._replace(only=(0,)))


def handle_late_twice(world: World, readings: Readings) -> None:
    consumed = readings["echo"].consumed
    consumed[0] = consumed[0]._replace(held=(0,))
    consumed += [consumed[0]._replace(held=(), only=(0,))] * 2


def leave_damage_unsaid(world: World, readings: Readings) -> None:
    readings["clients"].damage.append(Flaw(128, 0, "bad checksum"))


# -- one wrong thing in a history ------------------------------------------------------------------------------------


def ack_what_was_lost(world: World, readings: Readings) -> None:
    at = [i for i, line in enumerate(world.lines) if isinstance(line, Unknown)][1]
    line = world.lines[at]
    assert isinstance(line, Unknown)
    world.lines[at] = Ok(line.process, line.call, (), "", -1, line.time_ns)


def ack_what_was_refused(world: World, readings: Readings) -> None:
    at = _index(world.lines, Fail)
    line = world.lines[at]
    assert isinstance(line, Fail)
    world.lines[at] = Ok(line.process, line.call, (), "", -1, line.time_ns)


def refuse_what_is_there(world: World, readings: Readings) -> None:
    at = _index(world.lines, Ok, 0)
    line = world.lines[at]
    assert isinstance(line, Ok)
    world.lines[at] = Fail(line.process, line.call, "JournalError", line.time_ns)


def forget_the_call(world: World, readings: Readings) -> None:
    (ok,) = [i for i, x in enumerate(world.lines) if isinstance(x, Ok) and x.process == "client-0" and x.call == 3]
    del world.lines[ok], world.lines[ok - 1]


def deliver_other_content(world: World, readings: Readings) -> None:
    _change(world.lines, Seen, 0, digest="0" * 24)


def deliver_what_nobody_sent(world: World, readings: Readings) -> None:
    last = world.lines[_index(world.lines, Seen, -1)]
    assert isinstance(last, Seen)
    world.lines.append(Seen("observer-1", "clients", last.sequence + 1, "nobody/1/1", "0" * 24))


def deliver_and_lose(world: World, readings: Readings) -> None:
    last = world.lines[_index(world.lines, Seen, -1)]
    assert isinstance(last, Seen)
    world.lines.append(Seen("observer-1", "clients", last.sequence + 1, "client-1/1/2", "0" * 24))


def skip_a_delivery(world: World, readings: Readings) -> None:
    del world.lines[_index(world.lines, Seen, 2)]


def ack_another_position(world: World, readings: Readings) -> None:
    _change(world.lines, Ok, 0, sequence=3)


SPOILED = {
    drop_an_acked_event: {"acked_not_in_journal", "acked_not_delivered", "delivered_not_in_journal"},
    invent_an_event: {"phantom"},
    record_what_was_refused: {"rejected_in_journal"},
    record_twice: {"duplicate"},
    one_event_id_twice: {"duplicate"},
    swap_within_a_key: {"disorder"},
    another_content: {"two_digests"},
    lose_an_effect: {"acked_not_delivered"},
    double_an_effect: {"duplicate_effect"},
    handle_twice: {"duplicate_effect"},
    hold_and_forget: {"acked_not_delivered"},
    handle_late_what_was_never_held: {"duplicate_effect"},
    handle_late_twice: {"duplicate_effect"},
    leave_damage_unsaid: {"unreported_damage"},
    ack_what_was_lost: {"acked_not_in_journal", "acked_not_delivered"},
    ack_what_was_refused: {"acked_not_in_journal", "acked_not_delivered"},
    refuse_what_is_there: {"rejected_in_journal", "phantom"},
    forget_the_call: {"phantom"},
    deliver_other_content: {"two_digests"},
    deliver_what_nobody_sent: {"phantom", "delivered_not_in_journal"},
    deliver_and_lose: {"delivered_not_in_journal"},
    skip_a_delivery: {"position_gap", "acked_not_delivered"},
    ack_another_position: {"two_digests"},
}


@pytest.mark.parametrize(("spoil", "sets"), SPOILED.items(), ids=lambda x: getattr(x, "__name__", ""))
def test_each_single_wrong_thing_is_found_in_the_right_sets(
    spoil: Callable[[World, Readings], None], sets: set[str]
) -> None:
    verdict = _spoiled(spoil)
    assert verdict.verdict == "violated"
    assert verdict.violated == sets, verdict.story()
    assert all(e.id and e.where for found in verdict.sets.values() for e in found)


def test_every_set_is_met_by_a_mutation() -> None:
    assert set().union(*SPOILED.values()) == SETS.keys()


# -- bytes -----------------------------------------------------------------------------------------------------------


def _bytes_verdict(change: Callable[[World], None]) -> Verdict:
    world = World(PLAIN)
    change(world)
    return judge(world.lines, world.readings(), WORLD)


def _frames(world: World, kind: int = 1) -> list[int]:
    return [i for i, frame in enumerate(world.clients.frames) if frame.kind == kind]


def test_a_frame_taken_out_is_a_gap() -> None:
    def change(world: World) -> None:
        del world.clients.frames[_frames(world)[1]]

    assert {"position_gap", "acked_not_in_journal"} <= _bytes_verdict(change).violated


def test_a_frame_that_stands_twice_is_found() -> None:
    def change(world: World) -> None:
        frames = world.clients.frames
        frames.append(frames[_frames(world)[0]])

    assert {"position_gap", "duplicate"} <= _bytes_verdict(change).violated


def test_a_cut_tail_of_acked_frames_is_a_loss() -> None:
    def change(world: World) -> None:
        del world.clients.frames[_frames(world)[-1]]

    assert "acked_not_in_journal" in _bytes_verdict(change).violated


def test_an_incomplete_unit_is_not_on_record() -> None:
    def change(world: World) -> None:
        frames = world.clients.frames
        frames[-1] = frames[-1]._replace(is_last=False)

    assert "acked_not_in_journal" in _bytes_verdict(change).violated


def test_frames_of_two_units_under_one_flag_are_found() -> None:
    def change(world: World) -> None:
        frames = world.clients.frames
        at = _frames(world)[0]
        frames[at] = frames[at]._replace(is_last=False)

    assert "position_gap" in _bytes_verdict(change).violated


@pytest.mark.parametrize("place", [4, 20, 60, 130])
def test_a_flipped_bit_below_the_durable_position_is_unreported_damage(place: int) -> None:
    world = World(PLAIN)
    data = bytearray(world.clients.data())
    data[128 + place] ^= 4  # the first events frame; later ones say that it is durable
    world.clients.data = lambda: bytes(data)  # type: ignore[method-assign]  # the one thing that is spoiled
    verdict = judge(world.lines, world.readings(), WORLD)
    assert {"unreported_damage", "acked_not_in_journal"} <= verdict.violated

    reported = [*world.lines, Damage("client-0", "clients", 0, "JournalDamaged")]
    excused = judge(reported, world.readings(), WORLD)
    assert excused.violated <= {"delivered_not_in_journal", "acked_not_delivered", "acked_not_in_journal"}


def test_a_flipped_bit_in_the_last_frame_is_a_loss_even_if_it_looks_like_a_tail() -> None:
    world = World(PLAIN)
    data = bytearray(world.clients.data())
    data[-3] ^= 4
    world.clients.data = lambda: bytes(data)  # type: ignore[method-assign]  # the one thing that is spoiled
    assert "acked_not_in_journal" in judge(world.lines, world.readings(), WORLD).violated


@given(st.data())
def test_no_flipped_bit_goes_unnoticed(data: st.DataObject) -> None:
    world = World(PLAIN)
    content = bytearray(world.clients.data())
    frame: Forged = world.clients.frames[-1]
    at = data.draw(st.integers(0, len(content) - 1 - (-len(frame.body) & 7)))
    covered = bytearray(content)
    covered[at] ^= 1 << data.draw(st.integers(0, 7))
    world.clients.data = lambda: bytes(covered)  # type: ignore[method-assign]  # the one thing that is spoiled
    verdict = judge(world.lines, world.readings(), WORLD)
    assert verdict.verdict == "violated" or _in_padding(world, at)


def _in_padding(world: World, at: int) -> bool:
    position = 0
    for frame in world.clients.frames:
        body_end = position + 128 + len(frame.body)
        position = position + 128 + (len(frame.body) + 7) // 8 * 8
        if at < position:
            return at >= body_end
    return True


# -- enough? ---------------------------------------------------------------------------------------------------------


def test_too_little_proves_nothing() -> None:
    world = World(PLAIN)
    readings = world.readings()
    few = msgspec.structs.replace(WORLD, min_operations=1000)
    assert judge(world.lines, readings, few).verdict == "unknown"
    kinds = msgspec.structs.replace(WORLD, min_faults={"kill": 1, "raylet": 1})
    verdict = judge(world.lines, readings, kinds)
    assert verdict.verdict == "unknown"
    assert not verdict.is_valid
    assert "raylet" in verdict.doubts[0]


def test_a_fault_that_met_no_call_does_not_count() -> None:
    world = World([Step(0, 0, 1, "ok")] * 3)
    world.lines[-1] = Fault("nemesis", "kill", "echo", 10_000, 10_001)
    assert judge(world.lines, world.readings(), WORLD).verdict == "unknown"


def test_a_home_without_the_journals_proves_nothing() -> None:
    assert judge([], {}, Expectation(subscribers=("echo",))).verdict == "unknown"


def test_a_dead_letter_is_an_answer() -> None:
    world = World(PLAIN)
    readings = world.readings()
    item = readings["clients"].entries[0].item
    del readings["echo"].entries[0]
    assert judge(world.lines, readings, WORLD).violated == {"acked_not_delivered"}
    letters: list[Line] = [*world.lines, Dead("client-0", "echo", item)]
    assert judge(letters, readings, WORLD).is_valid


def test_what_is_held_counts_when_it_is_handled_late() -> None:
    cursors = msgspec.structs.replace(WORLD, effects=())
    world = World(PLAIN)
    readings = world.readings()
    consumed = readings["echo"].consumed
    consumed[0] = consumed[0]._replace(held=(1,))
    assert judge(world.lines, readings, cursors).violated == {"acked_not_delivered"}
    consumed.append(consumed[0]._replace(held=(), only=(1,)))
    assert judge(world.lines, readings, cursors).is_valid


def test_an_outcome_without_a_call_is_no_history() -> None:
    with pytest.raises(ValueError, match="without a call"):
        judge([Ok("client", 1)], {}, Expectation())


def test_the_same_item_tried_again_later_may_stand_anywhere() -> None:
    item, later = Item("a/1/1", "k"), Item("a/1/2", "k")
    lines: list[Line] = [
        Invoke("a", 1, "publish", (item,), 1),
        Unknown("a", 1, "lost", 2),
        Invoke("a", 2, "publish", (later,), 3),
        Ok("a", 2, time_ns=4),
        Invoke("a", 3, "publish", (item,), 5),
        Ok("a", 3, time_ns=6),
    ]
    entries = World([Step(0, 0, 2, "ok")] * 3).readings()["clients"].entries
    stands = [entries[0]._replace(item="a/1/2"), entries[1]._replace(item="a/1/1")]
    readings = {"clients": JournalReading("clients", stands, [], [], [], 2, 2)}
    assert judge(lines, readings, Expectation()).is_valid
    assert judge(lines[:1] + lines[2:4], readings, Expectation()).violated == {"disorder"}
