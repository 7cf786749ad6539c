"""What the alien module stores and what its audit exchanges: msgpack Structs, no behaviour."""

from __future__ import annotations

import msgspec


class Subject(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is watched: a concept (scale 0) or a map node (scale >= 1), and the documents it stands in."""

    id: str
    label: str
    scale: int
    sources: tuple[str, ...]


class AuditInput(msgspec.Struct, array_like=True, frozen=True):
    """All an audit needs; both lists sorted by id."""

    documents: list[tuple[str, int]]
    """(document id, its own date in ns since the epoch); documents without a date take no part."""
    undated: int
    subjects: list[Subject]


class Finding(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One departure, a function of the set of documents only."""

    alien_id: str
    concept_id: str
    label: str
    scale: int
    p: float
    """Calibrated p-value of its most significant cell."""
    statistic: float
    """Standardised residual of that cell under the predictive distribution."""
    onset: str
    """First alarmed period, ISO 8601."""
    last: str
    """Last period in which the activity was still elevated."""
    ended: str
    """First period back in the background; empty while the departure stands."""
    context: str
    model: str
    terms: tuple[str, ...]
    """Labels of the alarms that were merged into this one, most significant first."""
    documents: tuple[str, ...]
    """Up to three documents of the departing cells that carry most of the alarms."""


class AuditResult(msgspec.Struct, array_like=True, frozen=True):
    """What one full audit found; findings sorted by (p, id)."""

    tested: int
    """Subject x period cells that were tested, hits or not."""
    dated: int
    undated: int
    grain: str
    """``month``, ``quarter``, ``year``, or empty when nothing could be tested."""
    periods: int
    alarms: int
    """Cells rejected at the stated false discovery rate, before merging."""
    reason: str
    """Why nothing was tested; empty otherwise."""
    findings: list[Finding]


class Standing(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A finding the module holds, and the DocumentIngested events its evidence quotes."""

    finding: Finding
    quoted: tuple[bytes, ...]


class Audited(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """Private record: the whole outcome of an audit; it replaces the one before."""

    tested: int
    dated: int
    undated: int
    grain: str
    periods: int
    alarms: int
    reason: str
    standing: list[Standing]
