"""Commits what nobody waits for: a thread that sleeps until something is written, waits a moment, then syncs."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tori.errors import JournalError, JournalUnsynced

RETRY_S = 0.25
"""A full disk is asked again this often: nobody waits, and space comes back in seconds if at all."""


class FallbackCommit:
    """Calls ``commit`` at most ``delay_s`` after the first poke; asleep when nothing is written.

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
        while not self._stop.is_set():
            self._poked.wait()
            if self._stop.wait(self._delay_s):
                return
            self._poked.clear()
            try:
                self._commit()
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
