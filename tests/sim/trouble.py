"""Events that are hard on a module: some fail for a while, some always, some take the process with them.

Which event is hard on whom follows from its content, so the same documents are as hard in the undisturbed run.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Literal

from tests.sim.files import Process
from tests.sim.modules import answer_of
from tori.errors import BadInput, Unavailable
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested

Kind = Literal["", "moody", "poison", "killer"]
MOODS = 2
"""A moody event fails so often, then never again."""


class Trouble:
    """What handlers meet in one world; ``is_on`` False: nothing."""

    def __init__(self, *, is_on: bool) -> None:
        self._is_on = is_on
        self._failed: Counter[tuple[str, bytes]] = Counter()
        self._known: dict[tuple[str, bytes], Kind] = {}

    def kind(self, module: str, event: Event) -> Kind:
        """Return how hard an event is on a module."""
        if not self._is_on:
            return ""
        known = self._known.get((module, event.id))
        if known is None:
            known = self._known[module, event.id] = _draw(module, event)
        return known

    def is_fatal(self, module: str, event: Event) -> bool:
        """Say whether the module can never handle the event: it must become a dead letter."""
        return self.kind(module, event) in ("poison", "killer")

    def handler(self, module: str, process: Process | None) -> Callable[[Event], None]:
        """Return what a module calls for each event it is about to decide on; without a process, a killer only fails."""

        def meet(event: Event) -> None:
            kind = self.kind(module, event)
            if kind == "moody" and self._failed[module, event.id] < MOODS:
                self._failed[module, event.id] += 1
                raise Unavailable(f"{module} is not in the mood for {event.key}.")
            if kind == "killer" and process is not None:
                process.die()
                process.begin("the handler")
            if kind in ("poison", "killer"):
                raise BadInput(f"{module} cannot take {event.key}.")

        return meet


def _draw(module: str, event: Event) -> Kind:
    if isinstance(event.payload, DocumentIngested):
        content = event.payload.content_hash.hex()
    else:
        answer = answer_of(event)
        if answer is None:
            return ""
        content = f"{answer.content}{answer.depth}{answer.by}"
    lot = hashlib.sha256(f"{module} {content}".encode()).digest()[0]
    return "moody" if lot < 12 else "poison" if lot < 15 else "killer" if lot < 17 else ""
