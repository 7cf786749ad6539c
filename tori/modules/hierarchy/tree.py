"""The nested map: Leiden over the corpus, then inside each community, until the parts are small enough to read.

A split is chosen from its resolution profile by stability between seeds x what a reader gets from it: the share of documents
whose community has a term that holds (``label``; a scale at which nothing can be named is no scale of the map), and,
below the top, the share in communities that need no further split. Every document is in exactly one leaf.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

    from tori.modules.hierarchy.label import Vocabulary
    from tori.modules.hierarchy.partition import Partition

MAX_LEAF = 24
"""Documents a person can take in at a glance; a larger node is split when a stable split exists."""
DEEP = 2
"""From the third scale on a node is split only above this many times ``MAX_LEAF``: few readers follow that far."""
MAX_DEPTH = 4
MAX_TOP = 24
"""Nodes on the coarsest scale, as far as the corpus allows."""
MAX_CHILDREN = 12
RESOLUTIONS = (0.5, 8.0, 11)
"""Coarsest, finest and number of the resolutions tried, in geometric steps."""
MIN_COMMUNITY = 3
"""Two documents are no topic; in a corpus of n documents a community has at least n ** 1/4."""
NAMED_WEIGHT = 4.0
READABLE_WEIGHT = 1.0
"""What a split in which every community has a name, or is small enough to be a leaf, is worth against one without."""


class Branch:
    """One node while the map is drawn: rows of the graph, and the nodes inside it."""

    __slots__ = ("children", "connected", "members", "stability")

    def __init__(self, members: np.ndarray, *, connected: bool = True) -> None:
        self.members = members
        self.children: list[Branch] = []
        self.connected = connected
        self.stability = 1.0
        """Agreement of the seeds on the split into ``children``."""


def grow(graph: csr_array, vocabulary: Vocabulary, seed: int) -> list[Branch]:
    """Return the coarsest nodes, each with its nested children; rows without any edge share one node at the end."""
    import numpy as np

    degrees = np.diff(graph.indptr)
    connected, alone = np.flatnonzero(degrees > 0), np.flatnonzero(degrees == 0)
    root = Branch(connected)
    if len(connected):
        smallest = max(MIN_COMMUNITY, round(len(degrees) ** 0.25))
        _split(root, graph, vocabulary, seed, smallest, depth=0)
    top = root.children or ([root] if len(connected) else [])
    return top + ([Branch(alone, connected=False)] if len(alone) else [])


def _split(branch: Branch, graph: csr_array, vocabulary: Vocabulary, seed: int, smallest: int, depth: int) -> None:
    """Give ``branch`` its children, if a stable split exists, and split those."""
    import numpy as np

    from tori.modules.hierarchy.partition import profile

    size = len(branch.members)
    enough = 2 * smallest if depth == 0 else MAX_LEAF + 1 if depth == 1 else DEEP * MAX_LEAF
    if depth == MAX_DEPTH or size < enough:
        return
    part = graph[branch.members][:, branch.members]
    part.sort_indices()
    most = min(MAX_TOP if depth == 0 else MAX_CHILDREN, size // smallest)
    best: tuple[float, Partition] | None = None
    for partition in profile(part, np.geomspace(*RESOLUTIONS).tolist(), seed + depth, most, smallest):
        score = partition.stability * _worth(branch, partition, vocabulary, is_top=depth == 0)
        if best is None or score > best[0] + 1e-6:
            best = score, partition
    if best is None:
        return
    branch.stability = best[1].stability
    for community in range(best[1].size):
        child = Branch(branch.members[best[1].community == community])
        branch.children.append(child)
        _split(child, graph, vocabulary, seed, smallest, depth + 1)


def _worth(branch: Branch, partition: Partition, vocabulary: Vocabulary, *, is_top: bool) -> float:
    """Return 1 + the weighted shares of documents whose community has a name, and, below the top, is small enough."""
    named = readable = 0
    for community in range(partition.size):
        members = branch.members[partition.community == community]
        named += len(members) if vocabulary.holds(members) else 0
        readable += len(members) if not is_top and len(members) <= MAX_LEAF else 0
    return 1 + (NAMED_WEIGHT * named + READABLE_WEIGHT * readable) / len(branch.members)
