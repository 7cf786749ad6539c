"""What must hold in every simulated world. Reads the journals as a stranger would, and trusts nobody's word.

After every action: positions never go back, durable never passes written, sequences have no gap, no event twice, no input
handled twice, no effect without a durable cause, causes in order of their key, followers never past what is durable, module
invariants. A scrub, and the end, read whole journals again: what was durable is there, byte for byte. At the end: every input has
its effect, and replay, with and without a snapshot, gives the state that lived.
"""

from __future__ import annotations

import bisect
import zlib
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from tests.sim.modules import SMALL, SmallModule, answer_of
from tests.sim.node import HOME, Node
from tests.sim.story import Violation
from tests.sim.system import System
from tori.errors import JournalDamaged, JournalError
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.events.system import ClientMessage, DeliveryDeadLettered, ErrorOccurred
from tori.journal.follower import Run
from tori.journal.frame import CURSOR, EVENTS, Header
from tori.journal.reader import FrameView, JournalReader
from tori.journal.recovery import Tail
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.open import journal_directory
from tori.modules.registry import FOLLOWS

_runs = msgspec.msgpack.Decoder(list[Run])


class Seen(NamedTuple):
    """A durable event, and where it stands."""

    journal: str
    number: int
    lane: int
    event: Event


class Mark(NamedTuple):
    """A durable frame, to know it again."""

    offset: int
    end: int
    first_sequence: int
    count: int
    durable_sequence: int
    body_bytes: int
    crc: int
    header: Header


