"""Scans as Ray tasks: prepared by the module, run anywhere under Ray's resources, concluded by the module."""

from __future__ import annotations

from typing import Any

import ray

from tori.modules.registry import module_class

SCAN_CPUS = 1.0


def run_scan(module: str, task: str, data: bytes) -> bytes:
    """Compute one scan; Ray hands over the value behind the snapshot's ref."""
    return module_class(module).run(task, data)


def start_scan(handle: Any, module: str, task: str, *, num_cpus: float = SCAN_CPUS, memory: float = 0) -> Any:
    """Return the ref of a scan's result; the snapshot travels by ref and never passes through the caller."""
    options: dict[str, Any] = {"num_cpus": num_cpus, "name": f"{module}.{task}", "max_retries": 0}
    if memory:
        options["memory"] = memory
    remote = ray.remote(**options)(run_scan)
    return remote.remote(module, task, handle.prepare.remote(task))
