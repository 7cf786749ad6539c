"""The stream between two nodes, without what carries it: order, resume, refusals, signs of life."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.journals import Numbers, numbers_in, open_writer
from tori.bus import stream
from tori.bus.stream import Parcel, Receiver, Sender
from tori.clock import VirtualClock
from tori.errors import JournalDamaged
from tori.journal.writer import JournalWriter

NAMES = ("clients", "reader")


class Nodes:
    """Two journals on one node, a receiver on another."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = VirtualClock()
        self.numbers = {name: Numbers() for name in NAMES}
        self.writers: dict[str, JournalWriter] = {name: open_writer(root / "a" / name) for name in NAMES}
        self.receiver = Receiver(root / "b", 4096)
        self.want()

    def want(self) -> None:
        self.receiver.want({name: writer.journal_id for name, writer in self.writers.items()})

    def write(self, name: str, count: int) -> None:
        self.writers[name].append(self.numbers[name].frames(count))
        self.writers[name].commit()

    def open(self) -> Sender:
        return Sender(self.root.joinpath("a").joinpath, self.receiver.marks(), self.clock, max_stream_s=60.0)

    def close(self) -> None:
        self.receiver.close()
        for writer in self.writers.values():
            writer.close()


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.0)
    made = Nodes(tmp_path)
    yield made
    made.close()


def until_silent(parcels: Iterator[Parcel]) -> list[Parcel]:
    """Return what a stream carries up to its next sign of life."""
    found = []
    for parcel in parcels:
        if not parcel.journal:
            return found
        found.append(parcel)
    raise AssertionError("the stream ended")


def test_what_is_written_arrives_and_goes_on_arriving(nodes: Nodes) -> None:
    nodes.write("clients", 5)
    nodes.write("reader", 2)
    sender = nodes.open()
    parcels = iter(sender)
    for parcel in until_silent(parcels):
        nodes.receiver.take(parcel)
    nodes.write("reader", 3)
    later = until_silent(parcels)
    for parcel in later:
        nodes.receiver.take(parcel)
    assert {p.journal for p in later} == {"reader"}
    assert numbers_in(nodes.root / "b" / "clients") == list(range(5))
    assert numbers_in(nodes.root / "b" / "reader") == list(range(5))
    reached = {name: (w.durable_offset, w.durable_sequence) for name, w in nodes.writers.items()}
    assert nodes.receiver.positions() == reached
    assert nodes.receiver.problems == {}
    sender.close()
    assert list(parcels) == []


def test_a_cause_arrives_before_its_effect(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written while limits are read: an effect that is sent has its cause before it."""
    real = stream._Source.parcels

    def interleaved(source: stream._Source, limit: int) -> Iterator[Parcel]:
        nodes.write("clients", 1)
        nodes.write("reader", 1)
        return real(source, limit)

    sender = nodes.open()
    parcels = iter(sender)
    until_silent(parcels)
    nodes.write("clients", 1)
    nodes.write("reader", 1)
    monkeypatch.setattr(stream._Source, "parcels", interleaved)
    sent = dict.fromkeys(NAMES, 0)
    for _, parcel in zip(range(12), parcels, strict=False):
        if parcel.journal:
            sent[parcel.journal] += parcel.frames.count(b"number")
            assert sent["reader"] <= sent["clients"]
    assert sent["reader"] > 3
    parcels.close()


def test_an_interrupted_stream_is_taken_up_where_the_mirrors_are(nodes: Nodes) -> None:
    for _ in range(40):
        nodes.write("clients", 20)
    first = iter(nodes.open())
    nodes.receiver.take(next(first))
    reached = nodes.receiver.positions()["clients"]
    first.close()
    for _ in range(40):
        nodes.write("clients", 20)
    second = iter(nodes.open())
    parcels = until_silent(second)
    assert parcels[0].offset == reached[0]
    for parcel in parcels:
        nodes.receiver.take(parcel)
    second.close()
    assert numbers_in(nodes.root / "b" / "clients") == list(range(1600))


def test_chunks_are_small_when_live_and_large_when_far_behind(nodes: Nodes, tmp_path: Path) -> None:
    nodes.write("clients", 1000)
    live = iter(nodes.open())
    assert max(len(p.frames) for p in until_silent(live)) <= 90_000
    for _ in range(40):
        nodes.write("clients", 1000)
    behind = [len(p.frames) for p in until_silent(live)]
    live.close()
    assert 90_000 < max(behind) <= 1_000_000


def test_a_damaged_parcel_is_refused_and_asked_for_again(nodes: Nodes) -> None:
    nodes.write("clients", 5)
    parcels = iter(nodes.open())
    parcel = next(parcels)
    torn = bytearray(parcel.frames)
    torn[-20] ^= 1
    with pytest.raises(JournalDamaged):
        nodes.receiver.take(parcel._replace(frames=bytes(torn)))
    parcels.close()
    again = iter(nodes.open())
    for one in until_silent(again):
        nodes.receiver.take(one)
    again.close()
    assert numbers_in(nodes.root / "b" / "clients") == list(range(5))


def test_one_journal_that_cannot_be_served_harms_no_other(nodes: Nodes) -> None:
    nodes.write("reader", 2)
    marks = nodes.receiver.marks()
    marks["clients"] = type(marks["clients"])(b"z" * 16)
    marks["nobody"] = type(marks["clients"])(b"y" * 16)
    sender = Sender(nodes.root.joinpath("a").joinpath, marks, nodes.clock)
    parcels = iter(sender)
    for parcel in until_silent(parcels):
        nodes.receiver.take(parcel)
    parcels.close()
    assert "was mirrored" in nodes.receiver.problems["clients"]
    assert "there is no journal" in nodes.receiver.problems["nobody"]
    assert numbers_in(nodes.root / "b" / "reader") == [0, 1]


def test_a_mirror_of_a_replaced_journal_is_a_problem_and_the_others_are_kept(nodes: Nodes) -> None:
    nodes.receiver.close()
    nodes.receiver.want({"clients": b"q" * 16, "reader": nodes.writers["reader"].journal_id})
    assert set(nodes.receiver.marks()) == {"reader"}
    assert "The source was replaced" in nodes.receiver.problems["clients"]
    nodes.receiver.want({"reader": nodes.writers["reader"].journal_id})
    assert set(nodes.receiver.marks()) == {"reader"}


def test_a_journal_is_wanted_no_more(nodes: Nodes) -> None:
    nodes.receiver.want({"reader": nodes.writers["reader"].journal_id})
    assert set(nodes.receiver.positions()) == {"reader"}
    nodes.receiver.take(Parcel("clients", 0, b"late"))
    nodes.want()
    assert list(nodes.receiver.positions()) == list(NAMES)


def test_a_stream_ends_by_itself(nodes: Nodes) -> None:
    sender = nodes.open()
    parcels = iter(sender)
    until_silent(parcels)
    nodes.clock.advance(61)
    assert list(parcels) == []
