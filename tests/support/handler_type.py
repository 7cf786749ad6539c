"""What mypy must accept and refuse about handlers; it is checked, never run.

Each ignore is needed: were mypy to accept the line, it would report the ignore as unused.
"""

from __future__ import annotations

from tori.events.envelope import Event
from tori.events.handler import Registry
from tori.events.mind import ConceptAdded, ConceptRemoved
from tori.events.payloads import Payload

registry = Registry()


@registry.on
def one(event: Event, payload: ConceptAdded) -> None:
    """One type."""


@registry.on
def two(event: Event, payload: ConceptAdded | ConceptRemoved) -> None:
    """Two types."""


@registry.on
def every(event: Event, payload: Payload) -> None:
    """Every type."""


@registry.on  # type: ignore[type-var]  # str is no payload
def wrong(event: Event, payload: str) -> None:
    """No event type."""


@registry.on  # type: ignore[arg-type]  # the payload is missing
def short(event: Event) -> None:
    """No payload."""


registry.subscribe(ConceptAdded, one)
registry.subscribe(ConceptRemoved, two)
registry.subscribe(ConceptRemoved, one)  # type: ignore[arg-type]  # one takes ConceptAdded only
