"""A mind that stands at a moment which can be gone back from: what the tests of rewinding in place share."""

from __future__ import annotations

import functools
import time
from pathlib import Path

import msgspec

from tests.support.system import small_corpus
from tori.checkpoint.rewind import Moment, moment_of
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.events.cloudevents import format_time
from tori.events.document import Document
from tori.home import open_home
from tori.local import LocalSystem
from tori.local.system import DEFAULT_MODULES
from tori.modules.host import HostSnapshot
from tori.orchestrator.placement import JournalsReached

MODULES = (*DEFAULT_MODULES, "orchestrator")
FIRST, SECOND, THIRD = (tuple(small_corpus(18)[i : i + 6]) for i in (0, 6, 12))


def opened(home: Path, *, with_checkpoints: bool = True) -> LocalSystem:
    """Open the mind as a start does, from its newest checkpoints or from the journals alone."""
    open_home(home)
    store = CheckpointStore(home / FOLDER)
    found = {name: store.newest(name)[0] for name in MODULES} if with_checkpoints else {}
    snapshots = {n: msgspec.msgpack.decode(s.data, type=HostSnapshot) for n, s in found.items() if s is not None}
    return LocalSystem(home, modules=MODULES, snapshots=snapshots)


def given(*parts: tuple[Document, ...]) -> dict[str, str]:
    """Return the digests of a mind that was given these and nothing else."""
    return dict(_given(parts))


@functools.cache
def _given(parts: tuple[tuple[Document, ...], ...]) -> dict[str, str]:
    with LocalSystem() as mind:
        for part in parts:
            mind.ingest(part)
            mind.pump()
        return mind.digests()


def made(tmp_path: Path) -> Path:
    """Return the home of a mind that was given two parts, each followed by a checkpoint, and stopped; ``middle`` lies between them."""
    place = tmp_path / "home"
    store = CheckpointStore(place / FOLDER)
    with LocalSystem(place, modules=MODULES) as mind:
        mind.ingest(FIRST)
        mind.pump()
        mind.checkpoint(store)
        (tmp_path / "middle").write_text(format_time(time.time_ns()))
        mind.ingest(SECOND)
        mind.pump()
        reached = {name: host.journal.next_sequence for name, host in mind.hosts.items()}
        mind.hosts["orchestrator"].emit([JournalsReached(reached)], [])
        mind.pump()
        mind.checkpoint(store)
    return place


def middle_of(home: Path) -> Moment:
    """Return the moment between the two parts."""
    text = (home.parent / "middle").read_text()
    return moment_of(text, CheckpointStore(home / FOLDER), time.time_ns())
