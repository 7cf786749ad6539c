"""Where one module lives, and whether its journal is there: all that the process of a module has to know of placement."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tori.errors import JournalMissing
from tori.journal.ownership import read_identity
from tori.journal.recovery import recover


class Berth(msgspec.Struct, frozen=True):
    """Where one module lives."""

    node: str
    journal_id: bytes
    sequence: int = 0
    """Its journal held at least this many entries."""


def check_journal(directory: Path, berth: Berth) -> None:
    """Raise JournalMissing unless the recorded journal lies in ``directory``, whole up to the recorded sequence."""
    remedy = f"Bring the journal back to {directory}; nothing is started in its place."
    try:
        found = read_identity(directory)
    except JournalMissing as error:
        raise JournalMissing(
            f"journal {directory.name} ({berth.journal_id.hex()}) is not on its node any more.",
            remedy=remedy,
            journal=directory.name,
        ) from error
    if found != berth.journal_id:
        raise JournalMissing(
            f"journal {directory.name} is {found.hex()}, and {berth.journal_id.hex()} was recorded.",
            remedy=remedy,
            journal=directory.name,
        )
    if berth.sequence:
        sequence = recover(directory, found).sequence
        if sequence < berth.sequence:
            raise JournalMissing(
                f"journal {directory.name} ends at entry {sequence}, and {berth.sequence} were recorded as durable.",
                remedy=remedy,
                journal=directory.name,
            )
