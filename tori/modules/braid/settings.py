"""Settings of the braid module. Each names its unit and the reason for its default."""

from __future__ import annotations

import msgspec

YEAR_NS = 365 * 86_400 * 1_000_000_000 + 86_400 * 1_000_000_000 // 4


class BraidSettings(msgspec.Struct, frozen=True):
    """Read once, when the module is made."""

    quiet_years: float = 5.0
    """A thread closes when its newest document is this much older than the newest of the corpus: long against the gap
    between two releases of one series."""
    thread_concepts: int = 16
    """Most concepts named by a thread: the ones that mark it, not all it mentions."""
    most_crossing: int = 8
    """A concept held by more threads than this is common ground, not a crossing."""
    braids_per_thread: int = 5
    """A crossing is kept when it is among the strongest of one of its threads: every thread has a say, none floods."""
    most_braids: int = 4_000
    """Strongest crossings kept in all: bounds the state and one pass's events."""
    text_bytes: int = 512 * 1024 * 1024
    """Packed text kept in memory for recall; beyond it only the opening of a document is kept and found."""
    opening_characters: int = 4_000
    """How much of a document is kept beyond ``text_bytes``: an abstract's worth."""
    candidates: int = 200
    """Passages each ranking hands to the fusion: ranks further down add less than 1/200."""
    dense_weight: float = 0.5
    """Of the dense ranking against the lexical one (SCIENCE: half, on PEP citation sentences)."""
    graph_weight: float = 0.25
    """Of the PageRank ranking: a weak extra."""
    least_cosine: float = 0.35
    """Passages that share no word with the question answer it only from this cosine on. On 1,890 passages the best cosine was
    .27 for two words picked at random that none of them holds, and at least .36 for each of 100 real questions."""
    activation_weight: float = 0.02
    """Exponent of base-level activation: a document ten times as present gains 5 %, enough to break ties."""
    decay: float = 0.5
    """ACT-R's d."""
