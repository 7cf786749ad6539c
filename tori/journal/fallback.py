"""Commits what nobody waits for: a thread that sleeps until something is written, waits a moment, then syncs.

The moment grows with what a sync takes, so that syncing never takes more than about a tenth of the time from whoever publishes
all the while; it stays below ``MAX_DELAY_S``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from tori.errors import JournalError, JournalUnsynced

MAX_DELAY_S = 0.02
SHARE = 10
"""The delay is at least this many times the last sync."""
RETRY_S = 0.25
"""A full disk is asked again this often: nobody waits, and space comes back in seconds if at all."""


class FallbackCommit:
    """Calls ``commit`` about ``delay_s`` after the first poke; asleep when nothing is written.

    The thread starts with the first poke. A commit that fails for good leaves its error with the writer, which refuses from
    then on; one that may succeed later is tried again.
    """

    def __init__(self, commit: Callable[[], None], delay_s: float) -> None:
        self._commit = commit
        self._delay_s = delay_s
        self._poked = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def poke(self) -> None:
        """Say that something was written."""
        if self._poked.is_set():
            return
        self._poked.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tori-fallback-commit", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        delay_s = self._delay_s
        while not self._stop.is_set():
            self._poked.wait()
            if self._stop.wait(delay_s):
                return
            self._poked.clear()
            begun = time.perf_counter()
            try:
                self._commit()
                delay_s = max(self._delay_s, min(MAX_DELAY_S, SHARE * (time.perf_counter() - begun)))
            except JournalUnsynced:
                self._stop.wait(RETRY_S)
                self._poked.set()
            except JournalError:
                return

    def close(self) -> None:
        self._stop.set()
        self._poked.set()
        if self._thread is not None:
            self._thread.join()
