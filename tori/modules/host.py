"""Runs one module: follows its inputs, writes its commit units, replays them after a restart.

One loop owns a host. Frames of followed journals, commands, queries and scan results are stimuli of that loop; nothing
else touches the module. The same host runs under the local runtime and inside a Ray actor.
"""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from tori.bus.credit import CursorBoard, Gate
from tori.bus.dead_letter import Purged, Redriven, record_decoder
from tori.bus.mark import Mark, MemoryMark
from tori.bus.pending import Entry, only_runs
from tori.bus.policy import DeliveryPolicy
from tori.bus.watchdog import NoWatchdog, Watchdog
from tori.clock import Clock
from tori.errors import JournalTruncated
from tori.events.codec import decode_body, tags_of
from tori.events.envelope import Event, FrameContext
from tori.events.system import DeliveryDeadLettered, ErrorOccurred
from tori.ids import IdSource, source_suffix
from tori.journal.follower import Cursor, Follower, Readable, Run
from tori.journal.frame import EVENTS
from tori.journal.reader import FrameView
from tori.journal.unit import Unit, cursor_frame, delivery_frame, event_frames, records_frame, units
from tori.modules import letter
from tori.modules.base import Context, Fact, Module
from tori.modules.courier import Courier, Draft, Taken
from tori.modules.host_state import Counters, HostSnapshot, Writable

__all__ = ["Counters", "HostSnapshot", "ModuleHost", "Writable"]

