"""Tasks as a user would write them."""

from __future__ import annotations

import os
import time
from typing import Any

from tori.errors import PermanentError
from tori.resources.background import is_background
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


@task(task_id="idler", timeout_s=600, resources=Resources(num_cpus=0.1), priority=Priority.LOW)
def idler(run: TaskRun) -> None:
    """Hold something for ever, in the background."""
    for number in range(6000):
        run.report(number + 1, 6000)
        time.sleep(0.05)


@task(task_id="priority", resources=Resources(num_cpus=0.1))
def priority() -> dict[str, Any]:
    """Say what kind of process this is."""
    return {"pid": os.getpid(), "is_idle": is_background()}


@task(task_id="waiting", resources=Resources(num_cpus=0.1), priority=Priority.LOW)
def waiting() -> None:
    """Do nothing, in the background."""


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
