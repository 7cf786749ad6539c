"""Runs one module: follows its inputs, writes its commit units, replays them after a restart.

One loop owns a host. Frames of followed journals, commands, queries and scan results are stimuli of that loop; nothing
else touches the module. The same host runs under the local runtime and inside a Ray actor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from tori.clock import Clock
from tori.errors import JournalTruncated
from tori.events.codec import tags_of
from tori.events.envelope import Event, FrameContext
from tori.ids import IdSource, source_suffix
from tori.journal.follower import Cursor, Follower, Readable, Run
from tori.journal.frame import EVENTS, Frame
from tori.journal.reader import FrameView
from tori.journal.recovery import Tail
from tori.journal.unit import Unit, cursor_frame, event_frames, records_frame, units
from tori.journal.writer import Ticket
from tori.modules.base import Context, Fact, Module


class Writable(Protocol):
    """What a host needs of its own journal's writer, on disk or in memory."""

    name: str
    journal_id: bytes
    epoch: int
    recovered: Tail
    next_sequence: int

    @property
    def written_offset(self) -> int: ...
    def append(self, frames: Sequence[Frame]) -> Ticket: ...
    def commit(self, offset: int | None = None) -> None: ...
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


class ModuleHost:
    """One module with its journal and its followers. Not thread-safe: its loop alone calls it."""

    def __init__(
        self,
        module: Module,
        journal: Writable,
        own: Readable,
        inputs: Sequence[Readable],
        clock: Clock,
        read_event: Callable[[bytes], Event],
        *,
        incarnation: bytes | None = None,
    ) -> None:
        self.module = module
        self.journal = journal
        self.counters = Counters()
        self._own = own
        self._clock = clock
        self._read_event = read_event
        self._context_of_frames = FrameContext(module.name)
        records: Any = module.records
        self.record_decoder = None if records is None else msgspec.msgpack.Decoder(list[records])
        self._tags = tags_of(module.inputs)
        self._type_bits = sum(1 << t for t in self._tags)
        self._readers = {reader.name: reader for reader in inputs}
        self._followers: dict[str, Follower] = {}
        self._passed: list[Run] = []
        """Frames taken since the last unit."""
        suffix = source_suffix(module.name, incarnation)
        self._ids = IdSource(suffix, clock.wall_ns, journal.recovered.last_time_ns)

    # -- restart -----------------------------------------------------------------------------------------------

    def recover(self, snapshot: HostSnapshot | None = None) -> None:
        """Bring the module to the end of its own journal: the snapshot, then every unit after it."""
        cursors: dict[str, Cursor] = {}
        start = self._own.first_offset()
        if snapshot is not None:
            self.module.restore(snapshot.state)
            cursors, start = dict(snapshot.cursors), snapshot.offset
            self.counters.events = snapshot.events
        elif start > 0:
            raise JournalTruncated(
                f"journal {self._own.name} begins at offset {start}: its first segments are gone, and no snapshot holds them.",
                remedy="Restore them from a copy, or a checkpoint that is newer than they are.",
            )
        self._followers = {
            name: Follower(reader, cursors.get(name), type_bits=self._type_bits)
            for name, reader in self._readers.items()
        }
        for unit in units(self._own, start, self.journal.written_offset):
            self._replay(unit)

    def _replay(self, unit: Unit) -> None:
        for run in unit.runs:
            for frame in self._replayed_frames(run):
                self._apply_inputs(frame.events)
        if self.record_decoder is not None:
            for record in unit.records(self.record_decoder):
                self.module.apply(record)
        events = unit.events
        for event in events:
            self.module.apply(event)
        self.counters.events += len(events)
        self.counters.replayed_units += 1
        self.counters.version += 1

    def _replayed_frames(self, run: Run) -> Sequence[FrameView]:
        """Move the follower over a recorded run; return the event frames in it that the module takes."""
        follower = self._followers[run.journal]
        frames = []
        for frame in follower.reader.frames(run.start, run.end):
            if follower.pass_by(frame) and frame.header.kind == EVENTS and frame.has_any(self._type_bits):
                frames.append(frame)
        return frames

    # -- work --------------------------------------------------------------------------------------------------

    @property
    def has_work(self) -> bool:
        return any(follower.has_work for follower in self._followers.values())

    @property
    def lag(self) -> int:
        """Return how many entries of its inputs it has not taken."""
        return sum(follower.lag for follower in self._followers.values())

    def step(self, max_events: int = 256, max_bytes: int = 1 << 20) -> int:
        """Take one batch from the inputs, decide, commit, apply; return how many input events were handled."""
        runs = self._passed
        frames: list[FrameView] = []
        events = size = 0
        for follower in self._followers.values():
            if events < max_events and size < max_bytes:
                taken = follower.take(runs, max_events - events, max_bytes - size)
                frames += taken
                events += sum(f.header.count for f in taken)
                size += sum(f.header.body_bytes for f in taken)
        batch = [e for f in frames for e in f.events if isinstance(e.payload, self.module.inputs)]
        if not batch:
            return 0  # what was passed over is named by the next unit, or passed over again after a restart
        facts = self.module.decide(batch, self._context())
        self._commit(facts, runs)
        self._passed = []
        self._apply_inputs(batch)
        self._apply_facts(facts)
        self.counters.consumed += len(batch)
        return len(batch)

    def _context(self, correlation_id: bytes = b"") -> Context:
        return Context(self._clock.wall_ns(), self._ids, self._read_event, correlation_id)

    def _apply_inputs(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event.payload, self.module.inputs):
                self.module.apply(event)

    def commit(self, facts: Sequence[Fact]) -> None:
        """Write facts that follow from no input frame (a command, a scan's result) as one durable unit, then apply them."""
        if facts:
            self._commit(facts, [])
            self._apply_facts(facts)

    def _commit(self, facts: Sequence[Fact], runs: Sequence[Run]) -> None:
        records = [f for f in facts if not isinstance(f, Event)]
        events = [f for f in facts if isinstance(f, Event)]
        frames = [records_frame(records)] if records else []
        frames += event_frames(self._context_of_frames, events)
        if runs:
            frames.append(cursor_frame(runs))
        ticket = self.journal.append(frames)
        self.journal.commit(ticket.end)
        self.counters.emitted += len(events)
        self.counters.events += len(events)
        self.counters.units += 1

    def _apply_facts(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if not isinstance(fact, Event):
                self.module.apply(fact)
        for fact in facts:
            if isinstance(fact, Event):
                self.module.apply(fact)
        self.counters.version += 1

    # -- requests ----------------------------------------------------------------------------------------------

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Decide on a request, commit what follows, return the answer."""
        facts, answer = self.module.command(name, arguments, self._context())
        self.commit(facts)
        return answer

    def emit(self, records: Sequence[Any], payloads: Sequence[tuple[Any, str]]) -> list[Event]:
        """Write what a shell's machine decided (private records, and payloads with their keys) as one unit; return the events."""
        context = self._context()
        events = [context.event(payload, key=key) for payload, key in payloads]
        self.commit([*records, *events])
        return events

    def conclude(self, task: str, result: bytes) -> int:
        """Turn a scan's result into facts; return how many events that made."""
        before = self.counters.emitted
        self.commit(self.module.conclude(task, result, self._context()))
        return self.counters.emitted - before

    def snapshot(self) -> HostSnapshot:
        """Return state and cursors as of now."""
        return HostSnapshot(
            self.module.name,
            self.module.state_version,
            self.journal.written_offset,
            {
                name: msgspec.structs.replace(f.cursor, overtaken=dict(f.cursor.overtaken))
                for name, f in self._followers.items()
            },
            self.module.snapshot(),
            self._ids.last_ns,
            self.counters.events,
            self.journal.journal_id,
            self.journal.epoch,
            self.journal.next_sequence,
            self.counters.consumed,
        )

    def lags(self) -> dict[str, int]:
        """Return the lag a journal."""
        return {name: follower.lag for name, follower in self._followers.items()}

    def close(self) -> None:
        self.journal.close()
        for reader in (self._own, *self._readers.values()):
            reader.close()
