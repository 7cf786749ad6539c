"""A module whose handler fails as told, and a bench that hosts it over journals in memory and lets its process die."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import msgspec

from tori.bus.mark import MemoryMark
from tori.bus.policy import DeliveryPolicy
from tori.clock import VirtualClock
from tori.errors import PermanentError, TemporaryError
from tori.events.envelope import Event, FrameContext
from tori.events.system import CustomEvent, DeliveryDeadLettered
from tori.ids import IdSource, source_suffix
from tori.journal.memory import MemoryJournal
from tori.journal.unit import event_frames
from tori.modules.base import Context, Fact, Module
from tori.modules.host import HostSnapshot, ModuleHost

GOOD, TEMPORARY, UNKNOWN, PERMANENT, DEADLY, MALFORMED = (
    "good",
    "temporary",
    "unknown",
    "permanent",
    "deadly",
    "malformed",
)


class ProcessDeath(BaseException):
    """Stands for the end of the process: nobody may catch it."""


class Script:
    """What the outside world does to the handler: outlives its process. ``n`` of an event to (what happens, how often)."""

    def __init__(self) -> None:
        self.moods: dict[int, list[str]] = {}
        self.dies_at: Callable[[str], bool] = lambda step: False

    def mood(self, number: int) -> str:
        return next(iter(self.moods.get(number, ())), GOOD)

    def spend(self, number: int) -> None:
        """Use a mood up, unless it is the last one: that stays."""
        moods = self.moods.get(number, [])
        if len(moods) > 1:
            moods.pop(0)


class Line(msgspec.Struct, array_like=True, tag=1):
    """The module's private record of an input."""

    producer: str
    key: str
    number: int


class Fragile(Module):
    """Writes every number it takes into its state, by a record and by the input itself, and answers with an event."""

    name = "scars"
    inputs = (CustomEvent,)
    records = Line

    def __init__(self, script: Script) -> None:
        self._script = script
        self.lines: list[tuple[str, str, int]] = []
        self.inputs_applied: list[int] = []
        self.answers = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        facts: list[Fact] = []
        for event in batch:
            number, producer = number_of(event), str(event.payload.data["producer"])  # type: ignore[union-attr]  # it takes no other
            self._act(number, len(batch) == 1)
            facts.append(Line(producer, event.key, number))
            wrong = self._script.mood(number) == MALFORMED
            answer = CustomEvent(7 if wrong else "answer", {"n": number})  # type: ignore[arg-type]  # on purpose
            facts.append(context.event(answer, key=event.key, causes=[event.id]))
        return facts

    def _act(self, number: int, is_alone: bool) -> None:
        mood = self._script.mood(number)
        if mood == DEADLY:
            self._script.spend(number)
            raise ProcessDeath(number)
        if is_alone:
            self._script.spend(number)
        if mood == TEMPORARY:
            raise TemporaryError(f"not now: {number}.")
        if mood == UNKNOWN:
            raise KeyError(number)
        if mood == PERMANENT:
            raise PermanentError(f"never: {number}.")

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Line):
            self.lines.append((fact.producer, fact.key, fact.number))
        elif isinstance(fact, Event) and isinstance(fact.payload, CustomEvent):
            if fact.payload.name == "answer":
                self.answers += 1
            else:
                self.inputs_applied.append(number_of(fact))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.lines, self.inputs_applied, self.answers))

    def restore(self, data: bytes) -> None:
        lines, self.inputs_applied, self.answers = msgspec.msgpack.decode(
            data, type=tuple[list[tuple[str, str, int]], list[int], int]
        )
        self.lines = lines

    def section(self) -> object:
        return sorted(map(list, self.lines))


def number_of(event: Event) -> int:
    payload = event.payload
    assert isinstance(payload, CustomEvent)
    number = payload.data["n"]
    assert isinstance(number, int)
    return number


