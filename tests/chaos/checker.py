"""The checker of the contract: histories and journals in, a verdict out.

It stands outside Ray and trusts nobody: what was acknowledged is what clients wrote down when they were told, what is on record is
what the bytes of the stopped home say, read by a parser of its own. See ADR 15.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tests.chaos.history import Damage, Dead, Fault, Line, Ok, Seen, read_history
from tests.chaos.journal import Consumed, Entry, JournalReading, read_journals
from tests.chaos.operation import Operations
from tests.chaos.verdict import SETS, Evidence, Verdict


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What the checker must be told, because no history says it."""

    accepting: tuple[str, ...] = ("clients",)
    """Journals in which clients' items are put on record."""
    subscribers: tuple[str, ...] = ()
    """Journals of durable subscribers: by their cursor frames each must have handled every acknowledged item of ``accepting``."""
    effects: tuple[str, ...] = ()
    """Subscribers of which every event is the effect of its one cause: each item has exactly one."""
    observers: tuple[str, ...] = ()
    """Prefixes of processes that note every entry of a journal: together they must have seen every acknowledged item."""
    serves: Mapping[str, tuple[str, ...]] = {}
    """Subscriber or observer to the accepting journals it follows; one that is missing here follows all."""
    min_operations: int = 1
    min_faults: Mapping[str, int] = {}
    """By kind: how many faults must have met an open call."""


def check(history: Path, home: Path, expectation: Expectation) -> Verdict:
    """Judge the histories in a folder against the journals of a stopped home."""
    return judge(read_history(history), read_journals(home), expectation)


def judge(lines: Iterable[Line], readings: Mapping[str, JournalReading], expectation: Expectation) -> Verdict:
    """Judge lines against journals."""
    return _Case(list(lines), readings, expectation).verdict()


