"""User tasks: what is registered, what is refused and why, and what a function is given and may return."""

from __future__ import annotations

import functools
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from tests.support import user_tasks
from tori.clock import VirtualClock
from tori.errors import BadInput, BadSettings
from tori.scheduler import user
from tori.scheduler.machine import Scheduler
from tori.scheduler.spec import Resources, TaskSpec
from tori.scheduler.trigger import AfterTrigger, CronTrigger, DemandTrigger, IntervalTrigger
from tori.scheduler.user import TaskRun, call, load_tasks, task

MODULE = user_tasks.__name__


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a test registers is forgotten after it."""
    monkeypatch.setattr(user, "_registered", dict(user._registered))


def at_top(name: str = "work") -> Any:
    """Return a function as if it stood at the top of a module."""

    def work(run: TaskRun) -> int:
        return run.attempt

    work.__qualname__ = work.__name__ = name
    return work


def test_a_decorated_function_is_a_task_and_stays_what_it_is() -> None:
    work = at_top()
    assert task(IntervalTrigger(5), task_id="mine", timeout_s=7, resources=Resources(custom={"gpu": 1}))(work) is work
    spec = user._registered["mine"].spec
    assert (spec.task_type, spec.trigger, spec.timeout_s, spec.resources.custom) == (
        "user",
        IntervalTrigger(5),
        7,
        {"gpu": 1},
    )
    task()(work)
    assert user._registered[f"{__name__}.work"].spec.trigger == DemandTrigger()


def test_modules_are_loaded_by_name() -> None:
    assert [one.spec.task_id for one in load_tasks([MODULE])] == ["cheap", "count", "plain", "sleeper"]
    assert load_tasks([]) == ()
    with pytest.raises(BadSettings, match="no_such_module cannot be imported: ModuleNotFoundError"):
        load_tasks(["no_such_module"])
    with pytest.raises(BadSettings, match="there is no task in json"):
        load_tasks(["json"])


def test_a_module_that_raises_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_tasks.py").write_text("1 / 0\n")
    (tmp_path / "lambda_tasks.py").write_text("from tori.scheduler.user import task\ntask()(lambda run: None)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(BadSettings, match="broken_tasks cannot be imported: ZeroDivisionError"):
        load_tasks(["broken_tasks"])
    with pytest.raises(BadSettings, match="a lambda cannot be a task"):
        load_tasks(["lambda_tasks"])


class Holder:
    def method(self, run: TaskRun) -> None:
        """Stands in a class."""


async def later(run: TaskRun) -> None:
    """Runs in an event loop that nobody has."""


def two(run: TaskRun, other: int) -> None:
    """Wants more than it is given."""


@pytest.mark.parametrize(
    ("function", "sentence"),
    [
        (lambda run: None, "a lambda cannot be a task"),
        (Holder.method, "Holder.method stands inside a function or class"),
        (Holder, "is no plain function"),
        (later, "is no plain function"),
        (functools.partial(two, other=1), "is no plain function"),
        (two, "two takes 2 arguments"),
    ],
)
def test_what_no_other_process_can_run_is_refused(function: Any, sentence: str) -> None:
    with pytest.raises(BadSettings, match=sentence):
        task()(function)


def test_a_nested_function_and_one_of_a_script_are_refused() -> None:
    def inner(run: TaskRun) -> None: ...

    with pytest.raises(BadSettings, match="inner stands inside a function"):
        task()(inner)
    script = at_top()
    script.__module__ = "__main__"
    with pytest.raises(BadSettings, match="stands in the script that is run"):
        task()(script)


def test_two_functions_cannot_have_one_id_and_an_import_again_is_fine() -> None:
    task(task_id="mine")(at_top())
    task(task_id="mine")(at_top())
    with pytest.raises(BadSettings, match="task mine is .*work already"):
        task(task_id="mine")(at_top("other"))


def test_nonsense_is_refused_where_it_is_written() -> None:
    with pytest.raises(BadSettings, match="no option 'prioritty'"):
        task(prioritty=1)(at_top())
    with pytest.raises(BadSettings, match="cannot be split: only a scan whose module can"):
        task(shards=4)(at_top())
    with pytest.raises(BadSettings, match=r"work is no trigger. Write @task\(\), with brackets."):
        task(at_top())
    with pytest.raises(BadSettings, match="Write CronTrigger"):
        task("30 6 * * *")(at_top())  # type: ignore[arg-type]  # what people write
    with pytest.raises(BadSettings, match="never fires"):
        task(CronTrigger("0 0 30 2 *"))
    with pytest.raises(BadSettings, match="1e\\+09 CPU is more than any cluster has"):
        Resources(num_cpus=10**9)
    with pytest.raises(BadSettings, match="-1 gpu is more than any cluster has, or less than nothing"):
        Resources(custom={"gpu": -1})
    with pytest.raises(BadSettings, match="bytes of memory"):
        Resources(memory_bytes=1 << 60)


def test_a_circle_is_named_when_the_schedule_is_made() -> None:
    specs = [
        TaskSpec(task_id=a, task_type="user", trigger=AfterTrigger((b,)))
        for a, b in (("a", "b"), ("b", "c"), ("c", "a"))
    ]
    with pytest.raises(BadSettings, match="in a circle: .* -> .* -> .* -> "):
        Scheduler(specs, VirtualClock())


def test_a_function_is_given_its_run_and_says_json() -> None:
    said: list[tuple[float, float]] = []
    run = TaskRun("count", "r-1", 2, cause="e-1", report=lambda done, total: said.append((done, total)))
    assert json.loads(call(MODULE, "count", run)) == {"cause": "e-1", "attempt": 2}
    assert said == [(1, 2)]
    assert call(MODULE, "plain", run) == "[1, 2, 3]"
    assert call(MODULE, "cheap", TaskRun("cheap", "r-2", 1, "small")) == '"small"'


def test_a_result_that_is_no_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("odd_tasks")
    module.odd = lambda: {1, 2}  # type: ignore[attr-defined]  # a module made for the test
    module.quiet = lambda: None  # type: ignore[attr-defined]  # the same
    monkeypatch.setitem(sys.modules, "odd_tasks", module)
    assert call("odd_tasks", "quiet", TaskRun("t", "r", 1)) == ""
    with pytest.raises(BadInput, match="cannot be written as JSON"):
        call("odd_tasks", "odd", TaskRun("t", "r", 1))
