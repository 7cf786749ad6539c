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

from actors.failure import brief_error
from actors.logging import event_logger
from actors.names import ORCHESTRATOR
from tori.checkpoint import report
from tori.checkpoint.codec import ModuleSnapshot, SnapshotDamaged
from tori.checkpoint.manifest import Manifest
from tori.checkpoint.retention import KeepNewestPolicy
from tori.checkpoint.store import CheckpointStore
from tori.errors import BadInput, ToriError, Unavailable
from tori.events.system import ErrorOccurred
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
        """Write one checkpoint of all modules that run (or of those given).

        A module that cannot give its snapshot is left out, its older one stays; ``missing`` in the answer names it with the reason.
        """
        with self._lock:
            snapshots, missing = self._collect(modules or self._handles())
            self._tell_missing(missing)
            if not snapshots:
                named = "; ".join(f"{name}: {reason}" for name, reason in missing.items())
                raise Unavailable(
                    f"no module could be checkpointed ({named or 'none runs'}).", remedy="See tori status."
                )
            manifest = self._store.save({name: snapshot for name, (snapshot, _) in snapshots.items()})
            self._saved |= {name: mark for name, (_, mark) in snapshots.items()}
            self._store.prune()
        self.on_saved({name: snapshot.sequence for name, (snapshot, _) in snapshots.items()})
        self._emit(report.created(manifest, self._store.root))
        return self._row(manifest) | {"missing": missing}

    def _collect(
        self, handles: Mapping[str, Any]
    ) -> tuple[dict[str, tuple[ModuleSnapshot, tuple[int, int]]], dict[str, str]]:
        """Return the snapshots with (offset, consumed) of each, and why others are missing."""
        refs = {name: handle.snapshot.remote() for name, handle in handles.items()}
        found, missing = {}, {}
        for name, ref in refs.items():
            try:
                data: bytes = ray.get(ref, timeout=SNAPSHOT_TIMEOUT_S)
            except (RayError, ToriError) as error:
                event_logger(name).error("no snapshot for the checkpoint", exc_info=error)
                missing[name] = brief_error(error)
                continue
            snapshot = msgspec.msgpack.decode(data, type=HostSnapshot)
            self._hot[name] = ref
            kept = ModuleSnapshot(
                name, snapshot.state_version, snapshot.journal_id.hex(), snapshot.epoch, snapshot.sequence, data
            )
            found[name] = (kept, (snapshot.offset, snapshot.consumed))
        return found, missing

    def _tell_missing(self, missing: Mapping[str, str]) -> None:
        for name, reason in missing.items():
            self._emit(ErrorOccurred("SnapshotMissing", reason, name))

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
        """Start every module again from a checkpoint (None: the newest good one) and the journal after it.

        ``passed_over`` in the answer names newer ones that are damaged. Raises BadInput naming what is damaged when nothing is left.
        """
        chosen, passed_over = self._choose(checkpoint_id)
        manifest = self._store.manifest(chosen)
        handles = self._handles()
        names = [name for name in manifest.modules if name in handles]
        refs = [handles[name].restore.remote(self._store.load(manifest, name).data) for name in names]
        ray.get(refs)
        for name in names:
            self._emit(report.loaded(manifest, name))
        return {"checkpoint_id": chosen, "modules": sorted(names), "passed_over": passed_over}

    def _choose(self, checkpoint_id: str | None) -> tuple[str, dict[str, str]]:
        """Return the checkpoint asked for, or the newest good one with the damage of those before it."""
        wanted = self._store.list() if checkpoint_id is None else [checkpoint_id]
        if not wanted:
            raise BadInput("there is no checkpoint yet.", remedy="Take one with tori checkpoint.")
        damaged: dict[str, str] = {}
        for one in wanted:
            problems = self._store.verify(one)
            if not problems:
                return one, damaged
            damaged[one] = ", ".join(f"{p.module or 'the manifest'}: {p.reason.rstrip('.')}" for p in problems)
        named = "; ".join(f"checkpoint {one} is damaged ({why})" for one, why in damaged.items())
        raise BadInput(f"{named}.", remedy="tori checkpoint --list shows the others.")


def final_checkpoint(take: Callable[[], Mapping[str, Any]], emit: Callable[..., None]) -> list[str]:
    """Take the checkpoint before a stop; return what went wrong. A failure is told and logged, and stops no stop."""
    try:
        missing: Mapping[str, str] = take()["missing"]
    except Exception as error:
        event_logger(ORCHESTRATOR).error("the final checkpoint failed", exc_info=error)
        with contextlib.suppress(ToriError):  # the disk that refused the checkpoint may refuse this too: the log has it
            emit(ErrorOccurred("CheckpointFailed", brief_error(error), ORCHESTRATOR))
        return [f"the final checkpoint failed: {brief_error(error)}; the journals hold everything."]
    return [
        f"the final checkpoint misses {name}: {reason}; its journal holds everything."
        for name, reason in missing.items()
    ]
