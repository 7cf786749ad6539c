"""Checkpoints of the running system: every module's snapshot, hot in the object store and verified on disk.

Modules that go on are asked for their positions only: a task beside them folds the earlier snapshot and the journal
(``actors.fold``). A module that stops gives its snapshot itself, and so does one whose fold failed.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError

from actors.copies import Copies
from actors.failure import brief_error
from actors.fold import HOT_BYTES, Folding
from actors.logging import event_logger
from actors.names import ORCHESTRATOR
from tori.checkpoint import report
from tori.checkpoint.codec import ModuleSnapshot, SnapshotDamaged
from tori.checkpoint.manifest import Manifest, Part
from tori.checkpoint.retention import KeepNewestPolicy
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.errors import BadInput, ToriError, Unavailable
from tori.events.system import ErrorOccurred
from tori.modules.host import HostSnapshot
from tori.modules.need import module_snapshot

SNAPSHOT_TIMEOUT_S = 120.0


@dataclass
class Draft:
    """A checkpoint that is being written."""

    parts: dict[str, Part] = field(default_factory=dict)
    marks: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By module: (offset, consumed inputs) that its part holds."""
    missing: dict[str, str] = field(default_factory=dict)
    """Modules without a part, with the reason."""


class Checkpoints:
    """Takes, lists and restores checkpoints. The hot copies are refs whose owner is the orchestrator: a cache, never the truth."""

    def __init__(
        self,
        home: Path,
        keep: int,
        handles: Callable[[], Mapping[str, Any]],
        emit: Callable[..., None],
        hot: dict[str, Any],
        ledger: Callable[[], ModuleSnapshot] | None = None,
    ) -> None:
        self._ledger = ledger
        self.store = self._store = CheckpointStore(home / FOLDER, retention=KeepNewestPolicy(keep))
        self._handles = handles
        self._emit = emit
        self._hot = hot
        self._saved: dict[str, tuple[int, int]] = {}
        """By module: (offset, consumed inputs) of the last snapshot on disk."""
        self._lock = threading.Lock()
        self.folding: Folding | None = None
        """What makes snapshots away from the living modules; without it they give them themselves."""
        self.copies: Copies | None = None
        """What copies checkpoints to a URL."""
        self.on_saved: Callable[[dict[str, int]], None] = lambda sequences: None
        """Called with the durable sequences of the modules that a checkpoint holds."""
        self._store.sweep()

    def take(self, modules: Mapping[str, Any] | None = None, *, is_last: bool = False) -> dict[str, Any]:
        """Write one checkpoint of all modules that run (or of those given).

        A module that cannot give its snapshot is left out, its older one stays; ``missing`` in the answer names it with the reason.
        ``is_last``: the modules stop anyway and may give their snapshots themselves, which is quicker.
        """
        with self._lock:
            checkpoint_id = self._store.begin()
            try:
                draft = self._gather(checkpoint_id, dict(modules or self._handles()), folding=not is_last)
                if modules is None and self._ledger is not None:
                    draft.parts[ORCHESTRATOR] = self._store.add(checkpoint_id, self._ledger())
            except BaseException:
                self._store.abandon(checkpoint_id)
                raise
            manifest = self._store.seal(checkpoint_id, draft.parts)
            self._saved |= draft.marks
            self._store.prune()
        self.on_saved({name: part.sequence for name, part in draft.parts.items() if name != ORCHESTRATOR})
        self._emit(report.created(manifest, self._store.root))
        copied = {} if self.copies is None else self.copies.copy(manifest)
        return self._row(manifest) | {"missing": draft.missing} | copied

    def _gather(self, checkpoint_id: str, handles: dict[str, Any], *, folding: bool) -> Draft:
        """Write every module's part, folded where it can be; raises Unavailable when there is none."""
        draft = Draft()
        if folding and self.folding is not None:
            positions = self._ask(handles, "position", draft.missing)
            self._fold(checkpoint_id, positions, draft)
            handles = {
                name: handle for name, handle in handles.items() if name in positions.keys() - draft.parts.keys()
            }
        self._add(checkpoint_id, self._ask(handles, "snapshot", draft.missing, self._hot.__setitem__), draft)
        for name, reason in draft.missing.items():
            self._emit(ErrorOccurred("SnapshotMissing", reason, name))
        if not draft.parts:
            named = "; ".join(f"{name}: {reason}" for name, reason in draft.missing.items())
            raise Unavailable(f"no module could be checkpointed ({named or 'none runs'}).", remedy="See tori status.")
        return draft

    def _ask(
        self,
        handles: Mapping[str, Any],
        method: str,
        missing: dict[str, str],
        keep: Callable[[str, Any], None] = lambda name, ref: None,
    ) -> dict[str, Any]:
        """Return what every module answers, and put the others into ``missing``."""
        refs = {name: getattr(handle, method).remote() for name, handle in handles.items()}
        found = {}
        for name, ref in refs.items():
            try:
                found[name] = ray.get(ref, timeout=SNAPSHOT_TIMEOUT_S)
            except (RayError, ToriError) as error:
                event_logger(name).error("no snapshot for the checkpoint", exc_info=error)
                missing[name] = brief_error(error)
                continue
            keep(name, ref)
        return found

    def _fold(self, checkpoint_id: str, positions: Mapping[str, HostSnapshot], draft: Draft) -> None:
        """Write the parts that a task can fold; what fails is told."""
        assert self.folding is not None
        hot: dict[str, Any] = {}
        outcomes, away = self.folding.run(self._store.staging(checkpoint_id), positions, hot.__setitem__)
        for name, outcome in outcomes.items():
            if outcome.problems:
                self._emit(*map(report.corrupted, outcome.problems), report.recovered(outcome.problems, name))
            if outcome.part is None:
                event_logger(name).warning("its snapshot could not be folded: %s", outcome.error)
                self._emit(ErrorOccurred("FoldFailed", outcome.error, name))
                continue
            draft.parts[name] = outcome.part
            draft.marks[name] = positions[name].offset, positions[name].consumed
            self._hot.pop(name, None)  # it is older than what is on the disk now
        self._add(checkpoint_id, away, draft)
        self._hot |= hot

    def _add(self, checkpoint_id: str, snapshots: Mapping[str, bytes], draft: Draft) -> None:
        for name, data in snapshots.items():
            snapshot = msgspec.msgpack.decode(data, type=HostSnapshot)
            draft.parts[name] = self._store.add(checkpoint_id, module_snapshot(snapshot, data))
            draft.marks[name] = snapshot.offset, snapshot.consumed

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
            self.take({name: handle}, is_last=True)

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
            "modules": sorted(manifest.modules.keys() - {ORCHESTRATOR}),
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
        ray.get([self._begin_restore(handles[name], manifest, name) for name in names])
        for name in names:
            self._emit(report.loaded(manifest, name))
        return {"checkpoint_id": chosen, "modules": sorted(names), "passed_over": passed_over}

    def _begin_restore(self, handle: Any, manifest: Manifest, name: str) -> Any:
        """Return the ref of a restore; a large state is read by the module itself, where it can be, and passes through no object store."""
        if manifest.modules[name].size_bytes > HOT_BYTES and self.folding is not None and self.folding.is_here(name):
            return handle.restore_from.remote(manifest.checkpoint_id)
        return handle.restore.remote(self._store.load(manifest, name).data)

    def _choose(self, checkpoint_id: str | None) -> tuple[str, dict[str, str]]:
        """Return the checkpoint asked for, or the newest good one with what is wrong with those before it."""
        wanted = self._store.list() if checkpoint_id is None else [checkpoint_id]
        if not wanted:
            raise BadInput("there is no checkpoint yet.", remedy="Take one with tori checkpoint.")
        unfit: dict[str, str] = {}
        for one in wanted:
            why = self._unfitness(one)
            if not why:
                return one, unfit
            unfit[one] = why
        named = "; ".join(f"checkpoint {one} {why}" for one, why in unfit.items())
        raise BadInput(f"{named}.", remedy="tori checkpoint --list shows the others.")

    def _unfitness(self, checkpoint_id: str) -> str:
        """Return why nothing can start from a checkpoint, empty when everything can."""
        problems = self._store.verify(checkpoint_id)
        if problems:
            named = ", ".join(f"{p.module or 'the manifest'}: {p.reason.rstrip('.')}" for p in problems)
            return f"is damaged ({named})"
        try:
            self._store.check(checkpoint_id)
        except BadInput as error:
            return error.message.removeprefix(checkpoint_id).strip(" .")
        return ""


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
