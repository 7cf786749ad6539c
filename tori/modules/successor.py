"""New code of a module beside the old: it lives through the same facts, and takes the journal over when it is as far.

    old process   handles ─────────────────────▶ hand over │
    new process   import, restore, replay ─▶ follow ─▶      └▶ last units, open the journal, self-check ─▶ handles
                  ╰──────── nobody waits ────────╯          ╰───────────── the pause ─────────────╯

Until the old process gives the journal up nothing is written, so whatever the new code raises costs nothing. What it raises after that
closes the journal again, and the old process, which still holds its state, goes on from where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tori.clock import Clock, SystemClock
from tori.errors import JournalRefused
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.frame import Frame
from tori.journal.reader import JournalReader
from tori.journal.recovery import Tail
from tori.journal.warning import Warnings
from tori.journal.writer import Ticket
from tori.modules.base import Module, SelfCheckFailed
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.migration import migrated
from tori.modules.open import archive_of, input_directories, journal_directory
from tori.modules.registry import create_module

NEAR_UNITS = 64
"""Replayed in milliseconds: a successor that is this near is as good as there."""
MOST_ROUNDS = 100
"""Passes over what came meanwhile. Replaying is faster than deciding and syncing, so a few are enough; a successor that never comes near
is told what is left within the pause."""


class Handover(msgspec.Struct, frozen=True):
    """What the old process leaves to its successor."""

    offset: int
    """Everything below is on disk, and nothing is above it."""
    sequence: int
    state_version: int
    is_paused: bool


class ForeignJournal:
    """The journal of another process, as far as it is on disk: a host can replay it and cannot write it."""

    def __init__(self, reader: JournalReader) -> None:
        self._reader = reader
        self.name = reader.name
        self.journal_id = reader.journal_id
        self.recovered = Tail(0, 0, 0, 0)
        self.warnings = Warnings(reader.name)

    @property
    def epoch(self) -> int:
        return self._reader.epoch

    @property
    def next_sequence(self) -> int:
        return self._reader.sequence()

    @property
    def written_offset(self) -> int:
        return self._reader.limit()

    def append(self, frames: Sequence[Frame]) -> Ticket:
        raise JournalRefused(f"journal {self.name} belongs to another process.")

    def commit(self, offset: int | None = None) -> None:
        """Do nothing: there is nothing of this process in it."""

    def check_owner(self) -> None:
        raise JournalRefused(f"journal {self.name} belongs to another process.")

    def close(self) -> None:
        """Do nothing: the reader is the host's."""


class Successor:
    """The new code of one module, before it may write. One caller at a time."""

    def __init__(
        self,
        home: Path,
        name: str,
        *,
        load_snapshot: Callable[[str], HostSnapshot | None],
        settings: Mapping[str, Any] | None = None,
        mirrored: Mapping[str, bytes] | None = None,
        create: Callable[[str, Mapping[str, Any] | None], Module] = create_module,
        clock: Clock | None = None,
        files: Files = SYSTEM_FILES,
    ) -> None:
        self.module = create(name, settings)
        directory = journal_directory(home, name)
        own = JournalReader(directory, files=files)
        inputs = [JournalReader(path, files=files) for path in input_directories(home, name, mirrored, files=files)]
        self._archive = archive_of(home, files)
        self._host = ModuleHost(
            self.module, ForeignJournal(own), own, inputs, clock or SystemClock(), self._archive.read
        )
        self._load = load_snapshot

    def rehearse(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Live through everything that the old code has written so far; return how many units that took.

        Raises what restoring, upgrading and applying raise, and SelfCheckFailed when the new code cannot save its state.
        """
        host = self._host
        snapshot = self._load(self.module.name)
        if snapshot is not None:
            snapshot = migrated(self.module, snapshot, first_offset=host.first_offset)
        host.recover(snapshot, progress)
        self.module.validate()
        state = self.module.snapshot()
        self.module.restore(state)
        if self.module.snapshot() != state:
            raise SelfCheckFailed(
                f"{self.module.name}: what a snapshot restores is not what was saved.",
                remedy="Make restore the inverse of snapshot.",
            )
        self.follow(progress)
        return host.counters.replayed_units

    def follow(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Come near to the end of the journal, which moves on."""
        for _ in range(MOST_ROUNDS):
            if self._host.catch_up(progress) <= NEAR_UNITS:
                return

    def place(self) -> HostSnapshot:
        """Return where its state stands, to open a host that writes from there (``is_loaded``)."""
        return self._host.replayed_place()

    def close(self) -> None:
        """Let every reader go; the state stays with the module."""
        self._host.close()
        self._archive.close()


def check_takeover(host: ModuleHost, handover: Handover, before: Callable[[], str | None]) -> None:
    """Raise SelfCheckFailed, with the journal closed again, unless ``host`` may take the module over.

    ``before`` returns what the old code says its section is.
    """
    try:
        _check_reached(host, handover)
        host.module.self_check(before(), handover.state_version)
    except BaseException:
        host.close()
        raise


def _check_reached(host: ModuleHost, handover: Handover) -> None:
    if host.journal.written_offset < handover.offset or host.journal.next_sequence < handover.sequence:
        raise SelfCheckFailed(
            f"{host.module.name}: its successor reached entry {host.journal.next_sequence} of {handover.sequence}.",
            remedy="Run tori doctor: somebody else has written its journal.",
        )
