"""The journal against a list: append, commit, crash, tear, take over, follow, in every order Hypothesis can think of."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support.journals import Numbers, abandon, number_of, numbers_in, open_writer
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

    @initialize()
    def begin(self) -> None:
        self.writer: JournalWriter = open_writer(self.directory)
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
        self.writer = open_writer(self.directory)
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
        self.writer = open_writer(self.directory)
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


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
