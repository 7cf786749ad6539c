"""Pauses between attempts: how many there are, how they grow, and how much of each chance takes off."""

from __future__ import annotations

import msgspec

from tori.errors import BadSettings


class RetryDecision(msgspec.Struct, frozen=True):
    """Try again ``after_s`` seconds from now."""

    after_s: float


class FinalDecision(msgspec.Struct, frozen=True):
    """That was the last attempt."""

    reason: str


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """What every policy of retries says; those that decide add their own defaults."""

    retries: int = 3
    """Attempts after the first."""
    first_backoff_s: float = 1.0
    backoff_factor: float = 2.0
    max_backoff_s: float = 60.0
    jitter: float = 0.1
    """Share of the pause that is taken off at random, so that what failed together does not return together."""

    def __post_init__(self) -> None:
        is_ordered = 0 <= self.first_backoff_s <= self.max_backoff_s
        if self.retries < 0 or not is_ordered or not 0 <= self.jitter <= 1 or self.backoff_factor < 1:
            raise BadSettings(
                "retries need retries >= 0, 0 <= first_backoff_s <= max_backoff_s, backoff_factor >= 1 and 0 <= jitter <= 1.",
                remedy=f"They have {self.retries}, {self.first_backoff_s}, {self.max_backoff_s}, {self.backoff_factor} and "
                f"{self.jitter}.",
            )

    def after(self, attempt: int, share: float, *, permanent: bool) -> RetryDecision | FinalDecision:
        """Decide on a failure of attempt ``attempt``, counted from 1; ``share`` in [0, 1) is chance."""
        if permanent:
            return FinalDecision("the error is permanent")
        if attempt > self.retries:
            return FinalDecision(f"attempt {attempt} was the last")
        pause = min(self.max_backoff_s, self.first_backoff_s * self.backoff_factor ** min(attempt - 1, 64))
        return RetryDecision(pause * (1 - self.jitter * share))
