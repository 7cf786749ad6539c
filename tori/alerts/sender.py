"""Sends what waits, one after another; who does not answer is tried again with growing pauses, and given up in the end, with a word."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tori.alerts.webhook import Webhook, WebhookAway, WebhookRefused
from tori.backoff import RetryDecision
from tori.clock import SECOND_NS, Clock
from tori.events.envelope import Event
from tori.events.system import AlertUndelivered
from tori.scheduler.retry import RetryPolicy

OVERFLOW = "more alerts came than could be sent: it was pushed out"


class Waiting(NamedTuple):
    """What the outbox holds, as its reader sees it."""

    first: Event | None
    """The oldest that waits."""
    dropped: list[Event]


class Sender:
    """Moves the outbox along. One caller; a call may block as long as the receiver does, never anybody else."""

    def __init__(
        self,
        webhook: Webhook,
        policy: RetryPolicy,
        clock: Clock,
        look: Callable[[], Waiting],
        delivered: Callable[[Event], None],
        give_up: Callable[[AlertUndelivered], None],
        source_of: Callable[[Event], str],
    ) -> None:
        self._webhook = webhook
        self._policy = policy
        self._clock = clock
        self._look = look
        self._delivered = delivered
        self._give_up = give_up
        self._source_of = source_of
        self._event_id = b""
        self._attempts = 0
        self._due_ns = 0

    def turn(self) -> float | None:
        """Do the next thing; return the seconds until there is another, None = when another alert comes."""
        first, dropped = self._look()
        for event in dropped:
            self._drop(event, 0, OVERFLOW)
        if first is None:
            return None
        if first.id != self._event_id:
            self._event_id, self._attempts, self._due_ns = first.id, 0, 0
        wait_ns = self._due_ns - self._clock.monotonic_ns()
        if wait_ns > 0:
            return wait_ns / SECOND_NS
        return self._try(first)

    def _try(self, event: Event) -> float:
        self._attempts += 1
        try:
            self._webhook.post(event, self._source_of(event))
        except WebhookAway as error:
            decision = self._policy.decide(event.id.hex(), self._attempts, temporary=True)
            if isinstance(decision, RetryDecision):
                self._due_ns = self._clock.monotonic_ns() + round(decision.after_s * SECOND_NS)
                return decision.after_s
            self._drop(event, self._attempts, f"{error}; {decision.reason}")
        except WebhookRefused as error:
            self._drop(event, self._attempts, str(error))
        else:
            self._delivered(event)
        return 0.0

    def _drop(self, event: Event, attempts: int, error: str) -> None:
        self._give_up(AlertUndelivered(event.id, event.type, self._webhook.place, attempts, error))
