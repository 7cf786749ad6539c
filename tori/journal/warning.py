"""What a journal survived and somebody should know about."""

from __future__ import annotations

import logging
from collections import deque

import msgspec

MAX_WARNINGS = 64

_log = logging.getLogger("tori.journal")


class JournalWarning(msgspec.Struct, frozen=True):
    """A failure that cost nothing acknowledged."""

    journal: str
    kind: str
    """``sync_failed``, ``write_failed``, ``no_reserve`` or ``leftovers``."""
    message: str
    errno: int = 0
    offset: int = 0


class Warnings:
    """The newest warnings, until somebody takes them; older ones beyond the limit are dropped, all are in the log."""

    def __init__(self, journal: str) -> None:
        self._journal = journal
        self._kept: deque[JournalWarning] = deque(maxlen=MAX_WARNINGS)

    def add(self, kind: str, message: str, error: OSError, offset: int = 0) -> None:
        """Keep one warning and log it."""
        text = f"journal {self._journal}: {message}: {error.strerror or error}."
        self._kept.append(JournalWarning(self._journal, kind, text, error.errno or 0, offset))
        _log.warning(text)

    def __bool__(self) -> bool:
        return bool(self._kept)

    def newest(self) -> list[JournalWarning]:
        """Return them, oldest first."""
        return list(self._kept)

    def take(self) -> list[JournalWarning]:
        """Return and forget them, oldest first."""
        taken = self.newest()
        self.forget(taken)
        return taken

    def forget(self, told: list[JournalWarning]) -> None:
        """Drop those that somebody was told of."""
        for one in told:
            if one in self._kept:
                self._kept.remove(one)
