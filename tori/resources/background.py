"""Idle CPU priority: background work computes when nobody else wants to.

On Linux the scheduling class ``SCHED_IDLE``, elsewhere nice 19. A process without privileges cannot come back from either, so whoever
asks for it gives a process to background work for good.

The class alone is not enough where the kernel shares the CPU among sessions first (``sched_autogroup_enabled``): a session that holds both
idle and ordinary threads weighs by turns nearly nothing and as much as any other, and ordinary threads, of that session and of others,
then wait for hundreds of milliseconds behind idle ones (docs/measurements.md). So a background process also leaves for a session of its
own, which weighs little always.
"""

from __future__ import annotations

import os
import random
import threading
import time
from pathlib import Path

LOWEST_NICENESS = 19
AGAIN_S, TRIES = 0.1, 600
"""How soon, and how often, a session asks again for its weight: a hundred processes that begin together have it after ten seconds."""
_AUTOGROUP = Path("/proc/self/autogroup")
"""Where a process says how nice its whole session is."""


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


def leave_session(niceness: int = LOWEST_NICENESS) -> bool:
    """Give this process a session of its own that is as nice as ``niceness`` says; return whether it is alone in one.

    The leader of a process group cannot leave, so it first joins its parent's group; afterwards it leads one again, of the same number.
    Where that is not allowed nothing changes, for others neither.
    """
    pid = os.getpid()
    leads = os.getpgrp() == pid
    if os.getsid(0) != pid:
        try:
            if leads:
                os.setpgid(0, os.getpgid(os.getppid()))
            os.setsid()
        except OSError:
            if leads:
                os.setpgid(0, 0)  # somebody else is in its group, and keeps the number taken
            return False
    if not _weigh(niceness):
        threading.Thread(target=_insist, args=(niceness,), name="tori-session", daemon=True).start()
    return True


def _weigh(niceness: int) -> bool:
    """Say how nice this session is; False = the kernel was asked by too many just now. A kernel without such groups needs nothing."""
    try:
        _AUTOGROUP.write_text(f"{niceness}\n")
    except BlockingIOError:  # without privileges one process of the machine may write in a tenth of a second
        return False
    except OSError:
        pass
    return True


def _insist(niceness: int) -> None:
    for _ in range(TRIES):
        time.sleep(AGAIN_S * (0.5 + random.random()))
        if _weigh(niceness):
            return
