"""A task that says on which node it runs."""

from __future__ import annotations

import os
import time

from tori.scheduler.spec import Overlap, Resources
from tori.scheduler.user import task


@task(task_id="where", resources=Resources(num_cpus=2), overlap=Overlap.ALLOW, max_at_once=2)
def where() -> str:
    """Fill a node for a while, so that two of them have one each."""
    print("at", os.environ["TORI_HOME"], flush=True)
    time.sleep(4.0)
    return os.environ["TORI_HOME"]
