"""Opens a module on a home directory: its journal, its inputs, its newest snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tori.clock import SystemClock
from tori.journal.archive import Archive
from tori.journal.ownership import create_journal, read_identity
from tori.journal.reader import JournalReader
from tori.journal.writer import JournalWriter
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.registry import FOLLOWS, create_module


def journal_directory(home: Path, name: str) -> Path:
    """Return where the journal of a module lies."""
    return home / "journals" / name


def input_directories(home: Path, name: str) -> list[Path]:
    """Return the journals a module follows, made if they are new."""
    directories = [journal_directory(home, journal) for journal in FOLLOWS[name]]
    for directory in directories:
        create_journal(directory)
    return directories


def check_journals(home: Path) -> None:
    """Raise JournalError when a journal of this home cannot be one of this version: said before anything is started."""
    for name in FOLLOWS:
        directory = journal_directory(home, name)
        if (directory / "journal.json").exists() or any(directory.glob("*.seg")):
            read_identity(directory)


def open_host(
    home: Path,
    name: str,
    *,
    segment_bytes: int,
    load_snapshot: Callable[[str], HostSnapshot | None],
    settings: Mapping[str, Any] | None = None,
) -> ModuleHost:
    """Return a recovered host of module ``name``; takes its journal over from a writer that is gone."""
    module = create_module(name, settings)
    inputs = [JournalReader(directory) for directory in input_directories(home, name)]
    journal = JournalWriter(journal_directory(home, name), segment_bytes=segment_bytes, fallback_s=None)
    archive = Archive(home / "journals")
    host = ModuleHost(module, journal, JournalReader(journal.directory), inputs, SystemClock(), archive.read)
    snapshot = load_snapshot(name)
    if snapshot is not None and snapshot.state_version != module.state_version:
        snapshot = None
    host.recover(snapshot)
    return host
