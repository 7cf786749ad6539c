"""Idempotent producers: the same publish twice happens once, over restarts, snapshots and lost answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tori.bus import producer as rules
from tori.bus.producer import (
    MAX_PAYLOADS,
    Producer,
    ProducerBook,
    ProducerFenced,
    PublishReceipt,
    SequenceGap,
    SequenceReused,
    encode_payloads,
)
from tori.errors import Backpressure, BadInput, Unavailable
from tori.events.system import CustomEvent, SystemStarted
from tori.local import LocalSystem
from tori.modules.host import HostSnapshot


def said(number: int) -> bytes:
    return encode_payloads([(CustomEvent("reading", {"n": number}), "kitchen")])


def open_clients(home: Path | None = None, snapshots: dict[str, HostSnapshot] | None = None) -> LocalSystem:
    return LocalSystem(home, modules=("clients",), snapshots=snapshots)


def readings(mind: LocalSystem) -> list[int]:
    found = mind.events("type=CustomEvent", 1000)["events"]
    return [row["payload"]["data"]["n"] for row in found]


def test_a_publish_happens_once(tmp_path: Path) -> None:
    with open_clients(tmp_path) as mind:
        assert mind.open_producer("thermometer") == (1, 0)
        first = mind.publish("thermometer", 1, 0, said(7))
        units = mind.hosts["clients"].counters.units
        assert mind.publish("thermometer", 1, 0, said(7)) == first
        assert mind.hosts["clients"].counters.units == units, "a repetition writes nothing"
        second = mind.publish("thermometer", 1, 1, said(8))
        assert (second.seq, len(second.event_ids)) == (1, 1)
        snapshots = mind.snapshots()
        mind.publish("thermometer", 1, 2, said(9))
        envelope = list(mind.archive.envelopes("clients"))[-1]
        assert (envelope.context.origin, envelope.context.origin_seq) == ("thermometer", 2)
        assert (envelope.event.key, envelope.event.type) == ("kitchen", "CustomEvent")
    for start in (None, snapshots):
        with open_clients(tmp_path, start) as mind:
            assert mind.publish("thermometer", 1, 0, said(7)) == first
            assert readings(mind) == [7, 8, 9]
            assert mind.query("clients", "producers") == [{"origin": "thermometer", "incarnation": 1, "next_seq": 3}]


def test_what_breaks_the_rules_is_named() -> None:
    with open_clients() as mind:
        with pytest.raises(BadInput, match="was not opened"):
            mind.publish("a", 1, 0, said(0))
        mind.open_producer("a")
        with pytest.raises(SequenceGap, match="expected 0") as gap:
            mind.publish("a", 1, 1, said(0))
        assert gap.value.fields["expected"] == 0
        mind.publish("a", 1, 0, said(0))
        with pytest.raises(SequenceReused, match="other payloads"):
            mind.publish("a", 1, 0, said(1))
        assert mind.open_producer("a") == (2, 1)
        with pytest.raises(ProducerFenced):
            mind.publish("a", 1, 1, said(1))
        for number in range(1, 12):
            mind.publish("a", 2, number, said(number))
        with pytest.raises(SequenceReused, match="receipts are kept"):
            mind.publish("a", 2, 1, said(1))
        assert mind.publish("a", 2, 11, said(11)).seq == 11
        for wrong in (
            b"\xc1",
            encode_payloads([]),
            encode_payloads([(CustomEvent("x"), "")] * (MAX_PAYLOADS + 1)),
            encode_payloads([(SystemStarted("x"), "")]),
            encode_payloads([(CustomEvent(7), "")]),  # type: ignore[arg-type]  # on purpose
        ):
            with pytest.raises(BadInput):
                mind.publish("a", 2, 12, wrong)
        assert mind.publish("a", 2, 12, said(12)).seq == 12, "what was refused took no number"
        for name in ("", "x" * 200, "a\nb"):
            with pytest.raises(BadInput):
                mind.open_producer(name)
        with pytest.raises(BadInput):
            encode_payloads([(object(), "")])
        with pytest.raises(BadInput):
            rules.opened({})


def test_the_number_of_producers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MAX_PRODUCERS", 2)
    with open_clients() as mind:
        for name in "ab":
            mind.open_producer(name)
        with pytest.raises(BadInput, match="2 producers"):
            mind.open_producer("c")
        assert mind.open_producer("a") == (2, 0)


class Flaky:
    """A port over a system: answers get lost, the door is closed at times, the system restarts."""

    def __init__(self, mind: LocalSystem, faults: list[str]) -> None:
        self.mind = mind
        self.faults = faults

    def open_producer(self, origin: str) -> tuple[int, int]:
        return self.mind.open_producer(origin)

    def publish(self, origin: str, incarnation: int, seq: int, payloads: bytes) -> PublishReceipt:
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "closed":
            raise Backpressure("no credit.", retry_s=0.5)
        if fault == "lost before":
            raise Unavailable("gone.")
        receipt = self.mind.publish(origin, incarnation, seq, payloads)
        if fault == "lost after":
            raise Unavailable("gone.")
        return receipt


@pytest.mark.parametrize("faults", [[], ["closed", "lost before"], ["lost after", "closed", "lost after"]])
def test_a_producer_waits_and_repeats(faults: list[str]) -> None:
    waits: list[float] = []
    with open_clients() as mind:
        producer = Producer(Flaky(mind, list(faults)), "p", wait=waits.append)
        assert producer.publish(CustomEvent("r", {"n": 1}), CustomEvent("r", {"n": 2}), key="k").seq == 0
        assert producer.publish(CustomEvent("r", {"n": 3})).seq == 1
        assert readings(mind) == [1, 2, 3]
        assert len(waits) == len(faults)


@pytest.mark.parametrize("fault", ["lost before", "lost after", "closed"])
def test_a_producer_that_gives_up_asks_before_it_goes_on(fault: str) -> None:
    with open_clients() as mind:
        port = Flaky(mind, [fault] * 3)
        producer = Producer(port, "p", wait=lambda _: None, patience_s=0.5)
        with pytest.raises((Unavailable, Backpressure)):
            producer.publish(CustomEvent("r", {"n": 1}))
        port.faults.clear()
        producer.publish(CustomEvent("r", {"n": 2}))
        assert readings(mind) == ([1, 2] if fault == "lost after" else [2])
        rival = Producer(Flaky(mind, []), "p")
        with pytest.raises(ProducerFenced):
            producer.publish(CustomEvent("r", {"n": 3}))
        rival.publish(CustomEvent("r", {"n": 4}))


class ProducerMachine(RuleBasedStateMachine):
    """The book against a dict: any calls in any order, restored from a snapshot at any time."""

    @initialize()
    def begin(self) -> None:
        self.book = ProducerBook()
        self.incarnation, self.accepted = 0, list[bytes]()
        self.receipts: dict[int, Any] = {}

    @rule()
    def open(self) -> None:
        record, next_seq = self.book.open("p")
        self.book.apply(record)
        self.incarnation += 1
        assert (record.incarnation, next_seq) == (self.incarnation, len(self.accepted))

    @precondition(lambda self: self.incarnation)
    @rule(back=st.integers(-2, 12), digest=st.sampled_from([b"x", b"y"]), old=st.integers(-1, 2))
    def publish(self, back: int, digest: bytes, old: int) -> None:
        seq, incarnation = len(self.accepted) - back, self.incarnation - old
        expected = self._expect(seq, incarnation, digest)
        if isinstance(expected, type):
            with pytest.raises(expected):
                self.book.check("p", incarnation, seq, digest)
            return
        found = self.book.check("p", incarnation, seq, digest)
        if found is None:
            assert expected is None
            record = rules.Published("p", incarnation, seq, digest, (bytes([seq % 256]),))
            self.book.apply(record)
            self.accepted.append(digest)
            self.receipts[seq] = rules.receipt_of("p", record)
        else:
            assert found == self.receipts[seq]

    def _expect(self, seq: int, incarnation: int, digest: bytes) -> Any:
        if incarnation != self.incarnation:
            return BadInput if incarnation > self.incarnation else ProducerFenced
        if seq > len(self.accepted):
            return SequenceGap
        if seq == len(self.accepted):
            return None
        kept = 0 <= seq >= len(self.accepted) - rules.KEPT_RECEIPTS and self.accepted[seq] == digest
        return self.receipts[seq] if kept else SequenceReused

    @invariant()
    def a_snapshot_is_the_book(self) -> None:
        if hasattr(self, "book"):
            again = ProducerBook()
            again.restore(self.book.lines())
            assert again.lines() == self.book.lines()
            assert sum(len(line.kept) for line in again.lines()) <= rules.KEPT_RECEIPTS
            self.book = again


ProducerMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30)
TestProducerMachine = ProducerMachine.TestCase
