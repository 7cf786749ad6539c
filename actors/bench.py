"""The bus benchmark's actors: shells around ``tori.bus.bench``."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tori.bus.bench import Consumer, Offered, Producer, Taken, sync_latencies_ms
from tori.interpreter import tune


class BenchProducer:
    """One producer."""

    def __init__(self, directory: str, mode: str) -> None:
        tune()
        self._directory = Path(directory)
        self._producer = Producer(self._directory, mode)

    def ready(self) -> None:
        return

    def flood(self, seconds: float, frame: int) -> Offered:
        return self._producer.flood(seconds, frame)

    def pace(self, seconds: float, rate: float) -> Offered:
        return self._producer.pace(seconds, rate)

    def sync_latencies_ms(self, size: int) -> list[float]:
        return sync_latencies_ms(self._directory, size)

    def close(self) -> None:
        self._producer.close()


class BenchFollower:
    """One follower; a second thread of the actor tells it when the producer is done."""

    def __init__(self, directory: str, visibility: Any) -> None:
        tune()
        self._consumer = Consumer(Path(directory), visibility)
        self._done = threading.Event()

    def ready(self) -> None:
        return

    def run(self, *, is_paced: bool) -> Taken:
        self._done.clear()
        return self._consumer.run(self._done.is_set, is_paced=is_paced)

    def finish(self) -> None:
        self._done.set()

    def close(self) -> None:
        self._consumer.close()
