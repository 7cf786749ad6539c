"""Checkpoints of the running system: every module's snapshot, hot in the object store and verified on disk."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError

from tori.checkpoint import report
from tori.checkpoint.codec import ModuleSnapshot, SnapshotDamaged
from tori.checkpoint.manifest import Manifest
from tori.checkpoint.retention import KeepNewestPolicy
from tori.checkpoint.store import CheckpointStore
from tori.errors import BadInput, Unavailable
from tori.modules.host import HostSnapshot

SNAPSHOT_TIMEOUT_S = 120.0
FOLDER = "checkpoints"


class Checkpoints:
    """Takes, lists and restores checkpoints. The hot copies are refs whose owner is the orchestrator: a cache, never the truth."""

    def __init__(
        self,
        home: Path,
        keep: int,
        handles: Callable[[], Mapping[str, Any]],
        emit: Callable[..., None],
        hot: dict[str, Any],
    ) -> None:
        self._store = CheckpointStore(home / FOLDER, retention=KeepNewestPolicy(keep))
        self._handles = handles
        self._emit = emit
        self._hot = hot
        self._saved: dict[str, tuple[int, int]] = {}
        """By module: (offset, consumed inputs) of the last snapshot on disk."""
        self._lock = threading.Lock()
        self.on_saved: Callable[[dict[str, int]], None] = lambda sequences: None
        """Called with the durable sequences of the modules that a checkpoint holds."""
        self._store.sweep()

    def take(self, modules: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write one checkpoint of all modules that run (or of those given); a dead module is left out, its older one stays."""
        with self._lock:
            snapshots = self._collect(modules or self._handles())
            if not snapshots:
                raise Unavailable("no module runs that could be checkpointed.", remedy="See tori status.")
            manifest = self._store.save(snapshots)
            self._store.prune()
        self.on_saved({name: snapshot.sequence for name, snapshot in snapshots.items()})
        self._emit(report.created(manifest, self._store.root))
        return self._row(manifest)

    def _collect(self, handles: Mapping[str, Any]) -> dict[str, ModuleSnapshot]:
        refs = {name: handle.snapshot.remote() for name, handle in handles.items()}
        found: dict[str, ModuleSnapshot] = {}
        for name, ref in refs.items():
            try:
                data: bytes = ray.get(ref, timeout=SNAPSHOT_TIMEOUT_S)
            except RayError:
                continue
            snapshot = msgspec.msgpack.decode(data, type=HostSnapshot)
            self._hot[name] = ref
            found[name] = ModuleSnapshot(
                name, snapshot.state_version, snapshot.journal_id.hex(), snapshot.epoch, snapshot.sequence, data
            )
            self._saved[name] = (snapshot.offset, snapshot.consumed)
        return found

    def origin(self, name: str, *, is_elsewhere: bool) -> Any:
        """Return the ref of the snapshot a module starts from, or None: the hot one while the object store has it.

        A module on another node cannot look into this node's checkpoints, so the newest good one is put into the store for it.
        """
        ref = self._hot.get(name)
        if ref is not None and ray.wait([ref], timeout=0.5, fetch_local=False)[0]:
            return ref
        if not is_elsewhere:
            return None
        stored, problems = self._store.newest(name)
        if problems:
            self._emit(*(report.corrupted(p) for p in problems), report.recovered(problems, name))
        return None if stored is None else ray.put(stored.data)

    def save_last(self, name: str) -> None:
        """Make sure the newest checkpoint of a module that stops holds its present state; writes nothing when it does."""
        handle = self._handles().get(name)
        if handle is None:
            return
        view = ray.get(handle.view.remote(), timeout=SNAPSHOT_TIMEOUT_S)
        if self._saved.get(name) != (view.offset, view.consumed):
            self.take({name: handle})

    def list(self) -> list[dict[str, Any]]:
        """Return the kept checkpoints, newest first; a damaged one says so."""
        rows = []
        for checkpoint_id in self._store.list():
            try:
                rows.append(self._row(self._store.manifest(checkpoint_id)))
            except SnapshotDamaged as error:
                rows.append({"checkpoint_id": checkpoint_id, "damaged": str(error), "size_bytes": 0, "modules": []})
        return rows

    def _row(self, manifest: Manifest) -> dict[str, Any]:
        return {
            "checkpoint_id": manifest.checkpoint_id,
            "created_ns": manifest.created_ns,
            "modules": sorted(manifest.modules),
            "size_bytes": manifest.size_bytes,
            "digest": manifest.digest,
            "path": str(self._store.root / manifest.checkpoint_id),
        }

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        """Start every module again from a checkpoint and the journal after it; raises BadInput naming a damaged snapshot."""
        chosen = checkpoint_id or next(iter(self._store.list()), None)
        if chosen is None:
            raise BadInput("there is no checkpoint yet.", remedy="Take one with tori checkpoint.")
        problems = self._store.verify(chosen)
        if problems:
            named = ", ".join(f"{p.module or 'the manifest'}: {p.reason}" for p in problems)
            raise BadInput(
                f"checkpoint {chosen} is damaged ({named}).", remedy="tori checkpoint --list shows the others."
            )
        manifest = self._store.manifest(chosen)
        handles = self._handles()
        names = [name for name in manifest.modules if name in handles]
        refs = [handles[name].restore.remote(self._store.load(manifest, name).data) for name in names]
        ray.get(refs)
        for name in names:
            self._emit(report.loaded(manifest, name))
        return {"checkpoint_id": chosen, "modules": sorted(names)}

    def forget_hot(self) -> None:
        """Let go of the hot copies."""
        with contextlib.suppress(KeyError):
            self._hot.clear()
