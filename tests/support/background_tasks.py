"""Tasks that are held back, stopped and begun again."""

from __future__ import annotations

import os
import time
from typing import Any

from tori.resources.background import is_background
from tori.scheduler.spec import Priority, Resources
from tori.scheduler.user import TaskRun, task


@task(task_id="idler", timeout_s=600, resources=Resources(num_cpus=0.1), priority=Priority.LOW)
def idler(run: TaskRun) -> None:
    """Hold something for ever, in the background."""
    for number in range(6000):
        run.report(number + 1, 6000)
        time.sleep(0.05)


@task(task_id="priority", resources=Resources(num_cpus=0.1))
def priority() -> dict[str, Any]:
    """Say what kind of process this is."""
    return {"pid": os.getpid(), "is_idle": is_background(), "is_alone": os.getsid(0) == os.getpid()}


@task(task_id="waiting", resources=Resources(num_cpus=0.1), priority=Priority.LOW)
def waiting() -> None:
    """Do nothing, in the background."""
