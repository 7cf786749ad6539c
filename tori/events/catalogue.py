"""The catalogue: the one place that says what each event type means, how urgent it is, who emits and who takes it.

Lanes follow one rule: within a producer an effect is never more urgent than its cause, so overtaking cannot show an effect
first. Everything about the mind is normal; control, resources, tasks and recovery are high as one block; only what no
event causes is critical (the system starts or stops, a checksum fails); samples are low, reports background.
"""

from __future__ import annotations

import inspect
from enum import IntEnum
from typing import Any, NamedTuple, TypeAlias, get_args

from tori.errors import BadInput
from tori.events import mind as m
from tori.events import system as s
from tori.events.codec import tag_of
from tori.events.payloads import Payload


class Lane(IntEnum):
    """Priority of an event and of the frame that carries it; smaller is more urgent."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    BACKGROUND = 4


PayloadClass: TypeAlias = type[Any]
"""A Struct of ``tori.events.mind`` or ``tori.events.system``."""


class Entry(NamedTuple):
    """One event type."""

    type: str
    """Name of the type: the class name of its payload."""
    number: int
    """Number on the wire and bit in a frame's type set, 1 to 255, for good."""
    payload: PayloadClass
    meaning: str
    """First paragraph of the payload's docstring."""
    priority: Lane
    emitters: tuple[str, ...]
    """Journals it is written to, by the name of the producer."""
    consumers: tuple[str, ...]
    """Who takes it or shows it; ``clients`` are the people at the doors."""
    group: str
    is_original: bool
    """Whether the original system's code declares it."""


class _Family(NamedTuple):
    """Types that share everything but their name."""

    group: str
    lane: Lane
    emitters: str
    consumers: str
    types: tuple[PayloadClass, ...]


_CORPUS_READERS = "hierarchy braid wormhole alien scars"
_FOLLOWERS = f"reader {_CORPUS_READERS} orchestrator"
"""Whoever follows a journal writes its own dead letters."""
_SHOWN = "orchestrator clients"
"""The orchestrator keeps the record that status and report read; people see the event live."""

_FAMILIES = (
    _Family("document", Lane.NORMAL, "clients", f"reader {_CORPUS_READERS}", (m.DocumentIngested,)),
    _Family("document", Lane.NORMAL, "reader", "hierarchy wormhole scars", (m.DocumentEmbedded,)),
    _Family("document", Lane.BACKGROUND, "reader", _SHOWN, (m.IngestProgressed,)),
    _Family(
        "concept",
        Lane.NORMAL,
        "reader hierarchy",
        _CORPUS_READERS,
        (m.ConceptAdded, m.ConceptModified, m.ConceptRemoved),
    ),
    _Family("concept", Lane.NORMAL, "reader", "hierarchy", (m.ConceptLinked,)),
    _Family("memory", Lane.NORMAL, "braid", _SHOWN, (m.ThreadCreated, m.ThreadAppended, m.ThreadClosed)),
    _Family("memory", Lane.NORMAL, "braid", _SHOWN, (m.BraidFormed, m.BraidDissolved)),
    _Family("wormhole", Lane.NORMAL, "wormhole", _SHOWN, (m.WormholeSuggested,)),
    _Family("wormhole", Lane.NORMAL, "wormhole", f"braid {_SHOWN}", (m.WormholeCreated, m.WormholeRemoved)),
    _Family(
        "wormhole",
        Lane.NORMAL,
        "clients wormhole",
        "wormhole orchestrator",
        (m.SuggestionAccepted, m.SuggestionRejected),
    ),
    _Family("alien", Lane.NORMAL, "alien", f"hierarchy wormhole {_SHOWN}", (m.AlienDetected,)),
    _Family("alien", Lane.NORMAL, "alien", f"hierarchy {_SHOWN}", (m.AlienResolved,)),
    _Family("scar", Lane.NORMAL, "scars", _SHOWN, (m.ScarDetected, m.ScarHealed)),
    _Family("system", Lane.CRITICAL, "orchestrator", _SHOWN, (s.SystemStarted, s.SystemShutdown)),
    _Family(
        "system",
        Lane.HIGH,
        "orchestrator",
        _SHOWN,
        (s.ModuleInitialized, s.ModuleShutdown, s.ModuleStateChanged),
    ),
    _Family(
        "resource",
        Lane.HIGH,
        "orchestrator",
        _SHOWN,
        (s.ResourceThresholdExceeded, s.ResourceRecovered, s.MemoryPressure, s.CPUPressure),
    ),
    _Family("task", Lane.HIGH, "orchestrator", _SHOWN, (s.WorkThrottled,)),
    _Family(
        "task",
        Lane.HIGH,
        "orchestrator",
        _SHOWN,
        (s.TaskStarted, s.TaskCompleted, s.TaskFailed, s.TaskCancelled),
    ),
    _Family("fuzzing", Lane.LOW, "fuzzing", _SHOWN, (s.FuzzTestStarted, s.FuzzTestCompleted)),
    _Family("fuzzing", Lane.BACKGROUND, "fuzzing", _SHOWN, (s.CoverageUpdated,)),
    _Family("fuzzing", Lane.HIGH, "orchestrator", _SHOWN, (s.ChaosInjected,)),
    _Family("performance", Lane.LOW, "orchestrator", _SHOWN, (s.PerformanceAlert, s.MetricsCollected)),
    _Family("performance", Lane.BACKGROUND, "orchestrator", _SHOWN, (s.BenchmarkCompleted,)),
    _Family(
        "reload",
        Lane.HIGH,
        "orchestrator",
        _SHOWN,
        (s.HotReloadTriggered, s.HotReloadCompleted, s.HotReloadFailed),
    ),
    _Family("client", Lane.NORMAL, "clients", _SHOWN, (s.ClientConnected, s.ClientDisconnected, s.ClientMessage)),
    _Family(
        "error",
        Lane.HIGH,
        "orchestrator",
        _SHOWN,
        (s.RecoveryAttempted, s.RecoverySucceeded, s.RecoveryFailed),
    ),
    _Family("error", Lane.HIGH, f"clients {_FOLLOWERS}", _SHOWN, (s.ErrorOccurred,)),
    _Family("state", Lane.CRITICAL, "orchestrator", _SHOWN, (s.StateCorrupted,)),
    _Family(
        "state",
        Lane.HIGH,
        "orchestrator",
        _SHOWN,
        (s.CheckpointCreated, s.CheckpointLoaded, s.StateRecovered, s.MindRewound),
    ),
    _Family("bus", Lane.HIGH, "clients", _SHOWN, (s.SubscriptionLagged,)),
    _Family("bus", Lane.HIGH, _FOLLOWERS, _SHOWN, (s.DeliveryDeadLettered,)),
    _Family("error", Lane.HIGH, "orchestrator", _SHOWN, (s.AlertUndelivered,)),
    _Family("custom", Lane.NORMAL, "clients", _SHOWN, (s.CustomEvent,)),
)

