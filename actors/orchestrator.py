"""The orchestrator actor: control only. Events never wait for it; its death stops no event."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from actors.control import Control
from tori.interpreter import tune


class OrchestratorConfig(msgspec.Struct, frozen=True):
    """What the orchestrator must know to start, and to start again after a crash."""

    home: str
    settings: dict[str, Any]


class OrchestratorActor:
    """Thin shell: every method hands over to ``Control``."""

    def __init__(self, config: OrchestratorConfig) -> None:
        tune()
        self.config = config
        self._control = Control(Path(config.home), config.settings)
        self._control.start()
        threading.Thread(target=self._die_with_control, name="tori-guard", daemon=True).start()

    def __repr__(self) -> str:
        return "tori.orchestrator"

    def _die_with_control(self) -> None:
        """End the process when a control thread failed, so that Ray starts the orchestrator again."""
        self._control.wait_failure()
        os._exit(1)

    def ready(self, timeout_s: float) -> dict[str, Any]:
        return self._control.ready(timeout_s)

    def pid(self) -> int:
        return os.getpid()

    def doing(self) -> str:
        """Return the step of a long request that is under way; empty when there is none."""
        return self._control.doing

    def publish(self, refs: list[Any]) -> list[Any]:
        """Route object refs of document batches to the relay; return the refs of the receipts."""
        return self._control.publish(refs)

    def query(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        return self._control.query(module, name, arguments)

    def command(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        return self._control.command(module, name, arguments)

    def relay(self, method: str, *arguments: Any) -> Any:
        """Ask this node's relay about its journals."""
        return self._control.relay(method, *arguments)

    def find(self, identifier: str) -> str | None:
        return self._control.find(identifier)

    def joined(self, node: str) -> dict[str, Any]:
        """Hear that a node has come; its modules, if they were offline, start again."""
        return self._control.joined(node)

    def leave(self, node: str) -> dict[str, Any]:
        """Hear that a node goes: its modules are saved and become offline."""
        return self._control.leave(node)

    def status(self) -> dict[str, Any]:
        return self._control.status()

    def quiesce(self) -> dict[str, Any]:
        return self._control.quiesce()

    def digest(self) -> dict[str, Any]:
        return self._control.digest()

    def tasks(self) -> dict[str, Any]:
        return self._control.tasks()

    def run_task(self, task: str, run_id: str, *, force: bool = False) -> dict[str, Any]:
        return self._control.run_task(task, run_id, force=force)

    def throttle(self, level: str, reason: str) -> dict[str, Any]:
        return self._control.throttle(level, reason)

    def run_story(self, run_id: str) -> dict[str, Any]:
        return self._control.run_story(run_id)

    def progress_run(self, run_id: str, attempt: int, done: float, total: float) -> None:
        self._control.progress_run(run_id, attempt, done, total)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        return self._control.cancel_run(run_id)

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        return self._control.pause(module, paused=paused)

    def ship(self, data: bytes, name: str) -> dict[str, Any]:
        """Take the tasks of a bundle in."""
        return self._control.ship(data, name)

    def reload(self, module: str) -> dict[str, Any]:
        """Put the code of a module that is installed now in the place of the code that runs."""
        return self._control.reload(module)

    def checkpoint(self) -> dict[str, Any]:
        return self._control.checkpoint()

    def checkpoints(self) -> list[dict[str, Any]]:
        return self._control.checkpoints()

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        return self._control.restore(checkpoint_id)

    def stop(self, timeout_s: float) -> dict[str, Any]:
        return self._control.stop(timeout_s)
