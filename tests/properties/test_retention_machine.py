"""Retention against random lives: whatever was ingested, checkpointed, pruned and killed, every kept checkpoint restarts into the
same state, every standing event's ``why`` ends in documents, and no journal has a hole.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.support.forgetful import First, Home, follow
from tori.errors import JournalTruncated
from tori.journal.files import SystemFiles
from tori.journal.scrub import Scrub


class Killed(OSError):
    """The process dies at an unlink."""


class RetentionMachine(RuleBasedStateMachine):
    @initialize(keep=st.integers(2, 4), keep_bytes=st.sampled_from([1, 10_000, 40_000]))
    def begin(self, keep: int, keep_bytes: int) -> None:
        self.patch = pytest.MonkeyPatch()
        follow(self.patch)
        self.patch.setattr("tori.modules.clients.Clients.standing", lambda self: ())
        self.place = Path(tempfile.mkdtemp(prefix="tori-keep-"))
        self.home = Home(self.place, keep, keep_bytes)

    @rule(count=st.integers(1, 12), text=st.sampled_from(["fine", "fine", "fine", "poison"]))
    def ingest(self, count: int, text: str) -> None:
        self.home.ingest(count, text)

    @rule(module=st.sampled_from(["first", "second"]), times=st.integers(1, 3))
    def step(self, module: str, times: int) -> None:
        for _ in range(times):
            self.home.mind.hosts[module].step(max_events=5)

    @rule()
    def pump(self) -> None:
        self.home.mind.pump()

    @rule()
    def checkpoint(self) -> None:
        self.home.checkpoint()
        self.home.check_why()

    @rule(after=st.integers(0, 3))
    def die_while_segments_go(self, after: int) -> None:
        left = [after]
        unlink = SystemFiles.unlink

        def dying(files: SystemFiles, path: Path) -> None:
            if path.suffix == ".seg":
                left[0] -= 1
                if left[0] < 0:
                    raise Killed(path)
            unlink(files, path)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SystemFiles, "unlink", dying)
            with contextlib.suppress(Killed):
                self.home.checkpoint()
        self.restart_from(after)

    @precondition(lambda self: self.home.store.list())
    @rule(which=st.integers(0, 10))
    def restart_from(self, which: int) -> None:
        kept = self.home.store.list()
        before = self.home.states()
        self.home.restart(kept[which % len(kept)])
        assert self.home.states() == before
        self.home.check_why()

    @rule(is_mended=st.booleans())
    def redrive(self, is_mended: bool) -> None:
        letters = self.home.mind.query("first", "dead_letters")["letters"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(First, "is_mended", is_mended)
            if letters:
                self.home.mind.command("first", "redrive", {"ids": [letters[0]["id"]]})
                self.home.mind.pump()

    def teardown(self) -> None:
        if not hasattr(self, "home"):
            return
        try:
            for name, first in self.home.first_offsets().items():
                if first:
                    with pytest.raises(JournalTruncated):
                        self.home.mind.archive.readers[name].frame(0)
                scrub = Scrub(self.place / "journals" / name)
                assert scrub.run_whole() == []
                scrub.close()
        finally:
            self.home.mind.close()
            self.patch.undo()
            shutil.rmtree(self.place)


TestRetention = RetentionMachine.TestCase
TestRetention.settings = settings(
    max_examples=15, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
