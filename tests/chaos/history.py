"""What clients, observers and the nemesis saw: JSON lines, one fact a line, appended as it happens.

Every process writes a file of its own, so a killed one leaves at most one torn last line, which is dropped: what it would have
said was never said. A call has three outcomes: ``Ok``, ``Fail`` (surely nothing happened) and ``Unknown``; a call without an outcome
is unknown too. Times are of the machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

import msgspec


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One thing a client wants to have on record: a document with its content, or (origin, incarnation, seq)."""

    id: str
    key: str = ""
    """Ordering key: what one process asked for under one key and lane stays in this order."""
    digest: str = ""
    """Of the payload; empty when the client cannot know it."""
    lane: int = 2


class Invoke(msgspec.Struct, frozen=True, tag="invoke"):
    """A process begins a call."""

    process: str
    call: int
    op: str
    items: tuple[Item, ...]
    time_ns: int = 0


class Ok(msgspec.Struct, frozen=True, tag="ok", omit_defaults=True):
    """The call came back: its items are acknowledged, but for those refused."""

    process: str
    call: int
    refused: tuple[str, ...] = ()
    journal: str = ""
    sequence: int = -1
    """Position of the first item, when the client was told; the others follow it."""
    time_ns: int = 0


class Fail(msgspec.Struct, frozen=True, tag="fail"):
    """The call was refused: none of its items may ever be seen."""

    process: str
    call: int
    error: str
    time_ns: int = 0


class Unknown(msgspec.Struct, frozen=True, tag="unknown"):
    """The call ended without saying what happened."""

    process: str
    call: int
    error: str
    time_ns: int = 0


class Seen(msgspec.Struct, frozen=True, tag="deliver"):
    """A durable subscriber was handed the entry at a position."""

    process: str
    journal: str
    sequence: int
    item: str
    digest: str
    time_ns: int = 0


class Dead(msgspec.Struct, frozen=True, tag="dead_letter"):
    """A subscriber was told that an item went to the dead letters."""

    process: str
    subscriber: str
    item: str
    time_ns: int = 0


class Damage(msgspec.Struct, frozen=True, tag="damage"):
    """The product reported damage: it handed out nothing of ``journal`` from ``sequence`` on."""

    process: str
    journal: str
    sequence: int
    error: str
    time_ns: int = 0


class Fault(msgspec.Struct, frozen=True, tag="fault"):
    """The nemesis did something; ``recovered_ns`` is when everything worked again, 0 = it did not."""

    process: str
    kind: str
    target: str
    time_ns: int
    recovered_ns: int = 0
    bound_s: float = 0.0

    @property
    def recovery_s(self) -> float:
        return (self.recovered_ns - self.time_ns) / 1e9


Line = Invoke | Ok | Fail | Unknown | Seen | Dead | Damage | Fault
_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class HistoryWriter:
    """Appends the lines of one process. A line is in the file, in one write, before the next step is taken."""

    def __init__(self, directory: Path, process: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.process = process
        self._fd = os.open(directory / f"{process}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._call = 0

    def append(self, line: Line) -> None:
        os.write(self._fd, _encoder.encode(line) + b"\n")

    def invoke(self, op: str, items: Iterable[Item]) -> int:
        """Note that a call begins; return its number."""
        self._call += 1
        self.append(Invoke(self.process, self._call, op, tuple(items), time.monotonic_ns()))
        return self._call

    def ok(self, call: int, refused: Iterable[str] = (), journal: str = "", sequence: int = -1) -> None:
        self.append(Ok(self.process, call, tuple(refused), journal, sequence, time.monotonic_ns()))

    def fail(self, call: int, error: object) -> None:
        self.append(Fail(self.process, call, _brief(error), time.monotonic_ns()))

    def unknown(self, call: int, error: object) -> None:
        self.append(Unknown(self.process, call, _brief(error), time.monotonic_ns()))

    def seen(self, journal: str, sequence: int, item: str, digest: str) -> None:
        self.append(Seen(self.process, journal, sequence, item, digest, time.monotonic_ns()))

    def damage(self, journal: str, sequence: int, error: object) -> None:
        self.append(Damage(self.process, journal, sequence, _brief(error), time.monotonic_ns()))

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> HistoryWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_history(directory: Path) -> list[Line]:
    """Return the lines of every process, each process's in order; raises msgspec.DecodeError for a line broken in the middle."""
    lines: list[Line] = []
    for path in sorted(directory.glob("*.jsonl")):
        whole = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline was cut by a kill
        lines += [_decoder.decode(line) for line in whole]
    return lines


def _brief(error: object) -> str:
    return f"{type(error).__name__}: {error}"[:300] if isinstance(error, BaseException) else str(error)[:300]
