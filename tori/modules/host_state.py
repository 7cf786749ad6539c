"""What a host needs, counts and leaves behind: the port of its journal, its counters, its snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tori.bus.pending import Entry
from tori.journal.follower import Cursor
from tori.journal.frame import Frame
from tori.journal.recovery import Tail
from tori.journal.warning import Warnings
from tori.journal.writer import Ticket

_FIXARRAY = 0x90
"""msgpack's mark of an array of at most 15 items."""


class Writable(Protocol):
    """What a host needs of its own journal's writer, on disk or in memory."""

    name: str
    journal_id: bytes
    recovered: Tail
    warnings: Warnings

    @property
    def epoch(self) -> int: ...
    @property
    def next_sequence(self) -> int: ...
    @property
    def written_offset(self) -> int: ...
    def append(self, frames: Sequence[Frame]) -> Ticket: ...
    def commit(self, offset: int | None = None) -> None: ...
    def check_owner(self) -> None: ...
    def close(self) -> None: ...


class HostSnapshot(msgspec.Struct, array_like=True):
    """A module's state at a position of its own journal, with the cursors reached."""

    module: str
    state_version: int
    offset: int
    """Own journal: every unit below is inside the state."""
    cursors: dict[str, Cursor]
    state: bytes
    last_time_ns: int = 0
    events: int = 0
    """Events the journal held below ``offset``."""
    journal_id: bytes = b""
    epoch: int = 0
    sequence: int = 0
    consumed: int = 0
    """Inputs handled by the process that took it; tells whether anything happened since."""
    held: list[Entry] = []
    """Inputs below the cursors that wait for their delivery."""
    letters: bytes = b""
    """The dead-letter book."""
    code: str = ""
    """Which version of the module's code said so (``source_version``), where that matters: a fold beside it must run the same."""


def snapshot_pieces(snapshot: HostSnapshot) -> list[bytes]:
    """Return the msgpack of a snapshot in pieces, the state being one of them as it is: a large one is never copied."""
    encode = msgspec.msgpack.encode
    names = snapshot.__struct_fields__
    at = names.index("state")
    before, after = ([encode(getattr(snapshot, name)) for name in part] for part in (names[:at], names[at + 1 :]))
    opening = bytes([_FIXARRAY | len(names)])
    return [opening + b"".join(before) + _binary_header(len(snapshot.state)), snapshot.state, b"".join(after)]


def _binary_header(size: int) -> bytes:
    """Return what msgpack puts before so many bytes."""
    width, mark = (1, 0xC4) if size < 1 << 8 else (2, 0xC5) if size < 1 << 16 else (4, 0xC6)
    return bytes([mark]) + size.to_bytes(width, "big")


class Counters(msgspec.Struct):
    """What a host did since it started."""

    consumed: int = 0
    emitted: int = 0
    units: int = 0
    replayed_units: int = 0
    events: int = 0
    """Events in the module's own journal."""
    version: int = 0
    """Rises whenever state changed; a scan is due only when it did."""
    dead: int = 0
    """Deliveries set aside as dead letters."""
    waited_ns: int = 0
    """From birth until handled, summed over its inputs; each batch counts as long as its oldest waited."""
