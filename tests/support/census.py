"""Which event types a test run really emitted, and who really took them: read from the journals of its home alone.

*Emitted* = an event of the type stands in a journal on disk. *Taken* by module M = a commit unit of M's own journal names,
in its cursor runs, a frame that holds the event, and M's ``inputs`` include the type: M decided on it, durably. *Shown* =
the orchestrator's ledger, replayed from nothing over its own commit units (the inputs they name and its own events), counts
it: that is what status, report and ``tori task list`` read. *Handled* = taken or shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tori.events.envelope import Event
from tori.journal.frame import EVENTS
from tori.journal.reader import JournalReader
from tori.journal.unit import Unit, units
from tori.modules.registry import PATHS, module_class
from tori.orchestrator.ledger import Ledger

LEDGER = "orchestrator"


class Kind(msgspec.Struct):
    """What the journals say about one event type."""

    emitted: Counter[str]
    """Events by journal."""
    taken: Counter[str]
    """Events by the module that decided on them."""
    shown: int = 0
    """Events that the replayed ledger counts."""

    @property
    def is_handled(self) -> bool:
        return bool(self.taken) or self.shown > 0


def census(*homes: Path) -> dict[str, Kind]:
    """Return every event type that stands in the journals of these stopped systems, with who took it."""
    found: dict[str, Kind] = {}
    for home in homes:
        with _Journals(home) as journals:
            journals.count(found)
    return found


class _Journals:
    """The journals of one home, open."""

    def __init__(self, home: Path) -> None:
        self._readers = {path.name: JournalReader(path) for path in sorted((home / "journals").iterdir())}

    def __enter__(self) -> _Journals:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._readers.values():
            reader.close()

    def count(self, found: dict[str, Kind]) -> None:
        """Add what stands here to ``found``."""
        for name in self._readers:
            for unit in self._units(name):
                for event in unit.events:
                    found.setdefault(event.type, Kind(Counter(), Counter())).emitted[name] += 1
        for name in self._readers.keys() & PATHS.keys():
            inputs = module_class(name).inputs
            for unit in self._units(name):
                for event in self._consumed(unit):
                    if isinstance(event.payload, inputs):
                        found[event.type].taken[name] += 1
        for event_type, count in self._ledger().counts.items():
            found[event_type].shown += count

    def _units(self, name: str) -> Iterator[Unit]:
        reader = self._readers[name]
        return units(reader, reader.first_offset(), reader.limit())

    def _consumed(self, unit: Unit) -> Iterator[Event]:
        """Yield the events of the input frames that a unit names as consumed."""
        for run in unit.runs:
            for frame in self._readers[run.journal].frames(run.start, run.end):
                if frame.header.kind == EVENTS:
                    yield from frame.events

    def _ledger(self) -> Ledger:
        """Return a ledger that lived through the orchestrator's commit units, as one that restarts does."""
        ledger = Ledger()
        if LEDGER in self._readers:
            for unit in self._units(LEDGER):
                for event in self._consumed(unit):
                    if isinstance(event.payload, ledger.inputs):
                        ledger.apply(event)
                for event in unit.events:
                    ledger.apply(event)
        return ledger
