"""Background tasks that want all of a machine: what ``scripts/bench/background.py`` has the orchestrator run."""

from __future__ import annotations

import hashlib
import time

from tori.resources.background import is_background
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Overlap, Resources
from tori.scheduler.user import TaskRun, task

MOST = 8
SECONDS = 600.0


@task(
    task_id="burn",
    resources=Resources(num_cpus=0),  # Ray lets it run beside the scans, which take the CPUs
    overlap=Overlap.ALLOW,
    max_at_once=MOST,
    timeout_s=2 * SECONDS,
    retry=RetryPolicy(retries=0),
)
def burn(run: TaskRun) -> None:
    """Compute without a pause until it is cancelled."""
    end, data = time.monotonic() + SECONDS, run.run_id.encode()
    while time.monotonic() < end:
        for _ in range(2000):
            data = hashlib.sha256(data).digest()
        run.report(1, 2)


@task(task_id="priority", resources=Resources(num_cpus=0))
def priority() -> bool:
    """Say whether background work has idle priority."""
    return is_background()
