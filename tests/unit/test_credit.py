"""Credit at the doors: who is behind closes them, is named, and is told of once; nobody else ever waits."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from tests.support.local_backend import LocalClient
from tests.support.picky import create
from tests.support.system import small_corpus
from tori.bus.credit import CreditPolicy, CursorBoard, CursorView, Gate
from tori.clock import VirtualClock
from tori.errors import Backpressure
from tori.events.document import Document, Receipt
from tori.events.system import SubscriptionLagged
from tori.feed import Credit, FeedReport, feed
from tori.local import LocalSystem

POLICY = CreditPolicy(credit=10, alarm=6)


def documents(count: int, start: int = 0) -> bytes:
    return msgspec.msgpack.encode([Document(f"d-{start + n}", "", f"text {n}") for n in range(count)])


def open_mind(clock: VirtualClock, policy: CreditPolicy = POLICY) -> LocalSystem:
    return LocalSystem(modules=("clients", "scars"), create=create, clock=clock, wait=clock.advance, credit=policy)


def told(mind: LocalSystem) -> list[tuple[str, int]]:
    rows = mind.events("type=SubscriptionLagged")["events"]
    return [(row["payload"]["state"], row["payload"]["lag"]) for row in rows]


def test_a_lagging_module_closes_the_door_and_is_named() -> None:
    clock = VirtualClock()
    with open_mind(clock) as mind:
        mind.submit(documents(12))
        with pytest.raises(Backpressure, match="module scars is 1[23] events behind") as refused:
            mind.submit(documents(1, 100))
        assert (refused.value.fields["module"], refused.value.fields["limit"], refused.value.exit_code) == (
            "scars",
            10,
            75,
        )
        before = mind.query("clients", "summary")
        with pytest.raises(Backpressure):
            mind.open_producer("p") and mind.publish("p", 1, 0, b"")
        assert mind.query("clients", "summary") == before, "nothing of it was taken"
        mind.pump()
        assert mind.submit(documents(1, 100)).accepted == 1


def test_a_lag_is_told_once_and_its_end_too() -> None:
    clock = VirtualClock()
    with open_mind(clock) as mind:
        mind.submit(documents(4))
        mind.submit(documents(4, 4))
        assert told(mind) == []
        mind.submit(documents(1, 8))
        assert told(mind) == [("lagging", 8)]
        with pytest.raises(Backpressure):
            [mind.submit(documents(1, 9 + n)) for n in range(9)]
        assert len(told(mind)) == 1, "once"
        mind.settle()
        assert [state for state, _ in told(mind)] == ["lagging", "recovered"], "told though nobody knocked again"
        assert mind.hosts["clients"].wake_ns is None, "an idle door does not poll"
        mind.submit(documents(7, 50))
        mind.submit(documents(1, 60))
        assert [state for state, _ in told(mind)] == ["lagging", "recovered", "lagging"]


def test_ingest_of_the_local_runtime_lets_the_modules_catch_up() -> None:
    clock = VirtualClock()
    with open_mind(clock) as mind:
        receipt = mind.ingest((Document(f"d-{n}", "", f"text {n}") for n in range(100)), batch=7)
        assert receipt.accepted == 100
        mind.settle()
        assert mind.query("scars", "summary") == {"taken": 100}


def test_credit_changes_no_digest() -> None:
    with LocalSystem() as mind:
        mind.ingest(small_corpus(12))
        free = mind.quiesce()
    clock = VirtualClock()
    with LocalSystem(clock=clock, wait=clock.advance, credit=CreditPolicy(credit=2, alarm=2)) as mind:
        mind.ingest(small_corpus(12), batch=3)
        assert mind.quiesce() == free


class Slow:
    """A source, and a client whose door opens when one has waited."""

    def __init__(self, mind: LocalSystem, *, catches_up: bool) -> None:
        self.client = LocalClient(mind)
        self.mind = mind
        self.catches_up = catches_up
        self.position = 0

    def ingest(self, data: bytes) -> Receipt:
        return self.mind.submit(data)

    def documents(self) -> list[Document]:
        return [Document(f"d-{n}", "", f"text {n}") for n in range(200)]

    def total(self) -> int:
        return 200

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        if self.catches_up:
            self.mind.pump()


def test_feed_waits_for_credit_and_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tori.feed.IN_FLIGHT", 1)
    clock = VirtualClock()
    with open_mind(clock) as mind:
        slow = Slow(mind, catches_up=True)
        report = feed(slow, slow, wait=slow.wait)  # type: ignore[arg-type]  # it is a client and a source as far as a feed goes
        assert (report.accepted, report.waiting) == (200, "")
        assert report.waited_s > 0
        mind.settle()
    with open_mind(clock) as mind:
        slow = Slow(mind, catches_up=False)
        with pytest.raises(Backpressure):
            feed(slow, slow, wait=slow.wait, patience_s=3.0)  # type: ignore[arg-type]  # as above
        assert mind.query("clients", "summary")["documents"] < 200


def test_patience_begins_anew_while_the_lag_shrinks() -> None:
    lags = iter([90, 90, 80, 80, 70, 70, 60])
    report = FeedReport()

    def send() -> Receipt:
        lag = next(lags, None)
        if lag is None:
            return Receipt(1, 0)
        raise Backpressure("behind.", module="m", lag=lag, retry_s=1.0)

    waits: list[float] = []
    assert Credit(report, waits.append, 1.5).insist(send).accepted == 1
    assert (len(waits), report.waited_s) == (7, 7.0)


def test_boards_are_read_without_a_call(tmp_path: Path) -> None:
    homes = {name: tmp_path / name for name in ("reader", "braid", "absent")}
    for home in list(homes.values())[:2]:
        home.mkdir()
    reader, braid = CursorBoard(homes["reader"], ["clients"]), CursorBoard(homes["braid"], ["reader", "clients"])
    view = CursorView("clients", homes)
    assert view.cursors() == {}, "nobody has said how far it is"
    reader.show([("clients", 5)])
    braid.show([("clients", 0), ("reader", 9), ("other", 3)])
    assert view.cursors() == {"reader": 5, "braid": 0}
    assert view.lives("braid")
    gate = Gate("clients", view.cursors, VirtualClock(), POLICY, lives=view.lives, close=view.close)
    with pytest.raises(Backpressure, match="braid"):
        gate.check(20)
    assert gate.news(20) == [
        SubscriptionLagged("braid", "clients", 20, 6),
        SubscriptionLagged("reader", "clients", 15, 6),
    ]
    braid.close()
    reader.show([("clients", 19)])
    gate.check(20)
    assert not view.lives("braid"), "who is gone holds nobody up"
    assert not view.lives("absent")
    assert gate.news(20) == [SubscriptionLagged("reader", "clients", 1, 6, "recovered")]
    again = CursorBoard(homes["braid"], ["clients"])
    again.show([("clients", 18)])
    assert view.cursors() == {"reader": 19, "braid": 18}
    for one in (again, reader, gate):
        one.close()
