"""What can be asked of the map, from its nodes: plain data, plain answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from tori.modules.corpus import ConceptMeta, Corpus

CENTRAL = 5
"""Most central documents shown with a node."""
HOME_SHARE = 0.5
"""A concept lives in the finest node that holds at least this share of its documents."""


class MapNode(msgspec.Struct, array_like=True, frozen=True):
    """One node of the map as the module keeps it."""

    id: str
    label: str
    parent: str | None
    scale: int
    documents: tuple[str, ...]
    weights: tuple[float, ...]
    event_id: bytes
    attached: tuple[str, ...] = ()
    """Documents that joined since the last pass, sorted."""

    def central(self) -> list[str]:
        """Return the documents, most central first."""
        ranked = sorted(zip(self.weights, self.documents, strict=True), key=lambda pair: (-pair[0], pair[1]))
        return [document for _, document in ranked]


class MapView:
    """The nodes of one moment with the indexes that answer questions. Immutable: made anew when a node changes."""

    def __init__(self, nodes: Mapping[str, MapNode]) -> None:
        self.nodes = nodes
        self.children: dict[str, list[str]] = {}
        for node in nodes.values():
            if node.parent is not None:
                self.children.setdefault(node.parent, []).append(node.id)
        self.leaf_of = {
            document: node.id
            for node in sorted(nodes.values(), key=lambda n: n.id)
            if node.id not in self.children
            for document in node.documents
        }
        self.top_scale = max((n.scale for n in nodes.values()), default=0)

    def cut(self, scale: int) -> list[MapNode]:
        """Return the partition of the documents at ``scale``: its nodes, and coarser ones that have no children."""
        return [n for n in self.nodes.values() if n.scale == scale or (n.scale > scale and n.id not in self.children)]

    def path(self, node_id: str | None) -> list[MapNode]:
        """Return the node and its ancestors, finest first."""
        found = []
        node = self.nodes.get(node_id or "")
        while node is not None:
            found.append(node)
            node = self.nodes.get(node.parent or "")
        return found

    def home(self, concept: ConceptMeta) -> str | None:
        """Return the finest node that holds at least half of a concept's documents, or None when it is everywhere."""
        counts: dict[str, int] = {}
        placed = [self.leaf_of[s] for s in concept.sources if s in self.leaf_of]
        for leaf in placed:
            for node in self.path(leaf):
                counts[node.id] = counts.get(node.id, 0) + 1
        able = [(self.nodes[i].scale, -n, i) for i, n in counts.items() if n >= HOME_SHARE * len(placed)]
        return min(able)[2] if able else None

    def aliens(self, marked: Iterable[str], concepts: Mapping[str, ConceptMeta]) -> dict[str, int]:
        """Return how many active alarms each node carries: its own, its children's, and its concepts'."""
        counts: dict[str, int] = {}
        for name in marked:
            start = name if name in self.nodes else self.leaf_of.get(name)
            if start is None and name in concepts:
                start = self.home(concepts[name])
            for node in self.path(start):
                counts[node.id] = counts.get(node.id, 0) + 1
        return counts


def describe(node: MapNode, corpus: Corpus, aliens: int) -> dict[str, Any]:
    """Return one node as plain JSON."""
    central = node.central()
    title = corpus.documents[central[0]].title if central and central[0] in corpus.documents else ""
    return {
        "id": node.id,
        "label": node.label,
        "scale": node.scale,
        "parent": node.parent,
        "size": len(node.documents),
        "title": title,
        "documents": central[:CENTRAL],
        "alien": aliens,
    }
