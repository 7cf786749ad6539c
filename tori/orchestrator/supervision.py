"""Supervision: how often a module that fails is started again, and when it is given up.

One module's failures never count against another: every module has its own window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from tori.clock import SECOND_NS
from tori.errors import BadSettings


class RestartDecision(msgspec.Struct, frozen=True):
    """Start it again ``after_s`` seconds from now."""

    after_s: float
    restart: int
    """Which restart within the window this is, from 1."""


class GiveUpDecision(msgspec.Struct, frozen=True):
    """Leave it down until a person asks for it."""

    reason: str


class RestartPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``limit`` restarts in ``window_s`` seconds, each later than the one before."""

    limit: int = 5
    """Restarts within the window; one failure more degrades the module."""
    window_s: float = 60.0
    """A module that fails more often than this allows fails for a reason a restart does not remove."""
    first_backoff_s: float = 0.1
    """Short: a process that was killed by accident should be missed by nobody."""
    max_backoff_s: float = 5.0
    """Doubling stops here, so that recovery stays within the promised bound."""

    def __post_init__(self) -> None:
        if self.limit < 0 or self.window_s <= 0 or not 0 <= self.first_backoff_s <= self.max_backoff_s:
            raise BadSettings(
                "a restart policy needs limit >= 0, window_s > 0 and 0 <= first_backoff_s <= max_backoff_s.",
                remedy=f"It has {self.limit}, {self.window_s}, {self.first_backoff_s} and {self.max_backoff_s}.",
            )

    def decide(self, recent: int) -> RestartDecision | GiveUpDecision:
        """Decide on a failure after ``recent`` restarts within the window."""
        if recent >= self.limit:
            return GiveUpDecision(f"{recent} restarts in {self.window_s:g} s did not help")
        return RestartDecision(min(self.max_backoff_s, self.first_backoff_s * 2.0**recent), recent + 1)


class Supervision:
    """The restarts of every module within its window. Times are monotonic nanoseconds, given by the caller."""

    def __init__(self, policy: RestartPolicy | None = None) -> None:
        self.policy = policy or RestartPolicy()
        self._restarts: dict[str, list[int]] = {}

    def decide(self, module: str, now_ns: int) -> RestartDecision | GiveUpDecision:
        """Decide what becomes of a module that failed now; a restart that is granted counts from now."""
        since = now_ns - round(self.policy.window_s * SECOND_NS)
        recent = [at for at in self._restarts.get(module, ()) if at > since]
        decision = self.policy.decide(len(recent))
        if isinstance(decision, RestartDecision):
            recent.append(now_ns)
        self._restarts[module] = recent
        return decision

    def forgive(self, module: str) -> None:
        """Forget the restarts of a module: a person vouches for it."""
        self._restarts.pop(module, None)

    def remember(self, module: str, ages_ns: Sequence[int], now_ns: int) -> None:
        """Count restarts that another life of the orchestrator granted, ``ages_ns`` ago."""
        self._restarts[module] = sorted(now_ns - max(0, age) for age in ages_ns)

    def ages(self, now_ns: int) -> dict[str, list[int]]:
        """Return for each module how long ago its restarts were, for a snapshot (monotonic time dies with the machine)."""
        return {module: [now_ns - at for at in times] for module, times in sorted(self._restarts.items())}

    def restore(self, ages: Mapping[str, Sequence[int]], now_ns: int) -> None:
        """Replace the restarts by those that ``ages`` returned."""
        self._restarts = {module: [now_ns - age for age in times] for module, times in ages.items()}
