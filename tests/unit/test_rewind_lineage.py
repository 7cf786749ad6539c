"""What a rewind in place put away stays away: snapshots of it are refused or passed over, all others are as good as they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from tests.support.rewinding import FIRST, SECOND, THIRD, given, made, middle_of, opened
from tests.support.system import small_corpus
from tori.checkpoint.lineage import is_strange
from tori.checkpoint.remote import UrlStore
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.checkpoint.swap import rewind_in_place
from tori.errors import BadInput, JournalMissing
from tori.events.document import Document
from tori.journal.follower import Cursor
from tori.local import LocalSystem
from tori.local.rewound import rewind
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.need import module_snapshot
from tori.modules.open import open_host


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return made(tmp_path)


def hosted(home: Path, snapshot: HostSnapshot | None) -> ModuleHost:
    """Open the clients as an actor does."""
    return open_host(home, "clients", segment_bytes=1 << 20, load_snapshot=lambda _: snapshot)


def newest(home: Path) -> HostSnapshot | None:
    found = CheckpointStore(home / FOLDER).newest("clients")[0]
    return None if found is None else msgspec.msgpack.decode(found.data, type=HostSnapshot)


def go_on(home: Path, *parts: tuple[Document, ...]) -> None:
    with opened(home) as mind:
        for part in parts:
            mind.ingest(part)
            mind.pump()


def test_what_was_put_away_cannot_be_fetched_and_what_is_older_can(home: Path, tmp_path: Path) -> None:
    store, far = CheckpointStore(home / FOLDER), UrlStore(f"file://{tmp_path}/far")
    later, earlier = store.list()
    last = store.save({"clients": store.load(store.manifest(later), "clients")}).checkpoint_id
    for one in (last, later, earlier):
        far.put(store, store.manifest(one))
    rewind_in_place(home, middle_of(home), 7)
    for one in (last, later):  # it stands beyond the end of its journal
        with pytest.raises(BadInput, match="rewind in place put them away"):
            far.fetch(store, one)
    go_on(home, THIRD, SECOND)
    for one in (last, later):  # others stand in their place by now
        with pytest.raises(BadInput, match="rewind in place put them away"):
            far.fetch(store, one)
    assert store.list() == (earlier,)
    shutil.rmtree(store.root / earlier)
    assert far.fetch(store, earlier).checkpoint_id == earlier
    with opened(home) as mind:
        assert mind.digests() == given(FIRST, THIRD, SECOND)


def test_what_was_put_away_and_is_there_again_is_passed_over(home: Path) -> None:
    store = CheckpointStore(home / FOLDER)
    later, earlier = store.list()
    done = rewind_in_place(home, middle_of(home), 7)
    go_on(home, THIRD, SECOND)
    shutil.copytree(home / "rewinds" / done.rewind_id / "past" / FOLDER / later, store.root / later)
    stored = store.load(store.manifest(later), "clients")
    assert is_strange(home, stored)
    reader = msgspec.msgpack.decode(store.load(store.manifest(later), "reader").data, type=HostSnapshot)
    assert is_strange(home, module_snapshot(msgspec.structs.replace(reader, offset=0))), (
        "it knows of documents that went"
    )
    taken = reader.cursors["clients"]
    early = Cursor(0, 0, {taken.offset - 1: taken.offset}, taken.epoch)
    assert is_strange(home, module_snapshot(msgspec.structs.replace(reader, offset=0, cursors={"clients": early}))), (
        "it took one of them early"
    )
    with pytest.raises(JournalMissing, match="went on at"):
        hosted(home, msgspec.msgpack.decode(stored.data, type=HostSnapshot))
    assert store.find("clients")[0] == store.manifest(earlier)
    with opened(home) as mind:
        assert mind.digests() == given(FIRST, THIRD, SECOND)
    starts = rewind(home, "0s")["starts"]
    assert {name for name, start in starts.items() if start == later} == {"fuzzing"}, (
        "it follows nobody and has done nothing"
    )
    with pytest.raises(BadInput, match="knows of entries of"):
        rewind(home, later)


def test_a_take_over_puts_nothing_away(tmp_path: Path) -> None:
    """A new epoch writes again what is small or not known to be on the disk, so its first segment begins before the snapshot's place."""
    home, documents = tmp_path / "home", small_corpus(12)
    store = CheckpointStore(home / FOLDER)
    for start in range(0, 12, 4):
        with LocalSystem(home, modules=("clients",)) as mind:
            mind.ingest(documents[start : start + 4])
            mind.checkpoint(store)
            living = mind.hosts["clients"].snapshot()
        with LocalSystem(home, modules=("clients",)) as mind:
            assert not list((home / "journals/clients").glob(f"{living.offset:016x}-*"))
            assert newest(home) == living
    for one in store.list():
        stored = store.load(store.manifest(one), "clients")
        host = hosted(home, msgspec.msgpack.decode(stored.data, type=HostSnapshot))
        assert host.module.query("summary", {})["documents"] == 12
        host.close()


def test_what_was_lost_is_never_passed_over_in_silence(tmp_path: Path) -> None:
    home, documents = tmp_path / "home", small_corpus(24)
    with LocalSystem(home, modules=("clients",)) as mind:
        mind.ingest(documents[:4])
    shutil.copytree(home / "journals", tmp_path / "backup")
    with LocalSystem(home, modules=("clients",)) as mind:
        mind.ingest(documents[4:8])
        mind.checkpoint(CheckpointStore(home / FOLDER))
    snapshot = newest(home)
    shutil.rmtree(home / "journals")
    shutil.copytree(tmp_path / "backup", home / "journals")
    for _ in range(2):
        with pytest.raises(JournalMissing, match="its journal ends at"):
            hosted(home, newest(home))
    with LocalSystem(home, modules=("clients",)) as mind:
        mind.ingest(documents[8:])
    assert newest(home) == snapshot
    with pytest.raises(JournalMissing, match="or a loss"):
        hosted(home, snapshot)
