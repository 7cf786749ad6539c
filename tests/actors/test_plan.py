"""The schedule that settings describe."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.schedule import Plan
from tests.support.system import system_settings
from tori.errors import BadSettings
from tori.scheduler.shipped import ShippedTask
from tori.scheduler.spec import DEMANDED, TaskSpec
from tori.scheduler.trigger import DemandTrigger, EventTrigger, IntervalTrigger


def test_what_runs_when_asked_runs_by_the_clock_where_a_setting_says_so(tmp_path: Path) -> None:
    triggers = {s.task_id: s.trigger for s in Plan(system_settings(tmp_path).plain()).specs}
    assert [triggers[name] for name in DEMANDED] == [DemandTrigger()] * 3
    settings = system_settings(tmp_path, **{f"tasks.{name}_s": 60.0 for name in DEMANDED})
    triggers = {s.task_id: s.trigger for s in Plan(settings.plain()).specs}
    assert [triggers[name] for name in DEMANDED] == [IntervalTrigger(60.0)] * 3


def test_a_topic_of_nobody_s_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    plan = Plan(system_settings(tmp_path).plain())
    spec = TaskSpec(task_id="t", task_type="user", trigger=EventTrigger(("nobody:AlienDetected",)))
    with pytest.raises(BadSettings, match="nobody is called 'nobody'"):
        plan.check([ShippedTask(spec, "", b"")])
    assert "t" in Plan(system_settings(tmp_path).plain(), [ShippedTask(spec, "", b"")]).left_out, (
        "a start goes on without"
    )
