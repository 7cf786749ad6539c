"""Corpora with a map planted in them, and a hierarchy fed with what a reader says about them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.support.modules import Bench, ingested
from tests.support.tiny_reader import read
from tori.events.document import Document
from tori.events.envelope import Event
from tori.ids import IdSource
from tori.modules.hierarchy import Hierarchy

TASK = "hierarchy_optimization"
SYLLABLES = ["ba", "de", "fi", "go", "lu", "ma", "ne", "po", "ri", "su", "ta", "vo", "ki", "ze", "hy", "xa"]


def word(rng: random.Random) -> str:
    return "".join(rng.choice(SYLLABLES) for _ in range(4))


def blocks(count: int, size: int, *, seed: int = 0, linked: float = 0.0, stray: float = 0.0) -> list[Document]:
    """Return ``count`` x ``size`` documents: block b shares ten words of its own; everyone shares ten others.

    ``linked`` is the probability of a link inside a block, ``stray`` between blocks. Ids say nothing about the block.
    """
    rng = random.Random(seed)
    common = [word(rng) for _ in range(10)]
    own = [[word(rng) for _ in range(10)] for _ in range(count)]
    names = [f"d{i:04d}" for i in range(count * size)]
    rng.shuffle(names)
    documents = []
    for number, name in enumerate(names):
        block = number // size
        words = rng.sample(own[block], 7) * 2 + rng.sample(common, 6) + [word(rng) for _ in range(4)]
        rng.shuffle(words)
        links = [
            other
            for position, other in enumerate(names)
            if position != number and rng.random() < (linked if position // size == block else stray)
        ]
        title = f"{' '.join(rng.sample(own[block], 2))} {number}"
        documents.append(Document(name, title, "The " + " of the ".join(words) + ".", links=tuple(links)))
    return documents


def block_of(documents: Sequence[Document], size: int) -> dict[str, int]:
    """Return the block each document of ``blocks`` was planted in."""
    return {d.id: number // size for number, d in enumerate(documents)}


def events_of(documents: Sequence[Document], *, vectors: bool = True, ids: IdSource | None = None) -> list[Event]:
    """Return DocumentIngested events, then what a reader says about the documents."""
    events = ingested(documents, ids)
    return [*events, *read(documents, events, vectors=vectors, ids=ids)]


def mapped(documents: Sequence[Document], *, vectors: bool = True) -> Bench:
    """Return a hierarchy that has read ``documents`` and drawn its map, validated."""
    bench = Bench(Hierarchy())
    bench.feed(events_of(documents, vectors=vectors))
    bench.scan(TASK)
    bench.module.validate()
    return bench


def memberships(bench: Bench, *, top: bool) -> dict[str, str]:
    """Return {document: its node} on the coarsest or the finest scale."""
    module = bench.module
    assert isinstance(module, Hierarchy)
    if top:
        return {d: n.id for n in module.nodes.values() if n.parent is None for d in n.documents}
    return dict(module.view.leaf_of)


def same_partition(a: dict[str, object], b: dict[str, object]) -> bool:
    """Return whether two partitions of the same documents are equal (adjusted Rand index 1)."""
    pairs = {(a[d], b[d]) for d in a}
    return a.keys() == b.keys() and len(pairs) == len(set(a.values())) == len(set(b.values()))
