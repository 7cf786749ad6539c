"""A mirror against its journal: write, take over, ship in any pieces, crash at any byte, in every order Hypothesis can think of."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.journals import Numbers, journal_bytes, number_of, open_writer
from tori.bus.transport import chunks
from tori.errors import JournalError
from tori.journal.follower import Follower, Run
from tori.journal.frame import EVENTS
from tori.journal.mirror import Mirror, start_of
from tori.journal.reader import JournalReader
from tori.journal.segment import list_segments
from tori.journal.writer import JournalWriter


class MirrorMachine(RuleBasedStateMachine):
    """``promised`` are the numbers the source acknowledged; the mirror may lag, and never differs."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="tori-mirror-"))
        self.source, self.copy = self.root / "a" / "numbers", self.root / "b" / "numbers"
        self.numbers = Numbers()
        self.seen: list[int] = []
        self.runs: list[Run] = []

    @initialize()
    def begin(self) -> None:
        self.writer: JournalWriter = open_writer(self.source)
        self.open_mirror()
        self.follower = Follower(JournalReader(self.copy))

    def open_mirror(self) -> None:
        self.mirror = Mirror(self.copy, self.writer.journal_id, segment_bytes=2048)

    @rule(count=st.integers(1, 9), urgent=st.booleans(), commit=st.booleans())
    def write(self, count: int, urgent: bool, commit: bool) -> None:
        self.writer.append([*self.numbers.frames(count), *(self.numbers.urgent() if urgent else ())])
        if commit:
            self.writer.commit()

    @rule()
    def take_over(self) -> None:
        self.writer.close()
        self.writer = open_writer(self.source)

    @rule(size=st.integers(1, 3000), count=st.integers(1, 5), damage=st.none() | st.integers(0, 1 << 16))
    def ship(self, size: int, count: int, damage: int | None) -> None:
        """Send a few chunks; the last one with a changed bit if ``damage`` says where: it must change nothing."""
        reader = JournalReader(self.source)
        try:
            at = start_of(reader, self.mirror.resume())
            for chunk in list(chunks(reader, at, size))[:count]:
                self.mirror.take(chunk, at)
                at += len(chunk)
            rest = next(chunks(reader, at, size), b"")
        finally:
            reader.close()
        if damage is not None and rest:
            torn = bytearray(rest)
            torn[damage % len(torn)] ^= 1 << damage % 8
            before = self.mirror.mark
            try:
                self.mirror.take(bytes(torn), at)
            except JournalError:
                assert self.mirror.mark == before
            else:
                raise AssertionError("a damaged chunk was taken")

    @rule(lost=st.integers(0, 3000))
    def crash_mirror(self, lost: int) -> None:
        """Lose the relay and the last bytes it wrote: what was not synced, or what a disk lied about."""
        self.mirror.close()
        names = list_segments(self.copy)
        mark = self.mirror.mark
        if names and lost:
            last = names[-1]
            path = last.file(self.copy)
            data = bytearray(path.read_bytes())
            start = max(0, mark.offset - last.base - lost)
            if last.base + start >= self.follower.cursor.offset:
                data[start:] = bytes(len(data) - start)
                path.write_bytes(bytes(data))
        self.open_mirror()
        assert self.mirror.mark.offset <= mark.offset

    @rule(limit=st.integers(1, 12))
    def follow(self, limit: int) -> None:
        for frame in self.follower.take(self.runs, max_events=limit):
            self.seen += [number_of(e) for e in frame.events]

    @invariant()
    def the_copy_is_identical(self) -> None:
        if not hasattr(self, "mirror"):
            return
        end = self.mirror.mark.offset
        assert end <= self.writer.durable_offset
        assert journal_bytes(self.copy, end) == journal_bytes(self.source, end)

    def teardown(self) -> None:
        if hasattr(self, "mirror"):
            self.ship(1000, 10_000, None)
            while self.follower.has_work:
                self.follow(100)
            durable = JournalReader(self.source)
            frames = list(durable.frames(0, durable.limit()))
            assert sorted(self.seen) == sorted(
                number_of(e) for f in frames if f.header.kind == EVENTS for e in f.events
            )
            assert self.mirror.mark.offset == durable.limit()
            durable.close()
            self.follower.reader.close()
            self.mirror.close()
            self.writer.close()
        shutil.rmtree(self.root)


TestMirrorMachine = MirrorMachine.TestCase
TestMirrorMachine.settings = settings(max_examples=30, stateful_step_count=30)
