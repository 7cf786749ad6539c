"""Redis Streams under the same load: the same events, the same frames, ``appendfsync always``.

A frame is one stream entry with the encoded body; each follower reads with XREAD and decodes and handles like TORI's. Skipped when
``redis-server`` is not installed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tori.bus.bench import TRACE, Checksum, Producer
from tori.events.codec import decode_body, encode_body
from tori.events.envelope import FrameContext

STREAM = b"bench"
WINDOW = 8
WARM_UP_S = 1.0


class Connection:
    """As much of the Redis protocol as the benchmark needs."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb", buffering=1 << 20)

    def send(self, *parts: bytes) -> None:
        data = [b"*%d\r\n" % len(parts)]
        data += [b"$%d\r\n%s\r\n" % (len(part), part) for part in parts]
        self._socket.sendall(b"".join(data))

    def receive(self) -> Any:
        line = self._file.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"$":
            return None if rest == b"-1" else self._file.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.receive() for _ in range(int(rest))]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return rest

    def call(self, *parts: bytes) -> Any:
        self.send(*parts)
        return self.receive()


@contextlib.contextmanager
def server(directory: Path) -> Iterator[int]:
    """Run a Redis on a free loopback port with every write synced; yield the port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
    command += ["--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                Connection(port).call(b"PING")
                break
            time.sleep(0.02)
        yield port
    finally:
        process.terminate()
        process.wait()


def results(home: Path, seconds: float, repeats: int, frame: int, rate: float) -> list[dict[str, Any]]:
    """Return the rows of Redis, or none where it is not installed."""
    if shutil.which("redis-server") is None:
        return []
    rows = []
    for paced in (None, rate):
        runs = []
        for repeat in range(repeats):
            directory = home / f"redis-{paced or 0:.0f}-{repeat}"
            directory.mkdir()
            with server(directory) as port:
                runs.append(_run(directory, port, seconds, frame, paced))
            shutil.rmtree(directory)
        rows.append(_median(runs))
    return rows


def _median(runs: list[dict[str, Any]]) -> dict[str, Any]:
    found = dict(runs[0])
    for name in ("events_per_s", "p50_ms", "p99_ms"):
        if runs[0][name] is not None:
            found[name] = statistics.median(r[name] for r in runs)
    found["complete"] = all(r["complete"] for r in runs)
    return found


def _run(directory: Path, port: int, seconds: float, frame: int, rate: float | None) -> dict[str, Any]:
    context = multiprocessing.get_context("fork")
    queue, done = context.Queue(), context.Event()
    followers = [context.Process(target=_follow, args=(port, queue, done, rate is not None)) for _ in range(2)]
    for process in followers:
        process.start()
    for _ in followers:
        queue.get()
    producer = Producer(directory / "journal", "os")  # only its events are used, nothing is appended
    connection = Connection(port)
    warm, _ = _offer(connection, producer, WARM_UP_S, frame, rate)
    begun_ns = time.monotonic_ns()
    count, frames = _offer(connection, producer, seconds, frame, rate)
    offered_s = (time.monotonic_ns() - begun_ns) / 1e9
    done.set()
    taken = [queue.get() for _ in followers]
    for process in followers:
        process.join()
    checksum = producer.checksum.value
    producer.close()
    latencies = sorted(n for t in taken for n in t["latencies"][warm:])
    return {
        "system": "redis-streams",
        "mode": "disk",
        "handler": "event",
        "frame": round(count / max(1, frames), 2) if rate else frame,
        "rate": rate,
        "events_per_s": round(count / max(offered_s, *((t["last_ns"] - begun_ns) / 1e9 for t in taken))),
        "p50_ms": round(latencies[len(latencies) // 2] / 1e6, 3) if latencies else None,
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] / 1e6, 3) if latencies else None,
        "fresh": True,
        "complete": all((t["count"], t["checksum"]) == (warm + count, checksum) for t in taken),
    }


def _offer(
    connection: Connection, producer: Producer, seconds: float, frame: int, rate: float | None
) -> tuple[int, int]:
    """Publish for a while; return how many events in how many frames."""
    return _pace(connection, producer, seconds, rate) if rate else _flood(connection, producer, seconds, frame)


def _flood(connection: Connection, producer: Producer, seconds: float, frame: int) -> tuple[int, int]:
    context = FrameContext("bench", traceparent=TRACE)
    start, count, waiting = time.perf_counter(), 0, 0
    while time.perf_counter() - start < seconds:
        connection.send(b"XADD", STREAM, b"*", b"f", encode_body(context, producer.make(frame)))
        count, waiting = count + frame, waiting + 1
        if waiting == WINDOW:
            for _ in range(waiting):
                connection.receive()
            waiting = 0
    for _ in range(waiting):
        connection.receive()
    return count, count // frame


def _pace(connection: Connection, producer: Producer, seconds: float, rate: float) -> tuple[int, int]:
    context = FrameContext("bench", traceparent=TRACE)
    begun, made, frames, step_ns = time.monotonic_ns(), 0, 0, 1e9 / rate
    first = producer.made

    def due(index: int) -> int:
        return int(begun + (index - first) * step_ns)

    while (now := time.monotonic_ns()) - begun < seconds * 1e9:
        count = int((now - begun) / step_ns) + 1 - made
        if count <= 0:
            time.sleep(max(0.0, (due(first + made) - now) / 1e9))
            continue
        connection.call(b"XADD", STREAM, b"*", b"f", encode_body(context, producer.make(min(count, 1000), due)))
        made += min(count, 1000)
        frames += 1
    return made, frames


def _follow(port: int, queue: Any, done: Any, is_paced: bool) -> None:
    connection = Connection(port)
    queue.put("ready")
    last, count, checksum, latencies = b"0", 0, Checksum(), []
    last_ns = 0
    while True:
        was_done = done.is_set()
        found = connection.call(b"XREAD", b"COUNT", b"64", b"BLOCK", b"100", b"STREAMS", STREAM, last)
        if not found:
            if was_done:
                break
            continue
        for entry_id, fields in found[0][1]:
            last = entry_id
            for event in decode_body(fields[1]).events:
                checksum.handle(event)
                count += 1
                if is_paced:
                    payload: Any = event.payload
                    latencies.append(time.monotonic_ns() - payload.attempt)
        last_ns = time.monotonic_ns()
    queue.put({"count": count, "checksum": checksum.value, "last_ns": last_ns, "latencies": latencies})
