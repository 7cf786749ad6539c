"""Quiesce: let everything settle, run one full pass of every scan, let it settle again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from tori.errors import IllegalTransition, NodeAway, ToriError, Unavailable
from tori.modules.loop import LoopView
from tori.modules.registry import FULL_PASS
from tori.orchestrator.notes import SYSTEM
from tori.orchestrator.state import State

SWEEP_S = 0.02
SLOWEST_SWEEP_S = 0.5
ATTEMPTS = 20
ATTEMPT_PAUSE_S = 0.5
STALLED_S = 120.0
"""Longest a settling mind may show no movement while something is left to take; a batch takes milliseconds."""
SETTLE_S = 3600.0
"""Longest a mind may keep moving without any new document: then two modules answer each other for ever."""


class NotSettling(Unavailable):
    """The mind does not come to rest; asking again at once would not help."""


def check_unpaused(states: Mapping[str, str], *, is_scheduler_paused: bool) -> None:
    """Raise IllegalTransition when the system or a module is paused: who waits for it to settle would wait for ever."""
    if states[SYSTEM] == State.PAUSED or is_scheduler_paused:
        raise IllegalTransition("the system is paused.", remedy="tori resume, then again.")
    for name, state in states.items():
        if state == State.PAUSED:
            raise IllegalTransition(f"module {name} is paused.", remedy=f"tori resume {name}, then again.")


class Quiesce:
    """One quiesce over the module actors. A module that dies meanwhile is waited for and its step is done again."""

    def __init__(
        self,
        handles: Callable[[], Mapping[str, Any]],
        scan: Callable[[str, str], int],
        wait_healthy: Callable[[float], None],
        say: Callable[[str], None],
        behind: Callable[[Mapping[str, LoopView]], int] = lambda views: 0,
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
            except (NodeAway, NotSettling):
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
        Raises NotSettling when nothing moves any more and something is left, or everything moves for ever.
        """
        before: tuple[int, ...] | None = None
        pause_s, begun = SWEEP_S, time.monotonic()
        moved = begun
        while True:
            views = self._views()
            now = tuple(v.consumed + v.emitted + v.units for v in views)
            is_still = now == before and all(v.lag == 0 for v in views)
            if is_still and not self._behind({view.name: view for view in views}):
                return
            if now != before:
                moved = time.monotonic()
            self._check_patience(views, begun, moved)
            pause_s = min(pause_s * 1.5, SLOWEST_SWEEP_S) if now != before else SWEEP_S
            before = now
            time.sleep(pause_s)

    def _views(self) -> list[LoopView]:
        """Return every module's view between two batches; raises NotSettling naming the one that does not come to it."""
        refs = {h.settle.remote(): name for name, h in self._handles().items()}
        done, late = ray.wait(list(refs), num_returns=len(refs), timeout=STALLED_S) if refs else ([], [])
        if late:
            names = ", ".join(refs[ref] for ref in late)
            raise NotSettling(
                f"{names} did not end a batch in {STALLED_S:.0f} s.", remedy="See tori status and its log."
            )
        views: list[LoopView] = ray.get(done)
        return sorted(views, key=lambda view: view.name)

    def _check_patience(self, views: Sequence[LoopView], begun: float, moved: float) -> None:
        behind = ", ".join(f"{v.name} (lag {v.lag})" for v in views if v.lag) or "nobody"
        now = time.monotonic()
        if now - moved > STALLED_S:
            raise NotSettling(f"nothing has moved for {STALLED_S:.0f} s; behind: {behind}.", remedy="See tori status.")
        if now - begun > SETTLE_S:
            raise NotSettling(
                f"the mind still moves after {SETTLE_S:.0f} s; behind: {behind}.",
                remedy="Stop feeding it; or two modules answer each other: see tori tail.",
            )

    def sections(self) -> dict[str, str]:
        """Return the digest of every section that there is."""
        names, refs = zip(*[(n, h.section.remote()) for n, h in self._handles().items()], strict=True)
        return {n: s for n, s in zip(names, ray.get(list(refs)), strict=True) if s is not None}
