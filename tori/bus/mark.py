"""Over which event the process died: a mark in mapped words, and what was learnt from the deaths before.

Before a handler runs, the follower stores which entries it is about to see; after it returned or raised, it takes the mark back.
A mark that a new process finds was left by a death. The words survive the death of the process. After a power cut they may say
anything that they ever said, again and again, so a mark of an earlier run of the machine is none: it says nothing about the event.

    handling    words: version, spans in use (0 = nobody handles), events, begun (monotonic ns), then (journal, first, last) a span,
                and at the end the machine's run
    deaths      msgpack, replaced whole, written only after a death: times, suspects, deaths by single event

Narrowing: a death over a batch makes every event of it a suspect, and suspects are handled alone; a death over one event alone
counts against that event. Halving would need up to eight deaths for 256 events, and supervision grants five restarts a minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import msgspec

from tori.bus.pending import Entry
from tori.clock import SECOND_NS
from tori.journal.control import Words
from tori.journal.files import SYSTEM_FILES, Files, replace

MAX_SPANS = 16
"""Journals in one batch; a module follows nine at most."""
MAX_SUSPECT_SPANS = 64
MAX_SINGLES = 64
MAX_TIMES = 16
_VERSION, _SPANS, _EVENTS, _BEGUN, _FIRST = 0, 1, 2, 3, 4
_BOOT = _FIRST + 3 * MAX_SPANS
_WORDS = _BOOT + 1
FORMAT = 1


def journal_word(journal: str) -> int:
    """Return the word that stands for a journal's name."""
    return int.from_bytes(blake2b(journal.encode(), digest_size=8).digest(), "little")


class Span(msgspec.Struct, array_like=True, frozen=True):
    """Entries of one journal, both ends included."""

    journal: int
    first: int
    last: int

    def holds(self, entry: Entry) -> bool:
        return self.first <= entry.sequence <= self.last and self.journal == journal_word(entry.journal)


class Found(msgspec.Struct, frozen=True):
    """A mark that a dead process left."""

    spans: tuple[Span, ...]
    events: int
    begun_ns: int


class Mark(Protocol):
    """Where a follower notes what it is about to handle."""

    def begin(self, entries: Sequence[Entry], now_ns: int) -> None: ...
    def end(self) -> None: ...
    def found(self) -> Found | None: ...
    def load(self) -> bytes: ...
    def save(self, data: bytes) -> None: ...
    def close(self) -> None: ...


def spans_of(entries: Iterable[Entry]) -> list[Span]:
    """Return one span a journal over ``entries``."""
    sequences: dict[str, list[int]] = {}
    for entry in entries:
        sequences.setdefault(entry.journal, []).append(entry.sequence)
    return [Span(journal_word(journal), min(found), max(found)) for journal, found in sequences.items()]


class MemoryMark:
    """A mark that lives as long as the object: for the in-process runtime, and for tests that let a process die."""

    def __init__(self) -> None:
        self._found: Found | None = None
        self._data = b""

    def begin(self, entries: Sequence[Entry], now_ns: int) -> None:
        self._found = Found(tuple(spans_of(entries)), len(entries), now_ns)

    def end(self) -> None:
        self._found = None

    def found(self) -> Found | None:
        return self._found

    def load(self) -> bytes:
        return self._data

    def save(self, data: bytes) -> None:
        self._data = data

    def close(self) -> None:
        """Nothing to give up."""


class MappedMark:
    """The mark beside a journal on disk."""

    def __init__(self, directory: Path, *, files: Files = SYSTEM_FILES) -> None:
        self._file = directory / "deaths"
        self._files = files
        self._map = Words(directory / "handling", _WORDS, create=True, files=files)
        self._map.words[_VERSION] = FORMAT

    def begin(self, entries: Sequence[Entry], now_ns: int) -> None:
        words = self._map.words
        spans = spans_of(entries)[:MAX_SPANS]
        at = _FIRST
        for span in spans:
            words[at], words[at + 1], words[at + 2] = span.journal, span.first, span.last
            at += 3
        words[_EVENTS], words[_BEGUN], words[_BOOT] = len(entries), now_ns, self._files.processes.boot
        words[_SPANS] = len(spans)  # last: a mark is there when this word says so

    def end(self) -> None:
        self._map.words[_SPANS] = 0

    def found(self) -> Found | None:
        words = self._map.words
        count = min(int(words[_SPANS]), MAX_SPANS)
        if not count or words[_BOOT] != self._files.processes.boot:
            return None
        table = [tuple(int(words[_FIRST + 3 * i + k]) for k in range(3)) for i in range(count)]
        return Found(tuple(Span(*row) for row in table), int(words[_EVENTS]), int(words[_BEGUN]))

    def load(self) -> bytes:
        try:
            return self._files.read(self._file)
        except FileNotFoundError:
            return b""

    def save(self, data: bytes) -> None:
        replace(self._files, self._file, data)

    def close(self) -> None:
        self._map.close()


