"""Time is injected: the wall clock for event times, the monotonic clock for durations and leases."""

from __future__ import annotations

import time
from typing import Protocol

SECOND_NS = 1_000_000_000


class Clock(Protocol):
    """What every machine is given instead of ``time``."""

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch, UTC; may jump."""

    def monotonic_ns(self) -> int:
        """Nanoseconds since an arbitrary start; never goes back."""


class SystemClock:
    """The clocks of this machine."""

    wall_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)


class VirtualClock:
    """A clock that moves only when told to; tests and simulations live on it."""

    def __init__(self, start_ns: int = 1_700_000_000 * SECOND_NS) -> None:
        self._wall_ns = start_ns
        self._monotonic_ns = 0

    def wall_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        step = round(seconds * SECOND_NS)
        if step < 0:
            raise ValueError(f"time cannot go back: advance({seconds})")
        self._wall_ns += step
        self._monotonic_ns += step

    def jump_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP would."""
        self._wall_ns += round(seconds * SECOND_NS)
