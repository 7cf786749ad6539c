"""The bus benchmark: what one producer and each follower do, without Ray.

Events are made in the timed loop with causes, correlation and key set; every follower decodes every event fully, calls one
Python handler an event and folds all payload fields into a checksum that must equal the producer's.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec

from tori.events.envelope import Event, FrameContext
from tori.events.system import TaskCompleted
from tori.ids import IdSource, source_suffix
from tori.journal.follower import Cursor, Follower
from tori.journal.reader import JournalReader
from tori.journal.unit import events_frame
from tori.journal.wake import Sleeper
from tori.journal.writer import JournalWriter

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SEGMENT_BYTES = 64 * 1024 * 1024
WINDOW_FRAMES = 8
"""Frames the producer writes before it waits for them to be on disk (``disk``); with ``os`` nothing waits."""
LANE = 2


class Checksum:
    """Folds every field of every payload: strings into a crc32, the whole number and the float (exact: halves) into sums."""

    __slots__ = ("count", "crc", "numbers", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.crc = 0
        self.numbers = 0
        self.seconds = 0.0

    def handle(self, event: Event) -> None:
        """The handler, one call an event; the producer calls it with every event that it made."""
        p: Any = event.payload
        self.count += 1
        self.crc = crc32((p.task_id + p.run_id + p.task_type).encode(), self.crc)
        self.numbers += p.attempt
        if p.duration_s is not None:
            self.seconds += p.duration_s
        if p.error is not None:
            self.crc = crc32(p.error.encode(), self.crc)

    @property
    def value(self) -> tuple[int, int, float]:
        return self.crc, self.numbers, self.seconds


class Offered(msgspec.Struct, frozen=True):
    """What a producer wrote."""

    count: int
    checksum: tuple[int, int, float]
    seconds: float
    bytes_per_event: float
    begun_ns: int = 0
    """Monotonic: when the first event was about to be made."""
    frames: int = 0


class Taken(msgspec.Struct):
    """What a follower handled."""

    count: int = 0
    checksum: tuple[int, int, float] = (0, 0, 0.0)
    first_ns: int = 0
    last_ns: int = 0
    latencies_ns: list[int] = []
    late_wakes: int = 0


class Producer:
    """Makes and publishes events into one journal."""

    def __init__(self, directory: Path, mode: str) -> None:
        self.mode = mode
        fallback_s = None if mode == "disk" else 0.002
        self.writer = JournalWriter(directory, segment_bytes=SEGMENT_BYTES, fallback_s=fallback_s)
        self._ids = IdSource(source_suffix("bench"))
        self._context = FrameContext("bench", traceparent=TRACE)
        self._correlation = self._ids.next()
        self._made = 0
        self.checksum = Checksum()

    @property
    def made(self) -> int:
        """How many events were made so far."""
        return self._made

    def make(self, count: int, due_ns: Callable[[int], int] | None = None) -> list[Event]:
        """Return ``count`` new events; ``attempt`` carries the event's number, or its due time when events are paced."""
        new_id, correlation, handle = self._ids.next, self._correlation, self.checksum.handle
        events = []
        cause = correlation
        for index in range(self._made, self._made + count):
            attempt = index if due_ns is None else due_ns(index)
            payload = TaskCompleted(f"task-{index & 255}", f"run-{index}", "wormhole_scan", attempt, index * 0.5)
            event = Event(new_id(), payload, payload.task_id, correlation, (cause,))
            cause = event.id
            handle(event)
            events.append(event)
        self._made += count
        return events

    def flood(self, seconds: float, frame: int) -> Offered:
        """Publish frames of ``frame`` events as fast as they become durable (``disk``) or written (``os``)."""
        start, begun_ns = time.perf_counter(), time.monotonic_ns()
        begun, made = self.writer.written_offset, self._made
        frames = 0
        while time.perf_counter() - start < seconds:
            ticket = self.writer.append([events_frame(self._context, self.make(frame), LANE)])
            frames += 1
            if self.mode == "disk" and frames % WINDOW_FRAMES == 0:
                self.writer.commit(ticket.end)
        self.writer.commit()
        return self._offered(start, begun, made, begun_ns, frames)

    def pace(self, seconds: float, rate: float) -> Offered:
        """Publish at ``rate`` events/s on a fixed schedule: whatever is due goes as one frame; late counts as latency."""
        start = time.perf_counter()
        start_ns = time.monotonic_ns() - int(self._made / rate * 1e9)
        begun, made, frames, begun_ns = self.writer.written_offset, self._made, 0, time.monotonic_ns()
        step_ns = 1e9 / rate

        def due(index: int) -> int:
            return int(start_ns + index * step_ns)

        while time.perf_counter() - start < seconds:
            now = time.monotonic_ns()
            count = int((now - start_ns) / step_ns) + 1 - self._made
            if count <= 0:
                time.sleep(max(0.0, (due(self._made) - now) / 1e9))
                continue
            ticket = self.writer.append([events_frame(self._context, self.make(min(count, 1000), due), LANE)])
            frames += 1
            if self.mode == "disk":
                self.writer.commit(ticket.end)
        return self._offered(start, begun, made, begun_ns, frames)

    def _offered(self, start: float, begun: int, made: int, begun_ns: int, frames: int) -> Offered:
        count = self._made - made
        seconds = time.perf_counter() - start
        size = (self.writer.written_offset - begun) / max(1, count)
        return Offered(count, self.checksum.value, seconds, size, begun_ns, frames)

    def close(self) -> None:
        self.writer.close()


