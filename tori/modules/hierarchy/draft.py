"""The pure scan: from a corpus to the nodes of its map, with ranked candidate terms for their names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tori.ids import content_name
from tori.modules.corpus import Corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from scipy.sparse import csr_array

    from tori.modules.corpus import DocumentMeta
    from tori.modules.hierarchy.label import Vocabulary
    from tori.modules.hierarchy.tree import Branch

UNCONNECTED = "unconnected"
"""Label of the node of documents that touch no other: said, not hidden."""
WEIGHT_DECIMALS = 2


class MapInput(msgspec.Struct, array_like=True, frozen=True):
    """What the scan needs: a corpus snapshot and the pairs of concept ids that mean the same."""

    corpus: bytes
    synonyms: list[tuple[str, str]] = []


class Candidate(msgspec.Struct, array_like=True, frozen=True):
    """A term that may name a node."""

    term: str
    holds: bool
    """Whether it covers half of the node at three times its base rate, by the reader's counts."""
    clashes: tuple[int, ...] = ()
    """Positions of earlier candidates it may not stand beside: they share a word or mean the same."""


class DraftNode(msgspec.Struct, array_like=True, frozen=True):
    """One node of the map before its name is checked against the texts."""

    id: str
    parent: str | None
    scale: int
    """1 = finest, rising to the coarsest; a node without children stands for itself on all finer scales."""
    documents: tuple[str, ...]
    """Sorted ids."""
    weights: tuple[float, ...]
    """How central each document is, in [0, 1]: edge weight inside the node x the share of its weight that is inside.

    A hub that everything touches is central nowhere. The largest is 1.
    """
    candidates: tuple[Candidate, ...] = ()
    connected: bool = True


class MapDraft(msgspec.Struct, array_like=True, frozen=True):
    """Result of the scan: parents before children, then by id."""

    nodes: list[DraftNode]


def node_id(scale: int, documents: Sequence[str]) -> str:
    """Return the name of the node that holds ``documents`` (sorted) on ``scale``: it depends on nothing else."""
    return content_name("m", str(scale), *documents)


def draw(task_input: MapInput) -> MapDraft:
    """Return the map of a corpus; a function of the set of documents and concepts only."""
    from tori.modules.hierarchy.graph import canonical_order, content_seed, document_graph, terms_of
    from tori.modules.hierarchy.label import Vocabulary
    from tori.modules.hierarchy.tree import grow

    corpus = Corpus.from_snapshot(task_input.corpus)
    order = canonical_order(list(corpus.documents.values()))
    if not order:
        return MapDraft([])
    terms = terms_of(corpus, order)
    graph = document_graph(corpus, order, terms)
    vocabulary = Vocabulary(terms, [d.title for d in order], task_input.synonyms)
    top = grow(graph, vocabulary, content_seed(order))
    depth = max(_height(branch) for branch in top)
    nodes: list[DraftNode] = []
    for branch in top:
        _collect(branch, None, None, depth, order, graph, vocabulary, nodes)
    return MapDraft(sorted(nodes, key=lambda n: (-n.scale, n.id)))


def _height(branch: Branch) -> int:
    return 1 + max((_height(child) for child in branch.children), default=0)


def _collect(
    branch: Branch,
    parent: str | None,
    parent_members: np.ndarray | None,
    scale: int,
    order: Sequence[DocumentMeta],
    graph: csr_array,
    vocabulary: Vocabulary,
    nodes: list[DraftNode],
) -> None:
    import numpy as np

    rows = graph[branch.members]
    inside = np.asarray(rows[:, branch.members].sum(axis=1)).ravel()
    inside = inside * inside / np.maximum(np.asarray(rows.sum(axis=1)).ravel(), 1e-12)
    central = np.round(inside / max(float(inside.max(initial=0.0)), 1e-12), WEIGHT_DECIMALS)
    pairs = sorted((order[row].id, float(weight)) for row, weight in zip(branch.members, central, strict=True))
    documents = tuple(document for document, _ in pairs)
    name = node_id(scale, documents)
    candidates = _candidates(branch, parent_members, vocabulary) if branch.connected else ()
    weights = tuple(weight for _, weight in pairs)
    nodes.append(DraftNode(name, parent, scale, documents, weights, candidates, branch.connected))
    for child in branch.children:
        _collect(child, name, branch.members, scale - 1, order, graph, vocabulary, nodes)


def _candidates(branch: Branch, parent: np.ndarray | None, vocabulary: Vocabulary) -> tuple[Candidate, ...]:
    ranked = vocabulary.rank(branch.members, parent)
    return tuple(
        Candidate(
            vocabulary.labels[term],
            holds,
            tuple(i for i, (earlier, _) in enumerate(ranked[:position]) if vocabulary.clash(term, earlier)),
        )
        for position, (term, holds) in enumerate(ranked)
    )
