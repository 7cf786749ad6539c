"""A file system in memory that forgets what was not synced, and fails where it is told to."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

Entries = dict[str, "Folder | File"]


class PowerCut(Exception):
    """The machine lost power in the middle of an operation."""


class File:
    def __init__(self, content: bytes) -> None:
        self.content = content


class Folder:
    """Entries as programs see them, and as the disk has them."""

    def __init__(self) -> None:
        self.live: Entries = {}
        self.synced: Entries = {}


class VolatileDisk:
    """``fail(step, operation)`` is asked before every operation that writes; what it returns is raised.

    A write that is cut off leaves the first ``torn`` share of its bytes.
    """

    def __init__(self, torn: float = 0.5) -> None:
        self.top = Folder()
        self.steps = 0
        self.torn = torn
        self.fail: Callable[[int, str], BaseException | None] = lambda step, operation: None

    # -- the port ------------------------------------------------------------------------------------------------

    def make_directory(self, path: Path) -> None:
        self._step("make_directory")
        folder = self.top
        for name in path.parts[1:]:
            found = folder.live.setdefault(name, Folder())
            if isinstance(found, File):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            folder = found

    def write(self, path: Path, content: bytes) -> None:
        folder = self._folder(path.parent)
        try:
            self._step("write")
        except BaseException:
            folder.live[path.name] = File(content[: int(len(content) * self.torn)])
            raise
        folder.live[path.name] = File(content)

    def sync_directory(self, path: Path) -> None:
        folder = self._folder(path)
        self._step("sync_directory")
        folder.synced = dict(folder.live)

    def rename(self, old: Path, new: Path) -> None:
        source, target = self._folder(old.parent), self._folder(new.parent)
        if old.name not in source.live:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(old))
        there = target.live.get(new.name)
        if isinstance(there, Folder) and there.live:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(new))
        self._step("rename")
        target.live[new.name] = source.live.pop(old.name)

    def read(self, path: Path) -> bytes:
        return self._file(path).content

    def names(self, path: Path) -> list[str]:
        return sorted(self._folder(path).live) if self.exists(path) else []

    def exists(self, path: Path) -> bool:
        try:
            return path.name in self._folder(path.parent).live
        except OSError:
            return False

    def remove(self, path: Path) -> None:
        self._step("remove")
        if self.exists(path):
            del self._folder(path.parent).live[path.name]

    # -- for tests -----------------------------------------------------------------------------------------------

    def crash(self, keep: Callable[[], bool]) -> None:
        """Lose power: of each directory ``keep()`` says whether its last entries reached the disk, or only the synced ones."""
        self.fail = lambda step, operation: None
        self._crash(self.top, keep)

    def _crash(self, folder: Folder, keep: Callable[[], bool]) -> None:
        folder.live = dict(folder.live if keep() else folder.synced)
        folder.synced = dict(folder.live)
        for entry in folder.live.values():
            if isinstance(entry, Folder):
                self._crash(entry, keep)

    def flip(self, path: Path, offset: int, mask: int) -> None:
        """Change one byte of a file."""
        file = self._file(path)
        changed = bytearray(file.content)
        changed[offset] ^= mask
        file.content = bytes(changed)

    def replace(self, path: Path, content: bytes) -> None:
        self._file(path).content = content

    def _step(self, operation: str) -> None:
        self.steps += 1
        error = self.fail(self.steps, operation)
        if error is not None:
            raise error

    def _folder(self, path: Path) -> Folder:
        folder = self.top
        for name in path.parts[1:]:
            found = folder.live.get(name)
            if not isinstance(found, Folder):
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
            folder = found
        return folder

    def _file(self, path: Path) -> File:
        found = self._folder(path.parent).live.get(path.name)
        if not isinstance(found, File):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found
