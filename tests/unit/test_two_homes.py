"""Two homes, modules spread over them, mirrors between: the same mind as in one process, restarts included. No Ray, no threads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.journals import assert_mirrored
from tests.support.system import small_corpus
from tori.bus import stream
from tori.bus.stream import Receiver, Sender
from tori.clock import VirtualClock
from tori.digest import section_digest
from tori.errors import JournalMissing, Unavailable
from tori.local import LocalSystem
from tori.modules.host import ModuleHost
from tori.modules.open import LateReader, input_directories, journal_directory, mirrors_of, open_host
from tori.modules.registry import FOLLOWS, FULL_PASS, START_ORDER
from tori.orchestrator.placement import SpreadPolicy, make_journals

MODULES = ("clients", *START_ORDER)
SEGMENT = 1 << 20


class TwoHomes:
    """Hosts on two homes, stepped in turn, with a receiver on each for what it follows of the other."""

    def __init__(self, root: Path) -> None:
        self.homes = {"a": root / "a", "b": root / "b"}
        self.places = SpreadPolicy().decide(MODULES, ["a", "b"], {})
        self.clock = VirtualClock()
        self.ids: dict[str, bytes] = {}
        for node, home in self.homes.items():
            self.ids |= make_journals(home / "journals", [m for m in MODULES if self.places[m] == node])
        self.wanted = {
            node: {j: self.ids[j] for j in FOLLOWS if self.places.get(j, node) != node and self._is_followed(j, node)}
            for node in self.homes
        }
        self.open()

    def _is_followed(self, journal: str, node: str) -> bool:
        return any(journal in FOLLOWS[m] for m in MODULES if self.places[m] == node)

    def open(self) -> None:
        self.receivers = {node: Receiver(mirrors_of(home), SEGMENT) for node, home in self.homes.items()}
        for node, receiver in self.receivers.items():
            receiver.want(self.wanted[node])
        self.hosts: dict[str, ModuleHost] = {
            name: open_host(
                self.homes[node],
                name,
                segment_bytes=SEGMENT,
                load_snapshot=lambda _: None,
                mirrored={j: self.ids[j] for j in FOLLOWS[name] if self.places[j] != node},
            )
            for name, node in self.places.items()
        }

    def ship(self) -> int:
        """Carry over what there is; return how many parcels that were."""
        carried = 0
        for node, receiver in self.receivers.items():
            source = self.homes["b" if node == "a" else "a"]
            sender = Sender(lambda j, source=source: journal_directory(source, j), receiver.marks(), self.clock)
            for parcel in sender:
                if not parcel.journal:
                    sender.close()
                    continue
                receiver.take(parcel)
                carried += 1
            assert receiver.problems == {}
        return carried

    def pump(self) -> None:
        while True:
            moved = sum(host.step() for host in self.hosts.values()) + self.ship()
            if not moved and not any(host.has_work for host in self.hosts.values()):
                return

    def quiesce(self) -> dict[str, str]:
        self.pump()
        for module, task in FULL_PASS:
            host = self.hosts[module]
            host.conclude(task, type(host.module).run(task, host.module.prepare(task)))
            self.pump()
        sections = {name: host.module.section() for name, host in self.hosts.items()}
        return {name: section_digest(section) for name, section in sections.items() if section is not None}

    def close(self) -> None:
        for host in self.hosts.values():
            host.close()
        for receiver in self.receivers.values():
            receiver.close()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_S", 0.0)
    monkeypatch.setattr("tori.modules.open.LATE_S", 0.0)


def test_the_mind_is_the_same_on_two_homes_and_after_a_restart(tmp_path: Path) -> None:
    documents = small_corpus(24)
    with LocalSystem() as mind:
        mind.ingest(documents)
        mind.quiesce()
        expected = mind.digests()
    two = TwoHomes(tmp_path)
    assert sorted(map(list(two.places.values()).count, "ab")) == [4, 4]
    ingest(two, documents[:10])
    two.pump()
    two.close()
    two.open()
    ingest(two, documents[10:])
    assert two.quiesce() == expected
    two.close()

    two.open()
    sections = {name: host.module.section() for name, host in two.hosts.items()}
    assert {n: section_digest(s) for n, s in sections.items() if s is not None} == expected, "replayed over mirrors"
    for node, wanted in two.wanted.items():
        for journal in wanted:
            source = two.homes["b" if node == "a" else "a"] / "journals" / journal
            assert assert_mirrored(source, mirrors_of(two.homes[node]) / journal) > 0
    two.close()


def ingest(two: TwoHomes, documents: list[Any]) -> None:
    two.hosts["clients"].command("ingest", {"documents": msgspec.msgpack.encode(documents)})


def test_an_input_that_was_recorded_and_is_gone_is_never_made_anew(tmp_path: Path) -> None:
    with pytest.raises(JournalMissing):
        input_directories(tmp_path, "reader", {})
    assert not (tmp_path / "journals" / "clients").exists()
    assert [d.name for d in input_directories(tmp_path, "reader")] == ["clients"]


def test_an_event_that_is_late_is_waited_for_and_one_that_never_comes_is_told() -> None:
    late = LateReader(lambda event_id: (_ for _ in ()).throw(JournalMissing("not here")), patience_s=0.0)
    with pytest.raises(Unavailable, match="has not arrived on this node"):
        late(b"x" * 16)
    there: Any = object()
    assert LateReader(lambda event_id: there)(b"x" * 16) is there
