"""The task ``chaos_recovery``: kills one module's process on purpose and looks whether it comes back as it was, and in time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from actors.options import control
from tori.errors import PermanentError, Unavailable
from tori.events.system import ChaosInjected
from tori.orchestrator import signal as sig
from tori.orchestrator.state import State

BOUND_S = 6.0
"""What the contract promises for a module that is killed."""
PATIENCE_S = 60.0
"""How long a recovery that is too slow is watched, to say how slow."""
LOOK_S = 0.02
TEST = "chaos_recovery"


class RecoveryFailed(PermanentError):
    """A module that was killed on purpose did not come back as it was, or not in time. Fields: module, recovered_s."""


class RecoveryCheck:
    """One check a run, on one module after the other. The module is paused over it, so that what it must remember stands still.

    Nobody is harmed: events wait in their journals, questions are asked again, and a module that is not well is left alone.
    """

    def __init__(
        self,
        conductor: Any,
        modules: Sequence[str],
        emit: Callable[..., None],
        injected: Callable[[], int],
    ) -> None:
        self._conductor = conductor
        self._modules = modules
        self._emit = emit
        self._injected = injected
        """How many faults were injected so far: chooses the next victim."""

    def run(self) -> str:
        """Return what was seen, JSON; raises RecoveryFailed when the promise was not kept, Unavailable when this is no moment for it."""
        number = self._injected()
        name = self._choose(number)
        self._conductor.ask(sig.CheckRequested(name))
        try:
            found = self._kill(name, number)
        finally:
            self._conductor.ask(sig.CheckRequested(name, ends=True))
        if not found["is_same"] or found["recovered_s"] > BOUND_S:
            raise RecoveryFailed(
                f"{name} came back in {found['recovered_s']} s (promised: {BOUND_S:g} s), "
                f"{'as it was' if found['is_same'] else 'and is not what it was'}.",
                remedy="See tori status and its log; its journal holds everything.",
                **found,
            )
        return json.dumps(found)

    def _choose(self, number: int) -> str:
        """Return whose turn it is among those that run well; nobody is touched while anything is amiss."""
        lifecycle = self._conductor.lifecycle
        states = lifecycle.states()
        if lifecycle.system is not State.RUNNING:
            raise Unavailable(f"the system is {lifecycle.system}.", remedy="A recovery is checked when all is well.")
        well = [
            name for name in self._modules if states[name] == State.RUNNING and not lifecycle.modules[name].successor
        ]
        if not well:
            raise Unavailable(
                "no module runs that could be checked: they are paused, or new code of them is on its way.",
                remedy="tori resume MODULE, then again.",
            )
        return well[number % len(well)]

    def _kill(self, name: str, number: int) -> dict[str, Any]:
        handle = self._conductor.handles[name]
        ray.get(control(handle, "pause").remote(paused=True))  # the machine's order may still be on its way
        before = self._look(handle)
        self._emit(ChaosInjected(f"{TEST}-{number}", name, "killed", number))
        begun = time.monotonic()
        ray.kill(handle, no_restart=True)
        after = self._look(self._await_new(name, handle, begun + PATIENCE_S))
        recovered_s = round(time.monotonic() - begun, 3)
        return {"module": name, "recovered_s": recovered_s, "digest": after[0], "is_same": after == before}

    def _await_new(self, name: str, old: Any, deadline: float) -> Any:
        """Return the module's next actor once it has recovered."""
        while True:
            handle = self._conductor.handles.get(name)
            if handle is not None and handle is not old:
                return handle
            if time.monotonic() > deadline:
                raise RecoveryFailed(
                    f"{name} did not come back in {PATIENCE_S:.0f} s.", remedy="See tori status.", module=name
                )
            time.sleep(LOOK_S)

    def _look(self, handle: Any) -> tuple[str | None, int]:
        """Return the digest of a module's section and how many events its journal has."""
        try:
            view = ray.get(handle.settle.remote())
            return ray.get(handle.section.remote()), int(view.events)
        except RayError as error:
            raise Unavailable("the module died by itself over the check.", remedy="See tori status.") from error
