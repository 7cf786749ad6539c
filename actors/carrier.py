"""What a relay does between nodes: serves this node's journals to others, and fills the mirrors this node keeps of theirs.

One stream a peer: a Ray streaming generator of parcels, which are object refs to their reader, at most 8 ahead. The thread that reads it
writes, syncs and rings. Silence, a dead peer or a damaged parcel end it; it is asked for again from the mirrors' ends, with backoff.
On a single node nobody grants anything, and nothing of this runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError

from actors.logging import event_logger
from actors.names import NAMESPACE
from tori.bus.stream import HEARTBEAT_S, Parcel, Receiver, Sender
from tori.errors import ToriError, Unavailable
from tori.journal.mirror import Mark
from tori.modules.open import journal_directory, mirrors_of

AHEAD = 8
"""Parcels a sender may be ahead of its reader: 0.7 MB live, 8 MB when catching up."""
SILENCE_S = 3 * HEARTBEAT_S
"""A stream without even a sign of life for this long is given up."""
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 1.0

Supplies = dict[str, dict[str, bytes]]
"""By peer (an actor's name): the journals to mirror from it with their ids, in the order of a sweep."""


class CarrierView(msgspec.Struct, frozen=True):
    """What a carrier did and how far its mirrors are."""

    refs: int
    """Stream refs taken."""
    bytes: int
    positions: dict[str, tuple[int, int]]
    """By journal: (offset, sequence) on this node's disk."""
    problems: dict[str, str]
    """By journal or peer: why nothing comes."""


class Carrier:
    """Both sides of the streams of one node."""

    def __init__(self, home: Path, name: str, segment_bytes: int) -> None:
        self._home = home
        self._name = name
        self._segment_bytes = segment_bytes
        self._lines: dict[str, Line] = {}
        self._senders: dict[str, Sender] = {}
        self._turns: dict[str, Turns] = {}
        self._lock = threading.Lock()

    def grant(self, supplies: Supplies) -> None:
        """Mirror exactly these journals from now on; the same again changes nothing."""
        with self._lock:
            for peer in set(self._lines) - set(supplies):
                self._lines.pop(peer).close()
            for peer, journals in supplies.items():
                line = self._lines.get(peer)
                if line is not None and line.journals != journals:
                    line.close()
                    line = None
                if line is None:
                    receiver = Receiver(mirrors_of(self._home), self._segment_bytes)
                    self._lines[peer] = Line(self._name, peer, journals, receiver)

    def stream(self, reader: str, marks: Mapping[str, Mark]) -> Iterator[Parcel]:
        """Yield what ``reader`` asks for; a stream it had before ends."""
        yield from self._sender(reader, marks)

    def begin(self, reader: str, marks: Mapping[str, Mark]) -> None:
        """Be ready for numbered reads of what ``reader`` asks for."""
        self._turns[reader] = Turns(self._sender(reader, marks))

    def read(self, reader: str, number: int) -> Parcel | None:
        """Return one parcel of what was begun; None at its end."""
        turns = self._turns.get(reader)
        return None if turns is None else turns.read(number)

    def _sender(self, reader: str, marks: Mapping[str, Mark]) -> Sender:
        sender = Sender(lambda journal: journal_directory(self._home, journal), marks)
        with self._lock:
            before, self._senders[reader] = self._senders.get(reader), sender
        if before is not None:
            before.close()
        return sender

    def hang_up(self, reader: str) -> None:
        """End the stream of a reader that wants no more."""
        with self._lock:
            sender = self._senders.pop(reader, None)
            self._turns.pop(reader, None)
        if sender is not None:
            sender.close()

    def view(self) -> CarrierView:
        """Return counts and positions as of now."""
        with self._lock:
            lines = list(self._lines.values())
        positions: dict[str, tuple[int, int]] = {}
        problems: dict[str, str] = {}
        for line in lines:
            positions |= line.receiver.positions()
            problems |= line.problems()
        return CarrierView(sum(line.refs for line in lines), sum(line.size for line in lines), positions, problems)

    def close(self) -> None:
        """End every stream, on both sides."""
        self.grant({})
        for reader in list(self._senders):
            self.hang_up(reader)


class Line:
    """The stream from one peer, and the thread that reads it."""

    def __init__(self, me: str, peer: str, journals: dict[str, bytes], receiver: Receiver) -> None:
        self.journals = journals
        self.receiver = receiver
        self.refs = 0
        self.size = 0
        self._me = me
        self._peer = peer
        self._trouble = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"tori-line-{peer}", daemon=True)
        self._thread.start()

    def problems(self) -> dict[str, str]:
        """Return why nothing comes, by journal, or by peer when that is away."""
        return self.receiver.problems | ({self._peer: self._trouble} if self._trouble else {})

    def _run(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        try:
            self.receiver.want(self.journals)
            while not self._ended.is_set():
                before = self.refs
                try:
                    self._read()
                except (ValueError, RayError, ToriError) as error:
                    self._note(str(getattr(error, "cause", None) or error).strip().splitlines()[0])
                if self.refs > before:
                    backoff_s = FIRST_BACKOFF_S
                if self._ended.wait(backoff_s):
                    return
                backoff_s = min(2 * backoff_s, MAX_BACKOFF_S)
                self.receiver.want(self.journals)
        finally:
            self.receiver.close()

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble and not self._ended.is_set():
            event_logger(self._me).warning("stream from %s: %s", self._peer, trouble)
        self._trouble = trouble

    def _read(self) -> None:
        """Take one stream to its end; raises when it breaks off."""
        peer, marks = ray.get_actor(self._peer, namespace=NAMESPACE), self.receiver.marks()
        stream = open_stream(peer, self._me, marks)
        for parcel in numbered(peer, self._me, marks) if stream is None else parcels(stream):
            if self._ended.is_set():
                return
            self.refs += 1
            self.size += len(parcel.frames)
            self.receiver.take(parcel)
            self._trouble = ""

    def close(self) -> None:
        """End the stream; its mirrors are given up before this returns."""
        self._ended.set()
        with contextlib.suppress(ValueError, RayError):  # a peer that is gone streams nothing
            ray.get_actor(self._peer, namespace=NAMESPACE).hang_up.remote(self._me)
        self._thread.join(2 * SILENCE_S)


class Turns:
    """A sender read by numbered calls instead of a stream, for a Ray without back-pressure on streams: each waits for its turn."""

    def __init__(self, sender: Sender) -> None:
        self._parcels = iter(sender)
        self._turn = 0
        self._condition = threading.Condition()

    def read(self, number: int) -> Parcel | None:
        """Return the parcel with this number, counted from 0; None when the stream has ended, or the turn was never reached."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._turn == number, SILENCE_S):
                return None
            try:
                return next(self._parcels, None)
            finally:
                self._turn += 1
                self._condition.notify_all()


def open_stream(peer: Any, me: str, marks: Mapping[str, Mark]) -> Any:
    """Return the streaming generator of a peer's relay, bounded in what it sends ahead; None when this Ray cannot bound it."""
    options = {"num_returns": "streaming", "_generator_backpressure_num_objects": AHEAD}
    try:
        method = peer.stream.options(**options)
    except (TypeError, ValueError):  # the option is private to Ray, and may go
        return None
    return method.remote(me, dict(marks))


def numbered(peer: Any, me: str, marks: Mapping[str, Mark], silence_s: float = SILENCE_S) -> Iterator[Parcel]:
    """Yield what a peer's relay sends by calls, two in flight: the way without streams."""
    ray.get(peer.begin.remote(me, dict(marks)), timeout=silence_s)
    flights = deque([peer.read.remote(me, 0), peer.read.remote(me, 1)])
    number = 2
    while True:
        parcel: Parcel | None = ray.get(flights.popleft(), timeout=silence_s)
        if parcel is None:
            return
        flights.append(peer.read.remote(me, number))
        number += 1
        yield parcel


def parcels(stream: Any, silence_s: float = SILENCE_S) -> Iterator[Parcel]:
    """Yield what a stream's refs hold, in order; raises Unavailable when nothing comes, not even a sign of life."""
    while True:
        ready, _ = ray.wait([stream], timeout=silence_s)
        if not ready:
            raise Unavailable(f"nothing came for {silence_s:g} s.", remedy="It is asked for again.")
        try:
            ref = next(stream)
        except StopIteration:
            return
        parcel: Parcel = ray.get(ref, timeout=silence_s)
        yield parcel