class _Case:
    def __init__(self, lines: list[Line], readings: Mapping[str, JournalReading], expectation: Expectation) -> None:
        self._lines = lines
        self._readings = readings
        self._wanted = expectation
        self._operations = Operations(lines)
        self._seen = [line for line in lines if isinstance(line, Seen)]
        self._damage = [line for line in lines if isinstance(line, Damage)]
        self._on_record: dict[str, list[tuple[str, Entry]]] = defaultdict(list)
        for name in expectation.accepting:
            for entry in readings[name].entries if name in readings else []:
                if entry.item:
                    self._on_record[entry.item].append((name, entry))
        self._sets: dict[str, list[Evidence]] = {name: [] for name in SETS}

    def verdict(self) -> Verdict:
        self._check_record()
        self._check_delivery()
        self._check_positions()
        self._check_order()
        self._check_duplicates()
        self._check_effects()
        self._check_damage()
        sets = {name: tuple(sorted(set(found))) for name, found in self._sets.items()}
        faults = self._faults_met()
        doubts = self._doubts(faults)
        operations = self._operations
        counts = {
            "operations": len(operations.calls),
            "acked": len(operations.acked),
            "rejected": len(operations.rejected),
            "indeterminate": len(operations.indeterminate),
            "delivered": len(self._seen),
            "on_record": sum(map(len, self._on_record.values())),
            "entries": sum(len(r.entries) for r in self._readings.values()),
        }
        outcome = "violated" if any(sets.values()) else "unknown" if doubts else "valid"
        return Verdict(outcome, sets, counts, faults, doubts)

    def _add(self, name: str, who: str, where: str, what: str = "") -> None:
        self._sets[name].append(Evidence(who, where, what))

    # -- A, F, I against L ---------------------------------------------------------------------------------------

    def _check_record(self) -> None:
        operations = self._operations
        for item, where in operations.acked.items():
            if item not in self._on_record and not self._is_excused(item):
                self._add("acked_not_in_journal", item, where, "not read back")
        for item, places in self._on_record.items():
            name, entry = places[0]
            where = _place(name, entry)
            if item in operations.rejected:
                self._add("rejected_in_journal", item, where, f"refused in {operations.rejected[item]}")
            elif item not in operations.possible:
                self._add("phantom", item, where, "nobody asked for it")
        for seen in self._seen:
            if seen.item and seen.item not in operations.possible:
                self._add("phantom", seen.item, f"{seen.process} at {seen.journal}:{seen.sequence}", "delivered")

    def _is_excused(self, item: str) -> bool:
        """Whether the product said that it could not hand out the place where an item stood."""
        if not self._damage:
            return False
        positions = self._acked_positions().get(item, ())
        return any(self._is_reported(journal, sequence) for journal, sequence in positions)

    def _is_reported(self, journal: str, sequence: int) -> bool:
        return any(d.journal == journal and sequence >= d.sequence for d in self._damage)

    def _acked_positions(self) -> dict[str, list[tuple[str, int]]]:
        found: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for call in self._operations.calls:
            if isinstance(call.outcome, Ok) and call.outcome.sequence >= 0:
                for index, item in enumerate(call.invoke.items):
                    found[item.id].append((call.outcome.journal, call.outcome.sequence + index))
        return found

    # -- A against D and Q ---------------------------------------------------------------------------------------

    def _check_delivery(self) -> None:
        for subscriber in self._wanted.subscribers:
            self._miss(subscriber, self._handled(subscriber) | self._set_aside(subscriber))
        for prefix in self._wanted.observers:
            seen = {line.item for line in self._seen if line.process.startswith(prefix)}
            self._miss(prefix, seen | self._set_aside(prefix))
        for line in self._seen:
            if line.item and line.item not in self._on_record and not self._is_excused(line.item):
                where = f"{line.process} at {line.journal}:{line.sequence}"
                self._add("delivered_not_in_journal", line.item, where, "handed out, and gone")

    def _miss(self, subscriber: str, handled: set[str]) -> None:
        """Add what was acknowledged and neither handled by a subscriber nor set aside for it."""
        serves = set(self._wanted.serves.get(subscriber, self._wanted.accepting))
        for item, where in self._operations.acked.items():
            is_its = not (places := self._on_record.get(item)) or any(name in serves for name, _ in places)
            if is_its and item not in handled and not self._is_excused(item):
                self._add("acked_not_delivered", item, where, f"{subscriber} did not handle it")

    def _handled(self, subscriber: str) -> set[str]:
        """Return the items a subscriber handled: those it has an effect of, or those its cursors passed."""
        reading = self._readings.get(subscriber)
        if reading is None:
            return set()
        if subscriber in self._wanted.effects:
            causes = {cause for entry in reading.entries for cause in entry.causes}
            return {i for i, places in self._on_record.items() if any(e.event_id in causes for _, e in places)}
        runs = defaultdict(list)
        for run in reading.consumed:
            runs[run.journal].append(run)
        return {
            item
            for item, places in self._on_record.items()
            if any(_covers(run, entry) for name, entry in places for run in runs[name])
        }

    def _set_aside(self, subscriber: str) -> set[str]:
        """Return the items in a subscriber's dead letters, as it noted them in a journal or a client was told."""
        told = {line.item for line in self._lines if isinstance(line, Dead) and line.subscriber == subscriber}
        letters = {(j, s) for r in self._readings.values() for who, j, s in r.dead_letters if who == subscriber}
        found = {i for i, places in self._on_record.items() if any((n, e.sequence) in letters for n, e in places)}
        return told | found

    # -- positions -----------------------------------------------------------------------------------------------

    def _check_positions(self) -> None:
        contents: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
        for name, reading in self._readings.items():
            for entry in reading.entries:
                contents[name, entry.sequence].setdefault(entry.digest, f"the bytes of {name}")
            for flaw in reading.gaps:
                if not self._is_reported(name, flaw.sequence):
                    self._add("position_gap", f"{name}:{flaw.sequence}", f"offset {flaw.offset}", flaw.what)
        for seen in self._seen:
            contents[seen.journal, seen.sequence].setdefault(seen.digest, seen.process)
        digests = {item.id: item.digest for item in self._operations.items.values() if item.digest}
        for item, positions in self._acked_positions().items():
            for position in positions if item in digests else []:
                contents[position].setdefault(digests[item], f"the client of {item}")
        for (name, sequence), found in contents.items():
            if len(found) > 1:
                told = "; ".join(f"{digest} says {who}" for digest, who in found.items())
                self._add("two_digests", f"{name}:{sequence}", name, told)
        last: dict[tuple[str, str], int] = {}
        for seen in self._seen:
            before = last.get((seen.process, seen.journal))
            if before is not None and seen.sequence != before + 1:
                what = f"handed {seen.sequence} after {before}"
                self._add("position_gap", f"{seen.journal}:{seen.sequence}", seen.process, what)
            last[seen.process, seen.journal] = seen.sequence

    # -- order, duplicates, effects ------------------------------------------------------------------------------

    def _check_order(self) -> None:
        for (process, _, key), attempts in self._operations.attempts().items():
            there = {item: at for item, at in attempts.items() if item in self._on_record}
            settled = deque(sorted((last, item) for item, (_, last) in there.items()))
            furthest: dict[str, tuple[int, str]] = {}
            for first, item in sorted((first, item) for item, (first, _) in there.items()):
                while settled and settled[0][0] < first:  # tried again after this one, it may stand anywhere
                    name, entry = self._on_record[settled[0][1]][0]
                    furthest[name] = max(furthest.get(name, (-1, "")), (entry.sequence, settled.popleft()[1]))
                name, entry = self._on_record[item][0]
                sequence, earlier = furthest.get(name, (-1, ""))
                if sequence > entry.sequence:
                    what = f"stands before {earlier}, which {process} had settled earlier under key {key!r}"
                    self._add("disorder", item, _place(name, entry), what)

    def _check_duplicates(self) -> None:
        for item, places in self._on_record.items():
            for name, entry in places[1:]:
                self._add("duplicate", item, _place(name, entry), f"also at {_place(*places[0])}")
        for name, reading in self._readings.items():
            for event_id, count in Counter(entry.event_id for entry in reading.entries).items():
                if count > 1:
                    self._add("duplicate", event_id.hex(), name, f"the event id stands {count} times")

    def _check_effects(self) -> None:
        for name, reading in self._readings.items():
            spans = sorted((run.journal, run.start, run.end, run.at) for run in reading.consumed if not run.only)
            for before, after in itertools.pairwise(spans):
                if before[0] == after[0] and after[1] < before[2]:
                    what = f"handled by the units at {before[3]} and {after[3]}"
                    self._add("duplicate_effect", f"{after[0]}@{after[1]}", name, what)
            held = {(run.journal, sequence) for run in reading.consumed for sequence in run.held}
            later = Counter((run.journal, sequence) for run in reading.consumed for sequence in run.only)
            for (journal, sequence), count in later.items():
                if count > 1 or (journal, sequence) not in held:
                    what = f"handled {count} times after it was passed" if count > 1 else "handled late, and never held"
                    self._add("duplicate_effect", f"{journal}:{sequence}", name, what)
        for name in self._wanted.effects:
            entries = self._readings[name].entries if name in self._readings else []
            for cause, count in Counter(c for entry in entries for c in entry.causes).items():
                if count > 1:
                    self._add("duplicate_effect", cause.hex(), name, f"{count} effects of one event")

    def _check_damage(self) -> None:
        for name, reading in self._readings.items():
            for flaw in reading.damage:
                if not self._is_reported(name, flaw.sequence):
                    self._add("unreported_damage", f"{name}:{flaw.sequence}", f"offset {flaw.offset}", flaw.what)

    # -- enough? -------------------------------------------------------------------------------------------------

    def _faults_met(self) -> dict[str, int]:
        met: Counter[str] = Counter()
        for fault in (line for line in self._lines if isinstance(line, Fault)):
            met[fault.kind] += any(call.is_open_in(fault) for call in self._operations.calls)
        return dict(met)

    def _doubts(self, faults: Mapping[str, int]) -> tuple[str, ...]:
        doubts = []
        operations = len(self._operations.calls)
        if operations < self._wanted.min_operations:
            doubts.append(f"{operations} operations, wanted {self._wanted.min_operations}")
        for kind, count in self._wanted.min_faults.items():
            if faults.get(kind, 0) < count:
                doubts.append(f"{faults.get(kind, 0)} faults {kind} met an open call, wanted {count}")
        for name in (*self._wanted.accepting, *self._wanted.subscribers):
            if name not in self._readings:
                doubts.append(f"there is no journal {name}")
        return tuple(doubts)


def _covers(run: Consumed, entry: Entry) -> bool:
    """Whether a run says that an entry of its journal was handled."""
    if run.only:
        return entry.offset == run.start and entry.sequence in run.only
    return run.start <= entry.offset < run.end and entry.sequence not in run.held


def _place(name: str, entry: Entry) -> str:
    return f"{name}:{entry.sequence}"
