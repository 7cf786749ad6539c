"""Whether a snapshot is of the past that its journal has: one of what a rewind in place put away is not.

A rewind in place goes on at the cut in a later epoch, as every take-over does at the end. So what an earlier epoch wrote ends where
the first later one began. A snapshot that has reached further in that earlier epoch, in its own journal or in one that it follows,
knows of entries that the journal does not hold. That they were put away, and not lost, is known from the note of the rewind, which
says where each journal was cut.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Set
from pathlib import Path
from typing import NamedTuple

import msgspec

from tori.checkpoint.codec import ModuleSnapshot
from tori.checkpoint.cut import Cut
from tori.checkpoint.disk import Disk
from tori.errors import BadInput, JournalError
from tori.journal.follower import Cursor
from tori.journal.ownership import read_identity
from tori.journal.reader import JournalReader
from tori.journal.recovery import begun_after

JOURNALS = "journals"
REWINDS = "rewinds"
PLACED_NOTE = "note.json"
"""In the folder of a rewind in place, once it is done: what the home stands at since."""


class _Place(msgspec.Struct, array_like=True):
    """What a HostSnapshot begins with; its state is passed over."""

    module: str
    state_version: int
    offset: int
    cursors: dict[str, Cursor]


class _Note(msgspec.Struct):
    cuts: dict[str, Cut]


class _Reached(NamedTuple):
    """How far a snapshot knows a journal of the home."""

    directory: Path
    epoch: int
    offset: int


def is_strange(home: Path, snapshot: ModuleSnapshot) -> bool:
    """Say whether a snapshot knows of entries in whose place a journal in the home has others.

    Of a journal that is not there, or is another one, nothing is said: whoever opens it looks.
    """
    return any(_begun_before(reached) is not None for reached in _reached(home, snapshot))


def is_put_away(home: Path, snapshot: ModuleSnapshot, cuts: Mapping[str, Set[int]]) -> bool:
    """Say whether it was a rewind in place that put others there. Else they were lost, and nobody may pass over that in silence.

    ``cuts``: by journal, where rewinds in place have cut it (``placed_cuts``); while there are none, nothing else is looked at.
    """
    begun = {reached.directory.name: _begun_before(reached) for reached in _reached(home, snapshot)} if cuts else {}
    return any(offset is not None and offset in cuts.get(journal, ()) for journal, offset in begun.items())


def placed_cuts(home: Path, disk: Disk) -> dict[str, set[int]]:
    """Return by journal where rewinds in place have cut it; a note that does not decode says nothing."""
    found: dict[str, set[int]] = {}
    for name in disk.names(home / REWINDS):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            note = msgspec.json.decode(disk.read(home / REWINDS / name / PLACED_NOTE), type=_Note)
            for journal, cut in note.cuts.items():
                found.setdefault(journal, set()).add(cut.offset)
    return found


def check_known(home: Path, checkpoint_id: str, snapshot: ModuleSnapshot) -> None:
    """Raise BadInput for a snapshot of a checkpoint that knows of entries which the journals in the home do not hold."""
    for reached in _reached(home, snapshot):
        if _begun_before(reached) is not None or reached.offset > _end_of(reached.directory):
            raise BadInput(
                f"{checkpoint_id} knows of entries of {reached.directory.name} that its journal does not hold: a rewind in place put "
                "them away, or they were lost.",
                remedy=f"What a rewind put away lies in {home / REWINDS}, each in a folder past: a home of its own for tori rewind.",
            )


def _reached(home: Path, snapshot: ModuleSnapshot) -> list[_Reached]:
    journals, own = home / JOURNALS, home / JOURNALS / snapshot.module
    try:
        place = msgspec.msgpack.decode(snapshot.data, type=_Place)
        if read_identity(own).hex() != snapshot.journal:
            return []
    except (msgspec.DecodeError, JournalError):
        return []
    followed = [_Reached(journals / name, cursor.epoch, cursor.reached) for name, cursor in place.cursors.items()]
    return [
        _Reached(own, snapshot.epoch, place.offset),
        *(one for one in followed if (one.directory / "journal.json").exists()),
    ]


def _begun_before(reached: _Reached) -> int | None:
    """Return where a later epoch went on before the place that was reached; None when none did."""
    try:
        begun = begun_after(reached.directory, read_identity(reached.directory), reached.epoch)
    except FileNotFoundError:  # retention has just taken a segment away: whoever opens the journal looks again
        return None
    return begun.offset if begun is not None and begun.offset < reached.offset else None


def _end_of(directory: Path) -> int:
    reader = JournalReader(directory)
    try:
        return reader.limit()
    finally:
        reader.close()
