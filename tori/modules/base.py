"""What a module is: a pure, event-sourced state machine over the events it takes.

    inputs ──▶ decide(batch, context) ──▶ facts ──▶ one commit unit in the module's own journal
                  reads state only          │          (facts + which inputs were consumed)
                                            ▼
              apply(input events, then facts): the only writer of state

A restart loads a snapshot and applies the units that follow it: the consumed inputs are read again by position,
then the unit's facts. ``decide`` never runs twice for an input, so nothing depends on timing, threads, hash seeds,
code version or the clock.

Long computations are *scans*: ``prepare`` takes an immutable copy, ``run`` works on it in any process, ``conclude`` turns
the result into facts, as if it were one more input. A scan's result is a function of the set of documents only
(sort before you compute; seed from content), so a pass after everything has settled is the same on every machine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from tori.digest import section_digest
from tori.errors import BadInput, PermanentError
from tori.events.envelope import Event
from tori.ids import IdSource

Upgrade = Callable[[bytes], bytes]
"""Turns what ``snapshot`` of one state version returned into what that of the next returns. Pure."""

Fact = Event | msgspec.Struct
"""An event (others see it) or a private record of the module (only its own ``apply`` sees it)."""


class SelfCheckFailed(PermanentError):
    """New code of a module does not say the same of the same facts: it must not take the module over."""


class Context:
    """What a module may know of the world while it decides: the time, new ids, and older events by id."""

    __slots__ = ("_depths", "_ids", "_read", "correlation_id", "now_ns", "origin", "origin_seq")

    def __init__(
        self,
        now_ns: int,
        ids: IdSource,
        read: Callable[[bytes], Event],
        correlation_id: bytes = b"",
        depths: dict[bytes, int] | None = None,
    ) -> None:
        self.origin = ""
        """Name of the idempotent producer the facts come from, when there is one; a command sets it."""
        self.origin_seq = 0
        self._depths = {} if depths is None else depths
        self.now_ns = now_ns
        self._ids = ids
        self._read = read
        self.correlation_id = correlation_id

    def event(self, payload: Any, *, key: str = "", causes: Sequence[bytes] = (), correlation_id: bytes = b"") -> Event:
        """Return a new event around ``payload``; its id can be used as a cause at once.

        Name the inputs it follows from: that is how a loop of modules answering each other is found and ended.
        """
        depth = 0
        for cause in causes:
            depth = max(depth, self._depths.get(cause, -1) + 1)
        event = Event(self._ids.next(), payload, key, correlation_id or self.correlation_id, tuple(causes), depth)
        if depth:
            self._depths[event.id] = depth - 1  # a fact that names this one belongs to the same reaction
        return event

    def read(self, event_id: bytes) -> Event:
        """Return an older event, such as the DocumentIngested behind a quotation, from the journals on this node.

        Raises BadInput when no journal here holds it.
        """
        return self._read(event_id)


class Module(ABC):
    """Base of every module. Plain Python: usable in a notebook, under the local runtime and inside a Ray actor."""

    name: ClassVar[str]
    """Name of the module, of its journal and of its actor."""
    state_version: ClassVar[int] = 1
    """Rises when ``snapshot`` changes shape."""
    upgrades: ClassVar[Mapping[int, Upgrade]] = {}
    """By state version n, what makes its snapshots those of version n + 1: so that a module whose journal no longer reaches back to its
    beginning still starts from the snapshots of older code."""
    inputs: ClassVar[tuple[type, ...]] = ()
    """Payload types it takes from other journals; everything else is skipped unread."""
    records: ClassVar[Any] = None
    """Union of its private record Structs (array_like, integer tags), or None."""
    doors: ClassVar[tuple[str, ...]] = ()
    """Commands that bring something in from outside: they need credit."""
    tasks: ClassVar[tuple[str, ...]] = ()
    """Task types (``wormhole_scan``, ...) it can scan for, in the order of a full pass."""

    splits: ClassVar[tuple[str, ...]] = ()
    """Those of them that can be computed in shards (``run_shard``, ``merge``)."""

    @abstractmethod
    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Return the facts that follow from ``batch``. Reads state, changes nothing.

        All private records of the result are applied before all its events.
        """

    def witness(self, events: Sequence[Event]) -> Sequence[Fact]:
        """Return records that are to stand in one unit with events of the own journal that follow from no input; none here."""
        return ()

    @abstractmethod
    def apply(self, fact: Fact) -> None:
        """Change state by one input event, private record or own event. Never fails, never reads the clock."""

    @abstractmethod
    def snapshot(self) -> bytes:
        """Return the whole state, msgpack; equal states give equal bytes (sort what has no order)."""

    @abstractmethod
    def restore(self, data: bytes) -> None:
        """Replace the whole state by what ``snapshot`` returned (same ``state_version``)."""

    def standing(self) -> Iterable[bytes]:
        """Return the ids of all events its state names: what stands, and what it may read or name as a cause later.

        Retention keeps them and everything they follow from, so that each ``why`` ends in documents. More is safe, less is not.
        """
        return ()

    def section(self) -> Any:
        """Return its part of the digest as plain JSON values: sorted, content-derived, no ids of events, no times of day."""
        return None

    def validate(self) -> None:
        """Raise AssertionError with the facts when an invariant of the state does not hold. For tests and shadow copies."""

    def self_check(self, before: str | None, version: int) -> None:
        """Raise when this code, which holds the state of the code it replaces, must not take over: a reload then rolls back.

        ``before``: digest of the section as the old code says it of the same facts, None when it has none; ``version``: its state
        version. Here: the section is the same. Override it in code that means to say something else of the same facts. Nothing is
        handled meanwhile, so be quick.
        """
        section = self.section()
        now = None if section is None else section_digest(section)
        if now != before:
            raise SelfCheckFailed(
                f"{self.name}: the new code says its section is {now or 'none'}, the old code {before or 'none'}, of the same facts.",
                remedy="Is that meant? Then override self_check in the new code.",
            )

    def warm(self) -> None:
        """Build caches that a first question would wait for; called once, when nothing is left to do after a start."""

    def prepare(self, task: str) -> bytes:
        """Return the immutable input of a scan for ``task``."""
        raise BadInput(
            f"module {self.name} has no task {task!r}.", remedy=f"It has: {', '.join(self.tasks) or 'none'}."
        )

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        """Compute a scan over what ``prepare`` returned. Pure; may run in another process."""
        raise BadInput(f"module {cls.name} has no task {task!r}.")

    @classmethod
    def run_shard(cls, task: str, data: bytes, index: int, count: int) -> bytes:
        """Compute shard ``index`` of ``count`` of a scan over what ``prepare`` returned, for a task in ``splits``.

        ``merge`` of all shards is what ``run`` returns, byte for byte, whatever ``count`` is: how a scan is spread must not be seen.
        """
        raise BadInput(f"task {task!r} of module {cls.name} cannot be split.")

    @classmethod
    def merge(cls, task: str, shards: Sequence[bytes]) -> bytes:
        """Return the result of a scan from those of its shards, in order."""
        raise BadInput(f"task {task!r} of module {cls.name} cannot be split.")

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        """Turn a scan's result into facts, against the state of now. Reads state, changes nothing."""
        raise BadInput(f"module {self.name} has no task {task!r}.")

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Answer a question from state with plain JSON values; raises BadInput for an unknown question or argument."""
        raise BadInput(f"module {self.name} cannot answer {name!r}.", remedy="See docs/modules for its questions.")

    def command(self, name: str, arguments: Mapping[str, Any], context: Context) -> tuple[Sequence[Fact], Any]:
        """Decide on a person's request: the facts that follow, and the answer. Reads state, changes nothing."""
        raise BadInput(f"module {self.name} does not know the command {name!r}.", remedy="See docs/modules.")
