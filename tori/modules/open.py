"""Opens a module on a home directory: its journal, its inputs, its newest snapshot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tori.clock import Clock, SystemClock
from tori.journal.archive import Archive
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.ownership import create_journal
from tori.journal.reader import JournalReader
from tori.journal.writer import JournalWriter
from tori.modules.base import Module
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.registry import FOLLOWS, create_module


def journal_directory(home: Path, name: str) -> Path:
    """Return where the journal of a module lies."""
    return home / "journals" / name


def input_directories(home: Path, name: str, *, files: Files = SYSTEM_FILES) -> list[Path]:
    """Return the journals a module follows, made if they are new."""
    directories = [journal_directory(home, journal) for journal in FOLLOWS[name]]
    for directory in directories:
        create_journal(directory, files=files)
    return directories


def open_host(
    home: Path,
    name: str,
    *,
    segment_bytes: int,
    load_snapshot: Callable[[str], HostSnapshot | None],
    settings: Mapping[str, Any] | None = None,
    create: Callable[[str, Mapping[str, Any] | None], Module] = create_module,
    clock: Clock | None = None,
    files: Files = SYSTEM_FILES,
    incarnation: bytes | None = None,
) -> ModuleHost:
    """Return a recovered host of module ``name``; takes its journal over from a writer that is gone.

    The last four parameters are what a simulation puts in place of the machine.
    """
    module = create(name, settings)
    inputs = [JournalReader(directory, files=files) for directory in input_directories(home, name, files=files)]
    journal = JournalWriter(journal_directory(home, name), segment_bytes=segment_bytes, fallback_s=None, files=files)
    archive = Archive(home / "journals", files=files)
    own = JournalReader(journal.directory, files=files)
    host = ModuleHost(module, journal, own, inputs, clock or SystemClock(), archive.read, incarnation=incarnation)
    snapshot = load_snapshot(name)
    if snapshot is not None and snapshot.state_version != module.state_version:
        snapshot = None
    host.recover(snapshot)
    return host
