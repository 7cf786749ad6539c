"""Quiesce: let everything settle, run one full pass of every scan, let it settle again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from tori.errors import NodeAway, ToriError, Unavailable
from tori.modules.loop import LoopView
from tori.modules.registry import FULL_PASS

SWEEP_S = 0.02
SLOWEST_SWEEP_S = 0.5
ATTEMPTS = 20
ATTEMPT_PAUSE_S = 0.5


class Quiesce:
    """One quiesce over the module actors. A module that dies meanwhile is waited for and its step is done again."""

    def __init__(
        self,
        handles: Callable[[], Mapping[str, Any]],
        scan: Callable[[str, str], int],
        wait_healthy: Callable[[float], None],
        say: Callable[[str], None],
        behind: Callable[[Mapping[str, LoopView]], int],
    ) -> None:
        self._handles = handles
        self._scan = scan
        self._wait_healthy = wait_healthy
        self._say = say
        self._behind = behind

    def run(self) -> dict[str, str]:
        """Return the digest of every section once the mind is at rest."""
        self._insist("settling", self.settle)
        for module, task in FULL_PASS:
            if module in self._handles():
                self._insist(f"{module}: {task}", partial(self._scan, module, task))
                self._insist(f"settling after {task}", self.settle)
        sections: dict[str, str] = self._insist("digest", self.sections)
        return sections

    def _insist(self, step: str, work: Callable[[], Any]) -> Any:
        self._say(step)
        for _ in range(ATTEMPTS):
            try:
                self._wait_healthy(60.0)
                return work()
            except NodeAway:
                raise
            except (RayError, Unavailable, KeyError) as error:
                cause = getattr(error, "cause", None)
                if isinstance(cause, ToriError) and not isinstance(cause, Unavailable):
                    raise cause from error
                last = error
                time.sleep(ATTEMPT_PAUSE_S)
        raise Unavailable(f"quiesce could not do {step!r} in {ATTEMPTS} attempts: {last}.", remedy="See tori status.")

    def settle(self) -> None:
        """Return when nobody has anything left: two sweeps in a row see every lag at zero and nothing moved between them.

        What is on its way between two nodes is seen as well: a mirror behind its journal counts as a lag.
        """
        before: tuple[int, ...] | None = None
        pause_s = SWEEP_S
        while True:
            names, refs = zip(*[(n, h.settle.remote()) for n, h in self._handles().items()], strict=True)
            views: list[LoopView] = ray.get(list(refs))
            now = tuple(v.consumed + v.emitted + v.units for v in views)
            is_still = now == before and all(v.lag == 0 for v in views)
            if is_still and not self._behind(dict(zip(names, views, strict=True))):
                return
            if any(v.paused for v in views):
                raise Unavailable("a module is paused, so the mind cannot settle.", remedy="tori resume, then again.")
            pause_s = min(pause_s * 1.5, SLOWEST_SWEEP_S) if now != before else SWEEP_S
            before = now
            time.sleep(pause_s)

    def sections(self) -> dict[str, str]:
        """Return the digest of every section that there is."""
        names, refs = zip(*[(n, h.section.remote()) for n, h in self._handles().items()], strict=True)
        return {n: s for n, s in zip(names, ray.get(list(refs)), strict=True) if s is not None}
