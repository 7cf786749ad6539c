"""The schedule that settings describe."""

from __future__ import annotations

from pathlib import Path

from actors.schedule import Plan
from tests.support.system import system_settings
from tori.scheduler.spec import DEMANDED
from tori.scheduler.trigger import DemandTrigger, IntervalTrigger


def test_what_runs_when_asked_runs_by_the_clock_where_a_setting_says_so(tmp_path: Path) -> None:
    triggers = {s.task_id: s.trigger for s in Plan(system_settings(tmp_path).plain()).specs}
    assert [triggers[name] for name in DEMANDED] == [DemandTrigger()] * 3
    settings = system_settings(tmp_path, **{f"tasks.{name}_s": 60.0 for name in DEMANDED})
    triggers = {s.task_id: s.trigger for s in Plan(settings.plain()).specs}
    assert [triggers[name] for name in DEMANDED] == [IntervalTrigger(60.0)] * 3
