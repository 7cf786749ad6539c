"""A file becomes a bundle: what can travel does, with what stands beside it; what cannot is refused where it lies."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import cloudpickle
import pytest

from actors.schedule import Plan
from actors.ship import open_all, pack_file
from tests.support.system import system_settings
from tori.errors import BadInput, BadSettings
from tori.modules.registry import FOLLOWS, user_modules
from tori.scheduler.shipped import ShippedTask, unpack
from tori.scheduler.user import TaskRun, call_function, registered_in

JOBS = Path(__file__).parents[1] / "support" / "shipped_jobs.py"
HEAD = "from tori.scheduler.spec import *\nfrom tori.scheduler.trigger import *\nfrom tori.scheduler.user import task\n"

MODULE = """
from tori.modules.alien import Alien
from tori.modules.user import module

@module(follows=("clients",))
class Mine(Alien):
    name = "mine"
"""


def test_functions_travel_with_what_stands_beside_them() -> None:
    (task,) = unpack(pack_file(JOBS))
    assert task.spec.task_id == "shipped.greet"
    assert b"tests.support" not in task.function
    said = call_function(cloudpickle.loads(task.function), TaskRun("shipped.greet", "run", 2))
    assert said == '{"said": "hello world", "attempt": 2}'
    assert not [name for name in sys.modules if name.startswith("tori_shipped_")]
    assert registered_in("tori_shipped_shipped_jobs") == ()
    again = pack_file(JOBS)
    assert unpack(again)[0].spec == task.spec


def test_a_file_is_read_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = tmp_path / "jobs.py"
    for number in "12":  # of one length and one time, which is all that kept bytecode would look at
        path.write_text(f"{HEAD}@task()\ndef f(): return {number}")
        os.utime(path, (1e9, 1e9))
        (one,) = unpack(pack_file(path))
        assert call_function(cloudpickle.loads(one.function), TaskRun("f", "run", 1)) == number
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("code", "error", "says"),
    [
        ("task()(lambda: 1)", BadSettings, "a lambda cannot be a task"),
        ("def f():\n    @task()\n    def g(): pass\nf()", BadSettings, "stands inside a function"),
        ("@task()\nclass C: pass", BadSettings, "no plain function"),
        ("@task(CronTrigger('0 0 31 2 *'))\ndef f(): pass", BadSettings, "never"),
        ("@task(resources=Resources(num_cpus=1e9))\ndef f(): pass", BadSettings, "more than any cluster has"),
        ("@task(speed=9)\ndef f(): pass", BadSettings, "no option 'speed'"),
        ("import threading\nL = threading.Lock()\n@task()\ndef f():\n    with L: pass", BadInput, "cannot travel"),
        ("1 / 0", BadInput, "ZeroDivisionError"),
        ("def f(:", BadInput, "SyntaxError"),
        ("x = 1", BadInput, "no task in"),
        ("@task(AfterTrigger(('a',)), task_id='a')\ndef f(): pass", BadSettings, "in a circle: a -> a"),
        (
            MODULE,
            BadInput,
            "has the module mine",
        ),
    ],
)
def test_what_cannot_travel_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, code: str, error: type[Exception], says: str
) -> None:
    (tmp_path / "jobs.py").write_text(HEAD + code)
    with pytest.raises(error, match=says):
        pack_file(tmp_path / "jobs.py")
    assert registered_in("tori_shipped_jobs") == ()
    assert user_modules() == ()
    assert "mine" not in FOLLOWS["orchestrator"]
    assert "tori_shipped_jobs" not in sys.modules


@pytest.mark.parametrize("name", ["jobs.txt", "not a name.py", "nowhere.py"])
def test_what_is_no_module_is_refused(tmp_path: Path, name: str) -> None:
    if name != "nowhere.py":
        (tmp_path / name).write_text(HEAD)
    with pytest.raises(BadInput, match="no Python file"):
        pack_file(tmp_path / name)


def test_a_function_that_opens_nowhere_else_is_named() -> None:
    open_all([("good", cloudpickle.dumps(len))])
    with pytest.raises(BadInput, match="task bad: "):
        open_all([("good", cloudpickle.dumps(len)), ("bad", b"nothing")])


def test_names_that_are_taken_and_circles_are_refused_with_nothing_changed(tmp_path: Path) -> None:
    plan = Plan(system_settings(tmp_path).plain())
    before = plan.specs
    circle = [f"@task(AfterTrigger(({other!r},)), task_id={one!r})\ndef {one}(): pass" for one, other in ("xy", "yx")]
    taken = ["@task(task_id='alien_audit')\ndef f(): pass"]
    lost = ["@task(AfterTrigger(('nobody',)))\ndef f(): pass"]
    for files, says in ((circle, "in a circle: "), (taken, "'alien_audit' already"), (lost, "which is no task")):
        tasks: list[ShippedTask] = []
        for code in files:  # each may travel by itself
            (tmp_path / "jobs.py").write_text(HEAD + code)
            tasks += unpack(pack_file(tmp_path / "jobs.py"))
        with pytest.raises(BadSettings, match=says):
            plan.check(tasks)
        assert plan.specs == before
        kept = Plan(system_settings(tmp_path).plain(), tasks)
        assert kept.specs == before, "a start goes on without"
        assert set(kept.left_out) == {task.spec.task_id for task in tasks}
    (tmp_path / "jobs.py").write_text(HEAD + "@task()\ndef f(): return 1")
    (deadly,) = unpack(pack_file(tmp_path / "jobs.py"))
    object.__setattr__(deadly.spec, "timeout_s", "five")  # whatever nobody thought of
    with pytest.raises(BadSettings, match="the scheduler cannot work with task"):
        plan.check([deadly])
    assert plan.specs == before
    assert set(Plan(system_settings(tmp_path).plain(), [deadly]).left_out) == {deadly.spec.task_id}
    (first,) = unpack(pack_file(tmp_path / "jobs.py"))
    plan.add(first)
    (tmp_path / "jobs.py").write_text(HEAD + "@task(timeout_s=5)\ndef f(): return 2")
    (second,) = unpack(pack_file(tmp_path / "jobs.py"))
    plan.check([second])
    plan.add(second)
    assert plan.user[second.spec.task_id] == second, "shipping it again takes its place"
    assert [spec.timeout_s for spec in plan.specs if spec.task_id == second.spec.task_id] == [5]
