"""What the schedule of one system is made of: its tasks, its limits, and how a user's task is run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from actors.names import NAMESPACE, ORCHESTRATOR
from actors.options import run_options
from actors.worker import begin_work
from tori.events.topic import Matcher
from tori.modules.registry import START_ORDER
from tori.scheduler import signal as sig
from tori.scheduler.admission import SlotPolicy
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import SCANS, TaskSpec, default_specs, demand_specs
from tori.scheduler.trigger import EventTrigger
from tori.scheduler.user import TaskRun, UserTask, call, load_tasks

REPORT_EVERY_S = 0.5
"""Progress is for people: they do not read faster."""
_NOT_RESERVED = ("object_store_memory", "node:")
"""What Ray lists among its resources and no task asks for."""


class Plan:
    """The tasks that settings describe. Raises BadSettings for a user's module that has none or cannot be imported."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        limits = settings["limits"]
        retry = RetryPolicy(retries=limits["retries"])
        intervals = {name.removesuffix("_s"): value for name, value in settings["tasks"].items()}
        house = (*default_specs(START_ORDER, intervals), *demand_specs(START_ORDER, limits["shards"]))
        names = [name.strip() for name in settings.get("user", {}).get("tasks", "").split(",")]
        user = load_tasks([name for name in names if name])
        self.user = {one.spec.task_id: one for one in user}
        self.specs: tuple[TaskSpec, ...] = (*(replace(s, retry=retry) for s in house), *(one.spec for one in user))
        self.budget: dict[str, float] = {}
        """What runs may use together; empty until ``measure``, which is what is in the cluster."""
        self.admission = SlotPolicy(
            limits["concurrent_runs"],
            groups={SCANS: limits["concurrent_scans"]},
            budget=self.budget,
            ageing_s=limits["ageing_s"],
        )

    @property
    def triggers(self) -> dict[str, Matcher]:
        """Return by task the topics that make it due."""
        return {s.task_id: s.trigger.matcher for s in self.specs if isinstance(s.trigger, EventTrigger)}

    def measure(self, resources: Mapping[str, float]) -> None:
        """Take what the cluster has for the budget; nodes come and go."""
        self.budget.clear()
        self.budget.update({k: v for k, v in resources.items() if v > 0 and not k.startswith(_NOT_RESERVED)})


def start_user(task: UserTask, order: sig.StartRun) -> Any:
    """Return the ref of what a user's task has to say."""
    spec = order.spec
    run = TaskRun(spec.task_id, order.run_id, order.attempt, order.variant, order.cause)
    options = run_options(spec.resources_of(order.variant), spec.task_id)
    return ray.remote(**options)(run_user).remote(task.module, task.name, run)


def run_user(module: str, name: str, run: TaskRun) -> str:
    """Run a user's function on some node; what it reports goes to the orchestrator, if that is there."""
    begin_work()
    try:
        orchestrator = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
    except (ValueError, RayError):  # it starts again just now: the work goes on, nobody sees how far
        return call(module, name, run)
    said = 0.0

    def report(done: float, total: float) -> None:
        nonlocal said
        if time.monotonic() - said >= REPORT_EVERY_S or done >= total:
            said = time.monotonic()
            orchestrator.progress_run.remote(run.run_id, run.attempt, float(done), float(total))

    return call(module, name, replace(run, report=report))
