"""A power cut that a process can survive to tell: keeps beside a folder what the disk would hold of it.

Only what was synced is kept: the bytes of a file as of its last fsync or fdatasync, and the names of a directory as of its last
fsync. No write and no name of a file gets there by itself. Directories above a synced one are there, as on every file system with
a log.
"""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from pathlib import Path
from typing import Any


class PowerShadow:
    """What would be left of ``root`` after a power cut now. Install it before the product binds ``os.fdatasync``."""

    def __init__(self, root: Path, shadow: Path) -> None:
        self._root = root.resolve()
        self._contents = shadow / "contents"
        self._tree = shadow / "tree"
        self._contents.mkdir(parents=True)
        self._tree.mkdir()
        self._written: dict[int, list[tuple[int, int]]] = {}
        self._births: dict[int, int] = {}
        self._count = itertools.count(1)
        self.syncs = 0

    def install(self) -> None:
        """Watch this process's writes and syncs from now on."""
        real_pwrite, real_fsync, real_fdatasync, real_open = os.pwrite, os.fsync, os.fdatasync, os.open

        def open_file(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            is_new = bool(flags & os.O_CREAT) and not os.path.lexists(path)
            fd = real_open(path, flags, *arguments, **named)
            if is_new:  # the number of a file that was removed may come again
                self._births[os.fstat(fd).st_ino] = next(self._count)
            return fd

        def pwrite(fd: int, data: bytes, offset: int) -> int:
            done = real_pwrite(fd, data, offset)
            self._written.setdefault(os.fstat(fd).st_ino, []).append((offset, done))
            return done

        def fsync(fd: int) -> None:
            real_fsync(fd)
            self._keep(fd)

        def fdatasync(fd: int) -> None:
            real_fdatasync(fd)
            self._keep(fd)

        os.pwrite, os.fsync, os.fdatasync, os.open = pwrite, fsync, fdatasync, open_file  # type: ignore[assignment]  # same calls, watched

    def _keep(self, fd: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{fd}"))
        if not path.is_relative_to(self._root):
            return
        self.syncs += 1
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            self._keep_names(path)
        else:
            self._keep_bytes(fd)

    def _keep_bytes(self, fd: int) -> None:
        status = os.fstat(fd)
        kept = self._content(status.st_ino)
        is_new = not kept.exists()
        written = self._written.pop(status.st_ino, [])
        with open(f"/proc/self/fd/{fd}", "rb") as source, open(kept, "r+b" if not is_new else "w+b") as target:
            if is_new or not written:
                shutil.copyfileobj(source, target)
                target.truncate()
            for offset, size in written:
                source.seek(offset)
                target.seek(offset)
                target.write(source.read(size))

    def _content(self, inode: int) -> Path:
        return self._contents / f"{inode}-{self._births.get(inode, 0)}"

    def _keep_names(self, directory: Path) -> None:
        kept = self._tree / directory.relative_to(self._root)
        kept.mkdir(parents=True, exist_ok=True)
        here = {entry.name: entry for entry in os.scandir(directory)}
        for entry in list(os.scandir(kept)):
            if entry.name not in here and not entry.is_dir():
                os.unlink(entry.path)
        for name, entry in here.items():
            if entry.is_dir():
                (kept / name).mkdir(exist_ok=True)
                continue
            content = self._content(entry.inode())
            content.touch()
            if not (kept / name).exists() or os.stat(kept / name).st_ino != os.stat(content).st_ino:
                (kept / name).unlink(missing_ok=True)
                os.link(content, kept / name)


def cut_power(root: Path, shadow: Path) -> None:
    """Replace ``root`` by what the disk holds of it; its processes must be gone."""
    shutil.rmtree(root)
    shutil.copytree(shadow / "tree", root)
    shutil.rmtree(shadow)
