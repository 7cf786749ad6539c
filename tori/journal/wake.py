"""Waking sleeping followers: a flag in a mapped table and a Unix datagram.

A follower about to sleep stores its flag, passes a lock (a full memory barrier) and looks at the position once more;
the writer stores the position, passes a lock and looks at the flags. One of the two sees the other, so no wake-up is
lost. The safety poll counts the times it was needed after all, which must stay 0.

The flag says what its follower waits for: whoever reads durable frames only is not woken by a write that is still on its way to
the disk, which would cost both sides a wake-up for nothing.

Sockets live in Linux's abstract namespace: no files, no path limit, gone with the process.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tori.journal.control import FIRST_WAITER, MAX_WAITERS, WAITER_COUNT, Words, open_waiters
from tori.journal.files import Files, SystemFiles
from tori.journal.reader import Visibility

SAFETY_POLL_S = 1.0
WANTS_WRITTEN, WANTS_DURABLE = 1, 2
"""Values of a raised flag."""
GRACE_S = 0.25
"""How long a bell may take after the position it announces was stored: a writer can lose its processor between the two."""


def _address(token: int) -> bytes:
    return b"\0tori-%016x" % token


class Ringing(Protocol):
    """What a writer needs to wake its followers."""

    def ring(self, *, is_durable: bool = True) -> None: ...
    def close(self) -> None: ...


class NoBell:
    """For files that no other process can see: nobody sleeps on them."""

    def ring(self, *, is_durable: bool = True) -> None:
        """Wake nobody."""

    def close(self) -> None:
        """Nothing to give up."""


def bell_for(directory: Path, files: Files) -> Ringing:
    """Return the bell of a journal, silent when its files are not the system's."""
    return Bell(directory) if isinstance(files, SystemFiles) else NoBell()


class Bell:
    """The writer's side: rings those who sleep."""

    def __init__(self, directory: Path) -> None:
        self._table = open_waiters(directory)
        self._barrier = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def ring(self, *, is_durable: bool = True) -> None:
        """Wake every follower whose flag is up; call it after the position words are stored.

        ``is_durable``: the durable position moved. When only the written one did, those who read durable frames sleep on.
        """
        with self._barrier:
            words = self._table.words
            for slot in range(min(words[WAITER_COUNT], MAX_WAITERS)):
                at = FIRST_WAITER + 2 * slot
                wanted = words[at]
                if wanted == WANTS_WRITTEN or (wanted and is_durable):
                    words[at] = 0
                    self._send(words, at + 1)

    def _send(self, words: memoryview, at: int) -> None:
        try:
            self._socket.sendto(b"\0", _address(words[at]))
        except BlockingIOError:
            return  # its queue is full: it is awake
        except OSError:
            words[at] = 0  # nobody listens there: the follower is gone, its slot is free again

    def close(self) -> None:
        self._socket.close()
        self._table.close()


class Sleeping(Protocol):
    """What a follower needs to sleep until there is work."""

    def register(self, directory: Path) -> None: ...
    def sleep(self, has_work: Callable[[], bool], timeout_s: float = SAFETY_POLL_S) -> None: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class NoSleeper:
    """For files that no other process can see: nobody would wake who sleeps on them."""

    def register(self, directory: Path) -> None:
        """Wait for nobody."""

    def sleep(self, has_work: Callable[[], bool], timeout_s: float = SAFETY_POLL_S) -> None:
        """Return at once."""

    def interrupt(self) -> None:
        """Wake nobody."""

    def close(self) -> None:
        """Nothing to give up."""


def sleeper_for(files: Files) -> Sleeping:
    """Return what sleeps on journals in these files; what does not sleep, when they are not the system's."""
    return Sleeper() if isinstance(files, SystemFiles) else NoSleeper()


class Sleeper:
    """The follower's side: one socket for all the journals it follows, also the way to stop or interrupt its loop."""

    def __init__(self) -> None:
        self.token = int.from_bytes(os.urandom(8), "little") | 1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(_address(self.token))
        self._socket.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._barrier = threading.Lock()
        self._tables: list[tuple[Words, int, int]] = []
        """The waiter tables, with the slot's place and the value of the flag."""
        self.late_wakes = 0
        """Times the safety poll found work that no bell had announced; must stay 0."""

    def register(self, directory: Path, visibility: Visibility = "durable") -> None:
        """Take a slot in a journal's table; the writer will ring this sleeper when there is more to read."""
        table = open_waiters(directory)
        fd = os.open(directory / "waiters", os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            at = self._free_slot(table.words)
            table.words[at] = 0
            table.words[at + 1] = self.token
        finally:
            os.close(fd)
        self._tables.append((table, at, WANTS_DURABLE if visibility == "durable" else WANTS_WRITTEN))

    def _free_slot(self, words: memoryview) -> int:
        used = min(words[WAITER_COUNT], MAX_WAITERS)
        for slot in range(used):
            at = FIRST_WAITER + 2 * slot
            if not words[at + 1] or not self._answers(words[at + 1]):
                return at
        if used == MAX_WAITERS:
            raise BlockingIOError(f"{MAX_WAITERS} followers already wait on this journal")
        words[WAITER_COUNT] = used + 1
        return FIRST_WAITER + 2 * used

    def _answers(self, token: int) -> bool:
        try:
            self._socket.sendto(b"\0", _address(token))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

    def sleep(self, has_work: Callable[[], bool], timeout_s: float = SAFETY_POLL_S) -> None:
        """Sleep until rung, interrupted or ``timeout_s`` has passed; return at once when there is work."""
        for table, at, wanted in self._tables:
            table.words[at] = wanted
        with self._barrier:
            pass
        rung = None
        if not has_work():
            rung = self._poll.poll(timeout_s * 1000)
            if not rung and has_work():
                rung = self._poll.poll(GRACE_S * 1000)
                self.late_wakes += not rung
        for table, at, _ in self._tables:
            table.words[at] = 0
        if rung:
            self._socket.recv(16)  # one: what else rings makes the next sleep short, and whoever wakes looks for work

    def interrupt(self) -> None:
        """Wake this sleeper from any thread."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
            other.setblocking(False)
            try:
                other.sendto(b"\0", _address(self.token))
            except (BlockingIOError, ConnectionRefusedError):
                return

    def close(self) -> None:
        for table, at, _ in self._tables:
            table.words[at] = 0
            table.words[at + 1] = 0
            table.close()
        self._tables.clear()
        self._socket.close()
