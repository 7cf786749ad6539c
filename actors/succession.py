"""A module actor that gives its module up to a successor, or is one: the shell around ``tori.modules.successor``."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from actors.snapshot import Origin
from actors.watch import Watch
from tori.digest import section_digest
from tori.errors import Unavailable
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.loop import LoopView, ModuleLoop
from tori.modules.successor import Handover, Successor, check_takeover

HAND_OVER_S = 10.0
"""A batch takes milliseconds; one whose handler hangs is no moment for a reload."""
BEFORE_S = 60.0


class Succeeding(ABC):
    """What a module actor does in a reload. At most one step at a time."""

    loop: ModuleLoop
    home: Path
    code: str
    """Version of the module's code in this process (``source_version``)."""
    config: Any
    _watch: Watch
    _origin: Origin

    def __init__(self) -> None:
        self._step = threading.Lock()
        self._successor: Successor | None = None
        self._kept: tuple[ModuleHost, HostSnapshot, bool] | None = None
        """What was handed over, while the successor may still fail."""
        self._rehearsed = 0

    @abstractmethod
    def _open_host(self, snapshot: Callable[[str], HostSnapshot | None], **options: Any) -> ModuleHost:
        """Return the recovered host of the module."""

    @abstractmethod
    def _new_loop(self, open_host: Callable[[], ModuleHost], *, is_patient: bool = True) -> ModuleLoop:
        """Return a loop around a host that is still to be opened; ``is_patient``: on a full disk it waits for room."""

    @abstractmethod
    def _begin(self) -> None:
        """Start the loop, and tell whoever watches how it ends."""

    @property
    def is_out(self) -> bool:
        """Whether this actor does not have the module: it is a successor still, or has handed over."""
        return self._successor is not None or self._kept is not None

    # -- the old one -------------------------------------------------------------------------------------------

    def hand_over(self) -> Handover:
        """End the loop between two batches and give the journal up; keep everything, for ``take_back``."""
        with self._step:
            held: list[ModuleHost] = []

            def last(host: ModuleHost) -> HostSnapshot:
                host.journal.commit()
                held.append(host)
                return host.place()

            is_paused = self.loop.is_paused
            self._watch.release()
            try:
                place = self.loop.end_with(last, HAND_OVER_S)
            except BaseException:
                self._watch.guard(self.loop, self.loop.join)
                raise
            self._kept = held[0], place, is_paused
            return Handover(place.offset, place.sequence, place.state_version, is_paused)

    def last_section(self) -> str | None:
        """Return the digest of the section as it was handed over."""
        if self._kept is None:
            raise Unavailable("nothing was handed over.")
        section = self._kept[0].module.section()
        return None if section is None else section_digest(section)

    def take_back(self) -> LoopView:
        """Go on from where it was handed over, with the state that is still here; does nothing when nothing was handed over."""
        with self._step:
            if self._kept is None:
                return self.loop.view
            host, place, is_paused = self._kept
            self.loop = self._new_loop(
                lambda: self._open_host(lambda name: place, create=lambda name, settings: host.module, is_loaded=True),
                is_patient=False,  # it holds state already: a second try would apply twice what the first one did
            )
            self.loop.pause(paused=is_paused)
            self._kept = None
            self._begin()
        return self.loop.wait_ready(self.config.start_timeout_s)

    def give_up(self) -> None:
        """Let what a successor has open go; does nothing for who has the module."""
        if self._successor is not None:
            self._successor.close()

    # -- the new one -------------------------------------------------------------------------------------------

    def rehearse(self) -> str:
        """Live through what the module did so far, beside it; return the version of this code. Raises what the code raises."""
        assert self._successor is not None
        with self._step:
            self._successor.rehearse(self._note)
        return self.code

    def rehearsed(self) -> int:
        """Return how many units the rehearsal has replayed."""
        return self._rehearsed

    def _note(self, units: int) -> None:
        self._rehearsed = units

    def take_over(self, handover: Handover, before: Sequence[Any]) -> LoopView:
        """Take the last units and the journal, check itself against the old code's section (a ref), and begin."""
        import ray

        successor = self._successor
        assert successor is not None

        def open_it() -> ModuleHost:
            place = successor.place()
            host = self._open_host(lambda name: place, create=lambda name, settings: successor.module, is_loaded=True)
            check_takeover(host, handover, lambda: ray.get(before[0], timeout=BEFORE_S))
            return host

        with self._step:
            self.loop.stop()  # it never began
            self.loop = self._new_loop(open_it, is_patient=False)  # on a full disk the old one goes on
            self.loop.pause(paused=handover.is_paused)
            self._begin()
            view = self.loop.wait_ready(self.config.start_timeout_s)
            self._successor = None
        successor.close()
        return view
