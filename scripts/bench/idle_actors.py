"""Actors whose idle cost the idle benchmark compares; importable by workers, as every actor's module must be."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
from pathlib import Path


class Empty:
    """Does nothing: what Ray itself costs."""

    def ready(self) -> int:
        """Return its pid."""
        return os.getpid()


class EventReader(Empty):
    """A module's minimum: the events' code, and a thread asleep on the datagram socket that wakes it."""

    def __init__(self) -> None:
        import tori.events.payloads  # noqa: F401

        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(Path(tempfile.mkdtemp()) / "wake"))
        self._socket.settimeout(1.0)
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                self._socket.recv(16)


class AsyncEventReader(EventReader):
    """The same with an event loop instead of a thread pool."""

    async def ready(self) -> int:  # type: ignore[override]  # the same method on Ray's event loop
        """Return its pid."""
        return os.getpid()


class BusyReader(EventReader):
    """The same with a busier safety poll, to see what polling costs."""

    def __init__(self) -> None:
        super().__init__()
        self._socket.settimeout(0.05)
