"""The map as other modules see it: nodes of scale >= 1, and which top communities cover a document."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tori.events.envelope import Event
from tori.events.mind import ConceptAdded, ConceptModified, ConceptRemoved


class MapNode(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A node of the map: a community of documents."""

    id: str
    label: str
    event_id: bytes
    """The latest event that described it."""
    parent_id: str | None = None
    scale: int = 1
    sources: tuple[str, ...] = ()


class TopicMap:
    """The nodes of the map by id: a projection of ConceptAdded, ConceptModified and ConceptRemoved of scale >= 1."""

    def __init__(self) -> None:
        self.nodes: dict[str, MapNode] = {}

    def apply(self, event: Event) -> bool:
        """Take one event; return whether it was one of ours (concepts of scale 0 are not)."""
        payload = event.payload
        if not isinstance(payload, ConceptAdded | ConceptModified | ConceptRemoved) or not payload.scale:
            return False
        if isinstance(payload, ConceptRemoved):
            self.nodes.pop(payload.concept_id, None)
        else:
            self.nodes[payload.concept_id] = MapNode(
                payload.concept_id, payload.label, event.id, payload.parent_id, payload.scale, payload.sources
            )
        return True

    def event_ids(self) -> Iterator[bytes]:
        """Yield the events that the nodes are known by."""
        yield from (n.event_id for n in self.nodes.values())

    def snapshot(self) -> list[MapNode]:
        """Return the nodes sorted by id."""
        return [self.nodes[k] for k in sorted(self.nodes)]

    def restore(self, nodes: list[MapNode]) -> None:
        """Replace the state by what ``snapshot`` returned."""
        self.nodes = {node.id: node for node in nodes}

    def top(self) -> list[MapNode]:
        """Return the top communities, sorted by id: the roots, or what lies under a root that stands alone."""
        children: dict[str | None, list[MapNode]] = {}
        for node in self.snapshot():
            parent = node.parent_id if node.parent_id in self.nodes else None
            children.setdefault(parent, []).append(node)
        top = children.get(None, [])
        while len(top) == 1 and children.get(top[0].id):
            top = children[top[0].id]
        return top if len(top) > 1 else []

    def communities(self) -> dict[str, tuple[str, ...]]:
        """Return the ids of the top communities over each document; empty while there are fewer than two."""
        covering: dict[str, list[str]] = {}
        for node in self.top():
            for document_id in node.sources:
                covering.setdefault(document_id, []).append(node.id)
        return {d: tuple(covering[d]) for d in sorted(covering)}
