"""Workloads of the checkpoint store, and what must be true of it after any crash."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.crash.model import Tree
from tests.crash.recorder import Dead, Mark, Recorder
from tori.checkpoint.codec import ModuleSnapshot
from tori.checkpoint.retention import KeepNewestPolicy
from tori.checkpoint.store import CheckpointStore
from tori.clock import VirtualClock

HOME = Path("/home")
ROOT = HOME / "checkpoints"
MODULES = ("reader", "alien")
KEEP = 2
STEPS = "ssspwk"
"""save, prune, sweep, kill in the middle of what follows."""


def snapshots(number: int) -> dict[str, ModuleSnapshot]:
    data = b"state %d " % number * (1 + number % 40)
    return {name: ModuleSnapshot(name, 1, "journal", 1, number, data) for name in MODULES}


class CheckpointWorkload:
    """One process that saves, prunes and sweeps as a script says."""

    def __init__(self, recorder: Recorder, seed: int = 0) -> None:
        self.recorder = recorder
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.saved = 0
        files = recorder.process()
        files.make_directory(HOME)
        files.sync_directory(HOME.parent)
        self.store = self._open()

    def _open(self) -> CheckpointStore:
        return open_store(self.recorder, self.clock)

    def run(self, script: str) -> None:
        for step in script:
            self.clock.advance(1)
            try:
                self._step(step)
            except Dead:
                self.store = self._open()
        self.recorder.mark("end")

    def _step(self, step: str) -> None:
        match step:
            case "s":
                self.saved += 1
                self.recorder.mark("attempted", (self.saved,))
                self.store.save(snapshots(self.saved))
                self.recorder.mark("durable", (self.saved,))
            case "p":
                self.store.prune()
            case "w":
                self.store.sweep()
            case "k":
                self.recorder.die_at = self.recorder.operations + self.rng.randint(1, 12)
            case _:
                raise AssertionError(step)


def open_store(recorder: Recorder, clock: VirtualClock) -> CheckpointStore:
    return CheckpointStore(ROOT, clock=clock, disk=recorder.process(), retention=KeepNewestPolicy(KEEP))


def check_after(tree: Tree, marks: list[Mark]) -> None:
    """Find the newest snapshots after a crash: the last one promised or one begun later, whole, with no damage on the way."""
    recorder = Recorder(tree)
    clock = VirtualClock()
    clock.advance(1_000)
    store = open_store(recorder, clock)
    promised = max((n for m in marks if m.what == "durable" for n in m.numbers), default=0)
    begun = max((n for m in marks if m.what == "attempted" for n in m.numbers), default=0)
    found = set()
    for module in MODULES:
        snapshot, problems = store.newest(module)
        assert problems == (), f"{problems[0].reason} without any damage"
        found.add(0 if snapshot is None else snapshot.sequence)
        assert snapshot is None or snapshot == snapshots(snapshot.sequence)[module]
    assert len(found) == 1, "half a checkpoint"
    assert promised <= found.pop() <= begun, f"{promised} was promised"
    store.sweep()
    store.save(snapshots(begun + 1))
    store.prune()
    assert store.newest(MODULES[0])[0] == snapshots(begun + 1)[MODULES[0]], "the next checkpoint cannot be used"


def check_changed_byte(tree: Tree, rng: random.Random) -> tuple[str, Callable[[], Any]]:
    """Return (what is changed, its check) for one byte of the newest checkpoint."""
    checkpoints: Tree = tree["home"]["checkpoints"]
    newest = max(name for name in checkpoints if name.startswith("checkpoint-"))
    file = rng.choice(sorted(checkpoints[newest]))
    content = bytearray(checkpoints[newest][file])
    at, mask = rng.randrange(len(content)), rng.randrange(1, 256)
    content[at] ^= mask
    changed = {**checkpoints, newest: {**checkpoints[newest], file: bytes(content)}}

    def check() -> None:
        store = open_store(Recorder({"home": {"checkpoints": changed}}), VirtualClock())
        assert store.verify(newest), "nobody noticed"
        number = 0
        for module in MODULES:
            snapshot, _ = store.newest(module)
            assert snapshot is not None
            number = max(number, snapshot.sequence)
            assert snapshot == snapshots(snapshot.sequence)[module], "something damaged was used"
            if file in ("manifest.json", f"{module}.snapshot"):
                assert snapshot.sequence == 2, "the one before was not used"
        assert number

    return f"{file} byte {at} mask {mask}", check
