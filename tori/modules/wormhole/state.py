"""What the wormhole module remembers, and its private record. No logic beyond bounds."""

from __future__ import annotations

import msgspec

from tori.events.mind import Evidence
from tori.modules.mapping import MapNode
from tori.modules.wormhole.scan import Pair

VERDICTS = 10_000
"""Most verdicts of people remembered; the oldest is forgotten first."""
FORGOTTEN = 10_000
"""Most unused suggestions remembered so that they are not made again; the oldest is forgotten first."""
ASKED = 64
"""Most alarms waiting for a scan; the oldest is dropped first."""


class ScanConcluded(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A scan's result was taken: its figures, every bridge with its numbers, and the suggestions that went unused."""

    tested: int
    significant: int
    threshold: float
    reason: str
    bridges: list[Pair]
    forgotten: list[str] = []
    scanned: int = 0
    """Documents compared."""


class Standing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A bridge or suggestion that stands: what its latest event said."""

    id: str
    a: str
    b: str
    is_created: bool
    """True for a significant bridge, False for a suggestion."""
    strength: float
    p_value: float
    distance: float
    evidence: tuple[Evidence, ...]
    reason: str
    event_id: bytes


class State(msgspec.Struct, array_like=True):
    """The snapshot of the module."""

    corpus: bytes
    nodes: list[MapNode]
    standing: list[Standing]
    verdicts: list[tuple[str, bool]]
    """(id, accepted), oldest first."""
    forgotten: list[str]
    asked: list[tuple[str, bytes]]
    """(concept id, AlienDetected event) of the alarms since the last scan."""
    scan: ScanConcluded | None
