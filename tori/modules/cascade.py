"""The cascade as data: which event of whom makes which module do what.

Who follows which journal is derived from this table (``FOLLOWS`` in ``tori.modules.registry``), and the tests hold every module's
inputs equal to it: a rule that is not here does not happen. The table in ``docs/cascade.md`` is written from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tori.errors import BadInput


class Rule(NamedTuple):
    """An event of ``producers`` reaches ``module``, which then may emit ``effects``."""

    causes: tuple[str, ...]
    producers: tuple[str, ...]
    module: str
    does: str
    """What the module does with it, for people."""
    effects: tuple[str, ...] = ()


_CONCEPTS = ("ConceptAdded", "ConceptModified", "ConceptRemoved")
_MAP = ("reader", "hierarchy")

_KNOWS = "knows the document: id, title, date, links"
_PLACES = "knows where the document lies in meaning space"

CASCADE: tuple[Rule, ...] = (
    Rule(
        ("DocumentIngested",),
        ("clients",),
        "reader",
        "reads it: passages, concepts, a place in meaning space",
        ("DocumentEmbedded", *_CONCEPTS, "ConceptLinked", "IngestProgressed"),
    ),
    Rule(
        ("DocumentIngested",),
        ("clients",),
        "braid",
        "remembers it in its thread",
        ("ThreadCreated", "ThreadAppended", "ThreadClosed"),
    ),
    Rule(("DocumentIngested",), ("clients",), "hierarchy", _KNOWS),
    Rule(("DocumentIngested",), ("clients",), "wormhole", _KNOWS),
    Rule(("DocumentIngested",), ("clients",), "alien", _KNOWS),
    Rule(("DocumentIngested",), ("clients",), "scars", _KNOWS),
    Rule(("DocumentEmbedded",), ("reader",), "hierarchy", _PLACES),
    Rule(("DocumentEmbedded",), ("reader",), "wormhole", _PLACES),
    Rule(("DocumentEmbedded",), ("reader",), "scars", _PLACES),
    Rule(_CONCEPTS, ("reader",), "hierarchy", "finds its place on the map", _CONCEPTS),
    Rule(_CONCEPTS, _MAP, "alien", "watches its activity for departures", ("AlienDetected", "AlienResolved")),
    Rule(
        _CONCEPTS,
        _MAP,
        "wormhole",
        "looks for distant relatives",
        ("WormholeSuggested", "WormholeCreated", "WormholeRemoved"),
    ),
    Rule(_CONCEPTS, _MAP, "scars", "looks for gaps around it", ("ScarDetected", "ScarHealed")),
    Rule(_CONCEPTS, ("reader",), "braid", "looks where threads cross", ("BraidFormed", "BraidDissolved")),
    Rule(("ConceptLinked",), ("reader",), "hierarchy", "keeps synonyms together", ("ConceptModified",)),
    Rule(("AlienDetected", "AlienResolved"), ("alien",), "hierarchy", "marks the place on the map"),
    Rule(("AlienDetected",), ("alien",), "wormhole", "suggests what the alarm may be about", ("WormholeSuggested",)),
    Rule(
        ("WormholeCreated", "WormholeRemoved"),
        ("wormhole",),
        "braid",
        "remembers the bridge beside the threads it joins",
    ),
    Rule(
        ("SuggestionAccepted", "SuggestionRejected"),
        ("clients",),
        "wormhole",
        "keeps a bridge that a person confirmed, takes down one that a person rejected",
        ("WormholeCreated", "WormholeRemoved"),
    ),
    Rule(
        ("WormholeCreated", "WormholeRemoved", "WormholeSuggested"),
        ("wormhole",),
        "orchestrator",
        "tells of it in the report",
    ),
    Rule(("AlienDetected", "AlienResolved"), ("alien",), "orchestrator", "tells of it in the report"),
    Rule(("ScarDetected", "ScarHealed"), ("scars",), "orchestrator", "tells of it in the report"),
    Rule(
        ("BraidFormed", "BraidDissolved", "ThreadCreated", "ThreadAppended", "ThreadClosed"),
        ("braid",),
        "orchestrator",
        "tells of it in the report",
    ),
    Rule(("IngestProgressed",), ("reader",), "orchestrator", "counts it"),
    Rule(
        ("FuzzTestStarted", "FuzzTestCompleted", "CoverageUpdated"),
        ("fuzzing",),
        "orchestrator",
        "tells of it in the report",
    ),
    Rule(
        (
            "SuggestionAccepted",
            "SuggestionRejected",
            "ClientConnected",
            "ClientDisconnected",
            "ClientMessage",
            "CustomEvent",
        ),
        ("clients",),
        "orchestrator",
        "keeps what people said",
    ),
)


def followed(module: str, order: Sequence[str]) -> tuple[str, ...]:
    """Return the journals that the rules of ``module`` name, in the order of ``order``."""
    producers = {producer for rule in CASCADE if rule.module == module for producer in rule.producers}
    return tuple(name for name in order if name in producers)


def rules_of(type_name: str) -> tuple[Rule, ...]:
    """Return the rules that an event of this type sets off; raises BadInput for an unknown type."""
    from tori.events.catalogue import BY_NAME

    if type_name not in BY_NAME:
        raise BadInput(f"type: there is no event type {type_name!r}.", remedy="docs/events.md lists the types.")
    return tuple(rule for rule in CASCADE if type_name in rule.causes)


def reach(type_name: str) -> tuple[str, ...]:
    """Return every type that may follow from this one, over any number of steps, sorted. Cycles are followed once."""
    found: set[str] = set()
    new = {type_name}
    while new:
        new = {effect for name in new for rule in rules_of(name) for effect in rule.effects} - found
        found |= new
    return tuple(sorted(found))


def markdown() -> str:
    """Return the table for the documentation."""
    lines = ["| event | of | module | does | may emit |", "|---|---|---|---|---|"]
    lines += [
        f"| {', '.join(r.causes)} | {', '.join(r.producers)} | {r.module} | {r.does} | {', '.join(r.effects) or '-'} |"
        for r in CASCADE
    ]
    return "\n".join(lines)
