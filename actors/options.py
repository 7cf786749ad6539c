"""How every actor is created: detached, found by name, restarted by the orchestrator and not by Ray.

Ray's own restarts and retries stay off for modules: a retried call could run twice, and an actor restarted behind the
orchestrator's back would escape its limits. The orchestrator itself is restarted by Ray.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.names import NAMESPACE, ORCHESTRATOR
from actors.worker import background_environment, code_environment
from tori.scheduler.spec import Resources

MODULE_THREADS = 6
CONTROL = "control"
"""Concurrency group of the calls by which the orchestrator governs a module: questions that wait for a busy one never hold them up."""
CONTROL_THREADS = 4
ORCHESTRATOR_THREADS = 24
GPU = "GPU"


def module_options(
    name: str, *, strategy: Any = None, streams: int = 0, num_cpus: float = 0, code: str = ""
) -> dict[str, Any]:
    """Return the options of a module or relay actor: on which node, and how many streams to other nodes it may serve at once."""
    return {
        "name": name,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "max_restarts": 0,
        "max_task_retries": 0,
        "max_concurrency": MODULE_THREADS + streams,
        "concurrency_groups": {CONTROL: CONTROL_THREADS},
        "num_cpus": num_cpus,
        "scheduling_strategy": strategy,
        **({"runtime_env": {"env_vars": code_environment(code)}} if code else {}),
    }


def orchestrator_options() -> dict[str, Any]:
    """Return the options of the orchestrator: on the node of this driver, whose home has its journal."""
    return {
        "name": ORCHESTRATOR,
        "namespace": NAMESPACE,
        "lifetime": "detached",
        "max_restarts": -1,
        "max_task_retries": 0,
        "max_concurrency": ORCHESTRATOR_THREADS,
        "num_cpus": 0,
        "scheduling_strategy": on_node(ray.get_runtime_context().get_node_id()),
        "get_if_exists": True,
    }


def run_options(resources: Resources, name: str, code: str = "") -> dict[str, Any]:
    """Return how Ray runs an attempt: at idle priority, and never again by itself, the scheduler decides that."""
    options: dict[str, Any] = {
        "num_cpus": resources.num_cpus,
        "name": name,
        "max_retries": 0,
        "runtime_env": background_environment(code),
    }
    if resources.memory_bytes:
        options["memory"] = resources.memory_bytes
    custom = {name: amount for name, amount in resources.custom.items() if name != GPU}
    if custom:
        options["resources"] = custom
    if GPU in resources.custom:  # Ray knows them by this name only
        options["num_gpus"] = resources.custom[GPU]
    return options


def start_task(function: Callable[..., Any], options: dict[str, Any], *arguments: Any) -> Any:
    """Run a function of a module as a Ray task with these options; return the ref of its result."""
    try:
        return _exported(function).options(**options).remote(*arguments)
    except BaseException:
        _exported.cache_clear()  # Ray takes a function for exported also when that failed, and its workers would wait for it in vain
        raise


@cache
def _exported(function: Callable[..., Any]) -> Any:
    """Return a function as Ray knows it, the same one each time.

    Each ``ray.remote`` makes another one in Ray's eyes, though the function be the same: the GCS keeps every one of them for as long as
    the cluster lives, and the raylet looks for workers for each by itself, which with a hundred at once takes it seconds.
    """
    return ray.remote(function)


def on_node(ray_node: str) -> Any:
    """Return the strategy that puts an actor or task on one node and nowhere else."""
    return NodeAffinitySchedulingStrategy(ray_node, soft=False)


def control(handle: Any, method: str) -> Any:
    """Return a method of an actor, to be called in its control group."""
    return getattr(handle, method).options(concurrency_group=CONTROL)


def remote_class(cls: type, options: dict[str, Any]) -> Any:
    """Return the actor class of a plain class with these options."""
    return ray.remote(**options)(cls)
