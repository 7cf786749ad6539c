"""The watchdog of a handler: past its time-out the process is killed, whatever the handler is doing.

A kernel timer (ITIMER_REAL, SIGALRM with its default action) and not a thread: a thread needs the interpreter lock to run, and
a handler stuck in C may hold it for ever. Arming costs about half a microsecond. faulthandler, which is C too, prints where
every thread stood. What happens then is what happens at any death of the process: the mark beside the journal says over which
event it died.
"""

from __future__ import annotations

import faulthandler
import signal
from typing import Protocol

STDERR = 2


class Watchdog(Protocol):
    """Armed around every call of a handler."""

    timeout_s: float

    def arm(self) -> None: ...
    def disarm(self) -> None: ...


class NoWatchdog:
    """For a process that hosts more than one module, or a person's notebook: nobody is killed."""

    timeout_s = 0.0

    def arm(self) -> None:
        """Do nothing."""

    def disarm(self) -> None:
        """Do nothing."""


class ProcessWatchdog:
    """Kills this process ``timeout_s`` after ``arm`` unless ``disarm`` came first. One a process: the timer is the process's."""

    def __init__(self, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
            raise RuntimeError("SIGALRM is taken in this process: the watchdog of handlers needs its default action")
        faulthandler.register(signal.SIGALRM, file=STDERR, all_threads=True, chain=True)

    def arm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, self.timeout_s)

    def disarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
