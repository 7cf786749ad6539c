"""What a seed draws before its world begins: its shape, and how often each fault strikes.

Every world has its own mixture (some faults often, some never): a fault that is rare everywhere would hide what only shows when
nothing else happens, and the other way round.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

FAULTS = (
    "crash",
    "crash_at_once",
    "power_cut",
    "power_cut_at_once",
    "failed_sync",
    "refused_write",
    "short_write",
    "full_disk",
    "eviction",
    "write_back",
    "take_over",
    "zombie",
    "standstill",
    "clock_jump",
    "partition",
    "checkpoint",
    "corrupt_checkpoint",
    "rot",
    "scrub",
    "audit",
    "restart",
)
"""Every kind of fault and of housekeeping between them; ``World`` has a method for each."""


class Plan(NamedTuple):
    """The shape of one world."""

    layout: str
    """``actors``: a process a module; ``local``: all modules of a node in one process."""
    is_real: bool
    """The real modules of the mind, or the small ones."""
    segment_bytes: int
    clients: int
    batch: int
    """Most documents in one batch."""
    events: int
    """Most input events of one step."""
    loss: float
    doubling: float
    is_hard: bool
    """Some events are hard on some modules."""
    max_delay_ms: int
    rates: tuple[tuple[str, float], ...]
    """By fault: how often it strikes, as a share of all actions."""


def draw_plan(rng: random.Random, faults: Sequence[str] = FAULTS, *, real_share: float = 0.06) -> Plan:
    """Return the plan of the world whose seed made ``rng``, and which these faults befall."""
    is_real = rng.random() < real_share
    calm = rng.choice((0.3, 1.0, 1.0, 2.5))
    rates = []
    for fault in faults:
        weight = rng.choice((0.0, 0.5, 1.0, 1.0, 3.0))
        rates.append((fault, weight * calm * 0.004))
    return Plan(
        layout=rng.choice(("actors", "actors", "local")),
        is_real=is_real,
        segment_bytes=rng.choice((1 << 15, 1 << 16)) if is_real else rng.choice((2048, 4096, 8192)),
        clients=rng.randint(1, 3),
        batch=rng.choice((1, 2, 4)),
        events=rng.choice((1, 4, 64)),
        loss=rng.choice((0.0, 0.05, 0.2)),
        is_hard=not is_real and rng.random() < 0.4,
        doubling=rng.choice((0.0, 0.05, 0.2)),
        max_delay_ms=rng.choice((1, 20, 200)),
        rates=tuple(rates),
    )
