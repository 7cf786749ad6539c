"""Segment files: where a journal's bytes lie.

The bytes of a journal have one continuous *offset* over all segments and epochs. A segment's name says its epoch and the
offset of its first byte; it ends where the next one begins. When a take-over cuts a tail, the new epoch's first
segment begins at the cut, and whatever the old file holds beyond is ignored. Files are only ever made and unlinked: never
truncated, shrunk or used twice, so a mapped reader cannot be hurt.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import NamedTuple

from tori.errors import JournalError

SUFFIX = ".seg"


class SegmentName(NamedTuple):
    """Name of a segment, in order of the journal: later base first decides, then later epoch."""

    base: int
    epoch: int

    def file(self, directory: Path) -> Path:
        return directory / f"{self.base:016x}-{self.epoch:08x}{SUFFIX}"


def parse_name(path: Path) -> SegmentName | None:
    """Return the name in ``path``, or None when it is not a segment."""
    if path.suffix != SUFFIX:
        return None
    base, _, epoch = path.stem.partition("-")
    try:
        return SegmentName(int(base, 16), int(epoch, 16))
    except ValueError:
        return None


def list_segments(directory: Path) -> list[SegmentName]:
    """Return the live segments in order: one a base offset (the newest epoch's), none that a later epoch cut away.

    A later epoch that begins at offset P hides every older-epoch segment with base >= P.
    """
    names = sorted(n for n in (parse_name(p) for p in directory.iterdir()) if n is not None)
    live: list[SegmentName] = []
    for name in sorted(names, key=lambda n: (n.epoch, n.base)):
        while live and live[-1].base >= name.base:
            live.pop()
        live.append(name)
    return live


def sync_directory(directory: Path) -> None:
    """Make the names in a directory durable."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def create_segment(path: Path, size: int) -> int:
    """Make a segment with ``size`` bytes reserved and durable in its directory; return its file descriptor."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        os.fsync(fd)
        sync_directory(path.parent)
    except OSError as error:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise JournalError(
            f"no room for a segment of {size} bytes at {path}: {error.strerror}.",
            remedy="Free disk space or set journal.segment_size_bytes lower.",
            errno=error.errno,
        ) from error
    return fd


class MappedSegment:
    """A segment mapped read-only."""

    def __init__(self, directory: Path, name: SegmentName) -> None:
        self.name = name
        fd = os.open(name.file(directory), os.O_RDONLY)
        try:
            self.size = os.fstat(fd).st_size
            # Nothing can be mapped of an empty file: a page of nobody's stands in, none of it in the view.
            self._map = mmap.mmap(fd if self.size else -1, self.size or 1, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        self.view = memoryview(self._map)[: self.size]

    def find(self, needle: bytes, start: int, end: int) -> int:
        """Return where ``needle`` begins between two places of the file, or -1."""
        return self._map.find(needle, start, end)

    def close(self) -> None:
        try:
            self.view.release()
            self._map.close()
        except BufferError:
            return  # a batch still looks at it; the map goes with the last view
