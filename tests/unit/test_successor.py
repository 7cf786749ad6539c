"""New code beside the old: it lives through the same facts, takes over when it is as far, and costs nothing when it is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from tests.support.system import audit, batches, small_corpus
from tori.clock import VirtualClock
from tori.digest import section_digest
from tori.errors import JournalRefused, JournalTruncated
from tori.events.document import Document
from tori.modules.base import Module, SelfCheckFailed
from tori.modules.clients import Clients
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.migration import migrated
from tori.modules.open import open_host
from tori.modules.successor import Handover, Successor, check_takeover

CORPUS = small_corpus(12)
Create = Callable[[str, Mapping[str, Any] | None], Module]


def create_old(name: str, settings: Mapping[str, Any] | None) -> Module:
    return Clients()


class Telling(Clients):
    """Has a section."""

    def section(self) -> Any:
        return {"documents": self.query("summary", {})["documents"]}


class Worse(Telling):
    """Says something else of the same facts."""

    def section(self) -> Any:
        return {"documents": 0}


def open_clients(home: Path, create: Create = create_old, place: HostSnapshot | None = None) -> ModuleHost:
    return open_host(
        home,
        "clients",
        segment_bytes=1 << 20,
        load_snapshot=lambda _: place,
        create=create,
        is_loaded=place is not None,
    )


def successor_of(home: Path, new: type[Module], snapshot: HostSnapshot | None = None) -> Successor:
    return Successor(
        home, "clients", load_snapshot=lambda _: snapshot, create=lambda name, settings: new(), clock=VirtualClock()
    )


def feed(host: ModuleHost, documents: list[Document]) -> None:
    for batch in batches(documents, 2):
        host.command("ingest", {"documents": batch})


def hand_over(host: ModuleHost) -> tuple[HostSnapshot, Handover]:
    host.journal.commit()
    place = host.place()
    host.close()
    return place, Handover(place.offset, place.sequence, place.state_version, is_paused=False)


def digest_of(module: Module) -> str | None:
    section = module.section()
    return None if section is None else section_digest(section)


def test_a_successor_follows_the_old_code_and_takes_over_with_nothing_lost(tmp_path: Path) -> None:
    old = open_clients(tmp_path, lambda name, settings: Telling())
    feed(old, CORPUS[:4])
    successor = successor_of(tmp_path, Telling, old.snapshot())
    assert successor.rehearse() == 0, "the snapshot has it all"
    feed(old, CORPUS[4:8])
    successor.follow()
    assert successor.module.snapshot() == old.module.snapshot(), "both have lived through the same"
    feed(old, CORPUS[8:10])
    _, handover = hand_over(old)
    new = open_clients(tmp_path, lambda name, settings: successor.module, successor.place())
    check_takeover(new, handover, lambda: digest_of(old.module))
    successor.close()
    feed(new, CORPUS[10:])
    assert new.command("ingest", {"documents": batches(CORPUS, 12)[0]}).duplicates == len(CORPUS)
    new.close()
    audit(tmp_path, CORPUS)


def test_a_refused_successor_gives_the_journal_back_and_the_old_state_goes_on(tmp_path: Path) -> None:
    old = open_clients(tmp_path, lambda name, settings: Telling())
    feed(old, CORPUS[:6])
    successor = successor_of(tmp_path, Worse)
    assert successor.rehearse() == old.counters.units + 1, "and the one that opens the epoch"
    place, handover = hand_over(old)
    new = open_clients(tmp_path, lambda name, settings: successor.module, successor.place())
    with pytest.raises(SelfCheckFailed, match="the new code says its section is"):
        check_takeover(new, handover, lambda: digest_of(old.module))
    successor.close()
    again = open_clients(tmp_path, lambda name, settings: old.module, place)
    feed(again, CORPUS[6:])
    again.close()
    audit(tmp_path, CORPUS)


def test_a_successor_that_is_not_as_far_is_refused(tmp_path: Path) -> None:
    old = open_clients(tmp_path)
    feed(old, CORPUS[:2])
    successor = successor_of(tmp_path, Clients)
    successor.rehearse()
    _, handover = hand_over(old)
    new = open_clients(tmp_path, lambda name, settings: successor.module, successor.place())
    ahead = msgspec.structs.replace(handover, sequence=handover.sequence + 1)
    with pytest.raises(SelfCheckFailed, match="reached entry"):
        check_takeover(new, ahead, lambda: None)
    successor.close()


def test_a_rehearsal_writes_nothing_and_raises_what_the_code_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raising(Clients):
        def apply(self, fact: Any) -> None:
            raise ZeroDivisionError("new code")

    class Forgetful(Clients):
        def restore(self, data: bytes) -> None:
            return

    old = open_clients(tmp_path)
    feed(old, CORPUS[:4])
    before = old.journal.written_offset
    for new, error in ((Raising, ZeroDivisionError), (Forgetful, SelfCheckFailed)):
        successor = successor_of(tmp_path, new)
        if new is Forgetful:
            monkeypatch.setattr(successor.module, "snapshot", iter([b"saved", b"lost"]).__next__)
        with pytest.raises(error):
            successor.rehearse()
        with pytest.raises(JournalRefused, match="belongs to another process"):
            successor._host.command("ingest", {"documents": batches(CORPUS[:1], 1)[0]})
        successor.close()
    assert old.journal.written_offset == before
    feed(old, CORPUS[4:])
    old.close()
    audit(tmp_path, CORPUS)


class Versioned(Clients):
    """Its third shape."""

    state_version = 3
    upgrades: ClassVar[Mapping[int, Callable[[bytes], bytes]]] = {1: lambda s: s + b"+2", 2: lambda s: s + b"+3"}


def snapshot_of(version: int) -> HostSnapshot:
    return HostSnapshot("clients", version, 0, {}, b"state")


def test_snapshots_of_older_code_are_upgraded_step_by_step() -> None:
    found = migrated(Versioned(), snapshot_of(1), first_offset=4096)
    assert found is not None
    assert (found.state, found.state_version) == (b"state+2+3", 3)
    same = migrated(Versioned(), snapshot_of(3), first_offset=4096)
    assert same == snapshot_of(3)


@pytest.mark.parametrize(("version", "says"), [(0, "no upgrade from version 0"), (4, "which is older")])
def test_without_an_upgrade_the_whole_journal_is_replayed_or_the_start_refused(version: int, says: str) -> None:
    assert migrated(Versioned(), snapshot_of(version), first_offset=0) is None
    with pytest.raises(JournalTruncated, match=says):
        migrated(Versioned(), snapshot_of(version), first_offset=4096)


def test_a_start_over_a_raised_state_version_uses_the_upgrade(tmp_path: Path) -> None:
    old = open_clients(tmp_path)
    feed(old, CORPUS[:4])
    snapshot, before = old.snapshot(), old.counters.units
    feed(old, CORPUS[4:])
    written, state = old.counters.units - before, old.module.snapshot()
    old.close()

    class Raised(Clients):
        state_version = Clients.state_version + 1
        upgrades: ClassVar[Mapping[int, Callable[[bytes], bytes]]] = {Clients.state_version: lambda data: data}

    new = open_host(
        tmp_path,
        "clients",
        segment_bytes=1 << 20,
        load_snapshot=lambda _: snapshot,
        create=lambda name, settings: Raised(),
    )
    assert new.counters.replayed_units == written + 1, "from the snapshot on, not from the beginning"
    assert new.module.snapshot() == state
    new.close()
