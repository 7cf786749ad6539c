"""Idle CPU priority: background work computes when nobody else wants to.

On Linux the scheduling class ``SCHED_IDLE``, elsewhere nice 19. A process without privileges cannot come back from either, so whoever
asks for it gives a process to background work for good.
"""

from __future__ import annotations

import os

LOWEST_NICENESS = 19


def is_background() -> bool:
    """Return whether this thread has idle priority."""
    if hasattr(os, "SCHED_IDLE"):
        return os.sched_getscheduler(0) == os.SCHED_IDLE
    return os.getpriority(os.PRIO_PROCESS, 0) >= LOWEST_NICENESS


def enter_background() -> None:
    """Give this thread, and every thread it starts from now on, idle priority. A second time does nothing."""
    if is_background():
        return
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.setpriority(os.PRIO_PROCESS, 0, LOWEST_NICENESS)
