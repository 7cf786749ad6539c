"""Workloads of one journal, and what must be true of it after any crash.

A script is a word over small steps; running it leaves a trace whose marks say what the writer promised when. A unit is *attempted*, then
*accepted* or *refused*; a commit makes everything accepted *durable*; a take-over *keeps* what it finds.
"""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path

from tests.crash.model import Tree
from tests.crash.recorder import Dead, Mark, MemoryFiles, Recorder
from tests.support.failing_files import failing
from tests.support.journals import Numbers, number_of
from tori.errors import JournalError, JournalRefused, JournalUnsynced
from tori.journal.follower import Run
from tori.journal.frame import CURSOR, EVENTS, Frame
from tori.journal.reader import FrameView, JournalReader
from tori.journal.unit import Unit, cursor_frame, units
from tori.journal.writer import JournalWriter

DIRECTORY = Path("/home/journal")
SEGMENT_BYTES = 2048
STEPS = "asubmocfewdkt"
"""append, several appends, urgent, big unit, mixed unit, a unit of a cursor only, commit, commit with a failing sync, evict, a
write that fails in the middle, a disk that is full for a while, kill and take over, kill in the middle of what follows."""


class Workload:
    """A writer on recorded files, doing what a script says."""

    def __init__(self, recorder: Recorder, seed: int = 0) -> None:
        self.recorder = recorder
        self.numbers = Numbers()
        self.cursors = 0
        self.rng = random.Random(seed)
        self.writer: JournalWriter | None = None

    def open(self) -> None:
        """Take the journal over and mark what was there."""
        files = self.recorder.process()
        try:
            self.writer = open_journal(files)
        except (JournalRefused, JournalError):
            self.writer = None
            return
        self.recorder.mark("kept", tuple(read_back(files)))

    def run(self, script: str) -> None:
        for step in script:
            try:
                if self.writer is None:
                    self.open()
                self._step(step)
            except Dead:
                self.writer = None
                self.recorder.refusal, self.recorder.short = _never, None
                self.open()
        self.recorder.mark("end")

    def _step(self, step: str) -> None:
        steps: dict[str, Callable[[], None]] = {
            "a": lambda: self._append(self.numbers.frames(self.rng.randint(1, 4))),
            "s": self._append_several,
            "u": lambda: self._append(self.numbers.urgent()),
            "b": lambda: self._append(self.numbers.frames(self.rng.randint(15, 60))),
            "m": lambda: self._append([*self.numbers.frames(2), *self.numbers.urgent()]),
            "o": self._append_cursor,
            "c": self._commit,
            "f": lambda: self._failing("fdatasync", errno.EIO, self.rng.choice((1, 1, 1, 2, 9)), self._commit),
            "e": lambda: self.recorder.evict(self.rng),
            "w": self._append_and_fail,
            "d": self._append_to_a_full_disk,
            "k": self._kill,
            "t": self._die_soon,
        }
        steps[step]()

    def _append_several(self) -> None:
        for _ in range(self.rng.randint(2, 6)):
            self._append(self.numbers.frames(self.rng.randint(1, 4)))

    def _append_and_fail(self) -> None:
        self.recorder.short = self.rng.choice((None, 64, 200))
        calls = 0 if self.recorder.short is None else self.rng.randint(0, 3)
        self._failing("pwrite", errno.EIO, 1, lambda: self._append(self.numbers.frames(4)), after=calls)
        self.recorder.short = None

    def _append_to_a_full_disk(self) -> None:
        kind = self.rng.choice(("create", "sync_directory", "rename"))
        self._failing(kind, errno.ENOSPC, 99, lambda: self._append(self.numbers.frames(25)))

    def _kill(self) -> None:
        self.recorder.kill()
        self.writer = None
        self.open()

    def _die_soon(self) -> None:
        self.recorder.die_at = self.recorder.operations + self.rng.randint(1, 12)

    def _failing(self, kind: str, number: int, times: int, work: Callable[[], None], after: int = 0) -> None:
        self.recorder.refusal = failing(kind, number, times, after)
        work()
        self.recorder.refusal = _never

    def _append_cursor(self) -> None:
        """Write a unit without entries, as a module does that only consumed; its number counts below zero."""
        self.cursors += 1
        self._write([cursor_frame([Run("input", self.cursors, self.cursors + 1)])], (-self.cursors,))

    def _append(self, frames: list[Frame]) -> None:
        count = sum(f.count for f in frames)
        self._write(frames, tuple(range(self.numbers.next - count, self.numbers.next)))

    def _write(self, frames: list[Frame], unit: tuple[int, ...]) -> None:
        if self.writer is None:
            return
        self.recorder.mark("attempted", unit)
        try:
            self.writer.append(frames)
        except JournalRefused:
            self.recorder.mark("refused", unit)
        except JournalError:
            self.recorder.mark("refused", unit)
            self._lose_writer()
        else:
            self.recorder.mark("accepted", unit)

    def _commit(self) -> None:
        if self.writer is None:
            return
        try:
            self.writer.commit()
        except JournalUnsynced:
            return
        except JournalError:
            self._lose_writer()
        else:
            self.recorder.mark("durable")

    def _lose_writer(self) -> None:
        """A disk that is dead for good: the module restarts."""
        self.recorder.kill()
        self.recorder.refusal = _never
        self.writer = None