_OURS = frozenset(
    {
        m.DocumentIngested,
        m.DocumentEmbedded,
        m.IngestProgressed,
        m.ConceptLinked,
        m.SuggestionAccepted,
        m.SuggestionRejected,
        s.ModuleStateChanged,
        s.MindRewound,
        s.SubscriptionLagged,
        s.DeliveryDeadLettered,
        s.CustomEvent,
        s.WorkThrottled,
        s.AlertUndelivered,
    }
)
"""What the original system did not have."""


def meaning_of(struct: type) -> str:
    """Return the first paragraph of a class's docstring as one line."""
    return " ".join((inspect.getdoc(struct) or "").split("\n\n")[0].split())


def _entry(family: _Family, payload: PayloadClass) -> Entry:
    return Entry(
        payload.__name__,
        tag_of(payload),
        payload,
        meaning_of(payload),
        family.lane,
        tuple(family.emitters.split()),
        tuple(family.consumers.split()),
        family.group,
        payload not in _OURS,
    )


ENTRIES: tuple[Entry, ...] = tuple(
    sorted((_entry(family, t) for family in _FAMILIES for t in family.types), key=lambda entry: entry.number)
)
"""Every event type, by number."""

BY_NAME: dict[str, Entry] = {entry.type: entry for entry in ENTRIES}
BY_NUMBER: dict[int, Entry] = {entry.number: entry for entry in ENTRIES}
PAYLOAD_TYPES: tuple[PayloadClass, ...] = get_args(Payload)
"""Every payload class the codec accepts; the tests hold it equal to the catalogue's."""

_LANES: dict[PayloadClass, int] = {entry.payload: int(entry.priority) for entry in ENTRIES}


def lane_of(payload_type: PayloadClass) -> int:
    """Return the lane of a payload class; raises BadInput for a class that is no event type."""
    try:
        return _LANES[payload_type]
    except KeyError:
        raise BadInput(f"{payload_type!r} is not an event type.", remedy="docs/events.md lists them.") from None


def entry_of(name: str) -> Entry:
    """Return the entry of a type by name; raises BadInput that names close matches."""
    entry = BY_NAME.get(name)
    if entry is None:
        from difflib import get_close_matches

        close = get_close_matches(name, BY_NAME, n=3)
        hint = f"Did you mean {' or '.join(close)}?" if close else "docs/events.md lists the types."
        raise BadInput(f"type: there is no event type {name!r}.", remedy=hint)
    return entry
