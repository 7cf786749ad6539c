"""What the campaigns of deaths go by: the lock tells two attempts at once, the verdict every broken promise, the plan who dies."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from scripts import deaths
from tests.chaos.deaths import pairs_of
from tests.chaos.load import Line, executing, judge, read_lines
from tests.support.exclusive_task import BEGUN, ENDED, LINES, LOCKS, TASK, TWICE, hold
from tori.events.envelope import Event
from tori.events.system import TaskCancelled, TaskCompleted, TaskStarted

HOLDER = """
import sys
from pathlib import Path
from tests.support.exclusive_task import hold
hold(Path(sys.argv[1]), "run", 1, 600.0)
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / LOCKS).mkdir()
    return tmp_path


def test_two_processes_at_one_run_are_noticed_and_a_dead_one_is_none(place: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(place)], cwd=root)
    try:
        while not (lines := read_lines(place / LINES)):
            assert holder.poll() is None
            time.sleep(0.01)
        assert [(line.what, line.run_id, line.pid) for line in executing(lines)] == [(BEGUN, "run", holder.pid)]
        with pytest.raises(BlockingIOError):
            hold(place, "run", 2, 0.0)
        hold(place, "other", 1, 0.0)
    finally:
        holder.kill()
        holder.wait()
    assert [(line.run_id, line.attempt) for line in read_lines(place / TWICE)] == [("run", 2)]
    hold(place, "run", 3, 0.0)
    lines = read_lines(place / LINES)
    assert [(line.what, line.attempt) for line in lines if line.run_id == "run"] == [(BEGUN, 1), (BEGUN, 3), (ENDED, 3)]
    assert executing(lines) == [], "its process is gone"


def _event(kind: Any, run_id: str, attempt: int = 1) -> Event:
    return Event(b"", kind(TASK, run_id, "user", attempt), TASK)


def _line(run_id: str, what: str = ENDED) -> Line:
    return Line(what, run_id, 1, 1, 1)


GOOD = [_event(TaskStarted, "a"), _event(TaskStarted, "a", 2), _event(TaskCompleted, "a", 2)]


@pytest.mark.parametrize(
    ("events", "lines", "twice", "said"),
    [
        (GOOD, [_line("a")], [], []),
        (GOOD[:2], [_line("a")], [], ["1 runs lost: a"]),
        ([*GOOD, GOOD[2]], [_line("a")], [], ["1 runs ended more than once: a"]),
        ([*GOOD, _event(TaskStarted, "b")], [_line("a")], [], ["1 runs never asked for: b"]),
        (GOOD, [_line("a", BEGUN)], [], ["1 runs completed, and never executed to the end: a"]),
        ([*GOOD, GOOD[1]], [_line("a")], [], ["1 runs begun again under an old number: a"]),
        (GOOD, [_line("a")], [_line("a")], ["1 runs executed twice at once: a"]),
    ],
)
def test_every_broken_promise_is_named(
    events: list[Event], lines: list[Line], twice: list[Line], said: list[str]
) -> None:
    assert judge(["a"], events, lines, twice) == said


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([*GOOD[:2], _event(TaskCancelled, "a", 2)], []),
        (GOOD, []),
        (GOOD[:2], ["1 runs lost: a"]),
        ([*GOOD, _event(TaskCancelled, "a", 2)], ["1 runs ended more than once: a"]),
        (
            [*GOOD[:2], _event(TaskStarted, "a", 3), _event(TaskCancelled, "a", 3)],
            ["1 runs begun again after their cancellation: a"],
        ),
    ],
)
def test_a_run_that_was_cancelled_ends_with_its_attempt(events: list[Event], said: list[str]) -> None:
    assert judge(["a"], events, [_line("a")], [], {"a": 2}) == said


def test_every_module_dies_as_often_as_the_others_and_never_twice_in_a_round() -> None:
    for names in ("abcdefgh", "abc", "a"):
        rounds = pairs_of(list(names), 5, random.Random(3))
        assert Counter(name for victims in rounds for name in victims) == dict.fromkeys(names, 5)
        assert all(len(set(victims)) == len(victims) for victims in rounds)
    assert pairs_of(list("abcdefgh"), 2, random.Random(3)) == pairs_of(list("abcdefgh"), 2, random.Random(3))


def test_somebody_has_to_die(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        deaths.main([])
    assert ended.value.code == 2
    assert "say who dies" in capsys.readouterr().err
