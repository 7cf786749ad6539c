"""Folds a snapshot beside a system that lives in this process, as the task does beside an actor."""

from __future__ import annotations

from pathlib import Path

from tori.checkpoint.fold import fold
from tori.journal.follower import Readable
from tori.journal.memory import MemoryJournal
from tori.journal.reader import JournalReader
from tori.local import LocalSystem
from tori.modules.host import HostSnapshot
from tori.modules.registry import FOLLOWS


def folded(mind: LocalSystem, name: str, position: HostSnapshot, previous: HostSnapshot | None) -> HostSnapshot:
    """Return what ``fold`` makes of a module of ``mind``; its journals are opened anew where they lie on a disk."""
    mind.hosts[name].journal.commit()

    def reader(journal: str) -> Readable:
        found = mind.hosts[journal].journal
        return found if isinstance(found, MemoryJournal) else JournalReader(Path(str(mind.home)) / "journals" / journal)

    inputs = [reader(j) for j in FOLLOWS.get(name, ()) if j in mind.hosts]
    return fold(type(mind.hosts[name].module)(), position, previous, reader(name), inputs)
