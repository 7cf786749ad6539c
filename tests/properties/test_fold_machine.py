"""Folding against random lives: whatever was delivered, failed, set aside and delivered again, the snapshot that is made from an
earlier one and the journal is, byte for byte, the one the living module gives."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.support.folding import folded
from tests.support.forgetful import NAMES, First, Home, follow
from tori.modules.host import HostSnapshot


class FoldMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        follow(self.patch)
        self.place = Path(tempfile.mkdtemp(prefix="tori-fold-"))
        self.home = Home(self.place, keep_bytes=1 << 30)
        self.earlier: dict[str, list[HostSnapshot | None]] = {name: [None] for name in NAMES}

    @rule(count=st.integers(1, 6), text=st.sampled_from(["fine", "fine", "poison"]))
    def ingest(self, count: int, text: str) -> None:
        self.home.ingest(count, text)

    @rule(module=st.sampled_from(["first", "second"]), times=st.integers(1, 3))
    def step(self, module: str, times: int) -> None:
        for _ in range(times):
            self.home.mind.hosts[module].step(max_events=3)

    @rule(is_mended=st.booleans())
    def redrive(self, is_mended: bool) -> None:
        letters = self.home.mind.query("first", "dead_letters")["letters"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(First, "is_mended", is_mended)
            if letters:
                self.home.mind.command("first", "redrive", {"ids": [letters[0]["id"]]})
                self.home.mind.hosts["first"].step()

    @rule(module=st.sampled_from(NAMES), back=st.integers(0, 3))
    def fold(self, module: str, back: int) -> None:
        host = self.home.mind.hosts[module]
        known = self.earlier[module]
        position = host.position()
        living = host.snapshot()
        found = folded(self.home.mind, module, position, known[max(0, len(known) - 1 - back)])
        assert msgspec.msgpack.encode(found) == msgspec.msgpack.encode(living)
        assert found.offset == position.offset
        known.append(living)

    @rule()
    def restart(self) -> None:
        self.home.restart(None)

    def teardown(self) -> None:
        if hasattr(self, "home"):
            self.home.mind.close()
            self.patch.undo()
            shutil.rmtree(self.place)


TestFold = FoldMachine.TestCase
TestFold.settings = settings(
    max_examples=20, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
