"""The few file operations a checkpoint store needs, one system call each: the port at which tests inject faults."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol


class Disk(Protocol):
    """A file system. Every method raises OSError when it fails."""

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents; fine when it is there."""

    def write(self, path: Path, content: bytes) -> None:
        """Create or replace a file and sync its content. Its name is durable after ``sync_directory`` only."""

    def sync_directory(self, path: Path) -> None:
        """Bring a directory's entries to the disk."""

    def rename(self, old: Path, new: Path) -> None:
        """Move a file or directory in one step; fails when ``new`` is a directory that is not empty."""

    def read(self, path: Path) -> bytes:
        """Return a file's content."""

    def names(self, path: Path) -> list[str]:
        """Return the names in a directory, sorted; none when there is no such directory."""

    def exists(self, path: Path) -> bool:
        """Return whether a file or directory is there."""

    def remove(self, path: Path) -> None:
        """Remove a file, or a directory with all in it; fine when it is not there."""


class LocalDisk:
    """The disk of this machine."""

    def make_directory(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def write_pieces(self, path: Path, pieces: Iterable[bytes | memoryview]) -> None:
        """Do what ``write`` does, each piece synced before the next: a large file never fills the disk's queue, in which the
        small syncs of the journals would have to wait."""
        with path.open("wb", buffering=0) as file:
            for piece in pieces:
                view = memoryview(piece)
                while view:
                    view = view[file.write(view) :]
                os.fdatasync(file.fileno())
            os.fsync(file.fileno())

    def sync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def rename(self, old: Path, new: Path) -> None:
        old.rename(new)

    def read(self, path: Path) -> bytes:
        return path.read_bytes()

    def names(self, path: Path) -> list[str]:
        return sorted(os.listdir(path)) if path.is_dir() else []

    def exists(self, path: Path) -> bool:
        return path.exists()

    def remove(self, path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
