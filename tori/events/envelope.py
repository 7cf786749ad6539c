"""What every event carries.

``Event`` holds what differs from event to event and is what handlers take; ``FrameContext`` what a whole frame
shares (source, idempotence, schema, trace). ``Envelope`` is both together, for the edges: history, live
views, CloudEvents. The priority of an event is the lane of its frame, fixed by the type's catalogue entry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tori.events.payloads import Payload
from tori.ids import id_time_ns

if TYPE_CHECKING:
    from tori.journal.position import Position


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An immutable fact, in the past tense. ``payload`` is one Struct of the catalogue and names the type."""

    id: bytes
    """16 bytes, time-ordered (``tori.ids``)."""
    payload: Payload
    key: str = ""
    """Ordering key, often a document, concept or thread id."""
    correlation_id: bytes = b""
    """Id of the event that began the story this one belongs to; empty = itself."""
    causes: tuple[bytes, ...] = ()
    """Ids of the events this one follows from."""
    depth: int = 0
    """How many reactions lie between it and what came through a door or a scan: one more than the deepest input, of those
    handled together, that it names as a cause. The history of what it speaks about does not count."""

    @property
    def type(self) -> str:
        return type(self.payload).__name__

    @property
    def time_ns(self) -> int:
        """When it happened, nanoseconds since the epoch; strictly rising within one source."""
        return id_time_ns(self.id)


class FrameContext(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the events of one frame share."""

    source: str
    origin: str = ""
    """Name of the idempotent producer, when there is one."""
    origin_seq: int = 0
    """The producer's own number of the first event of the frame."""
    schema: int = 1
    traceparent: str = ""
    """W3C trace context of the work that wrote the frame."""


class Envelope(NamedTuple):
    """One event with everything known about it."""

    event: Event
    context: FrameContext
    lane: int
    position: Position
