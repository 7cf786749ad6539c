"""The in-process runtime behind the port that a Ray client has, state on disk: what both runtimes must do, this one does too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tests.support.local_backend import LocalClient
from tori.checkpoint.codec import ModuleSnapshot
from tori.checkpoint.store import CheckpointStore
from tori.errors import BadInput, IllegalTransition
from tori.journal.view import event_rows
from tori.local import LocalSystem
from tori.modules.host import HostSnapshot
from tori.modules.registry import FULL_PASS


class DurableClient(LocalClient):
    """A ``SystemClient`` over a ``LocalSystem`` with a home: checkpoints are files, paused modules take no input."""

    def __init__(self, home: Path) -> None:
        super().__init__(LocalSystem(home))
        self.home = home
        self.store = CheckpointStore(home / "checkpoints")

    def reopen(self, snapshots: Mapping[str, HostSnapshot] | None = None) -> None:
        """Close the system and open it again on its home: from ``snapshots``, or from the journals alone."""
        self.mind.close()
        self.mind = LocalSystem(self.home, snapshots=snapshots)

    def pump(self) -> None:
        """Step every module that is not paused until none of them has anything left."""
        while sum(host.step() for name, host in self.mind.hosts.items() if name not in self.paused):
            pass

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        if module is not None and module not in self.mind.hosts:
            raise BadInput(f"there is no module {module!r}.", remedy=f"Modules: {', '.join(self.mind.hosts)}.")
        found = super().pause(module, paused=paused)
        self.pump()
        return found

    def quiesce(self) -> dict[str, Any]:
        if self.paused:
            names = ", ".join(sorted(self.paused))
            raise IllegalTransition(f"the mind cannot settle: {names} paused.", remedy="tori resume, then again.")
        return super().quiesce()

    def since(self, offsets: Mapping[str, int], count: int, types: tuple[str, ...] = ()) -> dict[str, Any]:
        return event_rows(self.mind.archive, offsets, count, types)

    def run_task(self, task: str, *, force: bool = False) -> dict[str, Any]:
        tasks = {task: module for module, task in FULL_PASS}
        if task not in tasks:
            raise BadInput(f"there is no task {task!r}.", remedy=f"Tasks: {', '.join(tasks)}.")
        self.mind.scan(tasks[task], task)
        self.pump()
        return {"run_id": f"{task}-1", "state": "succeeded"}

    def checkpoint(self) -> dict[str, Any]:
        snapshots = {
            name: ModuleSnapshot(
                name, s.state_version, s.journal_id.hex(), s.epoch, s.sequence, msgspec.msgpack.encode(s)
            )
            for name, s in self.mind.snapshots().items()
        }
        return self._row(self.store.save(snapshots).checkpoint_id)

    def _row(self, checkpoint_id: str) -> dict[str, Any]:
        manifest = self.store.manifest(checkpoint_id)
        return {
            "checkpoint_id": checkpoint_id,
            "modules": sorted(manifest.modules),
            "size_bytes": manifest.size_bytes,
            "path": str(self.store.root / checkpoint_id),
        }

    def checkpoints(self) -> list[dict[str, Any]]:
        return [self._row(checkpoint_id) for checkpoint_id in self.store.list()]

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        manifest = self.store.manifest(checkpoint_id or self.store.list()[0])
        loaded = {name: self.store.load(manifest, name).data for name in manifest.modules}
        self.reopen({n: msgspec.msgpack.decode(data, type=HostSnapshot) for n, data in loaded.items()})
        return {"checkpoint_id": manifest.checkpoint_id, "modules": sorted(loaded)} | self.digest()

    def close(self) -> None:
        self.mind.close()
