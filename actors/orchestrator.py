"""The orchestrator actor: control only. Events never wait for it; its death stops no event."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import ray

from actors.control import Control
from actors.logging import event_logger
from tori.errors import NoRoom
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
        self._is_reborn = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._ready: Control | None = None
        self._waits_for = ""
        self._error: BaseException | None = None
        self._settled = threading.Event()
        threading.Thread(target=self._begin, name="tori-control", daemon=True).start()
        self._settled.wait()
        if self._error is not None:
            raise self._error

    def __repr__(self) -> str:
        return "tori.orchestrator"

    def _begin(self) -> None:
        """Build control, and guard it: when one of its threads failed the process ends, so that Ray starts the orchestrator again.

        A person who starts the system on a full disk is told. After a death nobody is there, and Ray gives an actor up whose
        constructor fails: then it waits for room, and says so to whoever asks meanwhile.
        """
        on_wait = self._wait if self._is_reborn else None
        try:
            control = Control(Path(self.config.home), self.config.settings, is_reborn=self._is_reborn, on_wait=on_wait)
            control.start()
        except BaseException as error:
            if self._settled.is_set():
                event_logger("orchestrator").error("cannot start: %s", error, exc_info=error)
                os._exit(1)  # and the next one may tell Ray why
            self._error = error
            self._settled.set()
            return
        self._ready = control
        self._settled.set()
        control.wait_failure()
        os._exit(1)

    def _wait(self, reason: str) -> None:
        self._waits_for = reason
        self._settled.set()

    @property
    def _control(self) -> Control:
        """Return control; raises NoRoom while it waits."""
        if self._ready is None:
            raise NoRoom("the orchestrator waits for room on its disk:", remedy=self._waits_for)
        return self._ready

    def ready(self, timeout_s: float) -> dict[str, Any]:
        return self._control.ready(timeout_s)

    def pid(self) -> int:
        """Return the process of an orchestrator that is at work."""
        return self._control.pid

    def doing(self) -> str:
        """Return the step of a long request that is under way, or what everything waits for; empty when there is neither."""
        return self._control.doing()

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

    def begin_run(self, run_id: str, attempt: int) -> None:
        """Hear that an attempt has begun on some node."""
        self._control.begin_run(run_id, attempt)

    def add_log(self, run_id: str, attempt: int, data: bytes) -> None:
        """Keep what an attempt has printed."""
        self._control.add_log(run_id, attempt, data)

    def run_logs(self, run_id: str) -> dict[str, Any]:
        return self._control.run_logs(run_id)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        return self._control.cancel_run(run_id)

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        return self._control.pause_task(task, paused=paused)

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
