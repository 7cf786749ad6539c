"""Sleeping and being rung: a bell that is under way is not a lost one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tori.journal.wake import Bell, Sleeper

SHORT_S = 0.01


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Bell, Sleeper]]:
    bell, sleeper = Bell(tmp_path), Sleeper()
    sleeper.register(tmp_path)
    yield bell, sleeper
    sleeper.close()
    bell.close()


def test_work_that_no_bell_announces_is_counted(pair: tuple[Bell, Sleeper]) -> None:
    _, sleeper = pair
    answers = iter([False, True])
    sleeper.sleep(lambda: next(answers), SHORT_S)
    assert sleeper.late_wakes == 1


def test_a_bell_right_after_the_poll_is_not_late(pair: tuple[Bell, Sleeper]) -> None:
    bell, sleeper = pair
    calls = 0

    def has_work() -> bool:
        nonlocal calls
        calls += 1
        if calls == 1:
            return False
        bell.ring()  # the writer stored its position before the poll ended, and rings now
        return True

    sleeper.sleep(has_work, SHORT_S)
    assert (calls, sleeper.late_wakes) == (2, 0)


def test_a_ring_before_sleeping_is_not_slept_over(pair: tuple[Bell, Sleeper]) -> None:
    bell, sleeper = pair
    asked = 0

    def has_work() -> bool:
        nonlocal asked
        asked += 1
        bell.ring()  # between the flag and the look
        return False

    sleeper.sleep(has_work, 60.0)
    assert (asked, sleeper.late_wakes) == (1, 0)


def test_idle_sleep_is_not_late(pair: tuple[Bell, Sleeper]) -> None:
    _, sleeper = pair
    sleeper.sleep(lambda: False, SHORT_S)
    assert sleeper.late_wakes == 0
