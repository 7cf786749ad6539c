"""Scans as Ray tasks: prepared by the module, run anywhere under Ray's resources, concluded by the module."""

from __future__ import annotations

from typing import Any

import ray

from actors.options import run_options
from actors.worker import begin_work
from tori.modules.registry import module_class
from tori.scheduler.spec import Resources

ONE_CPU = Resources()


def run_scan(module: str, task: str, data: bytes) -> bytes:
    """Compute one scan; Ray hands over the value behind the snapshot's ref."""
    begin_work()
    return module_class(module).run(task, data)


def start_scan(handle: Any, module: str, task: str, resources: Resources = ONE_CPU) -> Any:
    """Return the ref of a scan's result; the snapshot travels by ref and never passes through the caller."""
    remote = ray.remote(**run_options(resources, f"{module}.{task}"))(run_scan)
    return remote.remote(module, task, handle.prepare.remote(task))
