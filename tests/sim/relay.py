"""The relay of one simulated node: both ends of the streams between it and its peer, driven as the carrier drives them.

    source: ask ─▶ Sender ─▶ parcels, at most 8 ahead        reader: parcels ─▶ Receiver ─▶ mirrors, and how many it took

The wire may lose, double, delay and reorder all of them. What is tested is that the mirrors notice: parcels bear no number of
their own, only signs of life say how many came before them, so that the loss of the last one is noticed too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from tests.sim.files import Process
from tests.sim.network import Network
from tests.sim.node import HOME, Node
from tests.sim.story import Violation
from tori.bus.stream import Parcel, Receiver, Sender
from tori.clock import SECOND_NS
from tori.errors import ToriError, Unavailable
from tori.journal.mirror import Mark
from tori.modules.open import journal_directory, mirrors_of

AHEAD = 8
"""Parcels a sender may be ahead of its reader."""


class Lines(NamedTuple):
    """What the streams of one world are like."""

    loss: float
    doubling: float
    damage: float
    """Share of parcels with a changed bit."""
    max_delay_ms: int
    is_ordered: bool
    silence_s: float
    """A stream that says nothing for this long is given up."""
    max_stream_s: float
    drift: float
    """How much faster the wall clock of the second node runs."""


class Ask(NamedTuple):
    """A reader wants a stream from these marks on."""

    stream: int
    marks: dict[str, Mark]


class Sent(NamedTuple):
    """A parcel of a stream; None for the end of it. ``count``: how many with content were sent before it."""

    stream: int
    count: int
    parcel: Parcel | None


class Taken(NamedTuple):
    """How many parcels of a stream were taken."""

    stream: int
    count: int


Body = Ask | Sent | Taken


class Broken(NamedTuple):
    """A stream that its reader gave up."""

    why: str
    error: ToriError | None = None


class Relay:
    """One life of a relay."""

    def __init__(
        self, node: Node, peer: str, process: Process, wire: Network, lines: Lines, number: Callable[[], int]
    ) -> None:
        self.node = node
        self.process = process
        self.receiver = Receiver(mirrors_of(HOME), node.plan.segment_bytes, files=process.files)
        self.stream = 0
        """The stream it reads; 0 = none."""
        self.disturbed = 0
        """Of the way to here, when the stream was asked for."""
        self.rots = 0
        """How often something had rotted, when the stream was asked for; what rots later excuses its end."""
        self._peer = peer
        self._wire = wire
        self.lines = lines
        self._number = number
        self._due_ns = self._heard_ns = self._counted = 0
        self._parcels: Iterator[Parcel] | None = None
        self._served = self._sent = self._taken = self._said_ns = 0

    @property
    def _now_ns(self) -> int:
        return self.node.clock.monotonic_ns()

    def _send(self, body: Body) -> None:
        self._wire.send(self.node.name, self._peer, body)

    # -- the reader's end --------------------------------------------------------------------------------------------

    def want(self) -> None:
        """Open the mirrors of what this node follows."""
        self.receiver.want(self.node.mirrored or {})

    def ask(self) -> None:
        """Ask for a new stream from the mirrors' own ends."""
        self.want()
        self.stream, self._counted, self._heard_ns = self._number(), 0, self._now_ns
        self.disturbed = self._wire.disturbed[self._peer, self.node.name]
        self._send(Ask(self.stream, self.receiver.marks()))

    def break_off(self, why: str, error: ToriError | None = None) -> Broken:
        """Give the stream up; it is asked for again in a moment."""
        self.stream, self._due_ns = 0, self._now_ns + SECOND_NS // 10
        return Broken(why, error)

    def take(self, sent: Sent) -> Broken | None:
        """Take what a stream brought; return why that was the last of it, if it was."""
        if sent.stream != self.stream:
            return None  # of one that was given up
        self._heard_ns = self._now_ns
        if sent.parcel is None:
            return self.break_off("its source ended it")
        try:
            if not sent.parcel.journal and sent.count != self._counted:
                raise Unavailable(f"{self._counted} parcels of {sent.count} arrived.")
            self.receiver.take(sent.parcel)
        except ToriError as error:
            return self.break_off("a parcel could not be taken", error)
        except OSError as error:
            raise Violation(f"an error that nobody expects comes out of a receiver: {error!r}") from error
        if sent.parcel.journal:
            self._counted += 1
            self._send(Taken(sent.stream, self._counted))
        return None

    # -- the source's end --------------------------------------------------------------------------------------------

    def serve(self, ask: Ask) -> None:
        """Begin a stream; the one before it ends. A request that comes late, or twice, is no new one."""
        if ask.stream <= self._served:
            return
        sender = Sender(_directory, ask.marks, self.node.clock, self.lines.max_stream_s, files=self.process.files)
        self._parcels = iter(sender)
        self._served, self._sent, self._taken = ask.stream, 0, 0

    def taken(self, taken: Taken) -> None:
        if taken.stream == self._served:
            self._taken = max(self._taken, taken.count)

    def emit(self) -> bool:
        """Send the next parcel, if there is one and the reader is not too far behind; return whether it says anything."""
        if self._parcels is None or self._sent - self._taken >= AHEAD:
            return False
        try:
            parcel = next(self._parcels, None)
        except ToriError:
            self._parcels = None
            self._send(Sent(self._served, self._sent, None))
            raise
        if parcel is None:
            self._parcels = None
        elif not parcel.journal and self._now_ns - self._said_ns < self.lines.silence_s * SECOND_NS / 3:
            return False
        self._said_ns = self._now_ns
        self._send(Sent(self._served, self._sent, parcel))
        self._sent += bool(parcel and parcel.journal)
        return bool(parcel is None or parcel.journal)

    # -- both --------------------------------------------------------------------------------------------------------

    def turn(self) -> bool:
        """Do what is due; return whether anything was."""
        if self.stream and self._now_ns - self._heard_ns > self.lines.silence_s * SECOND_NS:
            self.break_off("silence")
            return True
        if not self.stream and self._now_ns >= self._due_ns:
            self.ask()
            return True
        return self.emit()


def _directory(journal: str) -> Path:
    return journal_directory(HOME, journal)
