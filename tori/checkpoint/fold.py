"""A snapshot made away from the living module: the one before it, and the module's own journal after that.

    previous snapshot ──▶ fresh instance ──▶ apply(units of its own journal up to a position) ──▶ next snapshot

``apply`` is the only writer of state and needs nothing but the journals, so what comes out is, byte for byte, what the living
module would have given at that position; it is asked for the position alone, which costs the same however large its state is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import msgspec

from tori.clock import SystemClock
from tori.errors import JournalRefused
from tori.events.envelope import Event
from tori.journal.follower import Readable
from tori.journal.frame import Frame
from tori.journal.recovery import Tail
from tori.journal.warning import Warnings
from tori.journal.writer import Ticket
from tori.modules.base import Module
from tori.modules.host import ModuleHost
from tori.modules.host_state import HostSnapshot
from tori.modules.migration import migrated


class PastJournal:
    """A module's own journal up to a position, for a host that only replays: nothing is ever written to it."""

    def __init__(self, position: HostSnapshot) -> None:
        self.name = position.module
        self.journal_id = position.journal_id
        self.epoch = position.epoch
        self.next_sequence = position.sequence
        self.recovered = Tail(position.offset, position.sequence, 0, position.last_time_ns)
        self.written_offset = position.offset
        self.warnings = Warnings(position.module)

    def append(self, frames: Sequence[Frame]) -> Ticket:
        self._refuse()

    def commit(self, offset: int | None = None) -> None:
        self._refuse()

    def check_owner(self) -> None:
        self._refuse()

    def close(self) -> None:
        """There is nothing to give up."""

    def _refuse(self) -> NoReturn:
        raise JournalRefused(f"the past of journal {self.name} takes no entries.")


def fold(
    module: Module,
    position: HostSnapshot,
    previous: HostSnapshot | None,
    own: Readable,
    inputs: Sequence[Readable],
) -> HostSnapshot:
    """Return the snapshot of ``module`` (a fresh instance) at ``position``, which its host gave (``ModuleHost.position``).

    ``previous``: an earlier snapshot of the same journal, None = from its beginning. ``own``, ``inputs``: its journal, durable up
    to the position, and those it follows; all are closed. A ``previous`` of older code is brought up to this one's by the module's
    upgrades. Raises JournalTruncated when the journal begins after ``previous``, and what an upgrade raises.
    """
    if previous is not None and not _is_before(previous, position):
        previous = None
    if previous is not None and _is_there(previous, position):
        for reader in (own, *inputs):
            reader.close()
        return msgspec.structs.replace(position, state=previous.state, held=previous.held, letters=previous.letters)
    host = ModuleHost(module, PastJournal(position), own, inputs, SystemClock(), _read_nothing)
    try:
        if previous is not None:
            previous = migrated(module, previous, first_offset=host.first_offset)
        host.recover(previous)
        return msgspec.structs.replace(
            position,
            state=module.snapshot(),
            held=host.courier.pending.entries(),
            letters=host.courier.book.snapshot(),
        )
    finally:
        host.close()


def _is_before(previous: HostSnapshot, position: HostSnapshot) -> bool:
    """Say whether a snapshot is of the same journal, and not from later on."""
    return previous.journal_id == position.journal_id and previous.offset <= position.offset


def _is_there(previous: HostSnapshot, position: HostSnapshot) -> bool:
    """Say whether a snapshot holds the state at the position, in its shape."""
    return (previous.offset, previous.state_version) == (position.offset, position.state_version)


def _read_nothing(event_id: bytes) -> Event:
    raise JournalRefused("applying facts reads no other events.")
