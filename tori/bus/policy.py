"""How often a delivery is tried, how long it waits, and how many may wait: decisions as data."""

from __future__ import annotations

import random

import msgspec

from tori.errors import BadSettings

MAX_DEPTH = 16
"""Reactions between a door or scan and an event; a deeper one is taken for a loop and dead-lettered."""


class RetryDecision(msgspec.Struct, frozen=True):
    """Try again ``after_s`` seconds from now."""

    after_s: float


class DeadDecision(msgspec.Struct, frozen=True):
    """That was the last attempt."""

    reason: str


class DeliveryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """Temporary and unknown errors are tried again with growing pauses, permanent ones never."""

    retries: int = 3
    """Attempts after the first."""
    first_backoff_s: float = 0.5
    backoff_factor: float = 4.0
    """0.5, 2 and 8 s: long enough for a part that restarts, short enough for a key that waits behind it."""
    max_backoff_s: float = 60.0
    jitter: float = 0.1
    """Share of the pause that chance takes off, so that deliveries which failed together do not return together."""
    max_held: int = 1024
    """Deliveries that may wait at a time; beyond it the follower blocks and its lag grows."""
    crashes: int = 3
    """Times the process may die over one event that it handles alone; one accident, or two, is not the event's fault."""
    crash_budget: int = 4
    """Deaths within ``crash_window_s`` after which further suspects wait: one less than supervision allows."""
    crash_window_s: float = 60.0
    """Window of the supervision of restarts."""
    max_depth: int = MAX_DEPTH

    def __post_init__(self) -> None:
        if self.retries < 0 or not 0 <= self.first_backoff_s <= self.max_backoff_s or not 0 <= self.jitter <= 1:
            raise BadSettings(
                "a delivery policy needs retries >= 0, 0 <= first_backoff_s <= max_backoff_s and 0 <= jitter <= 1.",
                remedy=f"It has {self.retries}, {self.first_backoff_s}, {self.max_backoff_s} and {self.jitter}.",
            )
        if self.backoff_factor < 1 or min(self.max_held, self.crashes, self.crash_budget, self.max_depth) < 1:
            raise BadSettings("a delivery policy needs a factor and limits of at least 1.", remedy=str(self))

    def decide(self, attempt: int, rng: random.Random, *, permanent: bool) -> RetryDecision | DeadDecision:
        """Decide on a failure of attempt ``attempt``, counted from 1."""
        if permanent:
            return DeadDecision("the error is permanent")
        if attempt > self.retries:
            return DeadDecision(f"attempt {attempt} was the last")
        pause = min(self.max_backoff_s, self.first_backoff_s * self.backoff_factor ** min(attempt - 1, 64))
        return RetryDecision(pause * (1 - self.jitter * rng.random()))
