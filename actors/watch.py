"""Where an orchestrator waits for the end of an actor: one waits at a time, and a newer orchestrator sends an older one away.

The pending call of an orchestrator that died keeps its thread of the actor. Without this, as many deaths as there are threads
would freeze every module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

ENDED, REPLACED = True, False


class Watch:
    """Tells whoever waits how the thing it guards ended. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watcher = (0, 0)
        self._guarded: object = None
        self._ended = False
        self._error: BaseException | None = None

    def guard(self, thing: object, join: Callable[[], None]) -> None:
        """Guard ``thing`` from now on instead of what was guarded before; ``join`` returns, or raises, at its end."""
        with self._changed:
            self._guarded = thing
        threading.Thread(target=self._join, args=(thing, join), name="tori-guard", daemon=True).start()

    def _join(self, thing: object, join: Callable[[], None]) -> None:
        error: BaseException | None = None
        try:
            join()
        except BaseException as raised:
            error = raised  # the loop has logged it
        with self._changed:
            if thing is self._guarded:
                self._ended, self._error = True, error
                self._changed.notify_all()

    def release(self) -> None:
        """Guard nothing: the end of what was guarded is meant."""
        with self._changed:
            self._guarded = None

    def wait(self, watcher: int, turn: int = 0) -> bool:
        """Return ENDED when what is guarded has ended, raising the error that ended it; REPLACED once a newer watcher waits.

        ``watcher`` is the epoch of the orchestrator's journal: a later orchestrator has a larger one. ``turn`` counts its calls: one
        whose answer was lost on the way is made again, and takes the place of the one that still waits here.
        """
        mine = (watcher, turn)
        with self._changed:
            if mine > self._watcher:
                self._watcher = mine
                self._changed.notify_all()
            self._changed.wait_for(lambda: self._ended or mine < self._watcher)
            if mine < self._watcher:
                return REPLACED
            if self._error is not None:
                raise self._error
            return ENDED
