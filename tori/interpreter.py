"""How a process that handles events is set: for short waits between its threads and for a core, and few collections."""

from __future__ import annotations

import gc
import sys

from tori.resources.slice import shorten_slices

SWITCH_INTERVAL_S = 0.0005
"""How long a thread may keep the others waiting."""
COLLECT_AFTER = 10_000
"""Containers made and kept before the youngest are looked at: a frame decoded and forgotten makes hundreds, none of them cyclic."""


def tune() -> None:
    """Set this process up. Call it once, when its modules are imported and nothing is loaded: what lives now is never collected."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    shorten_slices()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, 20, 50)