class _Single(msgspec.Struct, array_like=True):
    journal: int
    sequence: int
    deaths: int
    timeouts: int
    trace: str = ""
    """Where the process stood at the last time-out."""


class _Deaths(msgspec.Struct, array_like=True):
    times_ns: list[int] = []
    suspects: list[Span] = []
    singles: list[_Single] = []


class Coroner:
    """What the deaths of this module's processes say about the events they handled."""

    def __init__(self, mark: Mark, *, budget: int, window_s: float) -> None:
        self._mark = mark
        self._budget = budget
        self._window_ns = round(window_s * SECOND_NS)
        self._deaths = self._load()

    def _load(self) -> _Deaths:
        try:
            return msgspec.msgpack.decode(self._mark.load(), type=_Deaths)
        except msgspec.DecodeError:  # empty, or cut short by the machine's end: nothing is known about anybody
            return _Deaths()

    def _save(self) -> None:
        self._mark.save(msgspec.msgpack.encode(self._deaths))

    def examine(self, now_ns: int, trace: str = "") -> bool:
        """Look at the mark a dead process left, remember what it says, take it back; return whether there was one.

        ``trace``: what its watchdog wrote, when that ended it.
        """
        found = self._mark.found()
        if found is None:
            return False
        deaths = self._deaths
        deaths.times_ns = [t for t in deaths.times_ns if t <= now_ns][-(MAX_TIMES - 1) :] + [now_ns]
        if found.events == 1:
            self._count(found.spans[0], trace)
        else:
            deaths.suspects = [*deaths.suspects, *found.spans][-MAX_SUSPECT_SPANS:]
        self._save()
        self._mark.end()
        return True

    def _count(self, span: Span, trace: str) -> None:
        singles = self._deaths.singles
        for single in singles:
            if (single.journal, single.sequence) == (span.journal, span.first):
                break
        else:
            single = _Single(span.journal, span.first, 0, 0)
            singles.append(single)
            del singles[:-MAX_SINGLES]
        single.deaths += 1
        single.timeouts += bool(trace)
        single.trace = trace or single.trace

    @property
    def has_suspects(self) -> bool:
        return bool(self._deaths.suspects or self._deaths.singles)

    def suspects(self, entry: Entry) -> bool:
        """Say whether an event must be handled alone."""
        return any(span.holds(entry) for span in self._deaths.suspects) or self._single(entry) is not None

    def _single(self, entry: Entry) -> _Single | None:
        if not self._deaths.singles:
            return None
        word = journal_word(entry.journal)
        for single in self._deaths.singles:
            if single.sequence == entry.sequence and single.journal == word:
                return single
        return None

    def deaths(self, entry: Entry) -> tuple[int, int, str]:
        """Return how often the process died over this event alone, how often of these past the time-out, and where it stood."""
        single = self._single(entry)
        return (0, 0, "") if single is None else (single.deaths, single.timeouts, single.trace)

    def due_ns(self, now_ns: int) -> int:
        """Return when the next suspect may be tried (monotonic), so that deaths stay below what supervision allows."""
        recent = [t for t in self._deaths.times_ns if now_ns - self._window_ns < t <= now_ns]
        if len(recent) < self._budget:
            return 0
        return recent[-self._budget] + self._window_ns

    def clear(self, entry: Entry) -> None:
        """Forget the deaths over an event that was handled or is dead."""
        single = self._single(entry)
        if single is not None:
            self._deaths.singles.remove(single)
            self._save()

    def prune(self, cursors: Sequence[tuple[str, int]], pending: Iterable[Entry]) -> None:
        """Forget what is known about events that are done with; ``cursors``: for each journal the first sequence not yet taken."""
        first = {journal_word(journal): sequence for journal, sequence in cursors}
        waiting = list(pending)

        def is_open(span: Span) -> bool:
            return span.last >= first.get(span.journal, 0) or any(span.holds(entry) for entry in waiting)

        suspects = [s for s in self._deaths.suspects if is_open(s)]
        singles = [s for s in self._deaths.singles if is_open(Span(s.journal, s.sequence, s.sequence))]
        if (len(suspects), len(singles)) != (len(self._deaths.suspects), len(self._deaths.singles)):
            self._deaths.suspects, self._deaths.singles = suspects, singles
            self._save()
