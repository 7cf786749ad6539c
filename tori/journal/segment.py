"""Segment files: where a journal's bytes lie.

The bytes of a journal have one continuous *offset* over all segments and epochs. A segment's name says the offset of its first
byte, its epoch and, above 0, its generation:

    <base>-<epoch>.seg    <base>-<epoch>-<generation>.seg

It ends where the next one begins. A later (epoch, generation) that begins at P hides every earlier segment with base >= P,
and cuts the one that P lies in: whatever the old file holds beyond is ignored. So a take-over replaces a torn tail, and a
writer whose sync or write failed replaces what the disk may have lost, without ever touching the old file. Files are only
made, named and unlinked: never truncated, shrunk or used twice, so a mapped reader cannot be hurt.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tori.journal.files import SYSTEM_FILES, Files

SUFFIX = ".seg"


class SegmentName(NamedTuple):
    """Name of a segment."""

    base: int
    epoch: int
    generation: int = 0
    """Counts within an epoch how often the writer had to leave a file because the disk failed it."""

    @property
    def file_name(self) -> str:
        generation = f"-{self.generation:04x}" if self.generation else ""
        return f"{self.base:016x}-{self.epoch:08x}{generation}{SUFFIX}"

    def file(self, directory: Path) -> Path:
        return directory / self.file_name


def parse_name(file: str) -> SegmentName | None:
    """Return the name in the name of a file, or None when it is not a segment."""
    if not file.endswith(SUFFIX):
        return None
    try:
        numbers = [int(part, 16) for part in file[: -len(SUFFIX)].split("-")]
    except ValueError:
        return None
    return SegmentName(*numbers) if len(numbers) in (2, 3) else None


def list_segments(directory: Path, files: Files = SYSTEM_FILES, newest_epoch: int | None = None) -> list[SegmentName]:
    """Return the live segments in order of their bases: none that a later epoch or generation hides.

    ``newest_epoch``: as they were before any later epoch; None = as they are.
    """
    return split_segments(directory, files, newest_epoch)[0]


def split_segments(
    directory: Path, files: Files = SYSTEM_FILES, newest_epoch: int | None = None
) -> tuple[list[SegmentName], list[SegmentName]]:
    """Return the live segments in order, and those that later ones hide whole."""
    names = [n for n in map(parse_name, files.names(directory)) if n is not None]
    if newest_epoch is not None:
        names = [n for n in names if n.epoch <= newest_epoch]
    live: list[SegmentName] = []
    hidden: list[SegmentName] = []
    for name in sorted(names, key=lambda n: (n.epoch, n.generation, n.base)):
        while live and live[-1].base >= name.base:
            hidden.append(live.pop())
        live.append(name)
    return live, hidden


class MappedSegment:
    """A segment mapped read-only; one that somebody emptied has no bytes."""

    def __init__(self, directory: Path, name: SegmentName, files: Files = SYSTEM_FILES) -> None:
        self.name = name
        path = name.file(directory)
        self._mapping = files.map(path) if files.size(path) else None
        self.view = memoryview(b"") if self._mapping is None else self._mapping.view
        self.size = len(self.view)

    def find(self, needle: bytes, start: int, end: int) -> int:
        """Return where ``needle`` begins between two places of the file, or -1."""
        return -1 if self._mapping is None else self._mapping.find(needle, start, end)

    def close(self) -> None:
        if self._mapping is not None:
            self._mapping.close()
