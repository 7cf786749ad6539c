"""The settings of the scars module, each with its unit and its reason."""

from __future__ import annotations

import msgspec


class ScarSettings(msgspec.Struct, array_like=True, frozen=True):
    """How a scan looks for gaps. Part of a scan's input: another value, another result."""

    level: float = 0.05
    """Familywise level: the chance of any gap at all where there is none."""
    draws: int = 39
    """Draws from each null; the least p-value is 1 / (draws + 1)."""
    dimensions: int = 32
    """Spectral dimensions of the document cloud."""
    neighbours: int = 8
    """A document is placed at the mean of this many nearest ones, itself among them: gaps are between topics."""
    landmarks: int = 200
    """Points of the complex. Persistence costs their cube: 0.1 s here, 4 s at 400."""
    documents: int = 1500
    """Most documents in the cloud; beyond, those with the most concepts."""
    common: float = 0.25
    """Concepts in more than this share of the documents are left out."""
    fewest_documents: int = 12
    """Below this no loop can stand out."""
    longest: int = 8
    """Longest readable loop; longer ones are not reported."""
    gaps: int = 10
    """Most gaps reported, the widest first."""
