"""Segment files: where a journal's bytes lie.

The bytes of a journal have one continuous *offset* over all segments and epochs. A segment's name says its epoch and the
offset of its first byte; it ends where the next one begins. When a take-over cuts a tail, the new epoch's first
segment begins at the cut, and whatever the old file holds beyond is ignored. Files are only ever made and unlinked: never
truncated, shrunk or used twice, so a mapped reader cannot be hurt.
"""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import NamedTuple

from tori.errors import JournalError
from tori.journal.files import SYSTEM_FILES, Files, OpenFile

SUFFIX = ".seg"


class SegmentName(NamedTuple):
    """Name of a segment, in order of the journal: later base first decides, then later epoch."""

    base: int
    epoch: int

    def file(self, directory: Path) -> Path:
        return directory / f"{self.base:016x}-{self.epoch:08x}{SUFFIX}"


def parse_name(file: str) -> SegmentName | None:
    """Return the name in the name of a file, or None when it is not a segment."""
    path = PurePath(file)
    if path.suffix != SUFFIX:
        return None
    base, _, epoch = path.stem.partition("-")
    try:
        return SegmentName(int(base, 16), int(epoch, 16))
    except ValueError:
        return None


def list_segments(directory: Path, files: Files = SYSTEM_FILES) -> list[SegmentName]:
    """Return the live segments in order: one a base offset (the newest epoch's), none that a later epoch cut away.

    A later epoch that begins at offset P hides every older-epoch segment with base >= P.
    """
    names = [n for n in map(parse_name, files.names(directory)) if n is not None]
    live: list[SegmentName] = []
    for name in sorted(names, key=lambda n: (n.epoch, n.base)):
        while live and live[-1].base >= name.base:
            live.pop()
        live.append(name)
    return live


def create_segment(path: Path, size: int, files: Files = SYSTEM_FILES) -> OpenFile:
    """Make a segment with ``size`` bytes reserved and durable in its directory."""
    file: OpenFile | None = None
    try:
        file = files.create(path, size)
        file.fsync()
        files.sync_directory(path.parent)
    except OSError as error:
        if file is not None:
            file.close()
            files.unlink(path)
        raise JournalError(
            f"no room for a segment of {size} bytes at {path}: {error.strerror}.",
            remedy="Free disk space or set journal.segment_size_bytes lower.",
            errno=error.errno,
        ) from error
    return file


class MappedSegment:
    """A segment mapped read-only."""

    def __init__(self, directory: Path, name: SegmentName, files: Files = SYSTEM_FILES) -> None:
        self.name = name
        self._mapping = files.map(name.file(directory))
        self.view = self._mapping.view
        self.size = len(self.view)

    def find(self, needle: bytes, start: int, end: int) -> int:
        """Return where ``needle`` begins between two places of the file, or -1."""
        return self._mapping.find(needle, start, end)

    def close(self) -> None:
        self._mapping.close()
