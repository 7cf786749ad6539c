"""The watchdog of a module: past its time-out the process is killed, whatever the module's code is doing.

A kernel timer (ITIMER_REAL, SIGALRM with its default action) and not a thread: a thread needs the interpreter lock to run, and
a handler stuck in C may hold it for ever. Arming costs about half a microsecond. faulthandler, which is C too, writes where
every thread stood. What happens then is what happens at any death of the process: the mark beside the journal says over which
event it died.
"""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import Protocol

MAX_TRACE_CHARACTERS = 4000


class Watchdog(Protocol):
    """Armed around every call of a module's code."""

    timeout_s: float
    """For taking events."""
    request_timeout_s: float
    """For what somebody asked for: a query, a command, a scan's input or result, a snapshot."""
    trace: str
    """Where the threads of the process before this one stood when its watchdog killed it; empty when it did not."""

    def arm(self, timeout_s: float) -> None: ...
    def disarm(self) -> None: ...
    def close(self) -> None: ...


class NoWatchdog:
    """For a process that hosts more than one module, or a person's notebook: nobody is killed."""

    timeout_s = 0.0
    request_timeout_s = 0.0
    trace = ""

    def arm(self, timeout_s: float) -> None:
        """Do nothing."""

    def disarm(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class ProcessWatchdog:
    """Kills this process ``timeout_s`` after ``arm`` unless ``disarm`` came first. One a process: the timer is the process's.

    ``path``: where the trace is written, and found by the next process.
    """

    def __init__(self, timeout_s: float, request_timeout_s: float, path: Path) -> None:
        self.timeout_s, self.request_timeout_s = timeout_s, request_timeout_s
        if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
            raise RuntimeError("SIGALRM is taken in this process: the watchdog of handlers needs its default action")
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        self.trace = os.pread(self._fd, MAX_TRACE_CHARACTERS, 0).decode(errors="replace")
        os.ftruncate(self._fd, 0)
        faulthandler.register(signal.SIGALRM, file=self._fd, all_threads=True, chain=True)

    def arm(self, timeout_s: float) -> None:
        signal.setitimer(signal.ITIMER_REAL, timeout_s)

    def disarm(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0.0)

    def close(self) -> None:
        self.disarm()
        faulthandler.unregister(signal.SIGALRM)
        os.close(self._fd)