class Dying(MemoryJournal):
    """A journal whose process may die before or after a unit is written."""

    def __init__(self, name: str, script: Script) -> None:
        super().__init__(name)
        self._script = script

    def append(self, frames):  # type: ignore[no-untyped-def]  # as its base
        if self._script.dies_at("before the unit"):
            raise ProcessDeath
        ticket = super().append(frames)
        if self._script.dies_at("after the unit"):
            self.commit(ticket.end)  # it is on disk, and nobody lived to apply it
            raise ProcessDeath
        return ticket


class DeliveryBench:
    """A fragile module that follows two producers, on a virtual clock."""

    def __init__(self, policy: DeliveryPolicy | None = None, *, seed: int = 1, name: str = Fragile.name) -> None:
        self.clock = VirtualClock()
        self.script = Script()
        self.mark = MemoryMark()
        self.policy = policy or DeliveryPolicy()
        self.producers = {p: MemoryJournal(p) for p in ("clients", "reader")}
        self.own = Dying(name, self.script)
        self._ids = {p: IdSource(source_suffix(p, b"test"), self.clock.wall_ns) for p in self.producers}
        self._rng = random.Random(seed)
        self.deaths = 0
        self.sent: dict[int, Event] = {}
        self.host = self.start()

    def start(self, snapshot: HostSnapshot | None = None) -> ModuleHost:
        """Start a process of the module: recovered from the snapshot and its journal."""
        host = ModuleHost(
            Fragile(self.script),
            self.own,
            self.own,
            list(self.producers.values()),
            self.clock,
            lambda event_id: next(e for e in self.sent.values() if e.id == event_id),
            incarnation=self.own.next_sequence.to_bytes(4, "big"),
            policy=self.policy,
            mark=self.mark,
            rng=self._rng,
        )
        host.recover(snapshot)
        return host

    @property
    def module(self) -> Fragile:
        module = self.host.module
        assert isinstance(module, Fragile)
        return module

    def send(self, *keys: str, producer: str = "clients", mood: Sequence[str] = (), depth: int = 0) -> list[int]:
        """Publish one frame of events, one a key; return their numbers."""
        events = []
        for key in keys:
            number = len(self.sent)
            data: dict[str, object] = {"n": number, "producer": producer}
            event = Event(self._ids[producer].next(), CustomEvent("input", data), key, depth=depth)
            self.sent[number] = event
            self.script.moods[number] = list(mood)
            events.append(event)
        journal = self.producers[producer]
        journal.append(event_frames(FrameContext(producer), events))
        journal.commit()
        return [number_of(e) for e in events]

    def step(self) -> None:
        """Let the module work until it has nothing to do now; a death is followed by a restart."""
        while self.host.has_work:
            try:
                if not self.host.step(max_events=8):
                    return
            except ProcessDeath:
                self.restart()

    def restart(self, snapshot: HostSnapshot | None = None) -> None:
        self.deaths += 1
        self.clock.advance(0.5)
        self.host = self.start(snapshot)

    def settle(self, limit: int = 10_000) -> None:
        """Let the module work and time pass until nothing waits."""
        for _ in range(limit):
            self.step()
            wake_ns = self.host.wake_ns
            if wake_ns is None and not self.host.has_work:
                return
            if wake_ns is not None:
                self.clock.advance(max(0.0, (wake_ns - self.clock.monotonic_ns()) / 1e9) + 1e-6)
        raise AssertionError(f"not settled: {list(self.host.courier.pending)}")

    def dead(self) -> list[DeliveryDeadLettered]:
        """Return the dead letters as the journal tells them."""
        frames = self.own.frames(0, self.own.limit())
        return [
            e.payload
            for f in frames
            if f.header.kind == 1
            for e in f.events
            if isinstance(e.payload, DeliveryDeadLettered)
        ]

    def dead_numbers(self) -> list[int]:
        by_id = {event.id: number for number, event in self.sent.items()}
        return [by_id[letter.event_id] for letter in self.dead()]

    def numbers(self) -> list[int]:
        return [number for _, _, number in self.module.lines]
