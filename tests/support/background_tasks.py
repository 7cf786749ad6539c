"""Tasks that are held back, stopped and begun again."""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import time
from typing import Any

from tori.errors import PermanentError
from tori.resources.background import is_background
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Priority, Resources
from tori.scheduler.trigger import EventTrigger
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


@task(
    task_id="talker",
    timeout_s=600,
    resources=Resources(num_cpus=0.1),
    retry=RetryPolicy(retries=1, first_backoff_s=0.1),
)
def talker(run: TaskRun) -> None:
    """Say something in every way; fail the first time, and go on until it is killed the second."""
    print("printed in attempt", run.attempt)
    logging.getLogger("mine").warning("logged")
    subprocess.run(["sh", "-c", "echo said by a child"], check=True)
    if run.attempt == 1:
        raise OSError("broken")
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(600)


@task(EventTrigger(("*:TaskFailed",)), task_id="alarm", resources=Resources(num_cpus=0.1), retry=RetryPolicy(retries=0))
def alarm(run: TaskRun) -> None:
    """Hear of every run that failed, but of its own; fail itself."""
    raise PermanentError(f"heard {run.cause}.")