class Watch:
    """One journal, as far as it was seen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reader: JournalReader | None = None
        self.offset = 0
        self.sequence = 0
        self.marks: list[Mark] = []
        self.events: list[Event] = []
        self.taken: dict[str, list[tuple[int, int]]] = defaultdict(list)
        """By input journal: the stretches this module has recorded as consumed, sorted."""
        self.taken_late: set[tuple[str, int]] = set()
        """(input journal, sequence) of events that waited for their delivery and were handled later."""

    @property
    def is_blind(self) -> bool:
        """Whether its reader knows no position: nobody has ever begun to write, or the names of the control files were lost."""
        return self.reader is None or self.reader.epoch < 0


class Checker:
    """The oracle of one world."""

    def __init__(self, system: System, sent: set[tuple[str, str]]) -> None:
        self.system = system
        self.sent = sent
        """(document id, content hash) or (note, "") of everything a client ever sent."""
        self.watches = {name: Watch(name) for name in system.names}
        self.seen: dict[bytes, Seen] = {}
        self.documents: dict[str, str] = {}
        """Durable: document id to its present content hash, and every note."""
        self.accepted: list[DocumentIngested] = []
        self.is_rotten = False
        """A durable byte was changed, and nobody has restored it yet."""
        self._last_note: dict[str, str] = {}
        self._answered: dict[str, set[bytes]] = defaultdict(set)
        self._buried: dict[str, set[bytes]] = defaultdict(set)
        """By module: the inputs that became dead letters."""
        self._last: dict[tuple[str, str, int, str], int] = {}
        """(module, input journal, lane, key): number of the last cause that was answered."""

    # -- reading ---------------------------------------------------------------------------------------------------

    def observe(self) -> None:
        """Read what became durable, and judge it."""
        fresh: list[Seen] = []
        for watch in self.watches.values():
            try:
                self._read(watch, fresh)
            except JournalDamaged as error:
                if not self.is_rotten:
                    raise Violation(f"what is durable cannot be read: {error}") from error
        for one in fresh:
            self._judge(one)

    def _reader(self, watch: Watch) -> JournalReader | None:
        if watch.reader is None:
            directory = journal_directory(HOME, watch.name)
            files = self.system.watching(watch.name)
            if not (files.exists(directory / "journal.json") and files.exists(directory / "epoch")):
                return None
            try:
                watch.reader = self.system.reader(watch.name)
            except JournalError:  # its maker is at it, or died there
                return None
        return watch.reader

    def _read(self, watch: Watch, fresh: list[Seen]) -> None:
        reader = self._reader(watch)
        if reader is None:
            return
        limit = reader.limit("durable")
        if limit == watch.offset or watch.is_blind:
            return
        if limit < watch.offset:
            raise Violation(f"the durable position of {watch.name} went back from {watch.offset} to {limit}")
        if reader.limit("written") < limit:
            raise Violation(f"{watch.name}: durable {limit} is past written {reader.limit('written')}")
        for frame in reader.frames(watch.offset, limit):
            self._take(watch, frame, fresh)

    def _take(self, watch: Watch, frame: FrameView, fresh: list[Seen]) -> None:
        header = frame.header
        if header.count and header.first_sequence != watch.sequence:
            raise Violation(f"{watch.name} jumps from sequence {watch.sequence} to {header.first_sequence}")
        watch.sequence += header.count
        watch.offset = frame.end
        watch.marks.append(mark_of(frame))
        if header.kind == EVENTS:
            for event in frame.events:
                if event.id in self.seen:
                    raise Violation(
                        f"event {event.id.hex()} stands twice, in {watch.name} and {self.seen[event.id].journal}"
                    )
                one = self.seen[event.id] = Seen(watch.name, len(watch.events), header.lane, event)
                watch.events.append(event)
                fresh.append(one)
        elif header.kind == CURSOR:
            for run in _runs.decode(frame.body):
                _consume(watch, run)

    # -- judging ---------------------------------------------------------------------------------------------------

    def _judge(self, one: Seen) -> None:
        event = one.event
        if isinstance(event.payload, DocumentIngested):
            self._judge_document(event.payload)
        elif isinstance(event.payload, ClientMessage):
            self._judge_note(event.payload)
        for cause in event.causes:
            if cause not in self.seen:
                raise Violation(f"{one.journal} holds an effect of event {cause.hex()}, which no journal holds durably")
        module = SMALL[one.journal] if one.journal in SMALL and not self.system.plan.is_real else None
        if module is not None and issubclass(module, SmallModule):
            self._judge_answer(one, module)

    def _judge_document(self, payload: DocumentIngested) -> None:
        key = (payload.document_id, payload.content_hash.hex())
        if key not in self.sent:
            raise Violation(f"document {key[0]} was never sent with content {key[1][:12]}")
        if self.documents.get(key[0]) == key[1]:
            raise Violation(f"document {key[0]} was taken twice")
        self.documents[key[0]] = key[1]
        self.accepted.append(payload)

    def _judge_note(self, payload: ClientMessage) -> None:
        note, last = str(payload.message), self._last_note.get(payload.client_id, "")
        if (note, "") not in self.sent:
            raise Violation(f"{note!r} was never published")
        if note in self.documents:
            raise Violation(f"{note!r} was published twice")
        if note < last:
            raise Violation(f"{note!r} stands after {last!r}")
        self._last_note[payload.client_id] = note
        self.documents[note] = ""

    def _judge_answer(self, one: Seen, module: type[SmallModule]) -> None:
        payload = one.event.payload
        if isinstance(payload, ErrorOccurred):
            return  # what its journal survived; no input calls for it
        cause = self.seen[one.event.causes[0]]
        if isinstance(payload, DeliveryDeadLettered):
            self._judge_dead_letter(one.journal, cause, payload)
            return
        answer = answer_of(one.event)
        if answer is None or answer != module.wanted(cause.event):
            raise Violation(f"{one.journal} answered {cause.event} with {answer}")
        if cause.event.id in self._answered[one.journal]:
            raise Violation(f"{one.journal} answered event {cause.event.id.hex()} of {cause.journal} twice")
        self._answered[one.journal].add(cause.event.id)
        place = (one.journal, cause.journal, cause.lane, cause.event.key)
        if self._last.get(place, -1) >= cause.number:
            raise Violation(f"{one.journal} answered key {cause.event.key} of {cause.journal} out of order")
        self._last[place] = cause.number

    def _judge_dead_letter(self, module: str, cause: Seen, payload: DeliveryDeadLettered) -> None:
        if not self.system.trouble.is_fatal(module, cause.event):
            raise Violation(f"{module} set a good event of {cause.journal} aside: {payload.error}")
        if cause.event.id in self._buried[module]:
            raise Violation(f"{module} set event {cause.event.id.hex()} of {cause.journal} aside twice")
        self._buried[module].add(cause.event.id)

    def acked(self, documents: Iterable[tuple[str, str]]) -> None:
        """A receipt was given for these: they are durable now, and for good."""
        self.observe()
        for document, content in documents:
            if self.documents.get(document) != content:
                raise Violation(f"{document} was acknowledged and is in no journal")

    # -- states ----------------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Check every module that lives, and where its followers stand."""
        for name, one in self.system.running.items():
            try:
                one.host.module.validate()
            except AssertionError as error:
                raise Violation(f"module {name} is inconsistent: {error}") from error
            for journal, follower in one.host._followers.items():
                watch = self.watches[journal]
                if follower.cursor.offset > watch.offset:
                    watch.reader = None  # a reader that was open when a take-over failed lags behind new ones
                    self.observe()
                if follower.cursor.offset > watch.offset and not watch.is_blind:
                    raise Violation(f"{name} is at {follower.cursor.offset} of {journal}, durable up to {watch.offset}")

    def power_was_cut(self, node: Node) -> None:
        """Every reader on a node is gone with its memory."""
        for name, watch in self.watches.items():
            if self.system.of(name) is node:
                watch.reader = None

    def reread(self, name: str) -> bool:
        """Read a whole journal again: what was durable is there, byte for byte. Returns False while nobody can read it.

        After a loss of power, or when a take-over failed half way, readers see nothing until the next writer has begun.
        """
        watch = self.watches[name]
        watch.reader = None
        reader = self._reader(watch)
        if reader is None:
            if watch.marks:
                raise Violation(f"journal {name} is gone, which was durable up to {watch.offset}")
            return False
        if reader.limit("durable") < watch.offset:
            if watch.is_blind:
                return False
            raise Violation(f"{name} ends at {reader.limit('durable')}, it was durable up to {watch.offset}")
        found = [mark_of(frame) for frame in reader.frames(reader.first_offset(), watch.offset)]
        for was, now in zip(watch.marks, found, strict=False):
            if was != now:
                raise Violation(f"{name} had {was}, has {now}")
        if len(found) != len(watch.marks):
            raise Violation(f"{name} had {len(watch.marks)} durable frames, has {len(found)}")
        return True

    def audit(self, name: str, snapshot: HostSnapshot | None) -> None:
        """Recover a second host from the journal and compare it with the one that lives."""
        live = self.system.running[name].host
        again = self._recovered(name, live, snapshot)
        if again.module.snapshot() != live.module.snapshot():
            how = "its journal" if snapshot is None else f"a snapshot at offset {snapshot.offset} and its journal"
            raise Violation(f"{name}, recovered from {how}, differs from the one that lives")
        if again.counters.events != live.counters.events:
            raise Violation(f"{name} counts {live.counters.events} events, its journal {again.counters.events}")

    def _recovered(self, name: str, live: ModuleHost, snapshot: HostSnapshot | None) -> ModuleHost:
        still = Still(name, live)
        inputs = [self.system.reader(journal) for journal in FOLLOWS[name] if journal in self.watches]
        host = ModuleHost(
            self.system.create(name),
            still,
            self.system.reader(name),
            inputs,
            self.system.of(name).clock,
            lambda event_id: self.seen[event_id].event,
            incarnation=b"look",
        )
        host.recover(snapshot)
        return host

    def dead_letters(self) -> dict[str, int]:
        """Return how many inputs each module set aside."""
        return {name: len(events) for name, events in sorted(self._buried.items()) if events}

    def complete(self) -> None:
        """Nothing is left to do: every input that calls for an answer has it."""
        for name, module in SMALL.items():
            if self.system.plan.is_real or not issubclass(module, SmallModule):
                continue
            inputs = [
                event
                for journal in FOLLOWS[name]
                if journal in self.watches
                for event in self.watches[journal].events
                if isinstance(event.payload, module.inputs)
            ]
            fatal = {event.id for event in inputs if self.system.trouble.is_fatal(name, event)}
            wanted = {event.id for event in inputs if module.wanted(event) is not None} - fatal
            for what, missing in (
                ("answered", wanted - self._answered[name]),
                ("set aside", fatal - self._buried[name]),
            ):
                if missing:
                    raise Violation(
                        f"{name} never {what} {len(missing)} inputs, the first is {self.seen[min(missing)]}"
                    )


