"""After each periodic checkpoint: old segments of journals go, and a piece of each journal is read again.

The orchestrator gathers what is needed and decides nothing; each module removes and reads its own segments, in its own process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from actors.failure import brief_error
from actors.logging import event_logger
from tori.checkpoint import report
from tori.checkpoint.store import CheckpointStore
from tori.errors import ToriError
from tori.events.system import ErrorOccurred
from tori.journal.retention import Guards, KeepEverythingPolicy, Trimmed
from tori.journal.scrub import Damage
from tori.modules.loop import ModuleLoop
from tori.modules.need import Need, guards_of, kept_needs, need_of
from tori.modules.open import archive_of, retention_policy

ANSWER_TIMEOUT_S = 30.0


class Housekeeping:
    """Has the journals of all nodes trimmed and scrubbed, each by its module. One call at a time."""

    def __init__(
        self,
        home: Path,
        settings: Mapping[str, Any],
        store: CheckpointStore,
        handles: Callable[[], Mapping[str, Any]],
        ledger: ModuleLoop,
        emit: Callable[..., None],
        marks: Callable[[], Mapping[str, Mapping[str, int | None]]] = dict,
    ) -> None:
        self._marks = marks
        self._home = home
        self._store = store
        self._handles = handles
        self._ledger = ledger
        self._emit = emit
        self._is_trimming = not isinstance(retention_policy(settings), KeepEverythingPolicy)
        self._is_scrubbing = settings["journal"]["scrub_size_bytes"] > 0
        self._known: dict[tuple[str, str], dict[str, int]] = {}

    def run(self) -> None:
        """Do both, as far as the settings ask for them; what fails in one module is told and stops no other."""
        if self._is_trimming:
            self._trim()
        if self._is_scrubbing:
            self._scrub()

    def _trim(self) -> None:
        handles = self._handles()
        needs: list[Need] = list(self._ask({n: h.need.remote() for n, h in handles.items()}, "trim").values())
        needs.append(self._ledger.call(need_of))
        guards = self._guards(needs)
        answers: dict[str, Trimmed] = self._ask(
            {n: h.trim.remote(guards[n]) for n, h in handles.items() if n in guards}, "trim"
        )
        for name, trimmed in answers.items():
            if trimmed.segments:
                event_logger(name).info(
                    "retention removed %d segments, %d bytes: the journal begins at offset %d now",
                    trimmed.segments,
                    trimmed.size_bytes,
                    trimmed.first_offset,
                )

    def _guards(self, needs: list[Need]) -> dict[str, Guards]:
        marks = self._marks()
        archive = archive_of(self._home)
        try:
            journals = tuple(archive.readers)
            return guards_of(journals, needs, kept_needs(self._store, journals, self._known), archive, marks)
        finally:
            archive.close()

    def _scrub(self) -> None:
        answers: dict[str, list[Damage]] = self._ask({n: h.scrub.remote() for n, h in self._handles().items()}, "scrub")
        for damages in answers.values():
            for damage in damages:
                self._emit(report.damaged(damage))

    def _ask(self, refs: Mapping[str, Any], what: str) -> dict[str, Any]:
        """Return what every module answers; tell of those that cannot."""
        found = {}
        for name, ref in refs.items():
            try:
                found[name] = ray.get(ref, timeout=ANSWER_TIMEOUT_S)
            except (RayError, ToriError, OSError) as error:
                event_logger(name).error("the journal could not be kept: %s", what, exc_info=error)
                self._emit(ErrorOccurred("JournalNotKept", f"{what}: {brief_error(error)}", name))
        return found
