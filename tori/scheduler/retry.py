"""Retry: whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from hashlib import blake2b

from tori.backoff import Backoff, FinalDecision, RetryDecision


class RetryPolicy(Backoff, frozen=True, kw_only=True):
    """Temporary errors are retried with doubling pauses, permanent ones never."""

    def decide(self, run_id: str, attempt: int, *, temporary: bool) -> RetryDecision | FinalDecision:
        """Decide on a failure of attempt ``attempt`` (from 1). The jitter follows from the run and the attempt alone."""
        digest = blake2b(f"{run_id}/{attempt}".encode(), digest_size=4).digest()
        return self.after(attempt, int.from_bytes(digest, "big") / 2**32, permanent=not temporary)
