"""Checkpoints that are not what was written: named, set aside, and passed over for the one before and the journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.bad_input.bench import SMALL_MIND, Bench, caught
from tests.bad_input.case import Door, Outcome
from tori.checkpoint.codec import ModuleSnapshot
from tori.checkpoint.store import CheckpointStore
from tori.clock import VirtualClock
from tori.events.document import Document
from tori.local import LocalSystem
from tori.modules.host import HostSnapshot

DOOR = Door("checkpoint", __doc__)
OLDER = "An older checkpoint and the journal hold the same state"
Damage = Callable[[Path], object]


def save(store: CheckpointStore, mind: LocalSystem) -> str:
    return store.save(
        {
            name: ModuleSnapshot(
                name, s.state_version, s.journal_id.hex(), s.epoch, s.sequence, msgspec.msgpack.encode(s)
            )
            for name, s in mind.snapshots().items()
        }
    ).checkpoint_id


def loaded(store: CheckpointStore) -> dict[str, HostSnapshot]:
    """Return the newest good snapshots, as a start does."""
    found = {name: store.newest(name)[0] for name in SMALL_MIND}
    return {n: msgspec.msgpack.decode(s.data, type=HostSnapshot) for n, s in found.items() if s is not None}


def damaged(damage: Damage) -> Callable[[Bench], Outcome]:
    """Return what takes two checkpoints, damages the newer, asks for it, and starts from what is left."""

    def run(bench: Bench) -> Outcome:
        home = bench.home()
        store = CheckpointStore(home / "checkpoints", clock=VirtualClock())
        with LocalSystem(home, modules=SMALL_MIND, clock=VirtualClock()) as mind:
            mind.pump()
            save(store, mind)
            mind.ingest([Document("late", "late", "A late rose is pruned late.")])
            mind.pump()
            newest = save(store, mind)
            before = mind.digest()
        damage(store.root / newest)

        def ask() -> None:
            manifest = store.manifest(newest)
            for name in SMALL_MIND:
                store.load(manifest, name)

        outcome = caught(ask)
        with LocalSystem(home, modules=SMALL_MIND, clock=VirtualClock(), snapshots=loaded(store)) as mind:
            mind.pump()
            assert mind.digest() == before, "the digest has changed"
        return outcome

    return run


def add(given: str, damage: Damage, *says: str, exit_code: int = 74) -> None:
    DOOR.add(given, damaged(damage), *says, exit_code=exit_code)


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def manifest(folder: Path, **changes: object) -> None:
    path = folder / "manifest.json"
    sealed = json.loads(path.read_text())
    sealed["manifest"] |= changes
    path.write_text(json.dumps(sealed))


SNAPSHOT = "reader.snapshot"
MANIFEST = "manifest.json"
add(
    "one byte flipped in a snapshot",
    lambda f: flip(f / SNAPSHOT, 500),
    "sha256 of the file is not that of the manifest.",
    OLDER,
)
add(
    "a snapshot that is cut",
    lambda f: (f / SNAPSHOT).write_bytes((f / SNAPSHOT).read_bytes()[:100]),
    "the file has 100 bytes, the manifest says",
    OLDER,
)
add(
    "a missing snapshot",
    lambda f: (f / SNAPSHOT).unlink(),
    "the file cannot be read: No such file or directory.",
    OLDER,
)
add(
    "the snapshot of another module",
    lambda f: (f / SNAPSHOT).write_bytes((f / "clients.snapshot").read_bytes()),
    "the manifest says",
    OLDER,
)
add("one byte flipped in the manifest", lambda f: flip(f / MANIFEST, 60), "the manifest", OLDER)
add("a manifest of 0 bytes", lambda f: (f / MANIFEST).write_bytes(b""), "the manifest does not decode", OLDER)
add("a manifest that is no JSON", lambda f: (f / MANIFEST).write_bytes(b"\x80"), "the manifest does not decode", OLDER)
add(
    "a missing manifest",
    lambda f: (f / MANIFEST).unlink(),
    "the manifest cannot be read: No such file or directory.",
    OLDER,
)
add(
    "a manifest of a newer version",
    lambda f: manifest(f, format=2),
    "the manifest has format 2.",
    "upgrade tori-orchestrator.",
)
add("a manifest with a field too many", lambda f: manifest(f, colour="red"), "the manifest does not decode", OLDER)
add("a foreign file in a checkpoint", lambda f: (f / "notes.txt").write_text("mine"), exit_code=0)


def asked(checkpoint_id: str) -> Callable[[Bench], Outcome]:
    return lambda bench: caught(lambda: CheckpointStore(bench.place / "checkpoints").manifest(checkpoint_id))


DOOR.add(
    "a checkpoint that is not there", asked("checkpoint-0"), "there is no checkpoint 'checkpoint-0'.", "Newest: none."
)
DOOR.add("a path as a checkpoint", asked("../../etc"), "there is no checkpoint '../../etc'.", "Newest: none.")


@DOOR.case("a module whose name leads out of the folder", "module '../evil' cannot name a file.", "Use small letters")
def misnamed(bench: Bench) -> Outcome:
    store = CheckpointStore(bench.place / "checkpoints")
    return caught(lambda: store.save({"../evil": ModuleSnapshot("../evil", 1, "j", 1, 0, b"")}))


@DOOR.case(
    "a disk that is read-only or full when it is taken",
    "was not written",
    "make room on the disk and try again.",
    exit_code=75,
)
def not_written(bench: Bench) -> Outcome:
    (bench.place / "checkpoints").write_text("a file is in its place")
    store = CheckpointStore(bench.place / "checkpoints")
    return caught(lambda: store.save({"reader": ModuleSnapshot("reader", 1, "j", 1, 0, b"")}))
