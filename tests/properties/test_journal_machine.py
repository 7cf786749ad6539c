"""The journal against a list: append, commit, fail, crash, tear, take over, follow, in every order Hypothesis can think of."""

from __future__ import annotations

import errno
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.failing_files import FailingFiles, failing
from tests.support.journals import Numbers, abandon, number_of, numbers_in, open_writer
from tori.errors import JournalError, JournalRefused, JournalUnsynced
from tori.journal.follower import Cursor, Follower, Run
from tori.journal.frame import EVENTS
from tori.journal.reader import JournalReader
from tori.journal.segment import list_segments
from tori.journal.writer import JournalWriter


class JournalMachine(RuleBasedStateMachine):
    """``promised`` are the numbers of committed units, ``written`` those of units after them."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="tori-journal-"))
        self.directory = self.root / "journal"
        self.numbers = Numbers()
        self.promised: list[int] = []
        self.written: list[list[int]] = []
        self.seen: list[int] = []
        self.runs: list[Run] = []
        self.refused = 0

    @initialize()
    def begin(self) -> None:
        self.files = FailingFiles()
        self.writer: JournalWriter = open_writer(self.directory, files=self.files)
        self.durable_bytes = self.writer.durable_offset
        self.follower = Follower(JournalReader(self.directory))

    @rule(count=st.integers(1, 9))
    def append(self, count: int) -> None:
        first = self.numbers.next
        self.writer.append(self.numbers.frames(count))
        self.written.append(list(range(first, first + count)))

    @rule()
    def append_urgent(self) -> None:
        first = self.numbers.next
        self.writer.append(self.numbers.urgent())
        self.written.append([first])

    @rule(count=st.integers(1, 4))
    def append_mixed_unit(self, count: int) -> None:
        first = self.numbers.next
        self.writer.append([*self.numbers.frames(count), *self.numbers.urgent()])
        self.written.append(list(range(first, first + count + 1)))

    @rule()
    def commit(self) -> None:
        self.writer.commit()
        self._promise()

    def _promise(self) -> None:
        self.promised += [n for unit in self.written for n in unit]
        self.written = []
        self.durable_bytes = self.writer.durable_offset

    # -- a disk that fails -------------------------------------------------------------------------------------------

    @rule(times=st.integers(1, 3))
    def commit_with_failing_syncs(self, times: int) -> None:
        """Up to three syncs in a row fail: everything written is written again, and promised."""
        waiting = self.writer.durable_offset < self.writer.written_offset
        self.writer.warnings.take()
        self.files.refusal = failing("fdatasync", errno.EIO, times)
        self.writer.commit()
        self.files.refusal = _never
        self._promise()
        warned = [w.kind for w in self.writer.warnings.take() if w.kind == "sync_failed"]
        assert bool(warned) == waiting

    @precondition(lambda self: self.written)
    @rule()
    def commit_on_a_disk_without_room_to_write_again(self) -> None:
        """Nothing is promised, nothing is lost, and the next commit brings all of it to the disk."""
        self.files.refusal = lambda operation: {"fdatasync": errno.EIO, "create": errno.ENOSPC}.get(operation, 0)
        durable = self.writer.durable_offset
        spare = self.writer._reserve._ahead
        try:
            self.writer.commit()
        except JournalUnsynced:
            assert self.writer.durable_offset == durable
            self._try_append_while_suspect()
        except JournalError:
            assert spare is not None, "the disk is full, so only the segment made ahead could be tried"
            self._restart_on_a_sound_disk()
            return
        self.files.refusal = _never
        self.writer.commit()
        self._promise()

    def _try_append_while_suspect(self) -> None:
        try:
            self.writer.append(self.numbers.frames(1))
        except JournalRefused:
            return
        raise AssertionError("a unit was accepted into a file that may be lost")

    @rule()
    def commit_on_a_dead_disk_and_restart(self) -> None:
        """More syncs fail than the writer tries: it stops; the next one finds what the cache has and makes it durable."""
        if self.writer.durable_offset == self.writer.written_offset:
            return
        self.files.refusal = failing("fdatasync", errno.EIO, 99)
        try:
            self.writer.commit()
        except JournalError:
            self._restart_on_a_sound_disk()
            return
        raise AssertionError("a dead disk was acknowledged")

    def _restart_on_a_sound_disk(self) -> None:
        self.files.refusal = _never
        self.die_and_take_over()

    @rule(
        operation=st.sampled_from(["pwrite", "create", "rename", "sync_directory"]), short=st.sampled_from([None, 90])
    )
    def append_is_refused(self, operation: str, short: int | None) -> None:
        """The disk refuses in the middle of an append: none of the unit is seen by anybody, now or later."""
        self.files.short = short
        self.files.refusal = failing(operation, errno.ENOSPC, 99, after=2 if short else 0)
        first = self.numbers.next
        try:
            self.writer.append(self.numbers.frames(6))
        except JournalRefused:
            self.refused += 1
        else:
            self.written.append(list(range(first, first + 6)))
        self.files.short, self.files.refusal = None, _never

    @rule(limit=st.integers(1, 12))
    def follow(self, limit: int) -> None:
        for frame in self.follower.take(self.runs, max_events=limit):
            self.seen += [number_of(e) for e in frame.events]

    @rule()
    def restart_follower(self) -> None:
        cursor = self.follower.cursor
        copy = Cursor(cursor.offset, cursor.sequence, dict(cursor.overtaken), cursor.epoch)
        self.follower.reader.close()
        self.follower = Follower(JournalReader(self.directory), copy)

    @rule()
    def die_and_take_over(self) -> None:
        """The process dies: what was written is in the page cache and survives."""
        abandon(self.writer)
        self.writer = open_writer(self.directory, files=self.files)
        self._promise()

    @precondition(lambda self: self.written)
    @rule(share=st.floats(0, 1))
    def lose_power_and_take_over(self, share: float) -> None:
        """Power fails: of what was not committed any prefix of bytes is left, here cut inside the last segment."""
        end = self.writer.written_offset
        abandon(self.writer)
        last = list_segments(self.directory)[-1]
        keep = max(self.durable_bytes, last.base) + int((end - max(self.durable_bytes, last.base)) * share)
        path = last.file(self.directory)
        data = path.read_bytes()
        path.write_bytes(data[: keep - last.base] + bytes(len(data) - (keep - last.base)))
        self.writer = open_writer(self.directory, files=self.files)
        left = numbers_in(self.directory)
        assert left[: len(self.promised)] == self.promised
        units = iter(self.written)
        rest = left[len(self.promised) :]
        while rest:
            unit = next(units)
            assert rest[: len(unit)] == unit, "a unit was kept in part"
            rest = rest[len(unit) :]
        self.written = []
        self.promised = left
        self.durable_bytes = self.writer.durable_offset

    @invariant()
    def promised_is_readable(self) -> None:
        if hasattr(self, "writer"):
            assert numbers_in(self.directory) == self.promised
            assert numbers_in(self.directory, "written") == self.promised + [n for u in self.written for n in u]
            assert self.writer.durable_sequence == len(self.promised)

    @invariant()
    def follower_sees_each_once_and_only_promised(self) -> None:
        assert len(set(self.seen)) == len(self.seen)
        assert set(self.seen) <= set(self.promised)
        normal = [n for n in self.seen if n not in self._urgent_numbers()]
        assert normal == sorted(normal)

    def _urgent_numbers(self) -> set[int]:
        if not hasattr(self, "follower"):
            return set()
        reader = self.follower.reader
        frames = reader.frames(reader.first_offset(), reader.limit())
        return {number_of(e) for f in frames if f.header.kind == EVENTS and f.header.lane < 2 for e in f.events}

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.commit()
            self._promise()
            while self.follower.has_work:
                self.follow(1000)
            assert sorted(self.seen) == self.promised
            assert self.follower.lag == 0
            self._replay()
            self.follower.reader.close()
            self.writer.close()
        shutil.rmtree(self.root)

    def _replay(self) -> None:
        """The recorded runs give the same events in the same order to a follower that begins again."""
        again = Follower(JournalReader(self.directory))
        replayed: list[int] = []
        for run in self.runs:
            for frame in again.reader.frames(run.start, run.end):
                if again.pass_by(frame) and frame.header.kind == EVENTS:
                    replayed += [number_of(e) for e in frame.events]
        assert replayed == self.seen
        again.reader.close()


def _never(operation: str) -> int:
    return 0


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