class Consumer:
    """Follows the benchmark's journal from its present end, until it has seen what the producer made."""

    def __init__(self, directory: Path, visibility: Any) -> None:
        self._reader = JournalReader(directory)
        self._visibility = visibility
        cursor = Cursor(self._reader.limit(visibility), self._reader.sequence(visibility))
        self._follower = Follower(self._reader, cursor, visibility=visibility)
        self._sleeper = Sleeper()
        self._sleeper.register(directory, visibility)
        self._checksum = Checksum()
        self._latencies: list[int] = []

    def handle_paced(self, event: Event) -> None:
        """The handler of a paced run: it also notes how late the event is."""
        self._checksum.handle(event)
        payload: Any = event.payload
        self._latencies.append(time.monotonic_ns() - payload.attempt)

    def run(self, until: Callable[[], bool], *, is_paced: bool) -> Taken:
        """Handle events until ``until()`` holds and nothing is left; checksums go on from the run before."""
        follower, handle = self._follower, self.handle_paced if is_paced else self._checksum.handle
        before, self._latencies = self._checksum.count, []
        taken = Taken()
        while True:
            frames = follower.take([], 10_000, 4 << 20)
            if frames and not taken.first_ns:
                taken.first_ns = time.monotonic_ns()
            for frame in frames:
                for event in frame.events:
                    handle(event)
            if frames:
                taken.last_ns = time.monotonic_ns()
                continue
            if until() and not follower.has_work:
                taken.count, taken.checksum = self._checksum.count - before, self._checksum.value
                taken.latencies_ns = self._latencies
                taken.late_wakes = self._sleeper.late_wakes
                return taken
            self._sleeper.sleep(lambda: follower.has_work, 0.1)

    def close(self) -> None:
        self._sleeper.close()
        self._reader.close()


def sync_latencies_ms(directory: Path, size: int, count: int = 400) -> list[float]:
    """Return how long ``fdatasync`` takes after writing ``size`` bytes into reserved space, sorted, in milliseconds."""
    path = directory / "sync-probe"
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(fd, 0, size * count)
        os.fsync(fd)
        taken = []
        for index in range(count):
            os.pwrite(fd, b"x" * size, index * size)
            start = time.perf_counter()
            os.fdatasync(fd)
            taken.append((time.perf_counter() - start) * 1e3)
        return sorted(taken)
    finally:
        os.close(fd)
        path.unlink()
