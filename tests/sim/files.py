"""The files of one simulated process, and the moments at which something happens to it.

Every operation is counted. A *fuse* burns for some operations, then the process dies, the machine loses power, a sync fails,
the disk refuses, or the process stands still while others go on. A process that is dead can do nothing more: what a real
``kill -9`` would not run (a ``finally``, a clean-up) has no effect here either.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from tests.sim.disk import Disk, File

Fault = Literal["crash", "cut", "fail", "refuse", "short", "pause"]
_WRITES = ("create", "pwrite", "write", "reserve", "make_directory")
_SYNCS = ("fdatasync", "fsync", "write", "sync_directory")


class Gone(BaseException):
    """The process is dead; nothing it does has an effect. Not an Exception: no handler of the product may take it for one."""


class PowerCut(Gone):
    """The machine lost power."""


class Fuse(NamedTuple):
    """``fault`` happens at the first operation from number ``at`` on that can suffer it."""

    at: int
    fault: Fault
    action: Callable[[], None] = lambda: None
    """What others do while the process stands still; what the machine does when it loses power."""


class Cpu:
    """The processes of one node: who lives, under which number."""

    def __init__(self, disk: Disk, rng: random.Random) -> None:
        self.disk = disk
        self.rng = rng
        self.living: dict[int, Process] = {}
        self.boot = 1
        self._next_pid = 100

    def spawn(self, name: str) -> Process:
        self._next_pid += 1
        process = self.living[self._next_pid] = Process(self, name, self._next_pid)
        return process

    def cut_power(self) -> None:
        for process in list(self.living.values()):
            process.die(PowerCut("the power is gone"))
        self.boot += 1
        self.disk.is_full = False
        self.disk.cut_power()


class Process:
    """One process; also the ``Processes`` port of the product, as this one sees the others."""

    def __init__(self, cpu: Cpu, name: str, pid: int) -> None:
        self.name = name
        self.pid = pid
        self.operations = 0
        self.fuse: Fuse | None = None
        self.death: Gone | None = None
        self.has_suffered = False
        """An operation of it was made to fail: errors of this process have a cause."""
        self.cpu = cpu
        self.files = SimFiles(cpu.disk, self)

    @property
    def is_alive(self) -> bool:
        return self.death is None

    def die(self, death: Gone | None = None) -> None:
        """End at once, locks and all."""
        if self.death is None:
            self.death = death or Gone(f"{self.name} was killed")
            self.cpu.living.pop(self.pid, None)
            self.files.give_up_locks()

    def light(self, fault: Fault, operations: int, action: Callable[[], None] = lambda: None) -> None:
        """Set a fuse that burns for ``operations`` operations; an older one goes out."""
        self.fuse = Fuse(self.operations + operations, fault, action)

    def begin(self, operation: str) -> float | None:
        """Count an operation. Returns None, or the share of it that still happens before the process is gone.

        Raises what ends or fails the operation.
        """
        if self.death is not None:
            raise self.death
        self.operations += 1
        if self.fuse is None or self.operations < self.fuse.at:
            return None
        return self._burn(operation, self.fuse)

    def _burn(self, operation: str, fuse: Fuse) -> float | None:
        fault = fuse.fault
        if (fault == "fail" and operation not in _SYNCS) or (fault == "refuse" and operation not in _WRITES):
            return None
        if fault == "short" and operation != "pwrite":
            return None
        self.fuse = None
        if fault == "pause":
            fuse.action()
            if self.death is not None:
                raise self.death
            return None
        if fault in ("crash", "cut") and operation not in _WRITES:
            self.end(fuse)
        if fault in ("refuse", "fail"):
            self.has_suffered = True
            number = errno.ENOSPC if fault == "refuse" else errno.EIO
            raise OSError(number, os.strerror(number))
        self._burnt = fuse
        return self.cpu.rng.random()

    def finish(self) -> None:
        """After the share that ``begin`` named was done: the end of the process, or nothing when only the write was short."""
        if self._burnt.fault != "short":
            self.end(self._burnt)

    def end(self, fuse: Fuse) -> None:
        if fuse.fault == "cut":
            fuse.action()
        self.die()
        if self.death is None:
            raise AssertionError("a process outlived its end")
        raise self.death

    # -- the port of the product -----------------------------------------------------------------------------------

    @property
    def boot(self) -> int:
        return self.cpu.boot

    def started(self, pid: int) -> int:
        """Return when a process started: here its number says it; 0 when there is none."""
        return pid if pid in self.cpu.living else 0

    def kill(self, pid: int) -> None:
        if pid in self.cpu.living:
            self.cpu.living[pid].die()

    def wait(self, seconds: float) -> None:
        """Nobody else runs while one waits here: waiting longer would not help."""

    def random(self, count: int) -> bytes:
        return self.cpu.rng.randbytes(count)


class SimOpenFile:
    """A descriptor."""

    def __init__(self, process: Process, file: File) -> None:
        self._process = process
        self._file = file
        self._is_open = True

    def pwrite(self, data: bytes | memoryview, at: int) -> int:
        share = self._begin("pwrite")
        if share is None:
            self._file.pwrite(data, at)
            return len(data)
        done = max(1, int(len(data) * share))
        self._file.pwrite(data[:done], at)
        self._process.finish()
        return done

    def fdatasync(self) -> None:
        self._sync("fdatasync")

    def fsync(self) -> None:
        self._sync("fsync")

    def _sync(self, operation: str) -> None:
        try:
            self._begin(operation)
        except OSError:
            self._file.fail_sync(self._process.files.disk.rng)
            raise
        self._file.sync()

    def _begin(self, operation: str) -> float | None:
        if not self._is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._process.begin(operation)

    def close(self) -> None:
        self._is_open = False
        if self._file.lock_owner is self:
            self._file.lock_owner = None


class SimMapping:
    """A mapped file."""

    def __init__(self, file: File, *, writable: bool) -> None:
        self._live = file.live
        whole = memoryview(file.live)
        self.view = whole if writable else whole.toreadonly()

    def find(self, needle: bytes, start: int, end: int) -> int:
        return self._live.find(needle, start, end)

    def close(self) -> None:
        """The memory goes with the last view of it."""


class SimFiles:
    """Every file operation of one process: the ports of the journal and of the checkpoint store."""

    def __init__(self, disk: Disk, processes: Process) -> None:
        self.disk = disk
        self.processes = processes
        self._locked: list[SimOpenFile] = []

    def make_directory(self, path: Path) -> None:
        if self.disk.find(path) is None or self.processes.death is not None:
            share = self._begin_write("make_directory")
            self.disk.make_directory(path)
            if share is not None:
                self.processes.finish()

    def names(self, path: Path) -> list[str]:
        try:
            return sorted(self.disk.folder(path).live)
        except OSError:
            return []

    def exists(self, path: Path) -> bool:
        return self.disk.find(path) is not None

    def size(self, path: Path) -> int:
        return len(self.disk.file(path).live)

    def read(self, path: Path) -> bytes:
        self.processes.begin("read")
        return bytes(self.disk.file(path).live)

    def create(self, path: Path, size: int) -> SimOpenFile:
        share = self._begin_write("create")
        if share is None:
            return SimOpenFile(self.processes, self.disk.create(path, size))
        self.disk.create(path, size if share < 0.5 else 0)
        self.processes.finish()
        raise AssertionError("a creation cannot be short")

    def reserve(self, path: Path, size: int) -> None:
        file = self.disk.find(path)
        if isinstance(file, File) and len(file.live) >= size:
            return
        share = self._begin_write("reserve")
        file = self.disk.find(path)  # others may have acted meanwhile
        if not isinstance(file, File):
            file = self.disk.create(path, 0)
        if share is None:
            file.grow(size)
        else:
            self.processes.finish()

    def open(self, path: Path) -> SimOpenFile:
        self.processes.begin("open")
        return SimOpenFile(self.processes, self.disk.file(path))

    def map(self, path: Path, *, writable: bool = False) -> SimMapping:
        file = self.disk.file(path)
        if not file.live:
            raise ValueError("cannot mmap an empty file")
        if writable:
            file.note_mapping()
        return SimMapping(file, writable=writable)

    def rename(self, old: Path, new: Path) -> None:
        self.processes.begin("rename")
        self.disk.rename(old, new)

    def unlink(self, path: Path) -> None:
        self.processes.begin("unlink")
        self.disk.file(path)
        self.disk.remove(path)

    def remove(self, path: Path) -> None:
        self.processes.begin("remove")
        if self.disk.find(path) is not None:
            self.disk.remove(path)

    def sync_directory(self, path: Path) -> None:
        self.processes.begin("sync_directory")
        self.disk.sync_directory(path)

    def write(self, path: Path, content: bytes) -> None:
        """Create or replace a file and sync its content: four operations of a real disk, one here, cut anywhere."""
        share = self._begin_write("write")
        file = self.disk.find(path)
        if not isinstance(file, File):
            file = self.disk.create(path, 0)
        file.set_content(content if share is None else content[: int(len(content) * share)])
        if share is None:
            file.sync()
        else:
            self.processes.finish()

    def _begin_write(self, operation: str) -> float | None:
        share = self.processes.begin(operation)
        if share is None and self.disk.is_full:
            self.processes.has_suffered = True
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return share

    # -- locks -----------------------------------------------------------------------------------------------------

    def lock(self, path: Path) -> SimOpenFile:
        self.processes.begin("lock")
        file = self.disk.find(path)
        if not isinstance(file, File):
            file = self.disk.create(path, 0)
        if file.lock_owner is not None:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path))
        held = SimOpenFile(self.processes, file)
        file.lock_owner = held
        self._locked.append(held)
        return held

    def give_up_locks(self) -> None:
        """The kernel takes the locks of a process that is gone, or, in a bad world, of one that is not."""
        for held in self._locked:
            held.close()
        self._locked = []
