"""The file port: every file operation a journal is made of.

``SystemFiles`` is the disk of this machine. Tests and simulations give another one, which forgets what was not synced,
tears writes, and fails where it is told to. Every method raises OSError when it fails.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import signal
import time
from functools import cached_property
from pathlib import Path
from typing import Protocol

from tori.errors import ToriError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""What passes when somebody frees space."""


def lacks_room(error: Exception) -> bool:
    """Say whether something failed, here or further down, because its disk is full."""
    number = error.fields.get("errno") if isinstance(error, ToriError) else getattr(error, "errno", None)
    return number in NO_ROOM


class OpenFile(Protocol):
    """One long-lived descriptor."""

    def pwrite(self, data: bytes | memoryview, at: int) -> int:
        """Write at an offset; return how many bytes were taken, which may be fewer."""

    def fdatasync(self) -> None:
        """Bring the content to the disk. A failure loses the pages: what was not synced must be written elsewhere."""

    def fsync(self) -> None:
        """Bring content and metadata to the disk."""

    def close(self) -> None:
        """Give the descriptor up, and the lock with it if it is one."""


class Mapping(Protocol):
    """A mapped file; ``view`` is its bytes (format "B")."""

    view: memoryview

    def find(self, needle: bytes, start: int, end: int) -> int:
        """Return where ``needle`` begins between two places of the file, or -1."""

    def close(self) -> None:
        """Unmap; while somebody still looks at the view, the map goes with the last look."""


class Processes(Protocol):
    """The processes that share these files: who one is, who lives, and how to end one that does not answer."""

    @property
    def pid(self) -> int:
        """Number of the process that asks."""

    @property
    def boot(self) -> int:
        """Number of the machine's present run, below 2**64, not 0: what was in memory only is gone when it changes."""

    def started(self, pid: int) -> int:
        """Return when a process started, in any unit, or 0 when there is none: pid and this name it for good."""

    def kill(self, pid: int) -> None:
        """End a process at once; fine when it is gone."""

    def wait(self, seconds: float) -> None:
        """Let others run."""

    def random(self, count: int) -> bytes:
        """Return bytes that nobody else has had."""


class Files(Protocol):
    """A file system, as far as a journal needs one."""

    processes: Processes

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents; fine when it is there."""

    def names(self, path: Path) -> list[str]:
        """Return the entries of a directory, sorted; none when there is no such directory."""

    def exists(self, path: Path) -> bool:
        """Return whether a file or directory is there."""

    def size(self, path: Path) -> int:
        """Return a file's size in bytes."""

    def read(self, path: Path) -> bytes:
        """Return a file's content."""

    def create(self, path: Path, size: int) -> OpenFile:
        """Make a new file with ``size`` zero bytes reserved, open to read and write; a failure leaves no file."""

    def reserve(self, path: Path, size: int) -> None:
        """Make the file if it is not there, and give it ``size`` bytes if it has fewer; fine when two do it at once."""

    def open(self, path: Path) -> OpenFile:
        """Open an existing file to read and write."""

    def map(self, path: Path, *, writable: bool = False) -> Mapping:
        """Map a whole file."""

    def rename(self, old: Path, new: Path) -> None:
        """Move a file in one step, over another if one is there."""

    def unlink(self, path: Path) -> None:
        """Remove a file's name; who has it open or mapped keeps it."""

    def sync_directory(self, path: Path) -> None:
        """Bring a directory's entries to the disk."""

    def lock(self, path: Path) -> OpenFile:
        """Make the file if it is new and hold its exclusive lock until closed; BlockingIOError when somebody else does."""


class SystemFile:
    """A descriptor of the operating system."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def pwrite(self, data: bytes | memoryview, at: int) -> int:
        return os.pwrite(self.fd, data, at)

    def fdatasync(self) -> None:
        os.fdatasync(self.fd)

    def fsync(self) -> None:
        os.fsync(self.fd)

    def close(self) -> None:
        os.close(self.fd)


class SystemMapping:
    """A file mapped by the operating system."""

    def __init__(self, path: Path, *, writable: bool) -> None:
        fd = os.open(path, os.O_RDWR if writable else os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            # Nothing can be mapped of an empty file: a page of nobody's stands in, none of it in the view.
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(fd if size else -1, size or 1, access=access)
        finally:
            os.close(fd)
        self.view = memoryview(self._map)[:size]

    def find(self, needle: bytes, start: int, end: int) -> int:
        return self._map.find(needle, start, end)

    def close(self) -> None:
        try:
            self.view.release()
            self._map.close()
        except BufferError:
            return  # a batch still looks at it; the map goes with the last view


class SystemProcesses:
    """The processes of this machine."""

    @property
    def pid(self) -> int:
        return os.getpid()

    @cached_property
    def boot(self) -> int:
        try:
            text = Path("/proc/sys/kernel/random/boot_id").read_text()
        except OSError:
            return 1
        return int(text.replace("-", "")[:16], 16) or 1

    def started(self, pid: int) -> int:
        """Return when a process started, in clock ticks since boot, or 0 when there is none."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return 0
        return int(stat.rpartition(")")[2].split()[19])

    def kill(self, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def random(self, count: int) -> bytes:
        return os.urandom(count)


class SystemFiles:
    """The disk of this machine."""

    processes: Processes = SystemProcesses()

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def names(self, path: Path) -> list[str]:
        try:
            return sorted(os.listdir(path))
        except FileNotFoundError:
            return []

    def exists(self, path: Path) -> bool:
        return path.exists()

    def size(self, path: Path) -> int:
        return path.stat().st_size

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def create(self, path: Path, size: int) -> OpenFile:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
        except BaseException:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return SystemFile(fd)

    def reserve(self, path: Path, size: int) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(fd).st_size < size:
                os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)

    def open(self, path: Path) -> OpenFile:
        return SystemFile(os.open(path, os.O_RDWR))

    def map(self, path: Path, *, writable: bool = False) -> Mapping:
        return SystemMapping(path, writable=writable)

    def rename(self, old: Path, new: Path) -> None:
        os.replace(old, new)

    def unlink(self, path: Path) -> None:
        os.unlink(path)

    def sync_directory(self, path: Path) -> None:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, path: Path) -> OpenFile:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException:
            os.close(fd)
            raise
        return SystemFile(fd)


SYSTEM_FILES = SystemFiles()


def write_all(file: OpenFile, data: bytes | memoryview, at: int) -> None:
    """Write all of ``data`` at an offset, however many calls it takes."""
    view = memoryview(data)
    while view:
        done = file.pwrite(view, at)
        view = view[done:]
        at += done


def replace(files: Files, path: Path, content: bytes) -> None:
    """Give ``path`` a new content in one step that a power loss leaves done or undone; durable when it returns."""
    temporary = path.with_suffix(f".{files.processes.pid}.tmp")
    if files.exists(temporary):
        files.unlink(temporary)  # of a process that died and whose pid came round again
    file = files.create(temporary, len(content))
    try:
        write_all(file, content, 0)
        file.fsync()
    finally:
        file.close()
    files.rename(temporary, path)
    files.sync_directory(path.parent)
