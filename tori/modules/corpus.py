"""What most modules know of the corpus: documents, and which concept stands in which document.

A projection of DocumentIngested, DocumentEmbedded and the reader's concepts (scale 0). Every module that needs
it holds its own copy and applies the same events; the views are sorted by id, so they depend on content only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from tori.events.envelope import Event
from tori.events.mind import ConceptAdded, ConceptModified, ConceptRemoved, DocumentEmbedded, DocumentIngested

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array


class DocumentMeta(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A document without its text."""

    id: str
    title: str
    event_id: bytes
    """The DocumentIngested event that carries the text."""
    time_ns: int | None = None
    source: str = ""
    thread: str = ""
    links: tuple[str, ...] = ()
    size: int = 0
    """Characters of text."""


class ConceptMeta(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A concept of scale 0 and where it stands."""

    id: str
    label: str
    event_id: bytes
    """The latest event that described it."""
    sources: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()


class _State(msgspec.Struct, array_like=True):
    documents: list[DocumentMeta]
    concepts: list[ConceptMeta]
    vectors: list[tuple[str, bytes]]


class Corpus:
    """Documents, concepts and document vectors by id."""

    inputs = (DocumentIngested, DocumentEmbedded, ConceptAdded, ConceptModified, ConceptRemoved)

    def __init__(self) -> None:
        self.documents: dict[str, DocumentMeta] = {}
        self.concepts: dict[str, ConceptMeta] = {}
        self.vectors: dict[str, bytes] = {}

    def apply(self, event: Event) -> bool:
        """Take one event; return whether it was one of ours (map nodes, scale >= 1, are not)."""
        payload = event.payload
        if isinstance(payload, DocumentIngested):
            self.documents[payload.document_id] = DocumentMeta(
                payload.document_id,
                payload.title,
                event.id,
                payload.time_ns,
                payload.source,
                payload.thread,
                payload.links,
                len(payload.text),
            )
        elif isinstance(payload, DocumentEmbedded):
            self.vectors[payload.document_id] = payload.vector
        elif isinstance(payload, ConceptAdded | ConceptModified):
            if payload.scale:
                return False
            self.concepts[payload.concept_id] = ConceptMeta(
                payload.concept_id, payload.label, event.id, payload.sources, payload.weights
            )
        elif isinstance(payload, ConceptRemoved):
            if payload.scale:
                return False
            self.concepts.pop(payload.concept_id, None)
        else:
            return False
        return True

    def event_ids(self) -> Iterator[bytes]:
        """Yield the events that documents and concepts are known by."""
        yield from (d.event_id for d in self.documents.values())
        yield from (c.event_id for c in self.concepts.values())

    def snapshot(self) -> bytes:
        """Return the state as msgpack, sorted by id."""
        return msgspec.msgpack.encode(
            _State(
                [self.documents[k] for k in sorted(self.documents)],
                [self.concepts[k] for k in sorted(self.concepts)],
                sorted(self.vectors.items()),
            )
        )

    def restore(self, data: bytes) -> None:
        """Replace the state by what ``snapshot`` returned."""
        state = msgspec.msgpack.decode(data, type=_State)
        self.documents = {d.id: d for d in state.documents}
        self.concepts = {c.id: c for c in state.concepts}
        self.vectors = dict(state.vectors)

    @classmethod
    def from_snapshot(cls, data: bytes) -> Corpus:
        """Return a corpus restored from ``data``; scans start with this."""
        corpus = cls()
        corpus.restore(data)
        return corpus

    def matrix(self) -> tuple[list[str], list[str], csr_array]:
        """Return (document ids, concept ids, counts): a float32 csr matrix of documents x concepts, both sorted by id."""
        import numpy as np
        from scipy.sparse import csr_array

        document_ids = sorted(self.documents)
        concept_ids = sorted(self.concepts)
        row_of = {d: i for i, d in enumerate(document_ids)}
        rows: list[int] = []
        columns: list[int] = []
        values: list[float] = []
        for column, concept_id in enumerate(concept_ids):
            concept = self.concepts[concept_id]
            for source, weight in zip(concept.sources, concept.weights, strict=True):
                row = row_of.get(source)
                if row is not None:
                    rows.append(row)
                    columns.append(column)
                    values.append(weight)
        shape = (len(document_ids), len(concept_ids))
        matrix = csr_array((np.asarray(values, dtype=np.float32), (rows, columns)), shape=shape)
        return document_ids, concept_ids, matrix

    def vector_matrix(self) -> tuple[list[str], np.ndarray]:
        """Return (document ids, vectors): float32 rows of unit norm, sorted by id; documents without a vector are left out."""
        import numpy as np

        ids = sorted(d for d in self.vectors if d in self.documents)
        if not ids:
            return [], np.zeros((0, 0), dtype=np.float32)
        rows = np.stack([np.frombuffer(self.vectors[d], dtype="<f2") for d in ids]).astype(np.float32)
        return ids, rows
