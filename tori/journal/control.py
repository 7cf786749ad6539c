"""Small mapped files beside the segments: the fencing word, and one writer's position words.

``epoch`` holds one 8-byte word, the number of the newest epoch; only a take-over changes it. Each epoch has its own
``control-N``, written by that epoch's writer alone, so a zombie can store only into a file that nobody reads any more.
Every word is stored by one native 8-byte write; recovery trusts none of them.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path

from tori.errors import JournalError

WRITTEN_OFFSET, DURABLE_OFFSET, WRITTEN_SEQUENCE, DURABLE_SEQUENCE, URGENT_COUNT = 0, 1, 2, 3, 4
URGENT_RING, URGENT_SLOTS = 8, 64
_CONTROL_WORDS = URGENT_RING + URGENT_SLOTS
WAITER_COUNT, FIRST_WAITER, MAX_WAITERS = 0, 2, 63
_WAITER_WORDS = FIRST_WAITER + 2 * MAX_WAITERS


class Words:
    """A file of 8-byte words, mapped."""

    def __init__(self, path: Path, count: int, *, create: bool = False, writable: bool = True) -> None:
        flags = os.O_RDWR if writable else os.O_RDONLY
        fd = os.open(path, flags | (os.O_CREAT if create else 0), 0o600)
        try:
            if create and os.fstat(fd).st_size < count * 8:
                os.posix_fallocate(fd, 0, count * 8)
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(fd, count * 8, access=access)
        finally:
            os.close(fd)
        self.words = memoryview(self._map).cast("Q")

    def close(self) -> None:
        self.words.release()
        self._map.close()


def open_epoch(directory: Path, *, create: bool = False, writable: bool = False) -> Words:
    """Map the fencing word of a journal; raises JournalError when the file is too short to hold it."""
    try:
        return Words(directory / "epoch", 1, create=create, writable=writable or create)
    except ValueError as error:
        raise JournalError(
            f"{directory / 'epoch'} is cut: {error}.", remedy="Start the system: the journal's writer makes it whole."
        ) from error


def control_path(directory: Path, epoch: int) -> Path:
    """Return the path of an epoch's control file."""
    return directory / f"control-{epoch}"


def open_control(directory: Path, epoch: int, *, create: bool = False) -> Words:
    """Map the position words of one epoch."""
    return Words(control_path(directory, epoch), _CONTROL_WORDS, create=create, writable=create)


def open_waiters(directory: Path) -> Words:
    """Map the table of sleeping followers; followers and the writer both store into it."""
    return Words(directory / "waiters", _WAITER_WORDS, create=True)
