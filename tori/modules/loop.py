"""The loop that owns a host: one supervised thread, asleep when there is nothing to do.

Followed frames wake it through the sleeper; commands, queries and results come in through the inbox and are served between
batches. If the loop dies, every waiter gets the error and ``join`` raises it: the actor around it fails loudly.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tori.errors import JournalRefused, NoRoom, ToriError, Unavailable
from tori.journal.files import lacks_room
from tori.journal.wake import SAFETY_POLL_S, Sleeper
from tori.modules.host import ModuleHost

T = TypeVar("T")
_log = logging.getLogger("tori.loop")
MAX_INBOX = 10_000
DISK_RETRY_S = 1.0
"""A full disk is asked again this often: space comes back in seconds if at all, and each try decides the batch anew."""
ROOM_RETRY_S = 0.5
"""The same where a try costs next to nothing: it fails at its first write."""
WAKE_MARGIN_S = 0.001
"""Polls count whole milliseconds: waking a little late is better than twice."""


class LoopView(msgspec.Struct, frozen=True):
    """What others may read of a loop at any time; replaced whole, never changed."""

    name: str
    consumed: int = 0
    emitted: int = 0
    units: int = 0
    replayed_units: int = 0
    version: int = 0
    lag: int = 0
    events: int = 0
    late_wakes: int = 0
    busy_s: float = 0.0
    paused: bool = False
    offset: int = 0
    """Written offset of the module's own journal."""
    held: int = 0
    """Deliveries that wait for their next attempt."""
    letters: int = 0
    """Dead letters in the book."""
    letters_ever: int = 0
    waited_s: float = 0.0
    """From birth until handled, summed over the events of other journals it took; for a batch as long as its oldest waited."""
    waits_for: str = ""
    """What keeps it from starting and passes without anybody starting it anew: its disk is full."""


