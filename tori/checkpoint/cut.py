"""A moment of a whole mind: where each journal stood, so that no module has taken what its producers had not written yet.

First each journal is cut by time: behind its last commit unit whose events are not later (a unit without events belongs to the moment
of those before it). Then, until nothing changes, a journal is cut before its first unit that consumed something beyond
another journal's cut: clocks of modules may disagree by a little, causes must not. What is left could have been the whole
mind, stopped at that moment; whatever a module had not taken by then, it takes when it goes on.
"""

from __future__ import annotations

import bisect
import os
from array import array
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tori.checkpoint.disk import LocalDisk
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.follower import Readable
from tori.journal.frame import CURSOR, EVENTS
from tori.journal.segment import list_segments
from tori.journal.unit import Unit, units

LATEST_NS = (1 << 63) - 1


class Cut(msgspec.Struct, frozen=True):
    """Where one journal is cut: at the end of a commit unit."""

    offset: int
    sequence: int
    """Number of the first entry beyond."""
    time_ns: int = 0
    """Time of the last event before it; 0 when there is none."""


class _Line:
    """The units of one journal up to a moment, as far as cutting needs to know them."""

    def __init__(self, reader: Readable, time_ns: int, limit: int | None = None) -> None:
        begin = reader.first_offset()
        end = reader.limit() if limit is None else limit
        self._ends, self._sequences, self._times = array("q", [begin]), array("q", [0]), array("q", [0])
        self._reach: dict[str, tuple[array[int], array[int]]] = {}
        """By journal it follows: (offsets reached, rising; index of the first unit that reached so far)."""
        for unit in units(reader, begin, end):
            last_ns = max((f.header.last_time_ns for f in unit.frames if f.header.kind == EVENTS), default=0)
            if last_ns > time_ns:
                break
            self._take(unit, last_ns)
        self.count = len(self._ends) - 1

    def _take(self, unit: Unit, last_ns: int) -> None:
        header = unit.frames[-1].header
        self._ends.append(unit.end)
        self._sequences.append(header.first_sequence + header.count)
        self._times.append(max(last_ns, self._times[-1]))
        if unit.frames[-1].header.kind != CURSOR:
            return
        for run in unit.runs:
            offsets, indexes = self._reach.setdefault(run.journal, (array("q"), array("q")))
            if not offsets or run.end > offsets[-1]:
                offsets.append(run.end)
                indexes.append(len(self._ends) - 1)

    def shorten(self, cuts: Mapping[str, int]) -> bool:
        """Leave out what consumed entries beyond the cuts of others; return whether that was anything."""
        before = self.count
        for journal, (offsets, indexes) in self._reach.items():
            if journal in cuts:
                at = bisect.bisect_right(offsets, cuts[journal])
                if at < len(indexes):
                    self.count = min(self.count, indexes[at] - 1)
        return self.count != before

    @property
    def cut(self) -> Cut:
        return Cut(self._ends[self.count], self._sequences[self.count], self._times[self.count])


def cut_at(readers: Mapping[str, Readable], time_ns: int, limits: Mapping[str, int] | None = None) -> dict[str, Cut]:
    """Return the cut of every journal at a moment. ``limits``: ends of units beyond which a journal is not looked at.

    Reads each journal once, in order; a journal whose first segments are gone is looked at from where it begins.
    """
    lines = {name: _Line(reader, time_ns, (limits or {}).get(name)) for name, reader in readers.items()}
    changed = True
    while changed:
        cuts = {name: line.cut.offset for name, line in lines.items()}
        changed = any(line.shorten(cuts) for line in lines.values())
    return {name: line.cut for name, line in lines.items()}


def copy_journal(source: Path, target: Path, cut: Cut, files: Files = SYSTEM_FILES) -> int:
    """Make a journal at ``target`` that holds ``source`` up to the cut; return how many bytes were copied for it.

    Segments that lie wholly before the cut are linked, not copied: nobody ever writes into one again that a later one follows,
    and whoever opens the copy writes into files of its own. The fencing epoch is kept, so that the next one is new.
    """
    target.mkdir(parents=True)
    for beside in ("journal.json", "epoch"):
        _copy(source / beside, target / beside, files.size(source / beside))
    names = [n for n in list_segments(source, files) if n.base < cut.offset]
    copied = 0
    for index, name in enumerate(names):
        is_last = index + 1 == len(names)
        path, other = name.file(source), name.file(target)
        if not is_last and _link(path, other):
            continue
        end = cut.offset if is_last else names[index + 1].base
        copied += _copy(path, other, end - name.base)
    sync_directory(target)
    return copied


def _link(path: Path, other: Path) -> bool:
    """Give a file a second name; False where the file system cannot."""
    try:
        other.hardlink_to(path)
    except OSError:
        return False
    return True


def _copy(path: Path, other: Path, size: int) -> int:
    """Copy the first ``size`` bytes of a file, durably; return how many there were."""
    with path.open("rb") as source, other.open("wb") as target:
        left = size
        while left and (piece := source.read(min(left, 1 << 20))):
            target.write(piece)
            left -= len(piece)
        target.flush()
        os.fsync(target.fileno())
    return size - left


def sync_directory(path: Path) -> None:
    """Bring a directory's entries to the disk."""
    LocalDisk().sync_directory(path)
