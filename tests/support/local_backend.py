"""The command line's backend over the in-process runtime: the same verbs, no Ray."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from tori.bus.producer import PublishReceipt
from tori.client import Place, Stopped, home_of
from tori.errors import BadInput, NotRunning
from tori.events.document import Receipt
from tori.local import LocalSystem
from tori.local.answers import LocalAnswers


class LocalClient(LocalAnswers):
    """A ``SystemClient`` that works when it is asked."""

    def __init__(self, mind: LocalSystem) -> None:
        super().__init__(mind)
        self.paused: set[str] = set()
        self.level = "off"
        self.turn = threading.Lock()
        """A feed keeps several batches in flight; the system under it belongs to one thread at a time."""

    def ingest(self, documents: bytes) -> Receipt:
        with self.turn:
            receipt = self.mind.submit(documents)
            self.pump()
        return receipt

    def pump(self) -> None:
        self.mind.pump()

    def open_producer(self, origin: str) -> tuple[int, int]:
        return self.mind.open_producer(origin)

    def publish(self, origin: str, incarnation: int, seq: int, payloads: bytes) -> PublishReceipt:
        return self.mind.publish(origin, incarnation, seq, payloads)

    def command(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        return self.mind.command(module, name, arguments)

    def status(self) -> dict[str, Any]:
        modules = [
            {
                "name": name,
                "state": "paused" if name in self.paused else "running",
                "restarts": 0,
                "lag": host.lag,
                "events": host.counters.events,
                "summary": host.module.query("summary", {}),
            }
            for name, host in self.mind.hosts.items()
        ]
        events = sum(m["events"] for m in modules)
        problem = {"type": "ErrorOccurred", "subject": "reader", "message": "once"}
        return {
            "state": "running",
            "modules": modules,
            "nodes": [{}],
            "events": events,
            "events_per_s": 1.0,
            "refs_routed": 0,
            "problems": [problem],
        }

    def quiesce(self) -> dict[str, Any]:
        return {"digest": self.mind.quiesce(), "sections": self.mind.digests()}

    def tasks(self) -> dict[str, Any]:
        run = {"run_id": "r-1", "task_type": "alien_audit", "state": "succeeded", "duration_s": 0.5, "error": None}
        return {
            "tasks": [{"task_id": "alien_audit", "module": "alien", "interval_s": 60.0}],
            "runs": [run],
            "active": [],
        }

    def run_story(self, run_id: str) -> dict[str, Any]:
        raise BadInput(f"there is no run {run_id!r}.", remedy="`tori task list` shows the last ones.")

    def run_task(self, task: str, *, force: bool = False) -> dict[str, Any]:
        if task != "alien_audit":
            raise BadInput(f"there is no task {task!r}.", remedy="Tasks: alien_audit.")
        self.mind.scan("alien", task)
        return {"run_id": "r-2", "state": "running"}

    def throttle(self, level: str, reason: str = "") -> dict[str, Any]:
        old, self.level = self.level, level
        return {"level": level, "old": old, "runs": ["r-1"] if level == "stopped" else []}

    def run_logs(self, run_id: str) -> dict[str, Any]:
        return self.run_story(run_id)

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        return {"run_id": run_id, "state": "cancelled"}

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        return {"task_id": task, "paused": paused}

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        names = [module] if module else list(self.mind.hosts)
        (self.paused.update if paused else self.paused.difference_update)(names)
        return {"modules": names, "paused": paused}

    def checkpoint(self) -> dict[str, Any]:
        return {"checkpoint_id": "c-1", "size_bytes": 1, "modules": sorted(self.mind.snapshots())}

    def checkpoints(self) -> list[dict[str, Any]]:
        return [self.checkpoint()]

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        return {"checkpoint_id": checkpoint_id or "c-1", "modules": sorted(self.mind.hosts)} | self.digest()

    def close(self) -> None:
        """The system stays."""


class LocalBackend:
    """Starts one system in this process."""

    def __init__(self) -> None:
        self.client: LocalClient | None = None

    def _place(self, settings: Any) -> Place:
        return Place("127.0.0.1:1", "tori", str(home_of(settings)), None, "http://127.0.0.1:8265")

    def up(self, settings: Any, address: str | None) -> Place:
        self.client = self.client or LocalClient(LocalSystem())
        return self._place(settings)

    def connect(self, settings: Any, address: str | None) -> LocalClient:
        if self.client is None:
            raise NotRunning(f"no TORI runs in {home_of(settings)}.", remedy="Start it with tori up.")
        return self.client

    def place(self, settings: Any, address: str | None) -> Place | None:
        return self._place(settings) if self.client else None

    def jobs(self, address: str, token: str) -> Any:
        raise NotRunning(f"no dashboard answers at {address}.", remedy="This system lives in one process.")

    def down(self, settings: Any, address: str | None) -> Stopped:
        was, self.client = self.client, None
        return Stopped(was_running=was is not None)