def _never(operation: str) -> int:
    return 0


def open_journal(files: MemoryFiles) -> JournalWriter:
    return JournalWriter(DIRECTORY, segment_bytes=SEGMENT_BYTES, fallback_s=None, files=files)


def read_back(files: MemoryFiles) -> list[int]:
    """Return the numbers that a fresh durable reader finds; raises AssertionError when sequences or units are not whole."""
    reader = JournalReader(DIRECTORY, files=files)
    try:
        found: list[int] = []
        expected = None
        for unit in units(reader, reader.first_offset(), reader.limit()):
            assert unit.frames[-1].header.is_last_of_unit
            for frame in unit.frames:
                assert expected is None or frame.header.first_sequence == expected, "a hole in the sequences"
                expected = frame.header.first_sequence + frame.header.count
                if frame.header.kind == EVENTS:
                    assert frame.header.count == len(frame.events)
                    found += [number_of(e) for e in frame.events]
                found += [-run.start for run in runs_of(frame)]
        assert reader.sequence() == (expected or 0)
        return found
    finally:
        reader.close()


def runs_of(frame: FrameView) -> list[Run]:
    return Unit([frame], frame.end).runs if frame.header.kind == CURSOR else []


class Promises:
    """What the marks of a trace promise at one point."""

    def __init__(self, marks: list[Mark]) -> None:
        self.units: list[tuple[int, ...]] = []
        """Attempted and not refused, in order."""
        self.accepted = 0
        """How many of them."""
        self.durable = 0
        for mark in marks:
            self._take(mark)

    def _take(self, mark: Mark) -> None:
        if mark.what == "attempted":
            self.units.append(mark.numbers)
        elif mark.what == "refused":
            self.units.remove(mark.numbers)
        elif mark.what == "accepted":
            self.accepted = len(self.units)
        elif mark.what == "durable":
            self.durable = self.accepted
        elif mark.what == "kept":
            kept = set(mark.numbers)
            self.units = [u for u in self.units if kept.issuperset(u)]
            self.accepted = self.durable = len(self.units)

    def check(self, found: list[int], *, machine_died: bool) -> None:
        """Raise AssertionError unless ``found`` is the promised units and perhaps some that follow, each whole, in order."""
        least = self.durable if machine_died else self.accepted
        rest = list(found)
        for index, unit in enumerate(self.units):
            if not rest:
                assert index >= least, f"unit {index} {unit} was promised and is lost"
                return
            assert tuple(rest[: len(unit)]) == unit, f"found {rest[:9]} where unit {index} {unit} belongs"
            del rest[: len(unit)]
        assert not rest, f"{rest[:9]} were never accepted"


def check_after(tree: Tree, promises: Promises, *, machine_died: bool) -> None:
    """Recover what a crash left, hold it against the promises, write and read in the next epoch, and recover once more."""
    recorder = Recorder(tree)
    files = recorder.process()
    writer = open_journal(files)
    found = read_back(files)
    promises.check(found, machine_died=machine_died)
    numbers = Numbers()
    numbers.next = 1_000_000
    writer.append(numbers.frames(3))
    writer.append(numbers.frames(20))
    writer.commit()
    writer.append(numbers.frames(1))
    recorder.kill()
    again = recorder.process()
    open_journal(again)
    assert read_back(again) == [*found, *range(1_000_000, 1_000_024)], "the next epoch did not keep what it was given"


def prepared() -> Tree:
    """Return a journal with two durable units, as a clean machine has it: short traces begin there."""
    recorder = Recorder()
    workload = Workload(recorder)
    workload.run("acac")
    return recorder.model.after_death()


def marks_until(recorder: Recorder, length: int) -> list[Mark]:
    return [entry for entry in recorder.trace[:length] if isinstance(entry, Mark)]
