"""What the machine and its container give, and what is read of their use."""

from __future__ import annotations

from collections import namedtuple
from pathlib import Path
from typing import Any

import psutil
import pytest

from tori.clock import VirtualClock
from tori.resources.cgroup import Cgroup, MemoryLimit
from tori.resources.probe import Probe

Times = namedtuple("Times", "user system idle iowait guest")
GIB = 1 << 30


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def unified(tmp_path: Path) -> Cgroup:
    """Version 2: no limit on the own level, one above it, a wider one above that."""
    write(
        tmp_path,
        {
            "cgroup/cgroup.controllers": "cpu memory\n",
            "cgroup/pod/memory.max": f"{4 * GIB}\n",
            "cgroup/pod/memory.current": f"{3 * GIB}\n",
            "cgroup/pod/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            "cgroup/pod/cpu.max": "150000 100000\n",
            "cgroup/pod/app/memory.max": "max\n",
            "cgroup/pod/app/cpu.max": "max 100000\n",
            "cgroup/pod/app/cpu.stat": "usage_usec 2000000\nuser_usec 1\n",
            "membership": "0::/pod/app\n",
        },
    )
    return Cgroup(tmp_path / "cgroup", tmp_path / "membership")


def test_the_tightest_limit_of_all_levels_binds(unified: Cgroup) -> None:
    assert unified.is_unified
    assert unified.memory() == [MemoryLimit(4 * GIB, 2 * GIB)], "file cache can be dropped, so it is not in use"
    assert unified.cpus() == 1.5
    assert unified.cpu_ns() == 2_000_000_000


def test_version_1(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cgroup/memory/job/memory.limit_in_bytes": f"{2 * GIB}\n",
            "cgroup/memory/job/memory.usage_in_bytes": f"{GIB}\n",
            "cgroup/memory/job/memory.stat": "total_inactive_file 1024\n",
            "cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "cgroup/cpuacct/cpuacct.usage": "77\n",
            "membership": "4:memory:/job\n3:cpu,cpuacct:/gone\nnonsense\n",
        },
    )
    cgroup = Cgroup(tmp_path / "cgroup", tmp_path / "membership")
    assert cgroup.memory() == [MemoryLimit(2 * GIB, GIB - 1024)]
    assert cgroup.cpus() is None, "-1 is no limit"
    assert cgroup.cpu_ns() == 77, "a path of the host that is not here: the root counts"


def test_without_groups_there_is_no_limit(tmp_path: Path) -> None:
    cgroup = Cgroup(tmp_path / "nothing", tmp_path / "nowhere")
    assert (cgroup.memory(), cgroup.cpus(), cgroup.cpu_ns()) == ([], None, None)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A machine whose readings a test may set."""
    memory, disk = namedtuple("Memory", "total available"), namedtuple("Disk", "total percent")
    readings: dict[str, Any] = {"cpu": Times(0.0, 0.0, 0.0, 0.0, 0.0)}
    monkeypatch.setattr(psutil, "cpu_times", lambda: readings["cpu"])
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(8 * GIB, 6 * GIB))
    monkeypatch.setattr(psutil, "disk_usage", lambda path: disk(100 * GIB, 42.0))
    return readings


def test_use_is_a_fraction_of_the_machine(tmp_path: Path, machine: dict[str, Any]) -> None:
    probe = Probe(tmp_path / "not" / "yet", cgroup=Cgroup(tmp_path, tmp_path / "x"), clock=VirtualClock())
    machine["cpu"] = Times(2.0, 1.0, 6.0, 1.0, 0.5)
    sample = probe.sample()
    assert sample.usage == pytest.approx({"cpu": 3 / 10, "memory": 0.25, "disk": 0.42}, abs=0.03)
    assert probe.sample().usage["cpu"] == 0.0, "nothing was used since the last reading"
    assert probe.budget().memory_bytes == 8 * GIB


def test_use_is_a_fraction_of_the_container_when_that_is_smaller(
    tmp_path: Path, unified: Cgroup, machine: dict[str, Any]
) -> None:
    clock = VirtualClock()
    probe = Probe(tmp_path, cgroup=unified, clock=clock)
    clock.advance(2)
    machine["cpu"] = Times(2.4, 0.0, 13.6, 0.0, 0.0)
    write(tmp_path, {"cgroup/pod/app/cpu.stat": "usage_usec 4400000\n"})
    usage = probe.sample().usage
    assert usage["cpu"] == pytest.approx(2.4 / 3), "2.4 s of 2 s x 1.5 CPUs"
    assert usage["memory"] == 0.5
    assert probe.budget().memory_bytes == 4 * GIB
    assert 0 < probe.budget().cpus <= 1.5


@pytest.mark.parametrize(
    ("above", "own", "share"),
    [((10, 9.9), (4, 1), 0.99), ((10, 5), (4, 3), 0.75), ((4, 1), (10, 1), 0.25)],
)
def test_the_limit_nearest_to_its_end_is_what_is_scarce(
    tmp_path: Path, machine: dict[str, Any], above: tuple[float, float], own: tuple[float, float], share: float
) -> None:
    files = {"cgroup/cgroup.controllers": "memory\n", "membership": "0::/pod/app\n"}
    for folder, (limit, used) in (("pod", above), ("pod/app", own)):
        files[f"cgroup/{folder}/memory.max"] = f"{round(limit * GIB)}\n"
        files[f"cgroup/{folder}/memory.current"] = f"{round(used * GIB)}\n"
    cgroup = Cgroup(write(tmp_path, files) / "cgroup", tmp_path / "membership")
    probe = Probe(tmp_path, cgroup=cgroup, clock=VirtualClock())
    assert probe.sample().usage["memory"] == pytest.approx(share)
    assert probe.budget().memory_bytes == round(min(8, above[0], own[0]) * GIB), "what there is, is the smallest"


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    probe = Probe(tmp_path)
    usage = probe.sample().usage
    assert set(usage) == {"cpu", "memory", "disk"}
    assert all(0 <= value <= 1 for value in usage.values())
    assert probe.budget().cpus > 0


PSI = "some avg10=12.50 avg60=1.00 avg300=0.00 total=9\nfull avg10=3.00 avg60=0.00 avg300=0.00 total=4\n"


@pytest.mark.parametrize(
    ("own", "whole", "share"), [("", PSI, 0.125), (PSI.replace("12.50", "2.00"), PSI, 0.02), ("", "", None)]
)
def test_the_stall_is_that_of_the_group_or_of_the_machine(
    tmp_path: Path, own: str, whole: str, share: float | None
) -> None:
    (tmp_path / "cgroup").mkdir()
    (tmp_path / "cgroup" / "cgroup.controllers").write_text("memory\n")
    for name, text in (("cgroup/memory.pressure", own), ("psi", whole)):
        if text:
            (tmp_path / name).write_text(text)
    group = Cgroup(tmp_path / "cgroup", tmp_path / "none", tmp_path / "psi")
    assert group.stall() == share
    assert Probe(tmp_path, cgroup=group).stall() == ({} if share is None else {"stall": share})
