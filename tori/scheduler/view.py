"""What people see of runs: plain rows, made when somebody asks."""

from __future__ import annotations

from typing import Any

from tori.clock import SECOND_NS
from tori.errors import BadInput
from tori.scheduler.book import Run
from tori.scheduler.logs import RunLogs
from tori.scheduler.machine import Scheduler
from tori.scheduler.transition import RunState

PLACING_S = 2.0
"""What Ray may take to begin an attempt before a person is told that it waits; a new worker takes a second."""


def run_row(scheduler: Scheduler, run: Run, now_ns: int) -> dict[str, Any]:
    """Return what is known of a run; ``now_ns`` monotonic. ``eta_s`` is None when nobody can say."""
    eta_s = run.eta_s(now_ns)
    return {
        "run_id": run.run_id,
        "task_id": run.task_id,
        "state": str(run.state),
        "attempt": run.attempt,
        "variant": run.variant,
        "cause": run.cause,
        "done": run.done,
        "total": run.total,
        "eta_s": None if eta_s is None else round(eta_s, 1),
        "held_by": _held_by(scheduler, run, now_ns),
        "error": run.error or None,
    }


def _held_by(scheduler: Scheduler, run: Run, now_ns: int) -> str | None:
    """Return what an open run waits for; None when it runs."""
    if run.is_waiting:
        return scheduler.word(run)
    waited_s = (now_ns - run.started_ns) / SECOND_NS
    if run.state is RunState.ADMITTED and not run.done and waited_s >= PLACING_S:
        return f"Ray has not begun it in {waited_s:.0f} s: its resources are taken, what it reads is not ready, or its worker starts"
    return None


def active_rows(scheduler: Scheduler, now_ns: int) -> list[dict[str, Any]]:
    """Return the runs that have not ended: how far they have come, or what holds them."""
    return [run_row(scheduler, run, now_ns) for run in scheduler.runs() if not run.is_ended]


def story_row(scheduler: Scheduler, run_id: str, now_ns: int) -> dict[str, Any]:
    """Return a run with its steps since the orchestrator last started, oldest first, and its result (JSON).

    Raises BadInput when the run is unknown or too old.
    """
    run = scheduler.run(run_id)
    steps = [{"time_ns": line.time_ns, "text": line.text} for line in scheduler.story(run_id)]
    return run_row(scheduler, run, now_ns) | {"result": run.result, "story": steps}


def log_row(scheduler: Scheduler, logs: RunLogs, run_id: str) -> dict[str, Any]:
    """Return what the attempts of a run printed, oldest first; ``state`` is empty where only that is known any more.

    Raises BadInput when the run is unknown.
    """
    found = [{"attempt": attempt, "text": text} for attempt, text in logs.read(run_id)]
    try:
        run = scheduler.run(run_id)
    except BadInput:
        if not found:
            raise
        return {"run_id": run_id, "state": "", "attempts": found[-1]["attempt"], "logs": found}
    return {"run_id": run_id, "state": str(run.state), "attempts": run.attempt, "logs": found}
