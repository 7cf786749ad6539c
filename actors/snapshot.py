"""Which snapshot a module starts from: the hot one from the object store, or the newest good one on disk."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from tori.checkpoint.report import corrupted, recovered
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.events.system import CheckpointLoaded
from tori.modules.host import HostSnapshot


class Origin(NamedTuple):
    """A snapshot and the events that tell how it was found."""

    snapshot: HostSnapshot | None
    events: tuple[msgspec.Struct, ...] = ()


def decode_host(data: bytes | None) -> HostSnapshot | None:
    """Return the snapshot in ``data``, or None when there is none or it does not decode."""
    if data is None:
        return None
    try:
        return msgspec.msgpack.decode(data, type=HostSnapshot)
    except msgspec.DecodeError:
        return None


def find_snapshot(home: Path, name: str, hot: bytes | None) -> Origin:
    """Return the snapshot furthest along in the module's own journal; both are only short cuts for the journal.

    What is damaged on disk is quarantined, told, and passed over.
    """
    warm = decode_host(hot)
    if warm is not None:
        return Origin(warm, (CheckpointLoaded("object-store", (name,), len(hot or b"")),))
    stored, problems = CheckpointStore(home / FOLDER).newest(name)
    told: tuple[msgspec.Struct, ...] = tuple(corrupted(p) for p in problems)
    if problems:
        told += (recovered(problems, name),)
    cold = decode_host(stored.data) if stored is not None else None
    if cold is not None and stored is not None:
        told += (CheckpointLoaded("disk", (name,), len(stored.data)),)
    return Origin(cold, told)


def load_exactly(home: Path, checkpoint_id: str, name: str) -> bytes:
    """Return what one checkpoint holds of a module; raises SnapshotDamaged, or BadInput when it is not there."""
    store = CheckpointStore(home / FOLDER)
    return store.load(store.manifest(checkpoint_id), name).data
