"""Who may write a journal: the lock, the fencing epoch, and the record of the process that holds them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

from tori.errors import JournalError, JournalFenced, JournalMissing, JournalRefused
from tori.journal.control import Words, newest_control, open_epoch
from tori.journal.files import SYSTEM_FILES, Files, OpenFile, lacks_room, replace
from tori.journal.segment import parse_name

FORMAT = 1
ID_BYTES = 16
LARGEST_EPOCH = 2**32 - 2
TAKE_OVER_S = 10.0
_ATTEMPT_S = 0.01
HOME_DEPTH = 3
"""Levels from the directory that holds a home down to a journal: home, journals, journal."""


class Ownership:
    """The right to write one journal, until released or taken over."""

    def __init__(
        self, directory: Path, journal_id: bytes, words: Words, epoch: int, lock: OpenFile, files: Files
    ) -> None:
        self.directory = directory
        self.journal_id = journal_id
        self.words = words
        self.epoch = epoch
        self._lock = lock
        self._files = files

    @classmethod
    def take(cls, directory: Path, *, files: Files = SYSTEM_FILES) -> Ownership:
        """Make the journal if it is new, fence off the last writer, and hold the lock.

        A living last writer (a stopped zombie, say) is killed, so that its process can no longer ack anybody.
        """
        _make_directory(directory, files)
        identity = _identity(directory, files)
        words = open_epoch(directory, create=True, files=files)
        try:
            lock = _lock(directory, words, files)
        except BaseException:
            words.close()
            raise
        try:
            epoch = _next_epoch(directory, words, files)
            _record_epoch(directory, words, epoch, files)
        except BaseException:
            words.close()
            lock.close()
            raise
        return cls(directory, identity, words, epoch, lock, files)

    def announce(self) -> None:
        """Record this process as the writer, for the one that may have to take over."""
        processes = self._files.processes
        record = {"pid": processes.pid, "started": processes.started(processes.pid), "epoch": self.epoch}
        _write_json(self._files, self.directory / "owner.json", record)

    def release(self) -> None:
        self.words.close()
        self._lock.close()


def create_journal(directory: Path, journal_id: bytes | None = None, *, files: Files = SYSTEM_FILES) -> bytes:
    """Make an empty journal that can be followed before anybody has written it; return its id. An existing one is left as it is.

    ``journal_id``: what a new one is called, because it mirrors a journal of another node.
    """
    _make_directory(directory, files)
    identity = _identity(directory, files, journal_id)
    open_epoch(directory, create=True, files=files).close()
    return identity


def journals_in(folder: Path) -> list[Path]:
    """Return the directories of the journals in a folder, in order of their names; none where there is no folder."""
    return sorted(path.parent for path in folder.glob("*/journal.json"))


def read_identity(directory: Path, *, files: Files = SYSTEM_FILES) -> bytes:
    """Return the id of an existing journal; raises JournalMissing or JournalError."""
    path = directory / "journal.json"
    try:
        identity = json.loads(files.read(path))
        stated = identity.get("format")
    except FileNotFoundError as error:
        raise JournalMissing(f"there is no journal at {directory}.", remedy="Check the home directory.") from error
    except OSError as error:
        raise JournalError(f"{path} cannot be read: {error.strerror}.", remedy="Restore it from a copy.") from error
    except (ValueError, AttributeError) as error:
        raise JournalError(f"{path} is not JSON of a journal: {error}.", remedy="Restore it from a copy.") from error
    if stated != FORMAT:
        raise JournalError(
            f"{directory} has journal format {stated}, this version reads {FORMAT}.",
            remedy="Use the version of tori-orchestrator that wrote it, or a newer one.",
        )
    try:
        journal_id = bytes.fromhex(identity["journal_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(f"{path} names no journal id.", remedy="Restore it from a copy.") from error
    if len(journal_id) != ID_BYTES:
        raise JournalError(f"{path} names a journal id of {len(journal_id)} bytes.", remedy="Restore it from a copy.")
    return journal_id


def _identity(directory: Path, files: Files, wanted: bytes | None = None) -> bytes:
    """Return the id of a journal; the first of those who ask at the same time gives it one.

    The writer and its followers may all be the first: two of them must not each write an id, the second over the first's frames.
    """
    for _ in range(round(TAKE_OVER_S / _ATTEMPT_S)):
        if files.exists(directory / "journal.json"):
            return read_identity(directory, files=files)
        try:
            birth = files.lock(directory / "birth")
        except BlockingIOError:
            files.processes.wait(_ATTEMPT_S)
            continue
        try:
            if not files.exists(directory / "journal.json"):
                _write_identity(directory, files, wanted)
        finally:
            birth.close()
    raise JournalRefused(
        f"journal {directory.name} is being made by another process, for {TAKE_OVER_S:.0f} s now.",
        remedy=f"Find it with `fuser {directory / 'birth'}`, or try again.",
        journal=directory.name,
    )


def _write_identity(directory: Path, files: Files, wanted: bytes | None = None) -> None:
    if any(parse_name(name) for name in files.names(directory)):
        raise JournalMissing(
            f"{directory} holds segments and no journal.json.",
            remedy="Restore journal.json from a copy of the directory.",
        )
    journal_id = uuid.UUID(bytes=wanted) if wanted else uuid.UUID(bytes=files.processes.random(16), version=4)
    record = {"journal_id": journal_id.hex, "format": FORMAT, "name": directory.name}
    _write_json(files, directory / "journal.json", record)


def _make_directory(directory: Path, files: Files) -> None:
    """Make the directory of a journal, durable in its parent like every directory above it that a home is made of.

    Also when they are there: whoever made them may have died before they were durable.
    """
    above = [directory, *list(directory.parents)[:-1]]
    fresh = [path for path in above if not files.exists(path)]
    try:
        files.make_directory(directory)
    except OSError as error:
        if lacks_room(error):
            raise
        raise JournalError(
            f"there can be no journal at {directory}: {error.strerror}.",
            remedy="Remove what is in its place, or allow writing there.",
            errno=error.errno,
        ) from error
    for path in above[: max(len(fresh), HOME_DEPTH)]:
        try:
            files.sync_directory(path.parent)
        except PermissionError:
            if path in fresh:
                raise


def _write_json(files: Files, path: Path, record: Mapping[str, object]) -> None:
    replace(files, path, json.dumps(record).encode())


def _newest_epoch(directory: Path, files: Files) -> int:
    """Return the newest epoch that any file of the journal speaks of."""
    segments = (s.epoch for s in map(parse_name, files.names(directory)) if s is not None)
    return max((newest_control(directory, files), *segments))


def _next_epoch(directory: Path, words: Words, files: Files) -> int:
    epoch = max(int(words.words[0]), _newest_epoch(directory, files)) + 1
    if epoch > LARGEST_EPOCH:
        raise JournalError(
            f"{directory / 'epoch'} names epoch {epoch - 1}, which nobody has written.",
            remedy="Remove that file: the names of the control files hold the number too.",
        )
    return epoch


def _record_epoch(directory: Path, words: Words, epoch: int, files: Files) -> None:
    """Store the fencing word durably; the control file's name is its second copy."""
    words.words[0] = epoch
    file = files.open(directory / "epoch")
    try:
        file.fsync()
    finally:
        file.close()


def _lock(directory: Path, words: Words, files: Files) -> OpenFile:
    for _ in range(round(TAKE_OVER_S / _ATTEMPT_S)):
        try:
            return files.lock(directory / "lock")
        except BlockingIOError:
            _fence_living_owner(directory, words, files)
        files.processes.wait(_ATTEMPT_S)
    raise JournalFenced(
        f"journal {directory.name} is still held by another process after {TAKE_OVER_S:.0f} s.",
        remedy=f"Find it with `fuser {directory / 'lock'}` and stop it.",
    )


def _fence_living_owner(directory: Path, words: Words, files: Files) -> None:
    try:
        owner = json.loads(files.read(directory / "owner.json"))
        pid, started, epoch = int(owner["pid"]), int(owner["started"]), int(owner["epoch"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return  # nobody can say who holds the lock: wait for it
    processes = files.processes
    if pid == processes.pid:
        raise JournalFenced(
            f"journal {directory.name} is already open in this process.",
            remedy="Close the first writer before opening a second.",
        )
    if processes.started(pid) != started:
        return
    words.words[0] = max(int(words.words[0]), epoch) + 1
    processes.kill(pid)
