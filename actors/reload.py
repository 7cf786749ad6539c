"""New code in the place of old, seen from the orchestrator: a successor rehearses, the old actor hands over, or everything stays."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from actors.failure import brief_error, cause_of
from actors.options import control
from actors.succession import BEFORE_S, HAND_OVER_S
from tori.errors import PermanentError, ToriError, Unavailable

MARGIN_S = 5.0
"""For the calls themselves."""


class ReloadFailed(PermanentError):
    """New code was refused; the old code goes on. Fields: module, from_version, to_version."""


class Replaced(NamedTuple):
    """What a replacement did."""

    version: str
    """Of the code that runs now, as its own process says."""
    pause_s: float


class Replacement:
    """Puts ``new`` in the place of ``old``. When ``run`` raises, the old actor has the module and handles."""

    def __init__(self, name: str, old: Any, new: Any, patience_s: float) -> None:
        self._name = name
        self._old = old
        self._new = new
        self._patience_s = patience_s

    def run(self, set_available: Callable[[bool], None]) -> Replaced:
        """``set_available``: told that no work can be begun with the module, and that it can again."""
        version = self._rehearse()
        set_available(False)
        try:
            return Replaced(version, self._switch())
        finally:
            set_available(True)

    def _rehearse(self) -> str:
        """Wait while the new code lives through the journal; a long replay is progress."""
        ref, reached = control(self._new, "rehearse").remote(), -1
        while not ray.wait([ref], timeout=self._patience_s)[0]:
            done = ray.get(control(self._new, "rehearsed").remote(), timeout=MARGIN_S)
            if done <= reached:
                raise Unavailable(f"the new code of {self._name} made no progress in {self._patience_s:.0f} s.")
            reached = done
        return str(ray.get(ref))

    def _switch(self) -> float:
        """Let the module change hands; return for how many seconds nobody had it."""
        begun = time.monotonic()
        try:
            handover = ray.get(control(self._old, "hand_over").remote(), timeout=HAND_OVER_S + MARGIN_S)
            before = control(self._old, "last_section").remote()
            taken = control(self._new, "take_over").remote(handover, [before])
            ray.get(taken, timeout=max(self._patience_s, BEFORE_S) + MARGIN_S)
        except Exception:
            with contextlib.suppress(RayError):
                ray.kill(self._new, no_restart=True)
            ray.get(control(self._old, "take_back").remote(), timeout=self._patience_s + MARGIN_S)
            raise
        return time.monotonic() - begun


def reload_failure(name: str, versions: tuple[str, str], error: BaseException) -> ToriError:
    """Return a failed reload as one error: what the new code raised, and that the old goes on."""
    cause = cause_of(error)
    said = str(cause) if isinstance(cause, ToriError) else f"{type(cause).__name__}: {brief_error(error)}"
    return ReloadFailed(
        f"the new code of {name} was refused, the old goes on: {said}",
        remedy="Mend it and reload again; what is installed is also what the next start of the module takes.",
        module=name,
        from_version=versions[0],
        to_version=versions[1],
    )
