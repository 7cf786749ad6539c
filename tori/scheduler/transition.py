"""States of a run and every legal edge between them."""

from __future__ import annotations

from enum import StrEnum

from tori.machine import Edge, TransitionTable


class RunState(StrEnum):
    """Where a run is."""

    DUE = "due"
    ADMITTED = "admitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    RETRYING = "retrying"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


_S = RunState
WAITING = (_S.DUE, _S.RETRYING)
ACTIVE = (_S.ADMITTED, _S.RUNNING)
ENDED = (_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.SKIPPED)

CANCELLED, REPLACED = "cancelled", "replaced"
"""Why the end of an attempt is asked for: by a person, for a newer run. Each ends its run."""
SHED, DRAINED, TIMED_OUT, TOO_LATE, LOST = "shed", "drained", "timed out", "too late", "lost"
"""For others' sake, because the system stops, for its own time-out, for the deadline of its run, after a death of the orchestrator."""
FINAL = (CANCELLED, REPLACED)
NO_TRIES = (SHED, DRAINED)
"""The run goes on with another attempt as soon as it may, and nothing was tried."""

RUN_TABLE = TransitionTable(
    "run",
    (
        Edge(_S.DUE, _S.ADMITTED, "a slot is free and nothing holds it"),
        Edge(_S.DUE, _S.SKIPPED, "the run before it has not ended, or nothing changed since"),
        Edge(_S.DUE, _S.CANCELLED, "a person cancelled it before it began"),
        Edge(_S.DUE, _S.FAILED, "its deadline passed before an attempt began"),
        Edge(_S.ADMITTED, _S.RUNNING, "its attempt began on some node"),
        Edge(_S.ADMITTED, _S.RETRYING, "the attempt could not begin, or was lost; another follows"),
        Edge(_S.ADMITTED, _S.FAILED, "the attempt could not begin, and no other follows"),
        Edge(_S.ADMITTED, _S.CANCELLED, "it was cancelled before it began"),
        Edge(_S.RUNNING, _S.SUCCEEDED, "its result was concluded"),
        Edge(_S.RUNNING, _S.RETRYING, "a temporary error, a time-out or a loss; another attempt follows"),
        Edge(_S.RUNNING, _S.FAILED, "a permanent error, or the last attempt failed"),
        Edge(_S.RUNNING, _S.CANCELLED, "it was cancelled and has ended"),
        Edge(_S.RETRYING, _S.ADMITTED, "its pause is over and a slot is free"),
        Edge(_S.RETRYING, _S.FAILED, "its deadline passed between two attempts"),
        Edge(_S.RETRYING, _S.CANCELLED, "a person cancelled it between two attempts"),
    ),
)
