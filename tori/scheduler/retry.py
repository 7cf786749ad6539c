"""Retry: whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from tori.backoff import Backoff, FinalDecision, RetryDecision
from tori.scheduler.field import check_number, read_whole

MOST_FACTOR = 1000.0
"""Its 64th power is a number still."""


class RetryPolicy(Backoff, frozen=True, kw_only=True):
    """Temporary errors are retried with doubling pauses, permanent ones never; deaths of the orchestrator cost no retry."""

    losses: int = 10
    """Attempts in a row that may be lost because the orchestrator died: bounds a run that kills it by what it does."""

    def __post_init__(self) -> None:
        for name in ("retries", "losses"):
            msgspec.structs.force_setattr(self, name, read_whole(name, getattr(self, name)))
        for name in ("first_backoff_s", "max_backoff_s", "jitter"):
            check_number(name, getattr(self, name))
        check_number("backoff_factor", self.backoff_factor, MOST_FACTOR)
        super().__post_init__()

    def decide(self, run_id: str, attempt: int, *, temporary: bool) -> RetryDecision | FinalDecision:
        """Decide on a failure of attempt ``attempt`` (from 1). The jitter follows from the run and the attempt alone."""
        return self.after(attempt, _share(run_id, attempt), permanent=not temporary)

    def after_loss(self, run_id: str, lost: int) -> RetryDecision | FinalDecision:
        """Decide on the loss of an attempt, the ``lost``-th in a row (from 1), because the orchestrator died."""
        if lost > self.losses:
            return FinalDecision(f"the orchestrator died during each of its last {lost} attempts")
        return msgspec.structs.replace(self, retries=lost).after(lost, _share(run_id, lost), permanent=False)


def _share(run_id: str, attempt: int) -> float:
    digest = blake2b(f"{run_id}/{attempt}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32
