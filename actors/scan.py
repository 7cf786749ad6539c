"""Scans as Ray tasks: prepared by the module, run anywhere under Ray's resources, concluded by the module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from actors.ending import end
from actors.options import run_options, start_task
from actors.output import Attempt, at_work
from tori.modules.registry import module_class
from tori.modules.scan import one_thread
from tori.modules.user import load_modules
from tori.scheduler.spec import Resources

ONE_CPU = Resources()


def run_scan(
    module: str, task: str, data: bytes, settings: Mapping[str, Any] | None = None, attempt: Attempt | None = None
) -> bytes:
    """Compute one scan; Ray hands over the value behind the snapshot's ref. ``settings`` name the modules that users brought."""
    with _computing(settings, attempt):
        return module_class(module).run(task, data)


def run_shard(
    module: str,
    task: str,
    data: bytes,
    index: int,
    count: int,
    settings: Mapping[str, Any] | None = None,
    attempt: Attempt | None = None,
) -> bytes:
    """Compute one shard of a scan; all of them read the one snapshot behind the ref."""
    with _computing(settings, attempt):
        return module_class(module).run_shard(task, data, index, count)


def merge_shards(
    module: str, task: str, settings: Mapping[str, Any] | None, attempt: Attempt | None, *shards: bytes
) -> bytes:
    """Put the shards' results together."""
    with _computing(settings, attempt):
        return module_class(module).merge(task, shards)


@contextmanager
def _computing(settings: Mapping[str, Any] | None, attempt: Attempt | None) -> Iterator[None]:
    """Compute as background work inside, on one thread, with the users' modules there."""
    with at_work(attempt):
        load_modules(settings)
        with one_thread():
            yield


class Work(NamedTuple):
    """A scan under way."""

    result: Any
    """Ref of its result."""
    refs: tuple[Any, ...]
    """All Ray tasks of it: what is to be cancelled."""


def fan_out(
    module: str,
    task: str,
    data: Any,
    resources: Resources,
    shards: int,
    *,
    code: str = "",
    settings: Mapping[str, Any] | None = None,
    attempt: Attempt | None = None,
) -> Work:
    """Spread a scan over Ray tasks that read one snapshot in the object store (``data``, its ref); each takes its part of ``resources``.

    A task that its module cannot split is one Ray task. ``code``: that of the module's process, when it was reloaded: the scan must
    run the same. ``settings`` name the modules that users brought. ``attempt``: whose log it is what they print.
    """
    name = f"{module}.{task}"
    if shards <= 1 or task not in module_class(module).splits:
        ref = start_task(run_scan, run_options(resources, name, code), module, task, data, settings, attempt)
        return Work(ref, (ref,))
    part = run_options(resources.part(shards), name, code)
    merge = run_options(Resources(num_cpus=0), f"{name}.merge", code)
    parts: list[Any] = []
    try:
        for index in range(shards):
            parts.append(start_task(run_shard, part, module, task, data, index, shards, settings, attempt))
        result = start_task(merge_shards, merge, module, task, settings, attempt, *parts)
    except BaseException:
        end(parts)  # nobody else knows of them
        raise
    return Work(result, (*parts, result))


def start_scan(
    handle: Any, module: str, task: str, *, code: str = "", settings: Mapping[str, Any] | None = None
) -> Any:
    """Return the ref of a scan's result; the snapshot travels by ref and never passes through the caller."""
    return fan_out(module, task, handle.prepare.remote(task), ONE_CPU, 1, code=code, settings=settings).result
