"""The reader: from documents to concepts and vectors.

    DocumentIngested ──▶ candidates (private record) + DocumentEmbedded
                           │ every time the corpus has doubled (interim), and as the scan ``concept_selection``
                           ▼
                         selection over all documents ──▶ ConceptAdded / Modified / Removed / Linked

Interim selections show concepts while documents stream in; the scan's result depends on the set of documents only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.events.mind import (
    ConceptAdded,
    ConceptLinked,
    ConceptModified,
    ConceptRemoved,
    DocumentEmbedded,
    DocumentIngested,
    IngestProgressed,
)
from tori.modules.base import Context, Fact, Module
from tori.modules.reader.difference import concept_events, concept_id_of, link_events
from tori.modules.reader.phrase import candidates
from tori.modules.reader.record import DocumentRead, KnownConcept, KnownLink, Record, SelectionMade, pack, unpack
from tori.modules.reader.selection import Selection, select

if TYPE_CHECKING:
    from tori.retrieval.embedder import Embedder

SELECTION = "concept_selection"
FIRST_INTERIM = 16
"""Documents before the first interim selection."""
LARGEST_INTERIM = 4_096
"""Above this many documents selection is left to the scan: a handler must not take seconds."""
PROGRESS_DOCUMENTS = 100
PROGRESS_INTERVAL_NS = 1_000_000_000
"""Progress is told after this many documents or this much time, whichever comes first."""


class _State(msgspec.Struct, array_like=True):
    documents: list[DocumentRead]
    concepts: list[KnownConcept]
    links: list[KnownLink]
    selected: int
    replaced: int
    progress: IngestProgressed
    progress_ns: int


class Reader(Module):
    """Reads documents: key phrases that two of them name become concepts; each gets a place in meaning space.

    Memory: about 6 kB of packed candidates a document, plus the concepts (a few per document) with their sources.
    """

    name: ClassVar[str] = "reader"
    inputs: ClassVar[tuple[type, ...]] = (DocumentIngested,)
    records: ClassVar[Any] = Record
    tasks: ClassVar[tuple[str, ...]] = (SELECTION,)

    def __init__(self, embedder: Embedder | None = None) -> None:
        self._embedder = embedder
        self._documents: dict[str, DocumentRead] = {}
        self._concepts: dict[str, KnownConcept] = {}
        self._links: dict[str, dict[str, KnownLink]] = {}
        self._characters = 0
        self._replaced = 0
        self._selected = 0
        self._progress = IngestProgressed(0, 0, 0, 0)
        self._progress_ns = 0

    # deciding

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Read what is new: records and vectors, an interim selection when the corpus has doubled, progress now and then."""
        latest: dict[str, Event] = {}
        for event in batch:
            if isinstance(event.payload, DocumentIngested):
                latest[event.payload.document_id] = event
        fresh = [(e, p) for e in latest.values() if isinstance(p := e.payload, DocumentIngested) and self._is_new(p)]
        if not fresh:
            return []
        read: dict[str, DocumentRead] = {}
        leads = []
        for event, payload in fresh:
            found, lead = candidates(payload.title, payload.text, payload.sections)
            leads.append(f"{payload.title}\n{lead}")
            read[payload.document_id] = DocumentRead(
                payload.document_id, event.id, payload.content_hash, len(payload.text), pack(found)
            )
        facts: list[Fact] = [*read.values(), *self._embedded([e for e, _ in fresh], leads, context)]
        documents = self._documents | read
        concepts = len(self._concepts)
        if max(FIRST_INTERIM, 2 * self._selected) <= len(documents) <= LARGEST_INTERIM:
            selection = select({d: unpack(r.candidates) for d, r in documents.items()}, with_links=False)
            texts = {event.id: payload.text for event, payload in fresh}
            facts.append(SelectionMade(len(documents)))
            facts += self._difference(selection, documents, texts, context)
            concepts = len(selection.concepts)
        progress = self._progress_after(read, concepts)
        is_late = context.now_ns - self._progress_ns >= PROGRESS_INTERVAL_NS
        if is_late or progress.documents - self._progress.documents >= PROGRESS_DOCUMENTS:
            facts.append(context.event(progress))
        return facts

    def _is_new(self, payload: DocumentIngested) -> bool:
        known = self._documents.get(payload.document_id)
        return known is None or known.content_hash != payload.content_hash

    def _embedded(self, events: Sequence[Event], leads: list[str], context: Context) -> list[Event]:
        import numpy as np

        if self._embedder is None:
            from tori.retrieval.embedder import get_embedder

            self._embedder = get_embedder()
        vectors = self._embedder.embed(leads)
        norms = np.linalg.norm(vectors, axis=1)
        model = self._embedder.name
        return [
            context.event(
                DocumentEmbedded(event.key, (vector / norm).astype("<f2").tobytes(), model),
                key=event.key,
                causes=(event.id,),
            )
            for event, vector, norm in zip(events, vectors, norms, strict=True)
            if np.isfinite(norm) and norm > 0
        ]

    def _progress_after(self, read: Mapping[str, DocumentRead], concepts: int) -> IngestProgressed:
        old = [self._documents[d] for d in read if d in self._documents]
        characters = sum(r.characters for r in read.values()) - sum(r.characters for r in old)
        documents = len(self._documents) + len(read) - len(old)
        return IngestProgressed(documents, self._replaced + len(old), self._characters + characters, concepts)

    def _difference(
        self, selection: Selection, documents: Mapping[str, DocumentRead], texts: Mapping[bytes, str], context: Context
    ) -> list[Event]:
        def text_of(event_id: bytes) -> str:
            if event_id in texts:
                return texts[event_id]
            payload = context.read(event_id).payload
            return payload.text if isinstance(payload, DocumentIngested) else ""

        return list(concept_events(selection, self._concepts, documents, text_of, context))

    # applying

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, DocumentRead):
            old = self._documents.get(fact.document_id)
            if old is not None:
                self._replaced += 1
                self._characters -= old.characters
            self._characters += fact.characters
            self._documents[fact.document_id] = fact
        elif isinstance(fact, SelectionMade):
            self._selected = fact.documents
        elif isinstance(fact, Event):
            self._apply_event(fact)

    def _apply_event(self, event: Event) -> None:
        payload = event.payload
        if isinstance(payload, ConceptAdded | ConceptModified):
            self._concepts[payload.concept_id] = KnownConcept(
                payload.concept_id, payload.label, event.id, payload.sources, payload.weights, event.causes
            )
        elif isinstance(payload, ConceptRemoved):
            self._concepts.pop(payload.concept_id, None)
            for partner in self._links.pop(payload.concept_id, {}):
                self._unlink(partner, payload.concept_id)
        elif isinstance(payload, ConceptLinked):
            a, b = payload.concept_a, payload.concept_b
            if payload.weight:
                link = KnownLink(a, b, payload.weight, payload.kind)
                self._links.setdefault(a, {})[b] = link
                self._links.setdefault(b, {})[a] = link
            else:
                self._unlink(a, b)
                self._unlink(b, a)
        elif isinstance(payload, IngestProgressed):
            self._progress = payload
            self._progress_ns = event.time_ns

    def _unlink(self, a: str, b: str) -> None:
        partners = self._links.get(a, {})
        partners.pop(b, None)
        if not partners:
            self._links.pop(a, None)

    # state

    def standing(self) -> Iterator[bytes]:
        yield from (d.event_id for d in self._documents.values())
        yield from (c.event_id for c in self._concepts.values())
        yield from (cause for c in self._concepts.values() for cause in c.causes)

    def snapshot(self) -> bytes:
        links = [link for a in sorted(self._links) for b, link in sorted(self._links[a].items()) if a < b]
        return msgspec.msgpack.encode(
            _State(
                [self._documents[d] for d in sorted(self._documents)],
                [self._concepts[c] for c in sorted(self._concepts)],
                links,
                self._selected,
                self._replaced,
                self._progress,
                self._progress_ns,
            )
        )

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self._documents = {d.document_id: d for d in state.documents}
        self._concepts = {c.id: c for c in state.concepts}
        self._links = {}
        for link in state.links:
            self._links.setdefault(link.a, {})[link.b] = link
            self._links.setdefault(link.b, {})[link.a] = link
        self._characters = sum(d.characters for d in state.documents)
        self._selected, self._replaced = state.selected, state.replaced
        self._progress, self._progress_ns = state.progress, state.progress_ns

    def section(self) -> Any:
        concepts = sorted(self._concepts.values(), key=lambda c: c.id)
        return {"concepts": [[c.id, c.label, list(c.sources)] for c in concepts]}

    def validate(self) -> None:
        for concept in self._concepts.values():
            assert concept.sources, f"concept {concept.label!r} has no source"
            assert list(concept.sources) == sorted(set(concept.sources)), concept
            assert len(concept.sources) == len(concept.weights), concept
            assert all(d in self._documents for d in concept.sources), concept
            assert concept.id == concept_id_of(concept.label), concept
        for a, partners in self._links.items():
            assert a in self._concepts, f"{a} is linked but is no concept"
            assert all(self._links[b][a] == link for b, link in partners.items()), a
        characters = sum(d.characters for d in self._documents.values())
        assert characters == self._characters, (characters, self._characters)

    # scanning

    def prepare(self, task: str) -> bytes:
        if task != SELECTION:
            return super().prepare(task)
        return msgspec.msgpack.encode([(d, self._documents[d].candidates) for d in sorted(self._documents)])

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        if task != SELECTION:
            return super().run(task, data)
        rows = msgspec.msgpack.decode(data, type=list[tuple[str, bytes]])
        return msgspec.msgpack.encode(select({d: unpack(packed) for d, packed in rows}))

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        if task != SELECTION:
            return super().conclude(task, result, context)
        selection = msgspec.msgpack.decode(result, type=Selection)
        facts: list[Fact] = []
        if self._selected != len(selection.documents):
            facts.append(SelectionMade(len(selection.documents)))
        events = self._difference(selection, self._documents, {}, context)
        latest = {c.id: c.event_id for c in self._concepts.values()}
        for event in events:
            if isinstance(event.payload, ConceptRemoved):
                del latest[event.key]
            else:
                latest[event.key] = event.id
        events += link_events(selection, self._links, latest, context)
        progress = self._progress_after({}, len(latest))
        if progress != self._progress:
            events.append(context.event(progress))
        return [*facts, *events]

    # answering

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Answer ``summary``, ``find`` {id}, ``concepts`` {limit, prefix} and ``concept`` {id}; ids or labels will do."""
        if name == "summary":
            return self._summary()
        if name == "find":
            known = self._concept(_text(name, arguments, "id"))
            return {"event_id": known.event_id.hex()} if known else {}
        if name == "concepts":
            return self._list(arguments)
        if name == "concept":
            return self._describe(_text(name, arguments, "id"))
        raise BadInput(f"the reader cannot answer {name!r}.", remedy="It answers summary, find, concepts and concept.")

    def _summary(self) -> dict[str, int]:
        return {
            "documents": len(self._documents),
            "replaced": self._replaced,
            "characters": self._characters,
            "concepts": len(self._concepts),
            "links": sum(map(len, self._links.values())) // 2,
            "candidate_bytes": sum(len(d.candidates) for d in self._documents.values()),
            "selected_documents": self._selected,
        }

    def _concept(self, name: str) -> KnownConcept | None:
        return self._concepts.get(name) or self._concepts.get(concept_id_of(name))

    def _list(self, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        limit, prefix = arguments.get("limit", 50), arguments.get("prefix", "")
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise BadInput(f"limit is {limit!r}.", remedy="Give a whole number of at least 1.")
        if not isinstance(prefix, str):
            raise BadInput(f"prefix is {prefix!r}.", remedy="Give the beginning of a label.")
        start = prefix.casefold()
        hits = [c for c in self._concepts.values() if c.label.casefold().startswith(start)]
        hits.sort(key=lambda c: (-len(c.sources), c.label))
        return [
            {"id": c.id, "label": c.label, "documents": len(c.sources), "uses": sum(c.weights)} for c in hits[:limit]
        ]

    def _describe(self, name: str) -> dict[str, Any]:
        known = self._concept(name)
        if known is None:
            raise BadInput(f"there is no concept {name!r}.", remedy="List them with the query concepts {prefix}.")
        links = sorted(self._links.get(known.id, {}).items(), key=lambda item: (-item[1].weight, item[0]))
        return {
            "id": known.id,
            "label": known.label,
            "event_id": known.event_id.hex(),
            "sources": dict(zip(known.sources, known.weights, strict=True)),
            "links": [
                {"id": other, "label": self._concepts[other].label, "weight": link.weight, "kind": link.kind}
                for other, link in links
            ],
        }


def _text(query: str, arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str) or not value:
        raise BadInput(f"the query {query} needs {name!r}, a text.", remedy=f"Give {name}=...")
    return value
