"""What the orchestrator does with shipped tasks: checks, keeps, records and schedules them, and finds them again when it starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actors.failure import brief_error
from actors.logging import event_logger
from actors.names import ORCHESTRATOR
from actors.schedule import Plan
from actors.ship import check_there
from tori.errors import ToriError
from tori.modules.open import journal_directory
from tori.orchestrator.placement import recorded_code
from tori.scheduler.shipped import CodeShipped, CodeStore, ShippedTask, newest, unpack
from tori.scheduler.spec import TaskSpec


def kept_tasks(home: Path) -> tuple[ShippedTask, ...]:
    """Return the tasks that were shipped to this home; one whose code is damaged is left out, and named in the log."""
    store, found = CodeStore(home), []
    for task_id, digest in newest(recorded_code(journal_directory(home, ORCHESTRATOR))).items():
        try:
            found += [task for task in unpack(store.get(digest)) if task.spec.task_id == task_id]
        except ToriError as error:
            event_logger(ORCHESTRATOR, subject=task_id).error("shipped task left out: %s", brief_error(error))
    return tuple(found)


class Shipping:
    """Takes bundles in, one at a time."""

    def __init__(
        self,
        home: Path,
        plan: Plan,
        record: Callable[[Sequence[Any], Sequence[Any]], None],
        schedule: Callable[[tuple[TaskSpec, ...]], None],
    ) -> None:
        self._store = CodeStore(home)
        self._plan = plan
        self._record = record
        self._schedule = schedule
        self._lock = threading.Lock()

    def take(self, data: bytes, name: str) -> dict[str, Any]:
        """Return which tasks there are now; they are on disk and scheduled then, and survive every restart. Again is the same.

        Raises BadInput or BadSettings, with nothing changed, for what the cluster cannot run, a name that is taken, or a circle.
        """
        with self._lock:
            tasks = check_there(data)
            self._plan.check(tasks)
            digest = self._store.put(data)
            ids = tuple(task.spec.task_id for task in tasks)
            self._record([CodeShipped(digest, name, ids)], [])
            for task in tasks:
                self._plan.add(task)
            self._schedule(tuple(task.spec for task in tasks))
        return {"sha256": digest, "tasks": list(ids)}
