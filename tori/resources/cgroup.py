"""Limits that a container sets on this process, and what of them is used: cgroup version 2, or 1.

A limit counts on every level from the process's own group up to the root: the smallest one says what there is, the one nearest to its
end is what becomes scarce first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
PRESSURE = Path("/proc/pressure/memory")
_UNLIMITED_BYTES = 1 << 60
"""Version 1 writes a number near 2^63 when there is no limit."""


class MemoryLimit(NamedTuple):
    """A memory limit and the use on its level, without file cache that can be dropped."""

    limit_bytes: int
    used_bytes: int

    @property
    def share(self) -> float:
        """Return what of it is in use, a fraction of 1."""
        return self.used_bytes / max(1, self.limit_bytes)


class Cgroup:
    """The groups of this process. Files that are missing mean no limit; nothing here raises."""

    def __init__(self, root: Path = ROOT, membership: Path = MEMBERSHIP, pressure: Path = PRESSURE) -> None:
        self._root = root
        self._pressure = pressure
        self._paths = _memberships(_text(membership))
        self.is_unified = (root / "cgroup.controllers").exists()

    def memory(self) -> list[MemoryLimit]:
        """Return the memory limits of all levels that have one, the smallest first."""
        names = (
            ("memory.max", "memory.current", "inactive_file")
            if self.is_unified
            else ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        )
        found = []
        for folder in self._levels("memory"):
            limit = _number(_text(folder / names[0]))
            if limit is not None and limit < _UNLIMITED_BYTES:
                used = _number(_text(folder / names[1])) or 0
                cache = _field(_text(folder / "memory.stat"), names[2]) or 0
                found.append(MemoryLimit(limit, max(0, used - cache)))
        return sorted(found)

    def stall(self) -> float | None:
        """Return the share of the last 10 s in which some process waited for memory (PSI); None when the kernel does not count it.

        That of the own group where there is one, else the machine's. https://docs.kernel.org/accounting/psi.html
        """
        own = _text(next(self._levels("memory")) / "memory.pressure") if self.is_unified else ""
        for line in (own or _text(self._pressure)).splitlines():
            kind, _, rest = line.partition(" ")
            average = dict(field.partition("=")[::2] for field in rest.split()).get("avg10", "")
            if kind == "some" and average.replace(".", "", 1).isdigit():
                return float(average) / 100
        return None

    def cpus(self) -> float | None:
        """Return how many CPUs' worth of time the group may use, None without a limit."""
        found = []
        for folder in self._levels("cpu"):
            if self.is_unified:
                words = _text(folder / "cpu.max").split()
                quota, period = (_number(words[0]), _number(words[1])) if len(words) == 2 else (None, None)
            else:
                quota = _number(_text(folder / "cpu.cfs_quota_us"))
                period = _number(_text(folder / "cpu.cfs_period_us"))
            if quota is not None and quota > 0 and period:
                found.append(quota / period)
        return min(found, default=None)

    def cpu_ns(self) -> int | None:
        """Return the CPU time that the process's own group has used, nanoseconds; None when nobody counts it."""
        if self.is_unified:
            used = _field(_text(next(self._levels("cpu")) / "cpu.stat"), "usage_usec")
            return None if used is None else used * 1000
        return _number(_text(next(self._levels("cpuacct")) / "cpuacct.usage"))

    def _levels(self, controller: str) -> Iterator[Path]:
        """Yield the folders from the process's own group up to the root."""
        top = self._root if self.is_unified else self._root / controller
        own = top / self._paths.get("" if self.is_unified else controller, "").lstrip("/")
        if not own.is_dir():  # inside a container the path of the host means nothing
            own = top
        yield own
        for folder in own.parents:
            if folder != top and top not in folder.parents:
                return
            yield folder


def _memberships(text: str) -> dict[str, str]:
    """Return the path of the process's group by controller; version 2 has the empty name."""
    found = {}
    for line in text.splitlines():
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _field(text: str, name: str) -> int | None:
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return _number(value)
    return None
