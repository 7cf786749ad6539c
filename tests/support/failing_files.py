"""The system's files with a switch: which calls fail, and how."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tori.journal.files import OpenFile, SystemFile, SystemFiles

Refusal = Callable[[str], int]
"""Given the name of an operation, returns the errno it fails with, or 0."""


class FailingFile(SystemFile):
    """A descriptor whose calls ask first."""

    __slots__ = ("_files",)

    def __init__(self, fd: int, files: FailingFiles) -> None:
        super().__init__(fd)
        self._files = files

    def pwrite(self, data: bytes | memoryview, at: int) -> int:
        fail(self._files.refusal, "pwrite")
        return super().pwrite(data[: self._files.short], at)

    def fdatasync(self) -> None:
        fail(self._files.refusal, "fdatasync")
        super().fdatasync()


class FailingFiles(SystemFiles):
    """Asks ``refusal`` before it creates, reserves, writes, renames or syncs."""

    def __init__(self) -> None:
        self.refusal: Refusal = lambda operation: 0
        self.short: int | None = None
        """How many bytes a write takes at most."""

    def create(self, path: Path, size: int) -> OpenFile:
        fail(self.refusal, "create")
        return self._wrapped(super().create(path, size))

    def reserve(self, path: Path, size: int) -> None:
        fail(self.refusal, "reserve")
        super().reserve(path, size)

    def open(self, path: Path) -> OpenFile:
        return self._wrapped(super().open(path))

    def rename(self, old: Path, new: Path) -> None:
        fail(self.refusal, "rename")
        super().rename(old, new)

    def sync_directory(self, path: Path) -> None:
        fail(self.refusal, "sync_directory")
        super().sync_directory(path)

    def _wrapped(self, file: OpenFile) -> OpenFile:
        assert isinstance(file, SystemFile)
        return FailingFile(file.fd, self)


def fail(refusal: Refusal, operation: str) -> None:
    """Raise what ``refusal`` says."""
    number = refusal(operation)
    if number:
        raise OSError(number, os.strerror(number))


def failing(kind: str, number: int, times: int, after: int = 0) -> Callable[[str], int]:
    """Return a refusal of one kind of operation: ``times`` in a row, once ``after`` have gone well."""
    left = [after, times]

    def refusal(operation: str) -> int:
        if operation != kind:
            return 0
        if left[0]:
            left[0] -= 1
            return 0
        left[1] -= 1
        return number if left[1] >= 0 else 0

    return refusal
