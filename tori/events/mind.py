"""Payloads of the mind: documents, concepts, memory, bridges, alarms, gaps.

One Struct per event type; the class name is the type's name and ``tag`` its number on the wire, for good.
Fields are only ever added, at the end, with a default.
"""

from __future__ import annotations

import msgspec

from tori.events.document import Section


class Evidence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A quotation that can be checked: ``quote`` stands in the text of ``document_id`` at character ``start``."""

    document_id: str
    event_id: bytes
    """The DocumentIngested event that carries the text."""
    quote: str
    start: int = 0


class DocumentIngested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A document was accepted; same id with new content replaces the older one."""

    document_id: str
    title: str
    text: str
    content_hash: bytes
    time_ns: int | None = None
    source: str = ""
    thread: str = ""
    links: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()


class DocumentEmbedded(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """The reader placed a document in meaning space; ``vector`` is unit-norm float16, little-endian."""

    document_id: str
    vector: bytes
    model: str


class IngestProgressed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """How far the reader is; counts since the journal began."""

    documents: int
    replaced: int
    characters: int
    concepts: int


class _Concept(msgspec.Struct, frozen=True, array_like=True, gc=False):
    concept_id: str
    label: str
    parent_id: str | None = None
    scale: int = 0
    """0 = a concept named in documents (by the reader); 1, 2 ... = a map node, fine to coarse (by the hierarchy)."""
    sources: tuple[str, ...] = ()
    """Ids of the documents it stands in (scale 0) or covers (scale >= 1), sorted."""
    weights: tuple[float, ...] = ()
    """One weight a source: uses of the concept in it (scale 0), membership (scale >= 1)."""


class ConceptAdded(_Concept, frozen=True, array_like=True, gc=False, tag=4):
    """A concept was found, with the evidence for its label."""

    evidence: tuple[Evidence, ...] = ()


class ConceptModified(_Concept, frozen=True, array_like=True, gc=False, tag=5):
    """A concept changed; the fields above are its new state, whole."""

    old_parent_id: str | None = None
    changed: tuple[str, ...] = ()
    """Names of the fields that changed: ``sources``, ``parent_id``, ``label``."""
    evidence: tuple[Evidence, ...] = ()


class ConceptRemoved(_Concept, frozen=True, array_like=True, gc=False, tag=6):
    """A concept no longer stands in the corpus."""

    reason: str = ""


class ConceptLinked(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """Two concepts belong together: ``kind`` says how (``association``, ``synonym``)."""

    concept_a: str
    concept_b: str
    weight: float
    kind: str = "association"


class _Thread(msgspec.Struct, frozen=True, array_like=True, gc=False):
    thread_id: str
    concept_ids: tuple[str, ...] = ()
    title: str = ""
    position: int = 0
    """How many documents the thread holds after this event."""
    metadata: dict[str, str] = {}


class ThreadCreated(_Thread, frozen=True, array_like=True, gc=False, tag=8):
    """A document or conversation in time began."""


class ThreadAppended(_Thread, frozen=True, array_like=True, gc=False, tag=9):
    """A document joined a thread, or replaced an older one in it."""


class ThreadClosed(_Thread, frozen=True, array_like=True, gc=False, tag=10):
    """A thread went quiet; ``metadata['reason']`` says why."""


class _Braid(msgspec.Struct, frozen=True, array_like=True, gc=False):
    braid_id: str
    thread_ids: tuple[str, ...]
    concept_id: str
    """The concept at which the threads cross."""
    strength: float


class BraidFormed(_Braid, frozen=True, array_like=True, gc=False, tag=11):
    """Threads cross at a concept that is rare elsewhere."""


class BraidDissolved(_Braid, frozen=True, array_like=True, gc=False, tag=12):
    """A crossing no longer holds."""


class _Wormhole(msgspec.Struct, frozen=True, array_like=True, gc=False):
    wormhole_id: str
    concept_a: str
    """One end: a document id or a map node id."""
    concept_b: str
    strength: float
    p_value: float
    distance: float
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""


class WormholeSuggested(_Wormhole, frozen=True, array_like=True, gc=False, tag=13):
    """Two ends look similar and far; not yet significant, or asked for by an alarm."""


class WormholeCreated(_Wormhole, frozen=True, array_like=True, gc=False, tag=14):
    """A bridge: similar, far, and significant against the null at the stated FDR."""


class WormholeRemoved(_Wormhole, frozen=True, array_like=True, gc=False, tag=15):
    """A bridge decayed, was rejected or no longer holds; ``reason`` says which."""


class SuggestionAccepted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=16):
    """A person kept a suggestion."""

    suggestion_id: str
    by: str = ""
    comment: str = ""


class SuggestionRejected(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=17):
    """A person turned a suggestion down."""

    suggestion_id: str
    by: str = ""
    comment: str = ""


class _Alien(msgspec.Struct, frozen=True, array_like=True, gc=False):
    alien_id: str
    concept_id: str
    """The concept or map node whose activity departed."""
    label: str
    significance: float
    """p-value of the departure."""
    statistic: float
    onset: str
    """First period of the departure, ISO 8601 (``2018`` or ``2018-04``)."""
    context: str = ""
    model: str = ""
    """Which background and which test spoke."""
    evidence: tuple[Evidence, ...] = ()


class AlienDetected(_Alien, frozen=True, array_like=True, gc=False, tag=18):
    """Activity departed from what the past explains, at the stated FDR."""


class AlienResolved(_Alien, frozen=True, array_like=True, gc=False, tag=19):
    """A departure ended, or no longer stands."""


class _Scar(msgspec.Struct, frozen=True, array_like=True, gc=False):
    scar_id: str
    concepts: tuple[str, ...]
    """The representative cycle: document or map node ids in order."""
    birth: float
    death: float
    persistence: float
    p_value: float
    severity: float
    details: str = ""
    evidence: tuple[Evidence, ...] = ()


class ScarDetected(_Scar, frozen=True, array_like=True, gc=False, tag=20):
    """A gap: a cycle of related things with nothing in its middle, more persistent than the null allows."""


class ScarHealed(_Scar, frozen=True, array_like=True, gc=False, tag=21):
    """A gap was closed; ``details`` names what closed it."""