class ModuleLoop:
    """Runs ``open_host()`` and then the host it returns, in a thread of its own.

    ``on_wait``: told that the disk is full at the start; then the loop waits for room. None = it ends with the error instead.
    """

    def __init__(
        self,
        name: str,
        open_host: Callable[[], ModuleHost],
        directories: list[Path],
        *,
        on_wait: Callable[[str], None] | None = lambda reason: None,
    ) -> None:
        self.name = name
        self._open_host = open_host
        self._directories = directories
        self._on_wait = on_wait
        self._inbox: deque[tuple[Callable[[ModuleHost], Any], Future[Any]]] = deque()
        self._sleeper = Sleeper()
        self._stop = False
        self._is_sealed = False
        """Nothing may change the host any more: requests that still wait are refused."""
        self._paused = False
        self._started = threading.Event()
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._busy_s = 0.0
        self.view = LoopView(name)
        self._thread = threading.Thread(target=self._run, name=f"tori-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread; ``wait_ready`` says when the module has recovered."""
        self._thread.start()

    def wait_ready(self, timeout_s: float) -> LoopView:
        """Return once the module has recovered; raises its error, or Unavailable after ``timeout_s`` without progress.

        A long replay is progress: ``replayed`` says how far it is. Raises NoRoom when it waits for room on its disk, and goes on waiting.
        """
        seen = 0
        while not self._started.wait(timeout_s):
            if self.view.waits_for:
                raise NoRoom(f"module {self.name} waits for room on its disk:", remedy=self.view.waits_for)
            if self.view.replayed_units == seen:
                raise Unavailable(
                    f"module {self.name} did not start in {timeout_s:.0f} s.", remedy="See its log for what it does."
                )
            seen = self.view.replayed_units
        if self._error is not None:
            raise self._error
        return self.view

    def replayed(self, units: int) -> None:
        """Show how many units the recovery that is under way has replayed."""
        self.view = msgspec.structs.replace(self.view, replayed_units=units, waits_for="")

    def _run(self) -> None:
        host: ModuleHost | None = None
        try:
            host = self._open()
            for directory in self._directories:
                self._sleeper.register(directory)
            self._publish(host)
            self._started.set()
            self._serve(host)
        except BaseException as error:
            self._error = error
            _log.error("the loop of %s ended: %s", self.name, error, exc_info=error)
        finally:
            if host is not None:
                self._close(host)
            self._ended.set()
            self._started.set()
            self._fail_waiters()
            self._sleeper.close()

    def _open(self) -> ModuleHost:
        """Open the host, once there is room for it: a process that dies of a full disk and is started anew waits longer."""
        while True:
            try:
                return self._open_host()
            except (JournalRefused, OSError) as error:
                if self._stop or self._on_wait is None or not lacks_room(error):
                    raise
                if not self.view.waits_for:
                    _log.warning("%s waits for room on its disk: %s", self.name, error)
                self.view = LoopView(self.name, waits_for=str(error))
                self._on_wait(str(error))
            self._sleeper.sleep(lambda: self._stop, ROOM_RETRY_S)

    def _close(self, host: ModuleHost) -> None:
        try:
            host.close()
        except (ToriError, OSError) as error:
            if self._error is None:
                self._error = error
            _log.warning("the journal of %s did not close: %s", self.name, error)

    def _serve(self, host: ModuleHost) -> None:
        is_warm = False
        while not self._stop:
            begun = time.perf_counter()
            handled = 0 if self._paused else self._step(host)
            served = self._serve_inbox(host)
            if handled or served:
                self._busy_s += time.perf_counter() - begun
                self._publish(host)
            elif not is_warm:
                host.serve(lambda host: host.module.warm())
                is_warm = True
            elif not self._stop:
                self._publish(host)
                self._sleep(host)
        self._serve_inbox(host)

    def _step(self, host: ModuleHost) -> int:
        """Let the host work; when its disk takes nothing, go on serving requests and ask again in a moment."""
        try:
            return host.step()
        except JournalRefused as error:
            _log.warning("%s waits for its disk: %s", self.name, error)
            self._sleeper.sleep(lambda: bool(self._inbox) or self._stop, DISK_RETRY_S)
            return 0

    def _sleep(self, host: ModuleHost) -> None:
        """Sleep until a bell, a request, or the next held delivery is due."""
        timeout_s = SAFETY_POLL_S
        wake_ns = None if self._paused else host.wake_ns
        if wake_ns is not None:
            timeout_s = min(timeout_s, max(0.0, (wake_ns - time.monotonic_ns()) / 1e9) + WAKE_MARGIN_S)
        self._sleeper.sleep(lambda: bool(self._inbox) or (not self._paused and host.has_input), timeout_s)

    def _serve_inbox(self, host: ModuleHost) -> int:
        served = 0
        while self._inbox and not self._is_sealed:
            work, future = self._inbox.popleft()
            served += 1
            try:
                future.set_result(host.serve(work))
            except Exception as error:
                future.set_exception(error)
                if (
                    host.is_torn
                ):  # written and not applied: whoever asks now would see a state its journal does not have
                    raise
        return served

    def _publish(self, host: ModuleHost) -> None:
        counters = host.counters
        self.view = LoopView(
            self.name,
            counters.consumed,
            counters.emitted,
            counters.units,
            counters.replayed_units,
            counters.version,
            host.lag,
            counters.events,
            self._sleeper.late_wakes,
            self._busy_s,
            self._paused,
            host.journal.written_offset,
            len(host.courier.pending),
            len(host.courier.book),
            host.courier.book.total,
            counters.waited_ns / 1e9,
        )

    def _fail_waiters(self) -> None:
        while self._inbox:
            _, future = self._inbox.popleft()
            future.set_exception(self._error or Unavailable(f"module {self.name} has stopped."))

    # -- from other threads ------------------------------------------------------------------------------------

    def submit(self, work: Callable[[ModuleHost], T]) -> Future[T]:
        """Have the loop run ``work`` between batches."""
        future: Future[T] = Future()
        if self._ended.is_set():
            future.set_exception(self._error or Unavailable(f"module {self.name} has stopped."))
        elif len(self._inbox) >= MAX_INBOX:
            future.set_exception(
                Unavailable(f"module {self.name} has {MAX_INBOX} requests waiting.", remedy="Try again in a moment.")
            )
        else:
            self._inbox.append((work, future))
            self._sleeper.interrupt()
            if self._ended.is_set():
                self._fail_waiters()
        return future

    def call(self, work: Callable[[ModuleHost], T], timeout_s: float | None = None) -> T:
        """Run ``work`` in the loop and return its result; raises what it raised, or Unavailable after ``timeout_s``."""
        try:
            return self.submit(work).result(timeout_s)
        except TimeoutError as error:
            raise Unavailable(
                f"module {self.name} was busy for {timeout_s} s.", remedy="Try again; nothing was lost."
            ) from error

    def pause(self, *, paused: bool) -> None:
        """Stop or go on taking inputs; requests are served all the time, and inputs wait in their journals."""
        self._paused = paused
        self._sleeper.interrupt()

    @property
    def is_paused(self) -> bool:
        return self._paused

    def stop(self) -> None:
        """Finish the batch in hand and end the thread; the journal is given up. A loop that never began never will."""
        self._stop = True
        if self._thread.ident is None:
            self._ended.set()
            self._sleeper.close()
            return
        with contextlib.suppress(OSError):
            self._sleeper.interrupt()
        self._thread.join()

    def end_with(self, work: Callable[[ModuleHost], T], timeout_s: float | None = None) -> T:
        """Run ``work`` as the last thing the loop does, give the journal up, and return what ``work`` returned.

        When ``work`` raises, or its turn has not come after ``timeout_s`` (Unavailable), the loop goes on.
        """
        turn, is_late = threading.Lock(), threading.Event()

        def last(host: ModuleHost) -> T:
            with turn:
                if is_late.is_set():
                    raise Unavailable(f"module {self.name} was busy.")
                found = work(host)
                self._stop = self._is_sealed = True
                return found

        future = self.submit(last)
        try:
            found = future.result(timeout_s)
        except TimeoutError as error:
            with turn:
                if not self._is_sealed:
                    is_late.set()
                    raise Unavailable(
                        f"module {self.name} was busy for {timeout_s} s.", remedy="Try again; nothing was lost."
                    ) from error
            found = future.result()
        self._thread.join()
        if self._error is not None:
            raise self._error
        return found

    def join(self) -> None:
        """Block until the loop ends; raises the error that ended it, if one did."""
        self._ended.wait()
        if self._error is not None:
            raise self._error
