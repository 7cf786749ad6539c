"""Credit at the doors: a follower that falls behind closes them, before its lag costs more than waiting does.

Every module publishes how far it is in a few mapped words beside its own journal; the door compares them with the end of the clients'
journal. No call, no lock: a few memory reads a batch. Only doors ask for credit. Modules never do, so no cycle of them can
wait for itself. A follower whose process is gone is not counted: it harms nobody else, and catches up from the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from tori.bus.mark import journal_word
from tori.clock import SECOND_NS, Clock
from tori.errors import Backpressure
from tori.events.system import SubscriptionLagged
from tori.journal.control import Words
from tori.journal.files import SYSTEM_FILES, Files

FILE = "cursors"
MAX_JOURNALS = 32
RECHECK_S = 1.0
"""How often a lagging follower is looked at while nobody knocks at the door."""
_PID, _START, _USED, _FIRST = 0, 1, 2, 3
_WORDS = _FIRST + 2 * MAX_JOURNALS


class CreditPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How far followers of a door's journal may be behind. In events: about documents, at the clients' door."""

    credit: int = 20_000
    """A follower this far behind closes the door: a minute or two of reading."""
    alarm: int = 5_000
    """A follower this far behind is told of (SubscriptionLagged), and again when it is under half of that."""
    retry_s: float = 0.5
    """What a publisher that is refused is told to wait."""


class CursorBoard:
    """A module's side: how far it is in each journal it follows."""

    def __init__(self, directory: Path, journals: Sequence[str], *, files: Files = SYSTEM_FILES) -> None:
        self._map = Words(directory / FILE, _WORDS, create=True, files=files)
        self._is_closed = False
        self._at = {name: _FIRST + 2 * index for index, name in enumerate(journals[:MAX_JOURNALS])}
        words = self._map.words
        words[_USED] = 0
        for name, at in self._at.items():
            words[at], words[at + 1] = journal_word(name), 0
        processes = files.processes
        words[_PID], words[_START] = processes.pid, processes.started(processes.pid)

    def show(self, cursors: Sequence[tuple[str, int]]) -> None:
        """Publish the next sequence of each journal."""
        words = self._map.words
        for name, sequence in cursors:
            at = self._at.get(name)
            if at is not None:
                words[at + 1] = sequence
        words[_USED] = len(self._at)  # last: nobody reads a board before it says something

    def close(self) -> None:
        """Say that nobody shows anything here any more; closing twice is harmless."""
        if not self._is_closed:
            self._is_closed = True
            self._map.words[_PID] = 0
            self._map.close()


class CursorView:
    """A door's side: the boards of the followers of one journal."""

    def __init__(self, journal: str, directories: Mapping[str, Path], *, files: Files = SYSTEM_FILES) -> None:
        self._files = files
        self._word = journal_word(journal)
        self._directories = dict(directories)
        self._maps: dict[str, Words] = {}

    def cursors(self) -> dict[str, int]:
        """Return the next sequence of every follower that has said how far it is."""
        found = {}
        for name, directory in self._directories.items():
            words = self._words(name, directory)
            if words is None:
                continue
            for index in range(min(int(words[_USED]), MAX_JOURNALS)):
                if words[_FIRST + 2 * index] == self._word:
                    found[name] = int(words[_FIRST + 2 * index + 1])
        return found

    def lives(self, name: str) -> bool:
        """Say whether the process that wrote a follower's board is alive."""
        words = self._words(name, self._directories[name])
        if words is None or not words[_PID]:
            return False
        return self._files.processes.started(int(words[_PID])) == int(words[_START])

    def _words(self, name: str, directory: Path) -> memoryview | None:
        known = self._maps.get(name)
        if known is None:
            try:
                known = self._maps[name] = Words(directory / FILE, _WORDS, writable=False, files=self._files)
            except (FileNotFoundError, ValueError):
                return None  # it has never run here, or is making the file right now
        return known.words

    def close(self) -> None:
        for words in self._maps.values():
            words.close()
        self._maps.clear()


class Gate:
    """Decides about credit, and tells once when a follower falls behind and once when it is back."""

    def __init__(
        self,
        journal: str,
        cursors: Callable[[], Mapping[str, int]],
        clock: Clock,
        policy: CreditPolicy | None = None,
        *,
        lives: Callable[[str], bool] = lambda _: True,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.policy = policy or CreditPolicy()
        self._journal = journal
        self._cursors = cursors
        self._clock = clock
        self._lives = lives
        self._lagging: set[str] = set()
        self._next_ns = 0
        self.close = close

    def lags(self, end: int) -> dict[str, int]:
        """Return how far each follower is behind ``end``, the next sequence of the door's journal; far behind only those alive."""
        lags = {name: max(0, end - cursor) for name, cursor in self._cursors().items()}
        floor = min(self.policy.alarm, self.policy.credit)
        return {name: lag for name, lag in lags.items() if lag < floor or self._lives(name)}

    def check(self, end: int) -> None:
        """Raise Backpressure, naming the follower, when one is so far behind that nothing more may come in."""
        lags = self.lags(end)
        if not lags:
            return
        worst = max(lags, key=lambda name: (lags[name], name))
        if lags[worst] >= self.policy.credit:
            raise Backpressure(
                f"module {worst} is {lags[worst]:,} events behind journal {self._journal}, the limit is {self.policy.credit:,}.",
                remedy="Nothing of this was taken. Wait and send it again; tori status shows the lag.",
                module=worst,
                lag=lags[worst],
                limit=self.policy.credit,
                retry_s=self.policy.retry_s,
            )

    def news(self, end: int) -> list[SubscriptionLagged]:
        """Return what changed: followers over the alarm, followers back under half of it."""
        alarm = self.policy.alarm
        told = []
        for name, lag in sorted(self.lags(end).items()):
            if name not in self._lagging and lag >= alarm:
                self._lagging.add(name)
                told.append(SubscriptionLagged(name, self._journal, lag, alarm))
            elif name in self._lagging and lag <= alarm // 2:
                self._lagging.remove(name)
                told.append(SubscriptionLagged(name, self._journal, lag, alarm, "recovered"))
        self._next_ns = self._clock.monotonic_ns() + round(RECHECK_S * SECOND_NS)
        return told

    @property
    def wake_ns(self) -> int | None:
        """Return when a lagging follower is to be looked at again; None while all keep up: an idle door does not poll."""
        return self._next_ns if self._lagging else None
