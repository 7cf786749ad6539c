"""How often a delivery is tried, how long it waits, and how many may wait: decisions as data."""

from __future__ import annotations

import random

from tori.backoff import Backoff, FinalDecision, RetryDecision
from tori.errors import BadSettings

MAX_DEPTH = 16
"""Reactions between a door or scan and an event; a deeper one is taken for a loop and dead-lettered."""


class DeliveryPolicy(Backoff, frozen=True, kw_only=True):
    """Temporary and unknown errors are tried again with growing pauses, permanent ones never."""

    first_backoff_s: float = 0.5
    backoff_factor: float = 4.0
    """0.5, 2 and 8 s: long enough for a part that restarts, short enough for a key that waits behind it."""
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
        super().__post_init__()
        if min(self.max_held, self.crashes, self.crash_budget, self.max_depth) < 1:
            raise BadSettings("a delivery policy needs limits of at least 1.", remedy=str(self))

    def decide(self, attempt: int, rng: random.Random, *, permanent: bool) -> RetryDecision | FinalDecision:
        """Decide on a failure of attempt ``attempt``, counted from 1."""
        return self.after(attempt, rng.random(), permanent=permanent)
