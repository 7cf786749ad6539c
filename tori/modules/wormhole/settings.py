"""The settings of the wormhole module, each with its unit and its reason."""

from __future__ import annotations

import msgspec

DAY_NS = 86_400 * 1_000_000_000


class WormholeSettings(msgspec.Struct, array_like=True, frozen=True):
    """What a scan looks for, and how much of it. Part of a scan's input: another value, another result."""

    fdr: float = 0.05
    """False discovery rate over all tested pairs (Benjamini-Hochberg)."""
    threshold: float = 0.25
    """Least strength of a bridge before feedback, 0..1: on the PEPs half of the explicitly linked pairs reach it."""
    feedback_step: float = 0.005
    """How much one rejection raises, one acceptance lowers the threshold."""
    feedback_limit: float = 0.1
    """The threshold never moves further than this from its start."""
    per_document: int = 10
    """Most bridges at one document: more are a topic, not bridges."""
    bridges: int = 200
    """Most bridges in all, strongest first: a person reads no more, and each costs two texts of evidence."""
    suggestions: int = 20
    """Most suggestions one scan adds; an alarm adds up to ``alarm_suggestions`` more."""
    alarm_suggestions: int = 5
    """Most suggestions for one alarm."""
    neighbours: int = 20
    """A pair is similar when one end is among this many nearest far documents of the other, hubs corrected."""
    distance: int = 3
    """Far = at least this many explicit links apart, or not connected."""
    draws: int = 40
    """Rewired matrices that calibrate the tail. At least 1 / fdr, or a single bridge could never pass."""
    documents: int = 3000
    """Most documents a scan covers; beyond, those with the most concepts. Pairs are held dense: about 0.4 GB here."""
    common: float = 0.25
    """Concepts in more than this share of the documents are left out: they say nothing about a pair."""
    fewest_documents: int = 8
    """Below this there is nothing to test against."""
    title_overlap: float = 0.6
    """Titles whose words (numbers aside) overlap this much (Jaccard) are one series, not a bridge."""
    text_overlap: float = 0.8
    """Documents whose concepts overlap this much (Jaccard) are copies, not a bridge."""
    unused_days: float = 7.0
    """A suggestion nobody accepted for this long is removed (wall time; never part of the digest)."""
