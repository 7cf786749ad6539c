"""The simulated disk keeps its word: what was synced stays, what was not may go, and each process dies alone."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from tests.sim.disk import SECTOR, Disk
from tests.sim.files import Cpu, Gone, PowerCut, Process

FOLDER = Path("/folder")
FILE = FOLDER / "file"


def machine(seed: int) -> tuple[Cpu, Process]:
    rng = random.Random(seed)
    cpu = Cpu(Disk(rng), rng)
    process = cpu.spawn("writer")
    process.files.make_directory(FOLDER)
    process.files.sync_directory(FOLDER.parent)
    return cpu, process


def outcomes(act: int) -> set[bytes]:
    """Return what is left of a file of four sectors after a power cut, over many seeds; ``act`` says what was synced."""
    found = set()
    for seed in range(200):
        cpu, process = machine(seed)
        file = process.files.create(FILE, 4 * SECTOR)
        if act >= 1:
            process.files.sync_directory(FOLDER)
        file.pwrite(b"a" * SECTOR * 4, 0)
        if act >= 2:
            file.fdatasync()
        file.pwrite(b"b" * SECTOR * 2, SECTOR)
        if act >= 3:
            file.fdatasync()
        cpu.cut_power()
        files = cpu.spawn("reader").files
        found.add(bytes(files.read(FILE)[::SECTOR]) if files.exists(FILE) else b"gone")
    return found


def test_what_was_synced_stays() -> None:
    assert outcomes(3) == {b"abba"}


def test_what_was_not_synced_is_kept_lost_or_torn_in_any_order() -> None:
    assert outcomes(2) == {b"aaaa", b"abaa", b"aaba", b"abba"}


def test_a_size_is_durable_with_the_first_sync_only() -> None:
    found = outcomes(1)
    assert b"" in found
    assert b"\0\0\0\0" in found
    assert b"abba" in found
    assert b"gone" not in found


def test_a_name_is_durable_with_its_directory_only() -> None:
    assert b"gone" in outcomes(0)


def test_a_rename_is_one_change() -> None:
    found = set()
    for seed in range(100):
        cpu, process = machine(seed)
        for name in ("old", "new"):
            file = process.files.create(FOLDER / name, 1)
            file.pwrite(name[:1].encode(), 0)
            file.fsync()
        process.files.sync_directory(FOLDER)
        process.files.rename(FOLDER / "new", FOLDER / "old")
        cpu.cut_power()
        files = cpu.spawn("reader").files
        found.add((tuple(files.names(FOLDER)), files.read(FOLDER / "old")))
    assert found == {(("new", "old"), b"o"), (("old",), b"n")}


def test_a_failed_sync_shows_what_it_lost_only_later() -> None:
    found = set()
    for seed in range(50):
        cpu, process = machine(seed)
        file = process.files.create(FILE, SECTOR)
        file.fsync()
        process.files.sync_directory(FOLDER)
        file.pwrite(b"x", 0)
        process.light("fail", 1)
        with pytest.raises(OSError, match="Input/output") as failed:
            file.fdatasync()
        assert failed.value.errno == errno.EIO
        assert process.files.read(FILE)[:1] == b"x"
        file.fdatasync()
        cpu.cut_power()
        found.add(cpu.spawn("reader").files.read(FILE)[:1])
    assert found == {b"x", b"\0"}


def test_stores_into_a_mapping_are_lost_without_a_sync() -> None:
    found = set()
    for seed in range(50):
        cpu, process = machine(seed)
        process.files.reserve(FILE, SECTOR)
        process.files.open(FILE).fsync()
        process.files.sync_directory(FOLDER)
        mapping = process.files.map(FILE, writable=True)
        mapping.view[0] = 1
        process.files.open(FILE).fsync()
        mapping.view[0] = 2
        cpu.cut_power()
        found.add(cpu.spawn("reader").files.read(FILE)[0])
    assert found == {1, 2}


def test_a_process_dies_at_its_operation_and_does_nothing_more() -> None:
    cpu, process = machine(1)
    other = cpu.spawn("other")
    file = process.files.create(FILE, 4 * SECTOR)
    lock = process.files.lock(FOLDER / "lock")
    with pytest.raises(BlockingIOError):
        other.files.lock(FOLDER / "lock")
    process.light("crash", 2)
    file.fsync()
    with pytest.raises(Gone):
        file.pwrite(b"a" * SECTOR * 4, 0)
    with pytest.raises(Gone):
        process.files.unlink(FILE)
    lock.close()
    assert other.files.exists(FILE)
    assert 0 < other.files.read(FILE).count(b"a") <= SECTOR * 4
    assert other.started(process.pid) == 0
    other.files.lock(FOLDER / "lock").close()


def test_a_full_disk_refuses_and_is_told() -> None:
    cpu, process = machine(1)
    cpu.disk.is_full = True
    with pytest.raises(OSError, match="No space"):
        process.files.create(FILE, 1)
    assert process.has_suffered
    assert not process.files.exists(FILE)


def test_others_act_while_a_process_stands_still() -> None:
    cpu, process = machine(1)
    other = cpu.spawn("other")
    process.light("pause", 1, lambda: other.files.make_directory(FOLDER / "made"))
    process.files.create(FILE, 1)
    assert process.files.names(FOLDER) == ["file", "made"]
    process.light("pause", 1, lambda: other.kill(process.pid))
    with pytest.raises(Gone):
        process.files.unlink(FILE)
    assert other.files.exists(FILE)


def test_a_power_cut_ends_everybody() -> None:
    cpu, process = machine(1)
    other = cpu.spawn("other")
    process.light("cut", 1, cpu.cut_power)
    boot = other.boot
    with pytest.raises(PowerCut):
        process.files.create(FILE, 1)
    with pytest.raises(PowerCut):
        other.files.read(FILE)
    assert cpu.spawn("new").boot != boot
