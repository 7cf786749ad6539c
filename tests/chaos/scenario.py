"""Short stories on real files, each the one that shows a sabotage; on the clean build each must end well.

A scenario plays phases (processes of their own) on one home and returns the checker's verdict. Deterministic but for ids and times.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from tests.chaos.checker import Expectation, check
from tests.chaos.power import cut_power
from tests.chaos.sabotage import CLEAN, ROOT
from tests.chaos.stage import CLIENTS, DIED, ECHO, HISTORY, HOME, SHADOW
from tests.chaos.verdict import Verdict

PATIENCE_S = 30.0
HANDLED = Expectation(subscribers=(ECHO,), effects=(ECHO,), min_operations=5)
OBSERVED = Expectation(observers=("observer",), min_operations=5)


class Play:
    """One build on one folder."""

    def __init__(self, build: str, folder: Path) -> None:
        self.build = build
        self.folder = folder
        self.home = folder / HOME

    def start(self, phase: str, process: str, *, power: bool = False) -> subprocess.Popen[bytes]:
        """Start a phase in a process of its own."""
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"TORI_CHAOS_POWER": "1"} if power else {})
        command = [sys.executable, "-m", "tests.chaos.stage", phase, self.build, str(self.folder), process]
        return subprocess.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.PIPE)

    def run(self, phase: str, process: str, *, power: bool = False, ends: int = 0) -> None:
        """Play a phase to its end. On a sabotaged build it may fail; on the clean one it may not."""
        child = self.start(phase, process, power=power)
        _, said = child.communicate(timeout=PATIENCE_S)
        if child.returncode != ends and self.build == CLEAN:
            raise AssertionError(f"{phase} ended with {child.returncode}: {said.decode()[-2000:]}")

    def cut_power(self) -> None:
        cut_power(self.home, self.folder / SHADOW)

    def verdict(self, expectation: Expectation) -> Verdict:
        return check(self.folder / HISTORY, self.home, expectation)


def lose_power(play: Play) -> Verdict:
    """Documents are acknowledged, the power fails, the system starts again."""
    play.run("ingest_and_die", "client-1", power=True, ends=DIED)
    play.cut_power()
    play.run("settle", "client-2")
    return play.verdict(HANDLED)


def lose_open_writes(play: Play) -> Verdict:
    """Followers look while some writes are not yet durable, the power fails, others publish at the same positions."""
    play.run("publish_and_leave_open", "observer-1", power=True, ends=DIED)
    play.cut_power()
    play.run("publish_others", "observer-2")
    return play.verdict(HANDLED)


def wake_a_zombie(play: Play) -> Verdict:
    """A writer is stopped, another takes over, the first wakes up and goes on."""
    with ExitStack() as stack:
        zombie = play.start("publish_until_told", "zombie")
        stack.callback(_end, zombie)
        _wait(play.folder / "zombie.alive")
        zombie.send_signal(signal.SIGSTOP)
        heir = play.start("publish_until_told", "heir")
        stack.callback(_end, heir)
        _wait(play.folder / "heir.alive")
        (play.folder / "zombie.alive").unlink()
        zombie.send_signal(signal.SIGCONT)
        limit = time.monotonic() + 2.0
        while zombie.poll() is None and not (play.folder / "zombie.alive").exists() and time.monotonic() < limit:
            time.sleep(0.01)
        (play.folder / "stop").touch()
        for child in (zombie, heir):
            child.communicate(timeout=PATIENCE_S)
    if play.build != "no_fence":
        assert zombie.returncode, "a zombie went on as if nothing had happened"
        assert heir.returncode == 0
    return play.verdict(Expectation(min_operations=5))


def try_again(play: Play) -> Verdict:
    """A client does not hear the answer and does it again."""
    play.run("die_before_the_answer", "client-1", ends=DIED)
    play.run("ingest_again", "client-2")
    return play.verdict(HANDLED)


def die_between_writes(play: Play) -> Verdict:
    """A module dies right after a write into its journal."""
    play.run("die_between_two_writes", "client-1", ends=DIED)
    play.run("settle", "client-2")
    return play.verdict(HANDLED)


def flip_a_bit(play: Play) -> Verdict:
    """One character of an acknowledged event changes on the disk while nobody runs."""
    play.run("publish_some", "client-1")
    (segment,) = (play.home / "journals" / CLIENTS).glob("*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(b"client-1 says 7 and")] ^= 2
    segment.write_bytes(data)
    play.run("only_observe", "observer-1")
    return play.verdict(OBSERVED)


class Scenario(NamedTuple):
    """Which story shows a sabotage, and in which sets."""

    play: Callable[[Play], Verdict]
    sets: frozenset[str]


SCENARIOS = {
    "ack_before_fsync": Scenario(lose_power, frozenset({"acked_not_in_journal"})),
    "read_undurable": Scenario(lose_open_writes, frozenset({"two_digests", "delivered_not_in_journal"})),
    "no_fence": Scenario(wake_a_zombie, frozenset({"acked_not_in_journal"})),
    "no_dedupe": Scenario(try_again, frozenset({"duplicate"})),
    "cursor_before_effect": Scenario(die_between_writes, frozenset({"acked_not_delivered"})),
    "skip_crc": Scenario(flip_a_bit, frozenset({"two_digests", "unreported_damage"})),
}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Make sure that a process a failure left behind is gone."""
    if child.poll() is None:
        child.kill()
        child.communicate()


def _wait(path: Path) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not path.exists():
        if time.monotonic() > limit:
            raise AssertionError(f"{path.name} did not come in {PATIENCE_S:.0f} s")
        time.sleep(0.01)
