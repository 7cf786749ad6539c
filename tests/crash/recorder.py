"""Files in memory that write down what is done to them: the ports of the journal and of the checkpoint store.

A *trace* is the list of operations; ``model_at`` replays its beginning, so that a crash after any operation can be looked at. A
process can die before any operation; what its code still tries then has no effect.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.model import SECTOR, File, Folder, Model, Tree
from tori.journal.files import Processes

Parts = tuple[str, ...]
SYNCS = ("fdatasync", "fsync", "sync_directory")
"""Operations whose failure leaves a trace of its own."""


class Dead(BaseException):
    """The process is gone. Not an Exception: no handler of the product may take it for one."""


class Op(NamedTuple):
    """One operation; ``file`` numbers the files in order of their making."""

    kind: str
    path: Parts = ()
    to: Parts = ()
    file: int = -1
    at: int = 0
    data: bytes = b""


class Mark(NamedTuple):
    """Something the workload was told at this point of the trace."""

    what: str
    numbers: tuple[int, ...] = ()


class Recorder:
    """A disk in memory, and the trace of what was done to it since ``tree``."""

    def __init__(self, tree: Tree | None = None) -> None:
        self.tree = tree or {}
        self.trace: list[Op | Mark] = []
        self.operations = 0
        self.die_at: int | None = None
        self.refusal: Callable[[str], int] = lambda operation: 0
        self.short: int | None = None
        self.sabotage: frozenset[str] = frozenset()
        self.model = Model(self.tree)
        self.files = _numbered(self.model)
        self.processes = MemoryProcesses()
        self._mapped: list[tuple[int, bytes]] = []
        self._process = 0

    def process(self) -> MemoryFiles:
        """Return the files of a new process; whoever lived before is dead and its locks are gone."""
        self._process += 1
        self.die_at = None
        return MemoryFiles(self, self._process)

    def mark(self, what: str, numbers: tuple[int, ...] = ()) -> None:
        self._note_stores()
        self.trace.append(Mark(what, numbers))

    def kill(self) -> None:
        """End the process between two operations."""
        self._note_stores()
        self._process += 1

    def begin(self, kind: str, process: int) -> None:
        """Count an operation that is about to happen; raises Dead or what it fails with."""
        if process != self._process:
            raise Dead
        self._note_stores()
        self.operations += 1
        if self.die_at is not None and self.operations >= self.die_at:
            self.kill()
            raise Dead
        number = 0 if kind in SYNCS else self.refusal(kind)
        if number:
            raise OSError(number, os.strerror(number))

    def do(self, op: Op) -> None:
        self.trace.append(op)
        perform(self.model, self.files, op)

    def note_mapping(self, number: int) -> None:
        self.files[number].is_mapped = True
        self._mapped.append((number, bytes(self.files[number].live)))

    def _note_stores(self) -> None:
        """Find what was stored through mappings since the last operation; it is a write that nobody synced."""
        for index, (number, before) in enumerate(self._mapped):
            now = bytes(self.files[number].live)
            if now != before:
                self._mapped[index] = (number, now)
                for at in range(0, len(now), SECTOR):
                    if now[at : at + SECTOR] != before[at : at + SECTOR]:
                        self.do(Op("store", file=number, at=at, data=now[at : at + SECTOR]))

    def evict(self, rng: random.Random) -> None:
        """Let the cache forget pages whose sync failed: from now on programs see what the disk has."""
        for number, file in enumerate(self.files):
            for sector in file.doubtful if not file.is_mapped else ():
                choices = [bytes(file.disk[sector * SECTOR : (sector + 1) * SECTOR]), *file.versions[sector]]
                self.do(Op("evict", file=number, at=sector, data=rng.choice(choices)))

    def model_at(self, length: int) -> Model:
        """Return the disk after the first ``length`` entries of the trace."""
        model = Model(self.tree)
        files = _numbered(model)
        for entry in self.trace[:length]:
            if isinstance(entry, Op):
                perform(model, files, entry)
        return model


def _numbered(model: Model) -> list[File]:
    found: list[File] = []

    def walk(folder: Folder) -> None:
        for _, entry in sorted(folder.live.items()):
            if isinstance(entry, File):
                found.append(entry)
            else:
                walk(entry)

    walk(model.top)
    return found


def perform(model: Model, files: list[File], op: Op) -> None:
    """Carry one operation out."""
    match op.kind:
        case "create":
            files.append(File(bytes(op.at), sized=False))
            model.add(op.path, files[-1])
        case "make_directory":
            model.add(op.path, Folder())
        case "pwrite" | "store":
            if op.kind == "store":
                files[op.file].is_mapped = True
            files[op.file].write(op.at, op.data)
        case "sync":
            files[op.file].sync()
        case "fail_sync":
            files[op.file].fail_sync()
        case "settle":
            model.settle()
        case "evict":
            _forget(files[op.file], op.at, op.data)
        case "rename":
            model.rename(op.path, op.to)
        case "unlink":
            model.remove(op.path)
        case "sync_directory" | "fail_sync_directory":
            model.sync_folder(op.path, fails=op.kind.startswith("fail"))
        case _:
            raise AssertionError(op.kind)


def _forget(file: File, sector: int, content: bytes) -> None:
    del file.versions[sector]
    file.live[sector * SECTOR : (sector + 1) * SECTOR] = content
    file.disk[sector * SECTOR : (sector + 1) * SECTOR] = content


class MemoryFile:
    """A descriptor of one process."""

    def __init__(self, files: MemoryFiles, number: int, lock: Parts | None = None) -> None:
        self._files = files
        self._number = number
        self._lock = lock
        self._is_open = True

    def pwrite(self, data: bytes | memoryview, at: int) -> int:
        recorder = self._begin("pwrite")
        taken = bytes(data[: recorder.short])
        if at + len(taken) > len(recorder.files[self._number].live):
            raise AssertionError("a write beyond what is reserved")
        recorder.do(Op("pwrite", file=self._number, at=at, data=taken))
        return len(taken)

    def fdatasync(self) -> None:
        self._sync("fdatasync")

    def fsync(self) -> None:
        self._sync("fsync")

    def _sync(self, kind: str) -> None:
        recorder = self._begin(kind)
        if "ack_before_fsync" in recorder.sabotage and kind == "fdatasync":
            return
        number = recorder.refusal(kind)
        recorder.do(Op("fail_sync" if number else "sync", file=self._number))
        if number and "retry_same_pages" in recorder.sabotage:
            recorder.do(Op("sync", file=self._number))
        elif number:
            raise OSError(number, os.strerror(number))

    def _begin(self, kind: str) -> Recorder:
        if not self._is_open:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return self._files.begin(kind)

    def close(self) -> None:
        self._is_open = False
        if self._lock is not None:
            self._files.locks.discard(self._lock)


class MemoryMapping:
    """A mapped file."""

    def __init__(self, file: File, *, writable: bool) -> None:
        self._file = file
        view = memoryview(file.live)
        self.view = view if writable else view.toreadonly()

    def find(self, needle: bytes, start: int, end: int) -> int:
        return self._file.live.find(needle, start, end)

    def close(self) -> None:
        """The memory goes with the last view of it."""


class MemoryProcesses:
    """Whoever uses these files is the only process of its machine, and the same trace has the same ids every time."""

    pid = 1
    boot = 1

    def __init__(self) -> None:
        self._rng = random.Random("ids")

    def started(self, pid: int) -> int:
        return int(pid == self.pid)

    def kill(self, pid: int) -> None:
        raise AssertionError(f"process {pid} is to be killed, and there is none")

    def wait(self, seconds: float) -> None:
        """Nobody else runs while one waits here."""

    def random(self, count: int) -> bytes:
        return self._rng.randbytes(count)


class MemoryFiles:
    """What one process can do."""

    def __init__(self, recorder: Recorder, process: int) -> None:
        self.processes: Processes = recorder.processes
        self.recorder = recorder
        self.locks: set[Parts] = set()
        self._process = process

    def begin(self, kind: str) -> Recorder:
        self.recorder.begin(kind, self._process)
        return self.recorder

    def make_directory(self, path: Path) -> None:
        parts = path.parts[1:]
        for end in range(1, len(parts) + 1):
            if self.recorder.model.find(parts[:end]) is None:
                self.begin("make_directory").do(Op("make_directory", parts[:end]))

    def names(self, path: Path) -> list[str]:
        found = self.recorder.model.find(path.parts[1:])
        return sorted(found.live) if isinstance(found, Folder) else []

    def exists(self, path: Path) -> bool:
        return self.recorder.model.find(path.parts[1:]) is not None

    def size(self, path: Path) -> int:
        return len(self._file(path).live)

    def read(self, path: Path) -> bytes:
        return bytes(self._file(path).live)

    def create(self, path: Path, size: int) -> MemoryFile:
        recorder = self.begin("create")
        if self.exists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        recorder.do(Op("create", path.parts[1:], at=size))
        return MemoryFile(self, len(recorder.files) - 1)

    def reserve(self, path: Path, size: int) -> None:
        if not self.exists(path):
            self.create(path, size)
        elif self.size(path) < size:  # a crash left the name without its size
            self.unlink(path)
            self.create(path, size)

    def open(self, path: Path) -> MemoryFile:
        return MemoryFile(self, self.recorder.files.index(self._file(path)))

    def map(self, path: Path, *, writable: bool = False) -> MemoryMapping:
        file = self._file(path)
        if not file.live:
            raise ValueError("cannot mmap an empty file")
        if writable:
            self.recorder.note_mapping(self.recorder.files.index(file))
        return MemoryMapping(file, writable=writable)

    def rename(self, old: Path, new: Path) -> None:
        self._entry(old)
        self.begin("rename").do(Op("rename", old.parts[1:], new.parts[1:]))

    def unlink(self, path: Path) -> None:
        self._file(path)
        self.begin("unlink").do(Op("unlink", path.parts[1:]))

    def sync_directory(self, path: Path) -> None:
        recorder = self.begin("sync_directory")
        if "no_directory_sync" in recorder.sabotage:
            return
        number = recorder.refusal("sync_directory")
        recorder.do(Op("fail_sync_directory" if number else "sync_directory", path.parts[1:]))
        if number:
            raise OSError(number, os.strerror(number))

    def lock(self, path: Path) -> MemoryFile:
        parts = path.parts[1:]
        if not self.exists(path):
            self.create(path, 0)
        if parts in self.locks:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK), str(path))
        self.locks.add(parts)
        return MemoryFile(self, self.recorder.files.index(self._file(path)), parts)

    def _entry(self, path: Path) -> File | Folder:
        found = self.recorder.model.find(path.parts[1:])
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def _file(self, path: Path) -> File:
        found: Any = self._entry(path)
        if not isinstance(found, File):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return found

    # -- the checkpoint store's port -----------------------------------------------------------------------------

    def write(self, path: Path, content: bytes) -> None:
        """Create or replace a file and sync its content."""
        if self.exists(path):
            self.unlink(path)
        file = self.create(path, len(content))
        if content:
            file.pwrite(content, 0)
        file.fsync()

    def remove(self, path: Path) -> None:
        entry = self.recorder.model.find(path.parts[1:])
        if isinstance(entry, Folder):
            for name in sorted(entry.live):
                self.remove(path / name)
        if entry is not None:
            self.begin("unlink").do(Op("unlink", path.parts[1:]))
