"""What the orchestrator does with shipped tasks: checks, keeps, records and schedules them, and finds them again when it starts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class KeptTasks(NamedTuple):
    """What was shipped to a home before."""

    tasks: tuple[ShippedTask, ...]
    left_out: dict[str, ToriError]
    """By task, why it is none any more: its code is damaged, or an earlier version took what this one refuses."""


def kept_tasks(home: Path) -> KeptTasks:
    """Return the tasks that were shipped to this home; those that cannot be read are left out, and named in the log."""
    store = CodeStore(home)
    bundles: dict[str, list[str]] = {}
    for task_id, digest in newest(recorded_code(journal_directory(home, ORCHESTRATOR))).items():
        bundles.setdefault(digest, []).append(task_id)
    found: list[ShippedTask] = []
    left_out: dict[str, ToriError] = {}
    for digest, task_ids in bundles.items():
        bad: dict[str, ToriError] = {}
        try:
            found += [task for task in unpack(store.get(digest), bad.__setitem__) if task.spec.task_id in task_ids]
        except ToriError as error:
            bad = dict.fromkeys(task_ids, error)
        left_out |= {task_id: reason for task_id, reason in bad.items() if task_id in task_ids}
    for task_id, reason in left_out.items():
        event_logger(ORCHESTRATOR, subject=task_id).error("shipped task left out: %s", brief_error(reason))
    return KeptTasks(tuple(found), left_out)


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
