"""Tasks as a user would write them."""

from __future__ import annotations

import time
from typing import Any

from tori.errors import PermanentError
from tori.scheduler.spec import Fallback, Priority, Resources
from tori.scheduler.trigger import EventTrigger
from tori.scheduler.user import TaskRun, task


@task(EventTrigger(("clients:DocumentIngested",), min_gap_s=0.2), task_id="count", resources=Resources(num_cpus=0.1))
def count(run: TaskRun) -> dict[str, Any]:
    """Say what caused it."""
    run.report(1, 2)
    return {"cause": run.cause, "attempt": run.attempt}


@task(task_id="sleeper", timeout_s=600, resources=Resources(num_cpus=0.1), priority=Priority.HIGH)
def sleeper(run: TaskRun) -> None:
    """Work for ever, and say how far it has come."""
    for number in range(6000):
        run.report(number + 1, 6000)
        time.sleep(0.1)


@task(
    task_id="cheap",
    fallback=Fallback(variant="small", resources=Resources(num_cpus=0.1)),
    resources=Resources(num_cpus=0.2),
)
def cheap(run: TaskRun) -> str:
    """Succeed as the fallback only."""
    if run.variant != "small":
        raise PermanentError("too dear.")
    return "small"


@task(task_id="plain", resources=Resources(num_cpus=0.1))
def plain() -> list[int]:
    """Take no argument."""
    return [1, 2, 3]
