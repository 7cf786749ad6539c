"""Small mapped files beside the segments: the fencing word, and one writer's position words.

``epoch`` holds one 8-byte word, the number of the newest epoch; only a take-over changes it. Each epoch has its own
``control-N``, written by that epoch's writer alone, so a zombie can store only into a file that nobody reads any more.
Every word is stored by one native 8-byte write; recovery trusts none of them. They live in memory: after a loss of power they say
anything that they ever said, so the word ``BOOT``, which is synced, tells readers in which run of the machine they hold. ``COPY``
goes with it: 1 = a mirror wrote the journal, so what its frames call durable was so at their source.
"""

from __future__ import annotations

from pathlib import Path

from tori.errors import JournalError
from tori.journal.files import SYSTEM_FILES, Files, write_all

WRITTEN_OFFSET, DURABLE_OFFSET, WRITTEN_SEQUENCE, DURABLE_SEQUENCE, URGENT_COUNT, GENERATION, BOOT, COPY = range(8)
URGENT_RING, URGENT_SLOTS = 8, 64
_CONTROL_WORDS = URGENT_RING + URGENT_SLOTS
WAITER_COUNT, FIRST_WAITER, MAX_WAITERS = 0, 2, 63
_WAITER_WORDS = FIRST_WAITER + 2 * MAX_WAITERS


class Words:
    """A file of ``count`` 8-byte words, mapped; raises ValueError when it has fewer (its maker is at it, or died there)."""

    def __init__(
        self, path: Path, count: int, *, create: bool = False, writable: bool = True, files: Files = SYSTEM_FILES
    ) -> None:
        if create:
            files.reserve(path, count * 8)
        self._mapping = files.map(path, writable=writable)
        if len(self._mapping.view) < count * 8:
            size = len(self._mapping.view)
            self._mapping.close()
            raise ValueError(f"{path} has {size} bytes, not {count * 8}")
        self._bytes = self._mapping.view[: count * 8]
        self.words = self._bytes.cast("Q")

    def close(self) -> None:
        self.words.release()
        self._bytes.release()
        self._mapping.close()


def open_epoch(directory: Path, *, create: bool = False, writable: bool = False, files: Files = SYSTEM_FILES) -> Words:
    """Map the fencing word of a journal; raises JournalError when the file is too short to hold it."""
    try:
        return Words(directory / "epoch", 1, create=create, writable=writable or create, files=files)
    except ValueError as error:
        raise JournalError(
            f"{directory / 'epoch'} is cut: {error}.", remedy="Start the system: the journal's writer makes it whole."
        ) from error


def control_path(directory: Path, epoch: int) -> Path:
    """Return the path of an epoch's control file."""
    return directory / f"control-{epoch}"


def newest_control(directory: Path, files: Files = SYSTEM_FILES) -> int:
    """Return the newest epoch that has a control file, or 0."""
    return max(control_epochs(directory, files), default=0)


def control_epochs(directory: Path, files: Files = SYSTEM_FILES) -> list[int]:
    """Return the epochs that have control files."""
    parts = (name.split("-") for name in files.names(directory) if name.startswith("control-"))
    return [int(number) for _, number in (p for p in parts if len(p) == 2) if number.isdigit()]


def open_control(directory: Path, epoch: int, *, create: bool = False, files: Files = SYSTEM_FILES) -> Words:
    """Map the position words of one epoch."""
    return Words(control_path(directory, epoch), _CONTROL_WORDS, create=create, writable=create, files=files)


def stamp_boot(directory: Path, epoch: int, control: Words, files: Files = SYSTEM_FILES) -> None:
    """Say durably that the position words of an epoch hold in this run of the machine; its file's name is durable then too."""
    store_durably(control_path(directory, epoch), control, BOOT, files.processes.boot, files)
    files.sync_directory(directory)


def store_durably(path: Path, table: Words, word: int, value: int, files: Files = SYSTEM_FILES) -> None:
    """Store a word and sync its file; when that fails the word is what it was, so that nobody takes it for durable.

    The word is stored once more by a write: a page that a failed sync called clean goes to the disk again, whatever was in it.
    """
    before = table.words[word]
    table.words[word] = value
    file = files.open(path)
    try:
        write_all(file, table.words[word : word + 1].tobytes(), word * 8)
        file.fsync()
    except OSError:
        table.words[word] = before
        raise
    finally:
        file.close()


def open_waiters(directory: Path) -> Words:
    """Map the table of sleeping followers; followers and the writer both store into it."""
    return Words(directory / "waiters", _WAITER_WORDS, create=True)
