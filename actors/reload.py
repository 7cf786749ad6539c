"""New code in the place of old, seen from the orchestrator: a successor rehearses, the old actor hands over, or everything stays."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from actors.cast import CLIENTS, is_relay
from actors.failure import brief_error, cause_of
from actors.names import ORCHESTRATOR
from actors.options import control
from actors.succession import BEFORE_S, HAND_OVER_S
from tori.errors import BadInput, PermanentError, ToriError, Unavailable
from tori.modules.source import source_version

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


def refusal(error: BaseException) -> str:
    """Return what the new code raised: an error of ours as it is, another with its type."""
    cause = cause_of(error)
    return str(cause) if isinstance(cause, ToriError) else f"{type(cause).__name__}: {brief_error(error)}"


def reload_failure(name: str, versions: tuple[str, str], error: BaseException) -> ToriError:
    """Return a failed reload as one error: what the new code raised, and that the old goes on."""
    return ReloadFailed(
        f"the new code of {name} was refused, the old goes on: {refusal(error).rstrip('.')}.",
        remedy="Mend it and reload again; what is installed is also what the next start of the module takes.",
        module=name,
        from_version=versions[0],
        to_version=versions[1],
    )


class Reloads:
    """Reloads as the orchestrator is asked for them: one module by name, or every one whose files have changed."""

    def __init__(self, conductor: Any, handle: Callable[[str], Any], has_nodes: Callable[[], bool]) -> None:
        self._conductor = conductor
        self._handle = handle
        self._has_nodes = has_nodes

    def one(self, name: str) -> dict[str, Any]:
        """Put the code of a module that is installed now in the place of the code that runs; changed or not.

        Raises BadInput for what is no module, IllegalTransition where its state does not allow it, ReloadFailed when the old code goes on.
        """
        self._refuse(name)
        return self._put(name, self._running(name), source_version(name))

    def _put(self, name: str, running: str, wanted: str) -> dict[str, Any]:
        found = self._conductor.reload(name, running, wanted)
        return {
            "module": name,
            "from_version": running,
            "to_version": found.version,
            "pause_s": round(found.pause_s, 4),
            "changed": found.version != running,
        }

    def changed(self) -> str:
        """Reload every module that runs other code than its files say; return what that did, JSON.

        Raises ReloadFailed naming every module whose new code was refused, after all were tried.
        """
        done, refused = [], []
        for name in sorted(self._conductor.handles):
            if self._is_fixed(name):
                continue
            running, wanted = self._running(name), source_version(name)
            if running == wanted:
                continue
            try:
                done.append(self._put(name, running, wanted))
            except ReloadFailed as error:
                refused.append(error)
        if refused:
            raise ReloadFailed(" ".join(error.message for error in refused), remedy=refused[0].remedy, reloads=done)
        return json.dumps({"reloads": done})

    def _running(self, name: str) -> str:
        return str(ray.get(control(self._handle(name), "ready").remote())["code"])

    def _is_fixed(self, name: str) -> bool:
        """Say whether something runs code and is no module that has a successor."""
        return is_relay(name) or name == ORCHESTRATOR or (name == CLIENTS and self._has_nodes())

    def _refuse(self, name: str) -> None:
        """Raise BadInput for what has no successor."""
        if self._is_fixed(name):
            what = "the relay of a head with other nodes, whose mirrors hang on it," if name == CLIENTS else name
            raise BadInput(
                f"{what} cannot be reloaded.",
                remedy="Its code comes with a restart: tori down, tori up; no event is lost over it.",
            )
