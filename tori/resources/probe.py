"""The probe: how much of CPU, memory and disk is in use, as fractions of what this process may have.

What it may have is the machine, or the container when that is smaller. Reading costs about 0.2 ms; nothing is kept between
two readings but the CPU counters.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from tori.clock import Clock, SystemClock
from tori.resources.cgroup import Cgroup
from tori.resources.pressure import Sample


class Budget(msgspec.Struct, frozen=True):
    """What this process may use."""

    cpus: float
    memory_bytes: int
    disk_bytes: int
    """Size of the file system that holds the home."""


class _CpuReading(NamedTuple):
    busy_s: float
    total_s: float
    group_ns: int | None
    at_ns: int


class Probe:
    """Reads the machine. ``home`` is the directory whose file system matters."""

    def __init__(self, home: Path, *, cgroup: Cgroup | None = None, clock: Clock | None = None) -> None:
        self._home = home
        self._cgroup = cgroup or Cgroup()
        self._clock = clock or SystemClock()
        self._last = self._read_cpu()

    def budget(self) -> Budget:
        """Return what there is."""
        memory = psutil.virtual_memory().total
        return Budget(
            min(float(_cpu_count()), self._cgroup.cpus() or float("inf")),
            min([memory, *(limit.limit_bytes for limit in self._cgroup.memory())]),
            psutil.disk_usage(str(self._existing_home())).total,
        )

    def sample(self) -> Sample:
        """Return the use of ``cpu`` (mean since the last call), ``memory`` and ``disk``, each a fraction of 1."""
        disk = psutil.disk_usage(str(self._existing_home()))
        return Sample({"cpu": self._cpu(), "memory": self._memory(), "disk": disk.percent / 100})

    def stall(self) -> dict[str, float]:
        """Return the share of time that was lost to waiting for memory, as ``stall``; nothing where nobody counts it."""
        found = self._cgroup.stall()
        return {} if found is None else {"stall": found}

    def _memory(self) -> float:
        """The machine's use, or that of the limit nearest to its end, on whatever level it stands."""
        machine = psutil.virtual_memory()
        usage: float = 1 - machine.available / machine.total
        return max([usage, *(limit.share for limit in self._cgroup.memory())])

    def _cpu(self) -> float:
        """The machine's mean use, or the container's share of its quota when that is scarcer."""
        last, now = self._last, self._read_cpu()
        self._last = now
        usage = (now.busy_s - last.busy_s) / max(now.total_s - last.total_s, 1e-9)
        quota = self._cgroup.cpus()
        passed_ns = now.at_ns - last.at_ns
        if quota and passed_ns > 0 and now.group_ns is not None and last.group_ns is not None:
            usage = max(usage, (now.group_ns - last.group_ns) / (quota * passed_ns))
        return min(max(usage, 0.0), 1.0)

    def _read_cpu(self) -> _CpuReading:
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        return _CpuReading(total - idle, total, self._cgroup.cpu_ns(), self._clock.monotonic_ns())

    def _existing_home(self) -> Path:
        """The home, or the nearest directory above it while it is not there yet."""
        return next(path for path in (self._home, *self._home.absolute().parents) if path.exists())


def _cpu_count() -> int:
    """CPUs this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
