"""Where a writer's segments come from: made under a spare name, the next one ahead, then named in one step.

A file gets the name of a segment when its content is on the disk already, so a crash sees the segment whole or not at
all. The one made ahead is the writer's reserve when the disk is full: it can go on for a segment more.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from tori.journal.files import Files, OpenFile, write_all
from tori.journal.segment import SegmentName

SPARE_SUFFIX = ".spare"
FIRST_BYTES = 64 * 1024
"""Size of an epoch's first segment; each one after it is twice as large, up to the limit: most journals stay small."""


class Segment(NamedTuple):
    """A segment that its writer has open."""

    file: OpenFile
    name: SegmentName
    size: int

    @property
    def end(self) -> int:
        """Return the offset that follows its last byte."""
        return self.name.base + self.size


class Spare(NamedTuple):
    """A file that no reader knows yet."""

    file: OpenFile
    path: Path
    size: int


class Reserve:
    """The spare files of one writer. Not thread-safe: the writer's lock protects it."""

    def __init__(self, directory: Path, files: Files, epoch: int, segment_bytes: int) -> None:
        self._directory = directory
        self._files = files
        self._epoch = epoch
        self._most = segment_bytes
        self._next_bytes = min(FIRST_BYTES, segment_bytes)
        self._ahead: Spare | None = None
        self._made = 0

    def prepare(self) -> None:
        """Make the next segment ahead; raises OSError when there is no room."""
        if self._ahead is None:
            self._ahead = self._make(self._next_bytes)

    def take(self, least: int) -> Spare:
        """Return a spare of at least ``least`` bytes; raises OSError, and then nothing has changed."""
        if self._ahead is not None and self._ahead.size >= least:
            spare, self._ahead = self._ahead, None
        else:
            spare = self._make(max(least, self._next_bytes))
        self._next_bytes = min(2 * self._next_bytes, self._most)
        return spare

    def _make(self, size: int) -> Spare:
        self._made += 1
        path = self._directory / f"{self._epoch:08x}-{self._made:08x}{SPARE_SUFFIX}"
        file = self._files.create(path, size)
        spare = Spare(file, path, size)
        try:
            file.fsync()
        except BaseException:
            self._drop(spare)
            raise
        return spare

    def place(self, spare: Spare, name: SegmentName, content: bytes = b"") -> Segment:
        """Write and sync ``content``, then give the spare its name, durably.

        Raises OSError; the name may be there all the same then, so what comes next must hide it.
        """
        try:
            if content:
                write_all(spare.file, content, 0)
                spare.file.fdatasync()
            self._files.rename(spare.path, name.file(self._directory))
            self._files.sync_directory(self._directory)
        except BaseException:
            self._drop(spare)
            raise
        return Segment(spare.file, name, spare.size)

    def _drop(self, spare: Spare) -> None:
        with contextlib.suppress(OSError):
            spare.file.close()
        with contextlib.suppress(OSError):  # named already, or the disk refuses this too: the next writer sweeps it
            self._files.unlink(spare.path)

    def close(self) -> None:
        """Give the spare back."""
        if self._ahead is not None:
            self._drop(self._ahead)
            self._ahead = None
