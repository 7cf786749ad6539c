"""Who may write a journal: the lock, the fencing epoch, and the record of the process that holds them."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from tori.errors import JournalError, JournalFenced, JournalMissing
from tori.journal.control import Words, open_epoch
from tori.journal.segment import sync_directory

FORMAT = 1
TAKE_OVER_S = 10.0


class Ownership:
    """The right to write one journal, until released or taken over."""

    def __init__(self, directory: Path, journal_id: bytes, words: Words, epoch: int, lock_fd: int) -> None:
        self.directory = directory
        self.journal_id = journal_id
        self.words = words
        self.epoch = epoch
        self._lock_fd = lock_fd

    @classmethod
    def take(cls, directory: Path) -> Ownership:
        """Make the journal if it is new, fence off the last writer, and hold the lock.

        A living last writer (a stopped zombie, say) is killed, so that its process can no longer ack anybody.
        """
        directory.mkdir(parents=True, exist_ok=True)
        identity = _identity(directory)
        lock_fd = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            words = open_epoch(directory, create=True)
            _lock(directory, lock_fd, words)
            epoch = max(int(words.words[0]), _newest_epoch(directory)) + 1
            _record_epoch(directory, words, epoch)
        except BaseException:
            os.close(lock_fd)
            raise
        return cls(directory, identity, words, epoch, lock_fd)

    def announce(self) -> None:
        """Record this process as the writer, for the one that may have to take over."""
        record = {"pid": os.getpid(), "started": process_start(os.getpid()), "epoch": self.epoch}
        _write_json(self.directory / "owner.json", record)

    def release(self) -> None:
        self.words.close()
        os.close(self._lock_fd)


def create_journal(directory: Path, journal_id: bytes | None = None) -> bytes:
    """Make an empty journal that can be followed before anybody has written it; return its id. An existing one is left as it is.

    ``journal_id``: what a new one is called, because it mirrors a journal of another node.
    """
    directory.mkdir(parents=True, exist_ok=True)
    identity = _identity(directory, journal_id)
    open_epoch(directory, create=True).close()
    return identity


def read_identity(directory: Path) -> bytes:
    """Return the id of an existing journal; raises JournalMissing or JournalError."""
    path = directory / "journal.json"
    try:
        identity = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise JournalMissing(f"there is no journal at {directory}.", remedy="Check the home directory.") from error
    except ValueError as error:
        raise JournalError(f"{path} is not JSON: {error}.", remedy="Restore it from a copy.") from error
    if identity.get("format") != FORMAT:
        raise JournalError(
            f"{directory} has journal format {identity.get('format')}, this version reads {FORMAT}.",
            remedy="Use the version of tori-orchestrator that wrote it, or a newer one.",
        )
    return bytes.fromhex(identity["journal_id"])


def _identity(directory: Path, wanted: bytes | None = None) -> bytes:
    if (directory / "journal.json").exists():
        return read_identity(directory)
    if any(directory.glob("*.seg")):
        raise JournalMissing(
            f"{directory} holds segments and no journal.json.",
            remedy="Restore journal.json from a copy of the directory.",
        )
    journal_id = wanted or uuid.uuid4().bytes
    _write_json(directory / "journal.json", {"journal_id": journal_id.hex(), "format": FORMAT, "name": directory.name})
    sync_directory(directory.parent)
    return journal_id


def _write_json(path: Path, record: Mapping[str, object]) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w") as file:
        json.dump(record, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_directory(path.parent)


def _newest_epoch(directory: Path) -> int:
    return max((int(p.name.split("-")[1]) for p in directory.glob("control-*")), default=0)


def _record_epoch(directory: Path, words: Words, epoch: int) -> None:
    """Store the fencing word durably; the control file's name is its second copy."""
    words.words[0] = epoch
    fd = os.open(directory / "epoch", os.O_RDWR)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _lock(directory: Path, fd: int, words: Words) -> None:
    deadline = time.monotonic() + TAKE_OVER_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            _fence_living_owner(directory, words)
        if time.monotonic() > deadline:
            raise JournalFenced(
                f"journal {directory.name} is still held by another process after {TAKE_OVER_S:.0f} s.",
                remedy=f"Find it with `fuser {directory / 'lock'}` and stop it.",
            )
        time.sleep(0.01)


def _fence_living_owner(directory: Path, words: Words) -> None:
    try:
        owner = json.loads((directory / "owner.json").read_text())
    except (FileNotFoundError, ValueError):
        return
    pid = int(owner["pid"])
    if pid == os.getpid():
        raise JournalFenced(
            f"journal {directory.name} is already open in this process.",
            remedy="Close the first writer before opening a second.",
        )
    if process_start(pid) != owner["started"]:
        return
    words.words[0] = max(int(words.words[0]), int(owner["epoch"])) + 1
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def process_start(pid: int) -> int:
    """Return when a process started, in clock ticks since boot, or 0 when there is none: pid and this name it for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])
