"""What changed between two checkpoints: by module, positions, sizes, what is held, and the digest of its section."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tori.checkpoint.codec import SnapshotDamaged
from tori.checkpoint.manifest import Manifest
from tori.checkpoint.store import CheckpointStore
from tori.digest import section_digest
from tori.modules.host_state import HostSnapshot
from tori.modules.registry import PATHS, create_module
from tori.modules.user import load_modules


class Side(msgspec.Struct, frozen=True):
    """One module in one checkpoint."""

    size_bytes: int
    sequence: int
    sha256: str
    counts: dict[str, int] = {}
    """What its summary counts: concepts, threads, nodes, bridges, gaps ..."""
    digest: str | None = None
    """Of its section; None for a module without one, or when ``problem`` says why it is not known."""
    problem: str = ""


class Change(msgspec.Struct, frozen=True):
    """One module in both; None where a checkpoint does not hold it."""

    module: str
    before: Side | None
    after: Side | None
    counts: dict[str, tuple[int | None, int | None]]
    """Only those that differ."""
    is_changed: bool
    """Whether what it holds differs; its position and file may differ all the same."""


def compare(
    store: CheckpointStore, before: Manifest, after: Manifest, settings: Mapping[str, Any] | None = None
) -> list[Change]:
    """Return every module of both checkpoints, in order of their names; each snapshot is verified and opened."""
    load_modules(settings)
    return [
        _change(name, _side(store, before, name, settings), _side(store, after, name, settings))
        for name in sorted(before.modules.keys() | after.modules.keys())
    ]


def _side(store: CheckpointStore, manifest: Manifest, name: str, settings: Mapping[str, Any] | None) -> Side | None:
    part = manifest.modules.get(name)
    if part is None:
        return None
    side = Side(part.size_bytes, part.sequence, part.sha256)
    try:
        snapshot = msgspec.msgpack.decode(store.load(manifest, name).data, type=HostSnapshot)
    except (SnapshotDamaged, msgspec.DecodeError) as error:
        return msgspec.structs.replace(side, problem=str(error))
    if name not in PATHS:
        return msgspec.structs.replace(side, problem=f"there is no module {name!r} here.")
    module = create_module(name, settings)
    if module.state_version != part.state_version:
        shape = f"its state has version {part.state_version}, this version reads {module.state_version}."
        return msgspec.structs.replace(side, problem=shape)
    module.restore(snapshot.state)
    section = module.section()
    summary = module.query("summary", {})
    counts = {key: value for key, value in summary.items() if isinstance(value, int) and not isinstance(value, bool)}
    return msgspec.structs.replace(side, counts=counts, digest=None if section is None else section_digest(section))


def _change(name: str, before: Side | None, after: Side | None) -> Change:
    if before is None or after is None or before.problem or after.problem:
        return Change(name, before, after, {}, is_changed=before != after)
    pairs = {key: (before.counts.get(key), after.counts.get(key)) for key in sorted(before.counts | after.counts)}
    differing = {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}
    return Change(name, before, after, differing, is_changed=bool(differing) or before.digest != after.digest)
