"""Takes inputs through a module's handler: in order by key, tried again, set aside at last, never skipped.

    fresh events ──▶ handler ──▶ one unit, the runs as they were taken              (nothing waits, nothing failed)
         │ a handler raised, an event is suspect, or something of its key waits
         ▼
    all of them are held ──▶ parts of them ──▶ handler ──▶ units that name exactly what they apply
                                 │ raised: halve; alone: wait and try again, or
                                 ▼
                              a dead letter, in the unit whose cursor passes the event

``decide`` is pure, so trying a half of a batch again is free of effects.
"""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from tori.backoff import FinalDecision
from tori.bus.dead_letter import DeadLetterBook
from tori.bus.mark import Coroner, Mark
from tori.bus.pending import Entry, Group, Held, Pending
from tori.bus.policy import DeliveryPolicy
from tori.bus.watchdog import Watchdog
from tori.clock import SECOND_NS, Clock
from tori.errors import JournalError, JournalRefused, PermanentError
from tori.events.envelope import Event
from tori.events.system import DeliveryDeadLettered
from tori.journal.frame import Frame
from tori.modules.base import Fact

MAX_STORY_LINES = 16
MAX_ERROR_CHARACTERS = 500


class CausationLoop(PermanentError):
    """An event lies deeper in reactions to reactions than anything but a loop does."""


class HandlerDied(PermanentError):
    """The process died each time it handled this event alone."""


class HandlerTimeout(PermanentError):
    """The handler did not return in time, and its process was killed, each time it handled this event alone."""


class Taken(NamedTuple):
    """An input on its way to the handler."""

    entry: Entry
    event: Event


class Draft(NamedTuple):
    """What a handler decided, encoded: nothing about it can fail any more but the disk."""

    facts: Sequence[Fact]
    frames: list[Frame]


class Desk(Protocol):
    """The host, as its courier sees it."""

    def draft(self, batch: Sequence[Taken]) -> Draft: ...
    def deliver(self, batch: Sequence[Taken], draft: Draft) -> None: ...
    def bury(self, taken: Taken, payload: DeliveryDeadLettered) -> None: ...


