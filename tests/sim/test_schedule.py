"""The scheduler in simulated lives: no promise is broken, and each promise is noticed when it is.

``TORI_SIMULATION_STEPS`` sets the length of the campaign here too (a fifth of it); longer ones: ``scripts/simulate.py --world scheduler``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from scripts import simulate as script
from tests.sim.campaign import simulate
from tests.sim.schedule import Schedule
from tori.events.system import TaskCancelled
from tori.scheduler.book import Book, Task
from tori.scheduler.desk import Desk
from tori.scheduler.replay import Replay
from tori.scheduler.timetable import Timetable
from tori.scheduler.transition import LOST

STEPS = int(os.environ.get("TORI_SIMULATION_STEPS", "30000")) // 5
MOST_SEEDS = 60
ALL = """ask cancel clock|jump drain end fail finish hear kill kill|soon late module much pass pause pressure progress restore
settled ship start trigger version""".split()


def test_no_promise_is_broken() -> None:
    report = simulate(STEPS, seed=4, worlds=max(12, STEPS // 1000), kind="scheduler")
    assert [f"{v.what}; again: {v.replay}" for v in report.violations] == []
    assert report.steps == STEPS
    assert [kind for kind in ALL if not report.counts.get(kind.replace("|", " "))] == [], "these never happened"


def test_the_script_walks_the_same_worlds(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--world", "scheduler", "--steps", "600", "--seed", "7", "--seeds", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["digest"] == simulate(600, 7, worlds=2, kind="scheduler").digest


def forgets_asked(patch: pytest.MonkeyPatch) -> None:
    """A request that waits is not written."""
    patch.setattr(Replay, "_apply_queued", lambda self, fact: None)


def forgets_cancellations(patch: pytest.MonkeyPatch) -> None:
    """A cancellation is not read back."""
    patch.setattr(Replay, "_apply_cancelling", lambda self, fact: None)


def ends_what_goes_on(patch: pytest.MonkeyPatch) -> None:
    """An attempt that was stopped for others' sake is read back as the end of its run."""
    apply = Replay.apply

    def forget(self: Replay, fact: Any, time_ns: int) -> None:
        if isinstance(fact, TaskCancelled):
            self._retrying.clear()
        apply(self, fact, time_ns)

    patch.setattr(Replay, "apply", forget)


def uses_up_everything(patch: pytest.MonkeyPatch) -> None:
    """A run uses up what came after it too."""
    patch.setattr(Replay, "_use_triggers", lambda self, task, cause: task.triggers.clear())


def is_due_again(patch: pytest.MonkeyPatch) -> None:
    """What runs were made of is not read back."""
    patch.setattr(Task, "settle_due", lambda self, wall_ns: None)


def has_always_been_there(patch: pytest.MonkeyPatch) -> None:
    """A task that was shipped finds what happened before it."""
    patch.setattr(Book, "take_known", lambda self, fact: None)


def believes_the_dead(patch: pytest.MonkeyPatch) -> None:
    """After a crash nobody looks whether what was under way still is."""
    ask = Desk.ask_to_end

    def give_up(self: Desk, run: Any, why: str, *, force: bool = False) -> None:
        if why == "lost":
            run.ending = why
            self.attempt_failed(run, "lost", temporary=True)
        else:
            ask(self, run, why, force=force)

    patch.setattr(Desk, "ask_to_end", give_up)


def blames_runs(patch: pytest.MonkeyPatch) -> None:
    """An attempt that ended with the orchestrator counts as one that failed."""
    fail = Desk.attempt_failed

    def blame(self: Desk, run: Any, error: str, *, temporary: bool) -> None:
        run.ending = "" if run.ending == LOST else run.ending
        fail(self, run, error, temporary=temporary)

    patch.setattr(Desk, "attempt_failed", blame)


def trusts_the_clock(patch: pytest.MonkeyPatch) -> None:
    """A wall clock that goes back far silences what goes by it."""
    patch.setattr(Timetable, "was_ahead", lambda self, task, moment: False)


def counts_no_budget(patch: pytest.MonkeyPatch) -> None:
    """Admission believes that everything is free."""
    decide = Desk._decide

    def decide_free(self: Desk, candidates: Any) -> Any:
        self.usage.amounts.clear()
        return decide(self, candidates)

    patch.setattr(Desk, "_decide", decide_free)


def never_looks(patch: pytest.MonkeyPatch) -> None:
    """A free place is not offered to those who wait."""
    patch.setattr(Desk, "_may_admit", property(lambda self: False, lambda self, value: None), raising=False)


@pytest.mark.parametrize(
    "sabotage",
    [
        forgets_asked,
        forgets_cancellations,
        ends_what_goes_on,
        uses_up_everything,
        is_due_again,
        has_always_been_there,
        believes_the_dead,
        blames_runs,
        trusts_the_clock,
        counts_no_budget,
        never_looks,
    ],
)
def test_a_missing_protection_is_noticed(
    sabotage: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage(monkeypatch)
    lives = (Schedule(seed).run(300) for seed in range(MOST_SEEDS))
    assert any(life.violation for life in lives), f"{MOST_SEEDS} lives did not miss it: {sabotage.__doc__}"
