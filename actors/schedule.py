"""What the schedule of one system is made of: its tasks, its limits, and how a user's task is run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import ray
from ray.exceptions import RayError

from actors.names import NAMESPACE, ORCHESTRATOR
from actors.options import run_options, start_task
from actors.output import at_work
from tori.errors import BadInput, BadSettings, ToriError
from tori.modules.registry import FOLLOWS, START_ORDER
from tori.scheduler import signal as sig
from tori.scheduler.admission import SlotPolicy, group_slots
from tori.scheduler.hearing import check_sources
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.shipped import ShippedTask
from tori.scheduler.spec import DEMANDED, SCANS, TaskSpec, default_specs, demand_specs
from tori.scheduler.trial import try_out
from tori.scheduler.trigger import Trigger, dependents
from tori.scheduler.user import TaskRun, UserTask, call, call_function, load_tasks

REPORT_EVERY_S = 0.5
"""Progress is for people: they do not read faster."""
_NOT_RESERVED = ("object_store_memory", "node:")
"""What Ray lists among its resources and no task asks for."""


class Plan:
    """The tasks that settings describe. Raises BadSettings for a user's module that has none or cannot be imported."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        shipped: Sequence[ShippedTask] = (),
        left_out: Mapping[str, ToriError] | None = None,
    ) -> None:
        limits = settings["limits"]
        retry = RetryPolicy(retries=limits["retries"])
        intervals = {name.removesuffix("_s"): value for name, value in settings["tasks"].items()}
        asked = {name: intervals.pop(name, 0.0) for name in DEMANDED}
        house = (
            *default_specs(START_ORDER, intervals),
            *demand_specs(START_ORDER, asked, shards=limits["shards"]),
        )
        names = [name.strip() for name in settings.get("user", {}).get("tasks", "").split(",")]
        self.user: dict[str, UserTask | ShippedTask] = {}
        self.specs: tuple[TaskSpec, ...] = tuple(replace(s, retry=retry) for s in house)
        for task in load_tasks([name for name in names if name]):
            self.add(task)
        self.left_out: dict[str, ToriError] = dict(left_out or {})
        """Shipped tasks that cannot be read, or do not fit to the others any more; the rest goes on without them."""
        for one in shipped:
            try:
                self.check([one])
                self.add(one)
            except (BadInput, BadSettings) as error:
                self.left_out[one.spec.task_id] = error
        self.users: dict[str, Any] = {"user": dict(settings.get("user", {}))}
        """The part of the settings that names what users brought, for processes that compute for their modules."""
        self.budget: dict[str, float] = {}
        """What runs may use together; empty until ``measure``, which is what is in the cluster."""
        self._nodes: list[dict[str, float]] = []
        """The same by node."""
        self.admission = SlotPolicy(
            limits["concurrent_runs"],
            groups=group_slots(limits["groups"]) | {SCANS: limits["concurrent_scans"]},
            budget=self.budget,
            nodes=self._nodes,
            ageing_s=limits["ageing_s"],
        )

    def add(self, task: UserTask | ShippedTask) -> None:
        """Take a user's task in; a shipped one takes the place of the one of its name that was shipped before. Raises BadSettings."""
        name = task.spec.task_id
        present = self.user.get(name)
        is_taken = any(spec.task_id == name for spec in self.specs)
        if is_taken and not (isinstance(present, ShippedTask) and isinstance(task, ShippedTask)):
            raise BadSettings(
                f"there is a task {name!r} already, which was not shipped.", remedy="Give yours another task_id."
            )
        check_sources(name, task.spec.trigger, (*FOLLOWS[ORCHESTRATOR], ORCHESTRATOR))
        self.user = self.user | {name: task}
        self.specs = (*(spec for spec in self.specs if spec.task_id != name), task.spec)

    def check(self, tasks: Sequence[ShippedTask]) -> None:
        """Raise BadInput or BadSettings, with nothing changed, for tasks that could not all be added, or not be lived with."""
        trial = copy(self)
        for task in tasks:
            trial.add(task)
        dependents({spec.task_id: spec.trigger for spec in trial.specs})
        for task in tasks:
            try_out(task.spec)

    @property
    def triggers(self) -> dict[str, Trigger]:
        """Return by task what makes it due."""
        return {spec.task_id: spec.trigger for spec in self.specs}

    def measure(self, nodes: Sequence[Mapping[str, float]]) -> None:
        """Take what each living node has, and all together for the budget; nodes come and go."""
        self._nodes[:] = [
            {k: v for k, v in node.items() if v > 0 and not k.startswith(_NOT_RESERVED)} for node in nodes
        ]
        self.budget.clear()
        for node in self._nodes:
            for name, amount in node.items():
                self.budget[name] = self.budget.get(name, 0.0) + amount


def node_resources() -> list[Mapping[str, float]]:
    """Return what each living node has in whole."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def start_user(task: UserTask | ShippedTask, order: sig.StartRun) -> Any:
    """Return the ref of what a user's task has to say."""
    spec = order.spec
    run = TaskRun(spec.task_id, order.run_id, order.attempt, order.variant, order.cause)
    options = run_options(spec.resources_of(order.variant), spec.task_id)
    if isinstance(task, ShippedTask):
        return start_task(run_shipped, options, task.function, run)
    return start_task(run_user, options, task.module, task.name, run)


def run_user(module: str, name: str, run: TaskRun) -> str:
    """Run a user's function on some node; what it reports goes to the orchestrator, if that is there."""
    with at_work((run.run_id, run.attempt)):
        return call(module, name, replace(run, report=_reporter(run)))


def run_shipped(function: bytes, run: TaskRun) -> str:
    """Run a function that came pickled by value."""
    import cloudpickle

    with at_work((run.run_id, run.attempt)):
        return call_function(cloudpickle.loads(function), replace(run, report=_reporter(run)))


def _reporter(run: TaskRun) -> Callable[[float, float], None]:
    try:
        orchestrator = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
    except (ValueError, RayError):  # it starts again just now: the work goes on, nobody sees how far
        return run.report
    said = 0.0

    def report(done: float, total: float) -> None:
        nonlocal said
        if time.monotonic() - said >= REPORT_EVERY_S or done >= total:
            said = time.monotonic()
            orchestrator.progress_run.remote(run.run_id, run.attempt, float(done), float(total))

    return report
