"""Tasks that users bring: a plain function and when it is due.

    from tori.scheduler.trigger import CronTrigger
    from tori.scheduler.user import TaskRun, task

    @task(CronTrigger("30 6 * * *", "Europe/Berlin"), timeout_s=60)
    def morning_report(run: TaskRun) -> dict[str, int]:
        run.report(1, 2)
        return {"lines": 12}

The setting ``user.tasks`` names the modules such functions stand in; the orchestrator imports them when it starts, and every
node that runs them has to be able to.
"""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from tori.errors import BadInput, BadSettings
from tori.scheduler.spec import TaskSpec
from tori.scheduler.trigger import DemandTrigger, Trigger

USER = "user"
"""Task type of every task that a user brings."""
NOT_FOR_USERS = {"task_id", "task_type", "trigger", "module", "watches", "shards", "is_interruptible"}
"""Fields of a spec that are not theirs to choose, or not as options."""
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class TaskRun:
    """What a task's function is told of the attempt it is."""

    task_id: str
    run_id: str
    attempt: int
    """From 1."""
    variant: str = ""
    """Empty, or the fallback of its spec: do it cheaper."""
    cause: str = ""
    """Id of the event, or of the run, that made it due."""
    report: Callable[[float, float], None] = field(default=lambda done, total: None, compare=False)
    """Say how far it has come: ``done`` of ``total``, in whatever it counts."""


class UserTask(NamedTuple):
    """A task and where its function stands."""

    spec: TaskSpec
    module: str
    name: str


_registered: dict[str, UserTask] = {}


def task(trigger: Trigger | None = None, *, task_id: str = "", **options: Any) -> Callable[[F], F]:
    """Register a function as a task; it stays the function it was.

    ``trigger``: when it is due, None = on demand. ``task_id``: its name, ``module.function`` by default. ``options``: what else
    a ``TaskSpec`` has (priority, resources, timeout_s, retry, deadline_s, overlap, fallback, group, ...).
    The function takes a ``TaskRun`` or nothing, and returns what JSON can say. Raises BadSettings for what cannot run elsewhere.
    """

    if inspect.isfunction(trigger):
        raise BadSettings(f"{trigger.__name__} is no trigger.", remedy="Write @task(), with brackets.")

    def register(function: F) -> F:
        _check_function(function)
        module, name = function.__module__, function.__qualname__
        spec = _spec(task_id or f"{module}.{name}", DemandTrigger() if trigger is None else trigger, options)
        present = _registered.get(spec.task_id)
        if present is not None and present[1:] != (module, name):
            raise BadSettings(
                f"task {spec.task_id} is {present.module}.{present.name} already.",
                remedy="Give one of them another task_id.",
            )
        _registered[spec.task_id] = UserTask(spec, module, name)
        return function

    return register


def _check_function(function: Any) -> None:
    """Refuse what another process could not import by its name."""
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function):
        raise BadSettings(f"{function!r} is no plain function.", remedy="Write def name(run): ... in a module.")
    if function.__name__ == "<lambda>":
        raise BadSettings(
            "a lambda cannot be a task: no other process could find it.", remedy="Give it a name with def."
        )
    if "<locals>" in function.__qualname__ or "." in function.__qualname__:
        raise BadSettings(
            f"{function.__qualname__} stands inside a function or class, where no other process could find it.",
            remedy="Move it to the top of its module.",
        )
    if function.__module__ == "__main__":
        raise BadSettings(
            f"{function.__name__} stands in the script that is run, which no other process can import.",
            remedy="Move it to a module.",
        )
    taken = [
        p for p in inspect.signature(function).parameters.values() if p.default is p.empty and p.kind < p.VAR_POSITIONAL
    ]
    if len(taken) > 1:
        raise BadSettings(
            f"{function.__name__} takes {len(taken)} arguments.", remedy="It is given a TaskRun, or nothing."
        )


def _spec(task_id: str, trigger: Trigger, options: dict[str, Any]) -> TaskSpec:
    known = set(TaskSpec.__dataclass_fields__) - NOT_FOR_USERS
    if "shards" in options:
        raise BadSettings(
            f"task {task_id} cannot be split: only a scan whose module can do that is (concept_fuzz_test).",
            remedy="Leave shards out; ask for more CPUs with resources, or write several tasks.",
        )
    for name in options:
        if name not in known:
            raise BadSettings(f"a task has no option {name!r}.", remedy=f"It has {', '.join(sorted(known))}.")
    return TaskSpec(task_id=task_id, task_type=USER, trigger=trigger, **options)


def load_tasks(modules: Sequence[str]) -> tuple[UserTask, ...]:
    """Import modules and return the tasks that stand in them, in order of their ids.

    Raises BadSettings for a module that cannot be imported or has no task.
    """
    found: dict[str, UserTask] = {}
    for module in modules:
        try:
            importlib.import_module(module)
        except BadSettings:
            raise
        except Exception as error:
            raise BadSettings(
                f"user.tasks: {module} cannot be imported: {type(error).__name__}: {error}",
                remedy="Is it installed, or on PYTHONPATH?",
            ) from error
        own = {task_id: one for task_id, one in _registered.items() if one.module == module}
        if not own:
            raise BadSettings(
                f"user.tasks: there is no task in {module}.", remedy="Decorate a function with @task(...)."
            )
        found |= own
    return tuple(found[task_id] for task_id in sorted(found))


def registered_in(module: str) -> tuple[UserTask, ...]:
    """Return the tasks that stand in a module which is imported."""
    return tuple(one for one in _registered.values() if one.module == module)


def forget(module: str) -> None:
    """Forget the tasks of a module: it was read to be shipped, and is nobody's here."""
    for one in registered_in(module):
        del _registered[one.spec.task_id]


def call(module: str, name: str, run: TaskRun) -> str:
    """Run a task's function in this process; return what it has to say, JSON, empty for None. Raises what it raises."""
    return call_function(getattr(importlib.import_module(module), name), run)


def call_function(function: Callable[..., Any], run: TaskRun) -> str:
    """Run a function as the attempt ``run``; return what it has to say."""
    takes_run = any(p.kind < p.KEYWORD_ONLY for p in inspect.signature(function).parameters.values())
    result = function(run) if takes_run else function()
    if result is None:
        return ""
    try:
        return json.dumps(result)
    except (TypeError, ValueError) as error:
        raise BadInput(
            f"the result of {run.task_id} cannot be written as JSON: {error}.",
            remedy="Return numbers, texts, lists and dicts.",
        ) from error
