"""The outbox: alerts that have not arrived yet, as part of the orchestrator's state.

It changes by facts only: an event that is an alert comes in with whatever consumed it, ``AlertDelivered`` and ``AlertUndelivered``
take it out, ``AlertsRuled`` says which events are alerts. So a restart knows what is still to be told, and sends again what may or
may not have arrived: at least once, with the event's id for the receiver to know it by.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeAlias

import msgspec

from tori.alerts.severity import Severity, severity_of
from tori.events.envelope import Event
from tori.events.system import AlertUndelivered

MAX_WAITING = 1000
"""Alerts that wait; a newer one pushes the oldest out, which is counted and told. Nobody reads the thousandth."""


class AlertDelivered(msgspec.Struct, frozen=True, array_like=True, tag=40):
    """Private record: an alert arrived."""

    event_id: bytes


class AlertsRuled(msgspec.Struct, frozen=True, array_like=True, tag=41):
    """Private record: from now on these events are alerts. What happened before is none, however the settings change later."""

    types: tuple[str, ...] = ()
    """Sorted; empty = none: there is nobody to tell."""
    least: Severity = Severity.WARNING

    def accepts(self, payload: Any) -> bool:
        """Return whether an event is to be told of."""
        if type(payload).__name__ not in self.types:
            return False
        severity = severity_of(payload)
        return severity is not None and severity >= self.least


class OutboxState(msgspec.Struct, array_like=True):
    """The whole outbox."""

    waiting: list[Event] = []
    dropped: list[Event] = []
    delivered: int = 0
    undelivered: int = 0
    rule: AlertsRuled = AlertsRuled()


AlertRecord: TypeAlias = AlertDelivered | AlertsRuled


class Outbox:
    """Alerts in the order they came."""

    def __init__(self) -> None:
        self.rule = AlertsRuled()
        self.waiting: OrderedDict[bytes, Event] = OrderedDict()
        self.dropped: OrderedDict[bytes, Event] = OrderedDict()
        """Pushed out, and not told of yet; the last ``MAX_WAITING``."""
        self.delivered = 0
        self.undelivered = 0

    def take(self, event: Event) -> bool:
        """Take an event of the ledger; return whether it is an alert."""
        if isinstance(event.payload, AlertUndelivered):
            self.undelivered += 1
            self.waiting.pop(event.payload.event_id, None)
            self.dropped.pop(event.payload.event_id, None)
            return False
        if not self.rule.accepts(event.payload):
            return False
        self.waiting[event.id] = event
        while len(self.waiting) > MAX_WAITING:
            event_id, oldest = self.waiting.popitem(last=False)
            self.dropped[event_id] = oldest
        while len(self.dropped) > MAX_WAITING:
            self.dropped.popitem(last=False)
        return True

    def apply(self, record: AlertRecord) -> None:
        """Take the word that an alert arrived, or another rule; without anybody to tell, what waits is dropped."""
        if isinstance(record, AlertsRuled):
            self.rule = record
            if not record.types:
                self.waiting.clear()
                self.dropped.clear()
            return
        self.delivered += 1
        self.waiting.pop(record.event_id, None)
        self.dropped.pop(record.event_id, None)  # it was pushed out while it was being sent

    def snapshot(self) -> OutboxState:
        return OutboxState(
            list(self.waiting.values()), list(self.dropped.values()), self.delivered, self.undelivered, self.rule
        )

    def restore(self, state: OutboxState) -> None:
        self.waiting = OrderedDict((event.id, event) for event in state.waiting)
        self.dropped = OrderedDict((event.id, event) for event in state.dropped)
        self.delivered, self.undelivered, self.rule = state.delivered, state.undelivered, state.rule
