"""Between passes: a new document joins the leaf its links and nearest neighbours are in.

One local move (the step Leiden repeats) with all other documents held fixed. It is interim: the next pass draws the map
anew from the corpus and ignores it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from tori.modules.hierarchy.graph import EMBEDDING_WEIGHT, LINK_WEIGHT, MIN_EMBEDDING_COSINE, NEIGHBOURS

if TYPE_CHECKING:
    from tori.modules.corpus import Corpus

MAX_PLACED = 64
"""Documents placed a batch; the others wait for the next pass."""
MAX_COMPARED = 50_000
"""Vectors compared with (25 MB); a larger corpus compares with the first by id."""


def place(
    newcomers: Mapping[str, Iterable[str]], vectors: Mapping[str, bytes], corpus: Corpus, leaf_of: Mapping[str, str]
) -> dict[str, tuple[str, float]]:
    """Return {document id: (leaf id, weight in (0, 1])} for the newcomers (id -> links) that anything speaks for."""
    chosen = sorted(newcomers)[:MAX_PLACED]
    votes: dict[str, dict[str, float]] = {d: {} for d in chosen}
    for document in chosen:
        for target in sorted(set(newcomers[document])):
            _vote(votes[document], leaf_of.get(target), LINK_WEIGHT)
    for document, neighbours in _neighbours(chosen, vectors, corpus, leaf_of).items():
        for neighbour, cosine in neighbours:
            _vote(votes[document], leaf_of[neighbour], EMBEDDING_WEIGHT * cosine)
    placed = {}
    for document, by_leaf in votes.items():
        if by_leaf:
            leaf = min(by_leaf, key=lambda name: (-by_leaf[name], name))
            placed[document] = leaf, round(by_leaf[leaf] / sum(by_leaf.values()), 2)
    return placed


def _vote(votes: dict[str, float], leaf: str | None, weight: float) -> None:
    if leaf is not None:
        votes[leaf] = round(votes.get(leaf, 0.0) + weight, 6)


def _neighbours(
    chosen: list[str], vectors: Mapping[str, bytes], corpus: Corpus, leaf_of: Mapping[str, str]
) -> dict[str, list[tuple[str, float]]]:
    """Return the nearest placed documents of each chosen one that has a vector, with their cosines."""
    import numpy as np

    known = [d for d in chosen if vectors.get(d)]
    if not known:
        return {}
    size = len(vectors[known[0]])
    known = [d for d in known if len(vectors[d]) == size]
    others = [d for d in sorted(leaf_of) if len(corpus.vectors.get(d, b"")) == size][:MAX_COMPARED]
    if not others:
        return {}
    here = np.frombuffer(b"".join(vectors[d] for d in known), dtype="<f2").reshape(len(known), -1).astype(np.float32)
    there = np.frombuffer(b"".join(corpus.vectors[d] for d in others), dtype="<f2").reshape(len(others), -1)
    cosines = np.round(np.nan_to_num(here @ there.T.astype(np.float32)), 4)
    found = {}
    for document, line in zip(known, cosines, strict=True):
        best = np.argsort(-line, kind="stable")[:NEIGHBOURS]
        found[document] = [(others[j], float(line[j])) for j in best if line[j] > MIN_EMBEDDING_COSINE]
    return found
