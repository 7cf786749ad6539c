"""Looks at CPU, memory and disk now and then, and tells the ledger and the scheduler when one of them became scarce or plenty."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from actors.logging import event_logger
from actors.names import ORCHESTRATOR
from tori.machine import Emit
from tori.resources.pressure import PressureChanged, PressureMachine, Sample, thresholds_of
from tori.resources.probe import Probe


class PressureWatch:
    """The pressure machine with its thread. A look costs 0.6 ms every ``limits.resource_check_s`` (5 s): 0.01 % of a core."""

    def __init__(
        self,
        home: Path,
        limits: Mapping[str, Any],
        emit: Callable[..., None],
        tell: Callable[[PressureChanged], None],
        sample: Callable[[], Sample] | None = None,
    ) -> None:
        self.machine = PressureMachine(thresholds_of(limits))
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self._interval_s = float(limits["resource_check_s"])
        self._emit = emit
        self._tell = tell
        self._sample = sample or Probe(home).sample
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tori-pressure", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> None:
        """Take one reading and do what follows: the event first, then the word to the scheduler."""
        try:
            sample = self._sample()
        except OSError as error:
            event_logger(ORCHESTRATOR).warning("resources cannot be read: %s", error, exc_info=error)
            return
        for instruction in self.machine.handle(sample):
            if isinstance(instruction, Emit):
                self._emit(instruction.payload)
            else:
                self._tell(msgspec.structs.replace(instruction, reason=self.machine.reason))

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._interval_s):
                self.look()
        except BaseException as error:
            if not self._ended.is_set():
                self.on_failure(error)