class Courier:
    """The deliveries of one module. Not thread-safe: its host alone calls it."""

    def __init__(
        self,
        name: str,
        desk: Desk,
        clock: Clock,
        mark: Mark,
        watchdog: Watchdog,
        policy: DeliveryPolicy | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.policy = policy or DeliveryPolicy()
        self.pending = Pending()
        self.book = DeadLetterBook()
        self.retries = 0
        self._name = name
        self._desk = desk
        self._clock = clock
        self._mark = mark
        self._watchdog = watchdog
        self._rng = rng or random.Random()
        self._coroner = Coroner(mark, budget=self.policy.crash_budget, window_s=self.policy.crash_window_s)

    @property
    def is_full(self) -> bool:
        """Say whether so many deliveries wait that no more may be taken."""
        return len(self.pending) >= self.policy.max_held

    @property
    def has_due(self) -> bool:
        wake_ns = self.pending.wake_ns if len(self.pending) else None
        return wake_ns is not None and wake_ns <= self._clock.monotonic_ns()

    def examine(self, cursors: Sequence[tuple[str, int]]) -> bool:
        """Learn from the death of the process before this one; return whether it died over a handler.

        ``cursors``: the next sequence of each journal, as the replay left them.
        """
        was_handling = self._coroner.examine(self._clock.monotonic_ns(), self._watchdog.trace)
        self._prune(cursors)
        return was_handling

    def _prune(self, cursors: Sequence[tuple[str, int]]) -> None:
        if self._coroner.has_suspects:
            self._coroner.prune(cursors, self.pending.entries())

    def due(self) -> list[Held]:
        """Return the held deliveries that may be tried now, in order."""
        return self.pending.due(self._clock.monotonic_ns()) if len(self.pending) else []

    def space_out(self, entries: Sequence[Entry], pause_ns: int) -> None:
        """Let redriven deliveries come one after the other, ``pause_ns`` apart. A restart forgets the pauses, not the deliveries."""
        now_ns = self._clock.monotonic_ns()
        for index, entry in enumerate(entries):
            held = self.pending.get(entry.place)
            if held is not None:
                held.due_ns = now_ns + index * pause_ns

    # -- one step ----------------------------------------------------------------------------------------------

    def run(self, due: Sequence[Taken], fresh: Sequence[Taken], cursors: Sequence[tuple[str, int]]) -> int:
        """Take these through the handler; return how many were tried or held. ``cursors``: next sequence a journal."""
        if not due and not len(self.pending) and not self._has_odd(fresh):
            try:
                draft = self._handle(fresh)
            except Exception as error:
                self._hold(due, fresh)
                if isinstance(error, JournalError):
                    raise
                self._halve(list(fresh), set(), error)
            except BaseException:
                self._hold(due, fresh)  # should anybody go on after it, nothing was skipped
                raise
            else:
                self._deliver_fresh(fresh, draft)
        else:
            self._work_off([*due, *self._hold(due, fresh)])
        self._prune(cursors)
        return len(due) + len(fresh)

    def _deliver_fresh(self, fresh: Sequence[Taken], draft: Draft) -> None:
        try:
            self._desk.deliver(fresh, draft)
        except JournalRefused:  # nothing was written: they wait here until the disk takes them
            self._hold((), fresh)
            raise

    def _work_off(self, ready: Sequence[Taken]) -> None:
        """Handle held deliveries in order; those over which the process has died go last, so that nobody waits for them."""
        stopped: set[Group] = set()
        feared: list[Taken] = []
        for part in self._parts(ready):
            group = part[0].entry.group
            if len(part) == 1 and group not in stopped and self._coroner.deaths(part[0].entry)[0] > 0:
                feared.append(part[0])
                stopped.add(group)
            else:
                self._try(part, stopped)
        for taken in feared:
            stopped.discard(taken.entry.group)
            self._try([taken], stopped)

    def _has_odd(self, batch: Sequence[Taken]) -> bool:
        if self._coroner.has_suspects:
            return any(self._is_odd(taken) for taken in batch)
        deepest = self.policy.max_depth
        return any(taken.event.depth > deepest for taken in batch)

    def _is_odd(self, taken: Taken) -> bool:
        """Say whether an event must go alone, or not at all."""
        if taken.event.depth > self.policy.max_depth:
            return True
        return self._coroner.has_suspects and self._coroner.suspects(taken.entry)

    def _hold(self, due: Sequence[Taken], fresh: Sequence[Taken]) -> list[Taken]:
        """Put fresh events behind what waits; return those that have nobody before them who must wait."""
        moving = {t.entry.place for t in due}
        waiting = {h.entry.group for h in self.pending if h.entry.place not in moving}
        for taken in fresh:
            self.pending.hold(taken.entry)
        return [t for t in fresh if t.entry.group not in waiting]

    def _parts(self, ready: Sequence[Taken]) -> Iterator[list[Taken]]:
        part: list[Taken] = []
        for taken in ready:
            if not self._is_odd(taken):
                part.append(taken)
                continue
            if part:
                yield part
                part = []
            yield [taken]
        if part:
            yield part

    def _try(self, batch: list[Taken], stopped: set[Group]) -> None:
        """Handle held deliveries, all but those behind one that has to wait; halve a batch that fails."""
        batch = [t for t in batch if t.entry.group not in stopped]
        if not batch or (len(batch) == 1 and self._is_settled(batch[0], stopped)):
            return
        try:
            draft = self._handle(batch)
        except JournalError:
            raise
        except Exception as error:
            self._halve(batch, stopped, error)
        else:
            self._desk.deliver(batch, draft)
            if self._coroner.has_suspects:
                for taken in batch:
                    self._coroner.clear(taken.entry)

    def _halve(self, batch: list[Taken], stopped: set[Group], error: Exception) -> None:
        if len(batch) == 1:
            self._fail(batch[0], stopped, error)
            return
        middle = len(batch) // 2
        self._try(batch[:middle], stopped)
        self._try(batch[middle:], stopped)

    def _is_settled(self, taken: Taken, stopped: set[Group]) -> bool:
        """Dead-letter an event that must not be handled, or let a suspect wait its turn; False when it may be handled."""
        depth = taken.event.depth
        if depth > self.policy.max_depth:
            self._bury(
                taken, 0, CausationLoop(f"{depth} reactions to reactions, over {self.policy.max_depth}: a loop.")
            )
            return True
        if not self._is_odd(taken):
            return False
        deaths, timeouts, trace = self._coroner.deaths(taken.entry)
        if deaths >= self.policy.crashes:
            died = f"the process died each of the {deaths} times it handled this event alone"
            late = f"{died}, {timeouts} of them past the time-out of {self._watchdog.timeout_s:g} s."
            self._bury(taken, deaths, HandlerTimeout(late) if timeouts else HandlerDied(f"{died}."), trace)
            return True
        due_ns = self._coroner.due_ns(self._clock.monotonic_ns())
        if due_ns > self._clock.monotonic_ns():
            self.pending.hold(taken.entry).due_ns = due_ns
            stopped.add(taken.entry.group)
            return True
        return False

    def _handle(self, batch: Sequence[Taken]) -> Draft:
        """Call the handler with the mark set and the watchdog armed.

        SystemExit and its like leave the mark, for they end the process; an impatient person at the keyboard is no death.
        """
        self._mark.begin([t.entry for t in batch], self._clock.monotonic_ns())
        self._watchdog.arm(self._watchdog.timeout_s)
        try:
            draft = self._desk.draft(batch)
        except (Exception, KeyboardInterrupt):
            self._mark.end()
            raise
        finally:
            self._watchdog.disarm()
        self._mark.end()
        return draft

    # -- failures ----------------------------------------------------------------------------------------------

    def _fail(self, taken: Taken, stopped: set[Group], error: Exception) -> None:
        """Let a delivery wait for its next attempt, or set it aside."""
        held = self.pending.hold(taken.entry)
        held.attempts += 1
        held.story = [*held.story, _line(held.attempts, error)][-MAX_STORY_LINES:]
        decision = self.policy.decide(held.attempts, self._rng, permanent=isinstance(error, PermanentError))
        if isinstance(decision, FinalDecision):
            self._bury(taken, held.attempts, error)
            return
        self.retries += 1
        held.due_ns = self._clock.monotonic_ns() + round(decision.after_s * SECOND_NS)
        stopped.add(taken.entry.group)

    def _bury(self, taken: Taken, attempts: int, error: Exception, trace: str = "") -> None:
        """Make a delivery a dead letter, durably; ``trace``: where the handler stood, when the error does not say."""
        entry, event = taken
        held = self.pending.hold(entry)
        story = held.story or [_line(attempts, error)]
        where = trace or "".join(traceback.format_tb(error.__traceback__)[-3:])
        self._desk.bury(
            taken,
            DeliveryDeadLettered(
                self._name,
                entry.journal,
                entry.sequence,
                attempts,
                _text(error),
                type(error).__name__,
                event.id,
                event.type,
                entry.offset,
                entry.lane,
                entry.key,
                "\n".join(filter(None, [*story, where.rstrip()])),
            ),
        )
        self._coroner.clear(entry)

    def close(self) -> None:
        self._mark.close()
        self._watchdog.close()


def _text(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:MAX_ERROR_CHARACTERS]


def _line(attempt: int, error: BaseException) -> str:
    return f"attempt {attempt}: {type(error).__name__}: {_text(error)}"
