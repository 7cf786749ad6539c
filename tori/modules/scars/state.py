"""What the scars module remembers, and its private record."""

from __future__ import annotations

import msgspec

from tori.events.mind import Evidence
from tori.modules.scars.scan import Gap


class ScanConcluded(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A scan's result was taken: its figures, and every gap with its numbers."""

    tested: int
    points: int
    chance: float
    reason: str
    gaps: list[Gap]


class Standing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A gap that stands: what its latest event said."""

    id: str
    cycle: tuple[str, ...]
    birth: float
    death: float
    p_value: float
    severity: float
    details: str
    evidence: tuple[Evidence, ...]
    event_id: bytes
    since_ns: int
    """When it was first detected; documents that came later may have closed it."""
    chord: tuple[str, str] = ("", "")


class State(msgspec.Struct, array_like=True):
    """The snapshot of the module."""

    corpus: bytes
    standing: list[Standing]
    scan: ScanConcluded | None