class Still:
    """A journal's writer that only says where the journal ends."""

    def __init__(self, name: str, live: ModuleHost) -> None:
        self.name = name
        self.journal_id = live.journal.journal_id
        self.epoch = live.journal.epoch
        self.recovered = Tail(0, 0, 0, 0)
        self.next_sequence = live.journal.next_sequence
        self.written_offset = live.journal.written_offset

    def append(self, frames: object) -> object:
        raise AssertionError("a host that recovers writes nothing")

    commit = close = append


def mark_of(frame: FrameView) -> Mark:
    header = frame.header
    return Mark(
        frame.offset,
        frame.end,
        header.first_sequence,
        header.count,
        header.durable_sequence,
        header.body_bytes,
        zlib.crc32(frame.body),
        header,
    )


def _consume(watch: Watch, run: Run) -> None:
    """Note a stretch of inputs as consumed; it, and each event that is named by itself, is consumed once."""
    if run.only:
        for sequence in run.only:
            if (run.journal, sequence) in watch.taken_late:
                raise Violation(f"{watch.name} consumed entry {sequence} of {run.journal} twice")
            watch.taken_late.add((run.journal, sequence))
        return
    taken = watch.taken[run.journal]
    at = bisect.bisect_left(taken, (run.start, run.end))
    before_ok = at == 0 or taken[at - 1][1] <= run.start
    after_ok = at == len(taken) or run.end <= taken[at][0]
    if not (before_ok and after_ok):
        raise Violation(f"{watch.name} consumed offsets {run.start}..{run.end} of {run.journal} twice")
    if at and taken[at - 1][1] == run.start:
        taken[at - 1] = (taken[at - 1][0], run.end)
    else:
        taken.insert(at, (run.start, run.end))
