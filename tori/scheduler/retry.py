"""Retry: whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from tori.errors import BadSettings


class RetryDecision(msgspec.Struct, frozen=True):
    """Try again ``after_s`` seconds from now."""

    after_s: float


class FinalDecision(msgspec.Struct, frozen=True):
    """That was the last attempt."""

    reason: str


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Temporary errors are retried with doubling pauses, permanent ones never."""

    retries: int = 3
    """Attempts after the first."""
    first_backoff_s: float = 1.0
    max_backoff_s: float = 60.0
    jitter: float = 0.1
    """Share of the pause that differs from run to run, so that runs which failed together do not return together."""

    def __post_init__(self) -> None:
        if self.retries < 0 or not 0 <= self.first_backoff_s <= self.max_backoff_s or not 0 <= self.jitter <= 1:
            raise BadSettings(
                "a retry policy needs retries >= 0, 0 <= first_backoff_s <= max_backoff_s and 0 <= jitter <= 1.",
                remedy=f"It has {self.retries}, {self.first_backoff_s}, {self.max_backoff_s} and {self.jitter}.",
            )

    def decide(self, run_id: str, attempt: int, *, temporary: bool) -> RetryDecision | FinalDecision:
        """Decide on a failure of attempt ``attempt`` (from 1). The jitter follows from the run and the attempt alone."""
        if not temporary:
            return FinalDecision("the error is permanent")
        if attempt > self.retries:
            return FinalDecision(f"attempt {attempt} was the last")
        pause = min(self.max_backoff_s, self.first_backoff_s * 2.0 ** (attempt - 1))
        digest = blake2b(f"{run_id}/{attempt}".encode(), digest_size=4).digest()
        share = int.from_bytes(digest, "big") / 2**32
        return RetryDecision(pause * (1 - self.jitter * share))
