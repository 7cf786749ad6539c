"""Folding a snapshot: every module of a mind gives the bytes that the living one gives, from any earlier snapshot or none."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.folding import folded
from tests.support.system import small_corpus
from tori.checkpoint.codec import ModuleSnapshot, decode_snapshot, encode_snapshot, snapshot_file
from tori.checkpoint.fold import PastJournal
from tori.digest import section_digest
from tori.errors import JournalRefused
from tori.journal.frame import Frame
from tori.local import LocalSystem
from tori.modules.host import HostSnapshot
from tori.modules.host_state import snapshot_pieces
from tori.modules.registry import create_module


def test_every_module_folds_to_the_bytes_of_the_living_one() -> None:
    documents = small_corpus(48)
    with LocalSystem() as mind:
        earlier: dict[str, list[HostSnapshot | None]] = {name: [None] for name in mind.hosts}
        for start in range(0, 48, 16):
            mind.ingest(documents[start : start + 16])
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
