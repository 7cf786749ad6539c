"""Opens a module on a home directory: its journal, its inputs, its newest snapshot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tori.clock import SystemClock
from tori.errors import BadInput, JournalMissing, Unavailable
from tori.events.envelope import Event
from tori.journal.archive import Archive
from tori.journal.mirror import create_mirror
from tori.journal.ownership import create_journal, read_identity
from tori.journal.reader import JournalReader
from tori.journal.writer import JournalWriter
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.registry import FOLLOWS, create_module

LATE_S = 20.0
LATE_POLL_S = 0.005


def journal_directory(home: Path, name: str) -> Path:
    """Return where the journal of a module lies."""
    return home / "journals" / name


def mirrors_of(home: Path) -> Path:
    """Return where the mirrors of other nodes' journals lie."""
    return home / "mirrors"


def archive_of(home: Path) -> Archive:
    """Return everything that can be read on this node: its own journals, and the mirrors of others'."""
    return Archive(home / "journals", mirrors_of(home))


def input_directories(home: Path, name: str, mirrored: Mapping[str, bytes] | None = None) -> list[Path]:
    """Return the journals a module follows.

    ``mirrored``: those of other nodes, with their ids: what is followed of them is their mirror on this node. Given at all, it says
    that every journal was made before, so one that is not there is missing; else new ones are made.
    """
    directories = []
    for journal in FOLLOWS[name]:
        if mirrored is not None and journal in mirrored:
            directories.append(mirrors_of(home) / journal)
            create_mirror(directories[-1], mirrored[journal])
            continue
        directories.append(journal_directory(home, journal))
        if mirrored is None:
            create_journal(directories[-1])
        else:
            read_identity(directories[-1])
    return directories


class LateReader:
    """Reads events by id where some of their journals are mirrors: what an event refers to may arrive a moment after it.

    Raises Unavailable when it has not come in ``patience_s``: its node is gone; the module tries again then.
    """

    def __init__(self, read: Callable[[bytes], Event], patience_s: float = LATE_S) -> None:
        self._read = read
        self._patience_s = patience_s

    def __call__(self, event_id: bytes) -> Event:
        deadline = time.monotonic() + self._patience_s
        while True:
            try:
                return self._read(event_id)
            except (BadInput, JournalMissing) as error:
                if time.monotonic() >= deadline:
                    raise Unavailable(
                        f"event {event_id.hex()} has not arrived on this node in {self._patience_s:g} s.",
                        remedy="Its node is away, or the stream from it: see tori status.",
                    ) from error
            time.sleep(LATE_POLL_S)


def open_host(
    home: Path,
    name: str,
    *,
    segment_bytes: int,
    load_snapshot: Callable[[str], HostSnapshot | None],
    settings: Mapping[str, Any] | None = None,
    mirrored: Mapping[str, bytes] | None = None,
) -> ModuleHost:
    """Return a recovered host of module ``name``; takes its journal over from a writer that is gone."""
    module = create_module(name, settings)
    inputs = [JournalReader(directory) for directory in input_directories(home, name, mirrored)]
    journal = JournalWriter(journal_directory(home, name), segment_bytes=segment_bytes, fallback_s=None)
    archive = archive_of(home)
    read = LateReader(archive.read) if mirrored else archive.read
    host = ModuleHost(module, journal, JournalReader(journal.directory), inputs, SystemClock(), read)
    snapshot = load_snapshot(name)
    if snapshot is not None and snapshot.state_version != module.state_version:
        snapshot = None
    host.recover(snapshot)
    return host
