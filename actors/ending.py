"""How Ray tasks are brought to their end: asked, killed, and waited for until nothing of them runs."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

SETTLE_S = 0.1
"""What a submission takes at most on a busy machine; a task that ends sooner is not waited for."""
KILL_AGAIN_S = 1.0
"""How long a kill may take before it is repeated: the word may have been lost on its way to another node."""


def settle(refs: Sequence[Any]) -> None:
    """Let Ray take tasks in before anybody can cancel them: a cancellation that overtakes that ends this process (ADR 10)."""
    ray.wait(list(refs), num_returns=len(refs), timeout=SETTLE_S, fetch_local=False)


def cancel(refs: Iterable[Any], *, force: bool) -> None:
    """Have Ray tasks end; one that has ended already is fine."""
    for ref in refs:
        with contextlib.suppress(RayError, ValueError):
            ray.cancel(ref, force=force)


def end(refs: Sequence[Any], is_over: Callable[[], bool] = lambda: False) -> None:
    """Kill what still runs of these tasks and return when nothing does, so that another attempt may begin.

    The kill is repeated until Ray says that each has ended: its process, or its node, is gone then. ``is_over``: nobody begins
    anything any more, so nobody waits.
    """
    left, patience_s = list(refs), SETTLE_S
    while left and not is_over():
        try:
            _, left = ray.wait(left, num_returns=len(left), timeout=patience_s, fetch_local=False)
            cancel(left, force=True)
            patience_s = KILL_AGAIN_S
        except RayError:  # it cannot be asked just now, so nothing is known to have ended
            time.sleep(KILL_AGAIN_S)
