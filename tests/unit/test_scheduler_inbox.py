"""Whatever waits is taken in order, at most so much at once."""

from __future__ import annotations

import queue

from tori.scheduler.inbox import MOST, take


def test_what_waits_comes_at_once_and_in_order() -> None:
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(MOST + 3):
        waiting.put(number)
    assert take(waiting, 0.0) == list(range(MOST))
    assert take(waiting, 0.0) == [MOST, MOST + 1, MOST + 2]
    assert take(waiting, 0.0) == []
