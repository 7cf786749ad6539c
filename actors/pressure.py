"""Looks at CPU, memory, disk, object store and lag now and then; tells ledger and scheduler when one became scarce or plenty."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

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
        others: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        self.machine = PressureMachine(thresholds_of(limits))
        self.on_failure: Callable[[BaseException], None] = lambda error: None
        self._interval_s = float(limits["resource_check_s"])
        self._emit = emit
        self._tell = tell
        self._sample = sample or self._read
        self._probe = Probe(home)
        self._others = others
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tori-pressure", daemon=True)

    def _read(self) -> Sample:
        """Return what the machine says, and what only the shell can know (object store, lag)."""
        return Sample(self._probe.sample().usage | self._probe.stall() | dict(self._others()))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()

    def look(self) -> PressureChanged:
        """Take one reading and do what follows: the event first, then the word to the scheduler. Return where things stand.

        What cannot be read is missed.
        """
        try:
            sample = self._sample()
        except OSError as error:
            event_logger(ORCHESTRATOR).warning("resources cannot be read: %s", error, exc_info=error)
            sample = Sample({})
        for instruction in self.machine.handle(sample):
            if isinstance(instruction, Emit):
                self._emit(instruction.payload)
            else:
                self._tell(instruction)
        return self.machine.report

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._interval_s):
                self.look()
        except BaseException as error:
            if not self._ended.is_set():
                self.on_failure(error)
