"""Folding a snapshot: every module of a mind gives the bytes that the living one gives, from any earlier snapshot or none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

import msgspec
import pytest

from tests.support.folding import folded
from tests.support.system import small_corpus
from tori.checkpoint.codec import ModuleSnapshot, decode_snapshot, encode_snapshot, snapshot_file
from tori.checkpoint.compare import compare
from tori.checkpoint.fold import PastJournal
from tori.checkpoint.store import CheckpointStore, write_snapshot
from tori.digest import section_digest
from tori.errors import BadInput, JournalRefused, JournalTruncated
from tori.journal.frame import Frame
from tori.local import LocalSystem
from tori.modules.clients import Clients
from tori.modules.host import HostSnapshot
from tori.modules.host_state import snapshot_pieces
from tori.modules.migration import migrated
from tori.modules.need import module_snapshot
from tori.modules.registry import create_module

LONG = [msgspec.structs.replace(d, text=d.text * 16) for d in small_corpus(48)]
"""Some segments' worth of documents."""


def test_every_module_folds_to_the_bytes_of_the_living_one() -> None:
    documents = small_corpus(24)
    with LocalSystem() as mind:
        earlier: dict[str, list[HostSnapshot | None]] = {name: [None] for name in mind.hosts}
        for start in range(0, 24, 12):
            mind.ingest(documents[start : start + 12])
            mind.quiesce()
            for name, host in mind.hosts.items():
                living = host.snapshot()
                for previous in earlier[name]:
                    found = folded(mind, name, host.position(), previous)
                    assert msgspec.msgpack.encode(found) == msgspec.msgpack.encode(living), name
                earlier[name].append(living)
        for name, host in mind.hosts.items():
            again = create_module(name)
            again.restore(folded(mind, name, host.position(), earlier[name][1]).state)
            section = host.module.section()
            assert section is None or section_digest(again.section()) == section_digest(section)


def test_a_position_costs_no_state_and_an_unmoved_module_is_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalSystem() as mind:
        mind.ingest(small_corpus(8))
        mind.pump()
        host = mind.hosts["reader"]
        living = host.snapshot()
        module = type(host.module)
        for method in ("snapshot", "restore", "apply"):
            monkeypatch.setattr(module, method, lambda *_: pytest.fail("the state was touched"))
        position = host.position()
        assert position.state == b""
        assert folded(mind, "reader", position, living) == living


def test_a_snapshot_of_another_shape_or_from_later_on_is_passed_over() -> None:
    with LocalSystem() as mind:
        mind.ingest(small_corpus(8))
        mind.pump()
        host = mind.hosts["reader"]
        living = host.snapshot()
        for wrong in ({"state_version": 99}, {"offset": living.offset + 8}, {"journal_id": b"another journal!"}):
            previous = msgspec.structs.replace(living, state=b"nonsense", **wrong)
            assert folded(mind, "reader", host.position(), previous) == living


class Raised(Clients):
    """Its next shape, which is the same with a mark before it."""

    state_version = Clients.state_version + 1
    upgrades: ClassVar[Mapping[int, Callable[[bytes], bytes]]] = {Clients.state_version: lambda data: b"+" + data}

    def snapshot(self) -> bytes:
        return b"+" + super().snapshot()

    def restore(self, data: bytes) -> None:
        assert data.startswith(b"+")
        super().restore(data[1:])


@pytest.mark.parametrize("is_moved", [False, True])
def test_a_snapshot_of_older_code_is_upgraded_and_only_what_followed_is_replayed(
    tmp_path: Path, is_moved: bool
) -> None:
    home = tmp_path / "home"
    with LocalSystem(home, modules=("clients",), segment_bytes=1 << 15) as mind:
        mind.ingest(LONG)
        previous = mind.hosts["clients"].snapshot()
    for path in sorted((home / "journals/clients").glob("*.seg"))[:1]:
        path.unlink()  # no replay from the beginning
    upgraded = migrated(Raised(), previous, first_offset=8)
    assert upgraded is not None
    with LocalSystem(home, modules=("clients",), create=lambda _: Raised(), snapshots={"clients": upgraded}) as mind:
        if is_moved:
            mind.ingest(small_corpus(8))
        host = mind.hosts["clients"]
        assert folded(mind, "clients", host.position(), previous) == host.snapshot()
        with pytest.raises(JournalTruncated, match="no upgrade from version 0"):
            folded(mind, "clients", host.position(), msgspec.structs.replace(previous, state_version=0))


def test_the_past_takes_no_entries() -> None:
    past = PastJournal(HostSnapshot("reader", 1, 0, {}, b""))
    for write in (lambda: past.append([Frame(1, b"")]), past.commit, past.check_owner):
        with pytest.raises(JournalRefused, match="past of journal reader"):
            write()


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65_535, 65_536, 20 << 20])
def test_pieces_join_to_what_was_always_written(size: int) -> None:
    state = bytes(size)
    snapshot = HostSnapshot("reader", 1, 8, {}, state, 5, 6, bytes(16), 2, 3, 4)
    pieces = snapshot_pieces(snapshot)
    assert b"".join(pieces) == msgspec.msgpack.encode(snapshot)
    kept = ModuleSnapshot("reader", 1, bytes(16).hex(), 2, 3, b"".join(pieces))
    assert b"".join(snapshot_file(kept, pieces)) == encode_snapshot(kept)
    assert decode_snapshot(encode_snapshot(kept)) == kept


def test_a_part_written_in_pieces_by_another_process_belongs_to_the_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    snapshot = HostSnapshot("reader", 1, 8, {}, bytes(5 << 20), 5, 6, bytes(16), 2, 3, 4)
    checkpoint_id = store.begin()
    part = write_snapshot(store.staging(checkpoint_id), module_snapshot(snapshot, b""), snapshot_pieces(snapshot))
    assert store.list() == ()
    manifest = store.seal(checkpoint_id, {"reader": part})
    assert store.load(manifest, "reader") == module_snapshot(snapshot)
    assert store.verify(checkpoint_id) == ()
    given_up = store.begin()
    store.abandon(given_up)
    assert not store.staging(given_up).exists()
    with pytest.raises(BadInput, match="no module"):
        store.seal(store.begin(), {})
    assert [path.name for path in store.root.iterdir()] == [checkpoint_id]


def test_checkpoints_are_compared_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    with LocalSystem() as mind:
        found = {name: module_snapshot(mind.hosts[name].snapshot()) for name in ("clients", "reader", "scars")}
        before = store.save(found)
        mind.ingest(small_corpus(2))
        found["clients"] = module_snapshot(mind.hosts["clients"].snapshot())
        other = msgspec.structs.replace(found["reader"], state_version=99)
        after = store.save(
            {"clients": found["clients"], "reader": other, "alien": module_snapshot(mind.hosts["alien"].snapshot())}
        )
    (store.root / before.checkpoint_id / "scars.snapshot").write_bytes(b"nonsense")
    changes = {change.module: change for change in compare(store, before, after)}
    assert changes["clients"].counts == {"documents": (0, 2)}
    assert changes["alien"].before is None and changes["scars"].after is None
    assert changes["scars"].before is not None and "bytes" in changes["scars"].before.problem
    assert changes["reader"].after is not None and "version 99" in changes["reader"].after.problem
    assert all(change.is_changed for change in changes.values())
    assert not any(change.is_changed for change in compare(store, after, after))
