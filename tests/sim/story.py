"""What happened in a world, in order: a line an action. All of it goes into a digest; the last lines are kept to be read."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable

KEPT_LINES = 400


class Violation(AssertionError):
    """The product broke a promise in a simulated world."""


class Story:
    """The ordered history of one world."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._hash = hashlib.sha256()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self.step = 0
        self.counts: Counter[str] = Counter()
        """How often each kind of thing happened."""

    def tell(self, kind: str, text: str = "") -> None:
        self.counts[kind] += 1
        line = f"{self.step:6d} {self._now_ns() // 1_000_000:9d} ms  {kind} {text}".rstrip()
        self._lines.append(line)
        self._hash.update(line.encode())

    def lines(self) -> list[str]:
        """Return the last lines, oldest first."""
        return list(self._lines)

    def digest(self) -> str:
        return self._hash.hexdigest()
