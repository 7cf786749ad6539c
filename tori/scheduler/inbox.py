"""What waits for the scheduler, taken all at once: what came together is written together, for one sync."""

from __future__ import annotations

import contextlib
import queue
from typing import TypeVar

MOST = 256
"""Taken at once: who asked last waits until what all of them changed is written and acted on."""
Item = TypeVar("Item")


def take(waiting: queue.Queue[Item] | queue.SimpleQueue[Item], wait_s: float) -> list[Item]:
    """Return what has come, in order, at most ``MOST``; while there is nothing wait for so long. Empty = nothing came."""
    found: list[Item] = []
    with contextlib.suppress(queue.Empty):
        found.append(waiting.get(timeout=wait_s))
        while len(found) < MOST:
            found.append(waiting.get_nowait())
    return found