T = TypeVar("T")
_log = logging.getLogger("tori.host")
CACHED_FRAMES = 4
PROGRESS_UNITS = 64


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
        policy: DeliveryPolicy | None = None,
        mark: Mark | None = None,
        watchdog: Watchdog | None = None,
        rng: random.Random | None = None,
        board: CursorBoard | None = None,
        gate: Gate | None = None,
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
        """Frames taken since the last unit; the wanted events in them are all held."""
        self._decoded: OrderedDict[tuple[str, int], tuple[int, list[Event]]] = OrderedDict()
        self._watchdog = watchdog or NoWatchdog()
        self.courier = Courier(module.name, self, clock, mark or MemoryMark(), self._watchdog, policy, rng)
        self._board = board
        self._gate = gate
        self._reached = 0
        """Own journal: every unit below was replayed."""
        self._is_closed = False
        self.is_torn = False
        """A unit was written and is not wholly applied: state lags behind the journal. Only a restart mends that."""
        self._suffix = source_suffix(module.name, incarnation)
        self._ids = IdSource(self._suffix, clock.wall_ns, journal.recovered.last_time_ns)

    def take_inputs(self) -> None:
        """Take what the module's ``inputs`` name now, from here on: they grew."""
        self._tags = tags_of(self.module.inputs)
        self._type_bits = sum(1 << t for t in self._tags)
        for follower in self._followers.values():
            follower.want(self._type_bits)

    # -- restart -----------------------------------------------------------------------------------------------

    def recover(
        self,
        snapshot: HostSnapshot | None = None,
        progress: Callable[[int], None] = lambda _: None,
        *,
        is_loaded: bool = False,
    ) -> None:
        """Bring the module to the end of its own journal: the snapshot, then every unit after it.

        ``progress`` is told now and then how many units were replayed so far. ``is_loaded``: the module holds the snapshot's state.
        """
        cursors: dict[str, Cursor] = {}
        start = self._own.first_offset()
        if snapshot is not None:
            if not is_loaded:
                self.module.restore(snapshot.state)
            cursors, start = _copied(snapshot.cursors), snapshot.offset
            self.counters.events = snapshot.events
            last_ns = max(snapshot.last_time_ns, self.journal.recovered.last_time_ns)
            self._ids = IdSource(self._suffix, self._clock.wall_ns, last_ns)
            for entry in snapshot.held:
                self.courier.pending.hold(entry)
            self.courier.book.restore(snapshot.letters)
        elif start > 0:
            raise JournalTruncated(
                f"journal {self._own.name} begins at offset {start}: its first segments are gone, and no snapshot holds them.",
                remedy="Restore them from a copy, or a checkpoint that is newer than they are.",
            )
        self._followers = {
            name: Follower(reader, cursors.get(name), type_bits=self._type_bits)
            for name, reader in self._readers.items()
        }
        self._reached = start
        self.catch_up(progress)
        if not self.courier.examine(self._cursors()) and self._watchdog.trace:
            _log.error(
                "%s was past its time-out, not over a handler, and was killed. %s",
                self.module.name,
                self._watchdog.trace,
            )
        self._show_cursors()

    @property
    def first_offset(self) -> int:
        """Return where the module's own journal begins by now."""
        return self._own.first_offset()

    def catch_up(self, progress: Callable[[int], None] = lambda _: None) -> int:
        """Replay the units of the own journal that are not in the state yet; return how many there were.

        More than once only for a host that follows a journal which another process still writes.
        """
        before, end = self.counters.replayed_units, self.journal.written_offset
        for unit in units(self._own, self._reached, end):
            self._replay(unit)
            self._reached = unit.end
            if self.counters.replayed_units % PROGRESS_UNITS == 0:
                progress(self.counters.replayed_units)
        return self.counters.replayed_units - before

    def _replay(self, unit: Unit) -> None:
        for run in unit.runs:
            if run.only:
                self._replay_held(run)
            else:
                self._replay_run(run)
        if self.record_decoder is not None:
            for record in unit.records(self.record_decoder):
                self.module.apply(record)
        events = unit.events
        for event in events:
            self._apply_event(event)
        for record in unit.delivery_records(record_decoder):
            self._apply_delivery(record)
        self.counters.events += len(events)
        self.counters.replayed_units += 1
        self.counters.version += 1

    def _replay_run(self, run: Run) -> None:
        """Move the follower over a recorded run; apply the events in it, hold those that were held."""
        follower = self._followers[run.journal]
        held = frozenset(run.held)
        for frame in follower.reader.frames(run.start, run.end):
            if follower.pass_by(frame) and frame.header.kind == EVENTS and frame.has_any(self._type_bits):
                for taken in self._wanted(run.journal, frame):
                    if taken.entry.sequence in held:
                        self.courier.pending.hold(taken.entry)
                    else:
                        self.module.apply(taken.event)

    def _replay_held(self, run: Run) -> None:
        """Apply exactly the held events that a run names."""
        for sequence in run.only:
            self.courier.pending.discard((run.journal, sequence))
            self.module.apply(self._event_at(run.journal, run.start, sequence))

    def _wanted(self, journal: str, frame: FrameView) -> Iterator[Taken]:
        """Yield the events of a frame that the module takes."""
        first, lane = frame.header.first_sequence, frame.header.lane
        for index, event in enumerate(frame.events):
            if isinstance(event.payload, self.module.inputs):
                yield Taken(Entry(journal, frame.offset, frame.end, first + index, lane, event.key), event)

    def _event_at(self, journal: str, offset: int, sequence: int) -> Event:
        """Return an event of a frame that was passed before."""
        found = self._decoded.get((journal, offset))
        if found is None:
            frame = self._readers[journal].frame(offset)
            found = self._decoded[journal, offset] = frame.header.first_sequence, frame.events
            if len(self._decoded) > CACHED_FRAMES:
                self._decoded.popitem(last=False)
        first, events = found
        return events[sequence - first]

    # -- work --------------------------------------------------------------------------------------------------

    @property
    def has_input(self) -> bool:
        """Say whether a journal it follows has something that it may take."""
        return not self.courier.is_full and any(follower.has_work for follower in self._followers.values())

    @property
    def has_work(self) -> bool:
        wake_ns = self.wake_ns
        return self.has_input or (wake_ns is not None and wake_ns <= self._clock.monotonic_ns())

    @property
    def wake_ns(self) -> int | None:
        """Return when the next held delivery, or a look at a lagging follower, is due (monotonic); None when nothing is."""
        delivery_ns = self.courier.pending.wake_ns
        gate_ns = None if self._gate is None else self._gate.wake_ns
        return min((at for at in (delivery_ns, gate_ns) if at is not None), default=None)

    @property
    def lag(self) -> int:
        """Return how many entries of its inputs it has not taken, or holds."""
        return sum(follower.lag for follower in self._followers.values()) + len(self.courier.pending)

    def step(self, max_events: int = 256, max_bytes: int = 1 << 20) -> int:
        """Take one batch from the inputs and from what is held, through decide, commit and apply; return its size.

        What raises is tried again, and set aside in the end (``Courier``); the journal's own errors are raised.
        """
        due = [Taken(h.entry, self.event_of(h.entry)) for h in self.courier.due()]
        fresh = [] if self.courier.is_full else self._take(max_events - len(due), max_bytes)
        # What was passed over is named by the next unit, or passed over again after a restart.
        handled = self.courier.run(due, fresh, self._cursors()) if due or fresh else 0
        self._show_cursors()
        if self.journal.warnings:
            self._tell_warnings()
        if self._gate is not None and self._gate.wake_ns is not None:
            self._tell_lags(self._gate)
        return handled

    def _show_cursors(self) -> None:
        if self._board is not None:
            self._board.show(self._cursors())

    def _tell_warnings(self) -> None:
        """Say what the journal survived."""
        told = self.journal.warnings.newest()
        name = self.module.name
        self.emit([], [(ErrorOccurred(f"journal_{w.kind}", w.message, name), name) for w in told])
        self.journal.warnings.forget(told)

    def _tell_lags(self, gate: Gate) -> None:
        """Say which followers of this door fell behind or are back."""
        news = gate.news(self.journal.next_sequence)
        if news:
            self.emit([], [(payload, payload.subscriber) for payload in news])

    def _cursors(self) -> list[tuple[str, int]]:
        return [(name, follower.cursor.sequence) for name, follower in self._followers.items()]

    def _take(self, max_events: int, max_bytes: int) -> list[Taken]:
        """Move the followers over the next frames; return the wanted events in them."""
        taken: list[Taken] = []
        events = size = 0
        for name, follower in self._followers.items():
            if events < max_events and size < max_bytes:
                frames = follower.take(self._passed, max_events - events, max_bytes - size)
                taken += [t for frame in frames for t in self._wanted(name, frame)]
                events += sum(f.header.count for f in frames)
                size += sum(f.header.body_bytes for f in frames)
        return taken

    def event_of(self, entry: Entry) -> Event:
        """Return the event of a held delivery."""
        return self._event_at(entry.journal, entry.offset, entry.sequence)

    def _context(self, depths: dict[bytes, int] | None = None) -> Context:
        return Context(self._clock.wall_ns(), self._ids, self._read_event, b"", depths)

    # -- the courier's desk ------------------------------------------------------------------------------------

    def draft(self, batch: Sequence[Taken]) -> Draft:
        """Call ``decide`` and encode what it returned; raises whatever is wrong with either."""
        context = self._context({t.event.id: t.event.depth for t in batch})
        return self._draft(self.module.decide([t.event for t in batch], context), context)

    def _draft(self, facts: Sequence[Fact], context: Context | None = None) -> Draft:
        """Encode facts, and decode the events again: a value of a wrong type must fail here and not at every reader."""
        records = [f for f in facts if not isinstance(f, Event)]
        events = [f for f in facts if isinstance(f, Event)]
        shared = self._context_of_frames
        if context is not None and context.origin:
            shared = FrameContext(shared.source, context.origin, context.origin_seq)
        frames = [records_frame(records)] if records else []
        for frame in event_frames(shared, events):
            decode_body(frame.body)
            frames.append(frame)
        return Draft(facts, frames)

    def deliver(self, batch: Sequence[Taken], draft: Draft) -> None:
        """Commit a decision with the runs it consumed, then apply the inputs and the facts."""
        pending = self.courier.pending
        runs = self._runs_passed()
        if len(pending):
            runs += only_runs([t.entry for t in batch])
        self._commit(draft, runs)
        self._passed = []
        self._watchdog.arm(self._watchdog.timeout_s)
        try:
            self._apply_decision(batch, draft.facts)
        finally:
            self._watchdog.disarm()
        self.is_torn = False
        self.counters.consumed += len(batch)
        if batch:
            self.counters.waited_ns += len(batch) * max(0, self._clock.wall_ns() - batch[0].event.time_ns)

    def _apply_decision(self, batch: Sequence[Taken], facts: Sequence[Fact]) -> None:
        pending = self.courier.pending
        is_held = bool(len(pending))
        for taken in batch:
            if is_held:
                pending.discard(taken.entry.place)
            self.module.apply(taken.event)
        self._apply_facts(facts)

    def bury(self, taken: Taken, payload: DeliveryDeadLettered) -> None:
        """Commit a dead letter with the cursor that passes its event."""
        event = self._context().event(payload, key=payload.key, causes=[taken.event.id])
        facts = [*self.module.witness([event]), event]
        self._commit(self._draft(facts), self._runs_passed())
        self._passed = []
        self._apply_facts(facts)
        self.is_torn = False
        self.counters.dead += 1

    def _runs_passed(self) -> list[Run]:
        """Return the runs since the last unit, each with the events in it that are held."""
        pending = self.courier.pending
        if not len(pending):
            return self._passed
        return [msgspec.structs.replace(r, held=pending.inside(r.journal, r.start, r.end)) for r in self._passed]

    def commit(self, facts: Sequence[Fact], context: Context | None = None) -> None:
        """Write facts that follow from no input frame (a command, a scan's result) as one durable unit, then apply them."""
        if facts:
            self._commit(self._draft(facts, context), [])
            self._apply_facts(facts)
            self.is_torn = False

    def record(self, records: Sequence[Redriven | Purged]) -> None:
        """Write what becomes of dead letters as one durable unit, then do it."""
        if records:
            self._commit(Draft([], [delivery_frame(records)]), [])
            for record in records:
                self._apply_delivery(record)
            self.is_torn = False

    def _commit(self, draft: Draft, runs: Sequence[Run]) -> None:
        frames = [*draft.frames, cursor_frame(runs)] if runs else draft.frames
        ticket = self.journal.append(frames)
        self.is_torn = True
        self.journal.commit(ticket.end)
        events = sum(isinstance(fact, Event) for fact in draft.facts)
        self.counters.emitted += events
        self.counters.events += events
        self.counters.units += 1

    def _apply_facts(self, facts: Sequence[Fact]) -> None:
        for fact in facts:
            if not isinstance(fact, Event):
                self.module.apply(fact)
        for fact in facts:
            if isinstance(fact, Event):
                self._apply_event(fact)
        self.counters.version += 1

    def _apply_event(self, event: Event) -> None:
        """Apply an event of the own journal; its dead letters are the host's business, not the module's."""
        payload = event.payload
        if isinstance(payload, DeliveryDeadLettered) and payload.subscriber == self.module.name:
            self.courier.pending.discard((payload.journal, payload.sequence))
            self.courier.book.add(event)
        else:
            self.module.apply(event)

    def _apply_delivery(self, record: Redriven | Purged) -> None:
        self.courier.book.remove(record.letter)
        if isinstance(record, Redriven):
            self.courier.pending.hold(record.entry)
        self.counters.version += 1

    # -- requests ----------------------------------------------------------------------------------------------

    def serve(self, work: Callable[[ModuleHost], T]) -> T:
        """Return what ``work`` returns: what somebody asked for. Under a watchdog a module that hangs over it dies of it."""
        self._watchdog.arm(self._watchdog.request_timeout_s)
        try:
            return work(self)
        finally:
            self._watchdog.disarm()

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Decide on a request, commit what follows, return the answer.

        Raises JournalFenced when the journal has another writer by now: what this one knows is old, also where nothing is to be written.
        """
        self.journal.check_owner()
        if name in letter.COMMANDS:
            return letter.command_letters(self, name, arguments)
        if self._gate is not None and name in self.module.doors:
            self._tell_lags(self._gate)
            self._gate.check(self.journal.next_sequence)
        context = self._context()
        facts, answer = self.module.command(name, arguments, context)
        self.commit(facts, context)
        return answer

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Answer a question about the module, or about its deliveries."""
        if name == letter.QUERY:
            return letter.query_letters(self, arguments)
        return self.module.query(name, arguments)

    def now_ns(self) -> int:
        return self._clock.wall_ns()

    def emit(self, records: Sequence[Any], payloads: Sequence[tuple[Any, str]]) -> list[Event]:
        """Write what a shell's machine decided (private records, and payloads with their keys) as one unit; return the events."""
        context = self._context()
        events = [context.event(payload, key=key) for payload, key in payloads]
        self.commit([*records, *self.module.witness(events), *events])
        return events

    def conclude(self, task: str, result: bytes) -> int:
        """Turn a scan's result into facts; return how many events that made."""
        before = self.counters.emitted
        self.commit(self.module.conclude(task, result, self._context()))
        return self.counters.emitted - before

    def position(self) -> HostSnapshot:
        """Return where the module stands: a snapshot without state, held deliveries and dead letters, which cost what they hold."""
        self._settle()
        return self._position(self.journal.written_offset)

    def place(self) -> HostSnapshot:
        """Return a snapshot without the state, for who holds the module itself."""
        self._settle()
        return self._place(self.journal.written_offset)

    def replayed_place(self) -> HostSnapshot:
        """Return the same for a host that only replays: at the last unit it has taken."""
        return self._place(self._reached)

    def snapshot(self) -> HostSnapshot:
        """Return state and cursors as of now."""
        return msgspec.structs.replace(self.place(), state=self.module.snapshot())

    def _settle(self) -> None:
        """Write what is held since the last unit, so that the journal and the cursors agree for good."""
        if self._passed and len(self.courier.pending):
            self._commit(Draft([], []), self._runs_passed())
            self._passed = []
            self.is_torn = False

    def _place(self, offset: int) -> HostSnapshot:
        held, letters = self.courier.pending.entries(), self.courier.book.snapshot()
        return msgspec.structs.replace(self._position(offset), held=held, letters=letters)

    def _position(self, offset: int) -> HostSnapshot:
        return HostSnapshot(
            self.module.name,
            self.module.state_version,
            offset,
            _copied({name: f.cursor for name, f in self._followers.items()}),
            b"",
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

    def offsets(self) -> dict[str, int]:
        """Return by journal where its cursor stands."""
        return {name: follower.cursor.offset for name, follower in self._followers.items()}

    def needed(self) -> dict[str, int]:
        """Return by journal the lowest offset that a restart or a redrive still reads: what retention must keep."""
        found = self.offsets()
        for lowest in (self.courier.pending.lowest(), self.courier.book.lowest()):
            for name, offset in lowest.items():
                found[name] = min(offset, found.get(name, offset))
        return found

    def close(self) -> None:
        """Give the journal and everything beside it up; a second time does nothing."""
        if self._is_closed:
            return
        self._is_closed = True
        self.courier.close()
        for beside in (self._board, self._gate):
            if beside is not None:
                beside.close()
        self.journal.close()
        for reader in (self._own, *self._readers.values()):
            reader.close()


def _copied(cursors: Mapping[str, Cursor]) -> dict[str, Cursor]:
    """Return cursors that move by themselves."""
    return {n: msgspec.structs.replace(c, overtaken=dict(c.overtaken)) for n, c in cursors.items()}
