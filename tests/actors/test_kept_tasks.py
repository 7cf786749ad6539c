"""Tasks that were shipped to a home before: what can be read of them is there after a start, and the rest is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.schedule import Plan
from actors.shipped import kept_tasks
from tests.support.system import system_settings
from tori.clock import VirtualClock
from tori.local import LocalSystem
from tori.scheduler import signal as sig
from tori.scheduler.machine import Scheduler
from tori.scheduler.shipped import CodeShipped, CodeStore, pack
from tori.scheduler.spec import TaskSpec


def spec(task_id: str, **unchecked: Any) -> TaskSpec:
    """Return a spec as a version took it that checked no types."""
    found = TaskSpec(task_id=task_id, task_type="user")
    for name, value in unchecked.items():
        object.__setattr__(found, name, value)
    return found


def ship(home: Path, name: str, *specs: TaskSpec) -> str:
    """Keep a bundle and record it, as an earlier version did."""
    digest = CodeStore(home).put(pack(name, specs, {one.task_id: b"code" for one in specs}))
    with LocalSystem(home, modules=("orchestrator",)) as past:
        past.hosts["orchestrator"].emit([CodeShipped(digest, name, tuple(one.task_id for one in specs))], [])
    return digest


def test_a_task_that_an_earlier_version_took_does_not_stop_the_next_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ship(tmp_path, "jobs", spec("good"), spec("cron", trigger="30 6 * * *"), spec("again", retry=3))
    gone = ship(tmp_path, "more", spec("lost"))
    (tmp_path / "code" / gone).write_bytes(b"rust")
    plan = Plan(system_settings(tmp_path).plain(), *kept_tasks(tmp_path))
    assert set(plan.user) == {"good"}
    assert set(plan.left_out) == {"cron", "again", "lost"}
    assert "Write CronTrigger" in str(plan.left_out["cron"])
    assert sum("shipped task left out" in line for line in caplog.messages) == 3
    scheduler = Scheduler(plan.specs, VirtualClock(), admission=plan.admission)
    scheduler.handle(sig.Recovered())
    scheduler.handle(sig.RunRequested("good", "x"))
    assert scheduler.run("x").is_active
