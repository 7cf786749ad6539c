"""A file as a person would ship it from a laptop: its functions reach over what stands beside them."""

from __future__ import annotations

from tori.scheduler.spec import Resources
from tori.scheduler.user import TaskRun, task

GREETING = "hello"


def greet(name: str) -> str:
    """Stand beside a task."""
    return f"{GREETING} {name}"


@task(task_id="shipped.greet", resources=Resources(num_cpus=0.1))
def shipped(run: TaskRun) -> dict[str, object]:
    """Say hello."""
    run.report(1, 1)
    return {"said": greet("world"), "attempt": run.attempt}
