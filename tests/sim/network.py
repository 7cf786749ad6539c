"""A network that delays, loses, doubles and reorders messages, and can be cut in two.

Nothing moves by itself: the world asks what is due.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_IN_FLIGHT = 256
"""More than this: the newest is lost, as in a full queue."""


class Message(NamedTuple):
    """One message under way; the order of due times, then of sending, is the order of arrival."""

    due_ns: int
    number: int
    sender: str
    receiver: str
    body: Any


class Network:
    """Messages between named places."""

    def __init__(self, rng: random.Random, now_ns: Callable[[], int]) -> None:
        self._rng = rng
        self._now_ns = now_ns
        self._flight: list[Message] = []
        self._number = 0
        self.cut: frozenset[str] = frozenset()
        """Places that cannot reach those outside of it, nor be reached."""
        self.blocked: frozenset[tuple[str, str]] = frozenset()
        """(sender, receiver) of ways on which nothing arrives; the way back may be open."""
        self.loss = self.doubling = 0.0
        self.max_delay_ms = 1
        self.is_ordered = False
        """Whether messages arrive in the order in which they were sent, as on a stream."""
        self.lost = self.doubled = 0
        self.disturbed: Counter[tuple[str, str]] = Counter()
        """By way: how many messages did not arrive just once."""
        self._last_due: dict[tuple[str, str], int] = {}

    def send(self, sender: str, receiver: str, body: Any) -> None:
        """Put a message on its way: no, one or two copies will arrive."""
        copies = 1
        way = (sender, receiver)
        if self._rng.random() < self.loss or len(self._flight) >= MAX_IN_FLIGHT:
            copies, self.lost = 0, self.lost + 1
        elif self._rng.random() < self.doubling:
            copies, self.doubled = 2, self.doubled + 1
        self.disturbed[way] += copies != 1
        for _ in range(copies):
            self._number += 1
            due = self._now_ns() + self._rng.randint(0, self.max_delay_ms) * 1_000_000
            if self.is_ordered:
                due = self._last_due[way] = max(due, self._last_due.get(way, 0))
            heapq.heappush(self._flight, Message(due, self._number, sender, receiver, body))

    def next_due(self) -> Message | None:
        """Return the next message that has arrived; those that meet a cut are lost on the way."""
        while self._flight and self._flight[0].due_ns <= self._now_ns():
            message = heapq.heappop(self._flight)
            way = (message.sender, message.receiver)
            if (message.sender in self.cut) == (message.receiver in self.cut) and way not in self.blocked:
                return message
            self.lost += 1
            self.disturbed[way] += 1
        return None

    def __len__(self) -> int:
        return len(self._flight)
