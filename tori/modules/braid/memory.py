"""The recall caches over the state of the braid module, and the answers they give as plain JSON."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tori.modules.braid.graph import ConceptRows, RecallGraph
from tori.modules.braid.recall import Hit, PassageIndex, Question, Source, fuse, gather, is_spoken_of
from tori.modules.braid.settings import YEAR_NS, BraidSettings
from tori.modules.braid.state import Bridge, unpack
from tori.modules.corpus import Corpus
from tori.retrieval.activation import base_level
from tori.retrieval.embedder import get_embedder
from tori.retrieval.quote import best_sentence

_CONCEPTS = 5
"""Concept labels named beside an answer."""


class Recall:
    """The caches over one module's state. Nothing is imported or built before the first question or pass."""

    def __init__(
        self, corpus: Corpus, texts: Mapping[str, bytes], bridges: Mapping[str, Bridge], settings: BraidSettings
    ) -> None:
        self._corpus = corpus
        self._texts = texts
        self._bridges = bridges
        self._settings = settings
        self._index: PassageIndex | None = None
        self._graph: RecallGraph | None = None
        self._presence: dict[str, float] | None = None
        self._stands = ConceptRows()
        self._pending: set[str] = set()
        self._changed_documents: set[str] = set()
        self._changed_concepts: set[str] = set()

    @property
    def is_built(self) -> bool:
        return self._index is not None

    @property
    def passages(self) -> int:
        """Return how many passages are indexed now."""
        return sum(len(rows) for rows in self._index.rows.values()) if self._index else 0

    def document_changed(self, document_id: str) -> None:
        """Note that a document is new or was replaced."""
        if self._index is not None:
            self._pending.add(document_id)
            self._changed_documents.add(document_id)
        self.graph_changed()

    def concept_changed(self, concept_id: str) -> None:
        """Note that a concept was added, modified or removed."""
        if self._index is not None:
            self._changed_concepts.add(concept_id)
        self.graph_changed()

    def graph_changed(self) -> None:
        """Note that something PageRank walks over changed."""
        self._graph = None
        self._presence = None

    def index(self) -> PassageIndex:
        """Return the passage index, brought up to date."""
        if self._index is None or self._index.is_wasteful:
            self._index = PassageIndex(get_embedder())
            self._stands = ConceptRows()
            self._pending = set(self._texts)
        if self._pending:
            self._index.put(self._sources(sorted(self._pending)))
            self._pending = set()
        return self._index

    def warm(self) -> None:
        """Bring every cache up to date."""
        self.graph()
        self.presence()

    def graph(self) -> RecallGraph:
        """Return the graph PageRank walks, brought up to date."""
        index = self.index()
        if self._graph is None:
            self._stands.update(self._corpus, index, self._changed_documents, self._changed_concepts)
            self._changed_documents, self._changed_concepts = set(), set()
            bridges = [self._bridges[i] for i in sorted(self._bridges)]
            self._graph = RecallGraph(self._corpus, index, self._stands, bridges)
        return self._graph

    def presence(self) -> dict[str, float]:
        """Return for each dated document exp(base-level activation) ^ weight; the undated get the mean activation.

        A document is used on its own date and on the dates of documents that link to it; ages count in years before
        the newest date of the corpus.
        """
        if self._presence is None:
            documents = self._corpus.documents
            uses: dict[str, list[int]] = defaultdict(list)
            for document_id in sorted(documents):
                time_ns = documents[document_id].time_ns
                if time_ns is not None:
                    uses[document_id].append(time_ns)
                    for target in documents[document_id].links:
                        uses[target].append(time_ns)
            newest = max((t for times in uses.values() for t in times), default=0)
            levels = {
                d: base_level(((newest - t) / YEAR_NS for t in sorted(uses[d])), self._settings.decay)
                for d in documents
                if d in uses
            }
            mean = math.fsum(levels.values()) / max(len(levels), 1)
            weight = self._settings.activation_weight
            self._presence = {d: math.exp(weight * (levels.get(d, mean) - mean)) for d in documents}
        return self._presence

    def ask(self, question: str, top: int) -> list[dict[str, Any]]:
        """Return up to ``top`` documents that answer, best first, each with a quotation and the way back; none when none speaks of it."""
        index, graph = self.index(), self.graph()
        asked = index.question(question)
        fused = fuse(index, asked, self._settings, graph)
        hits = gather(index, fused, top, self.presence(), self._settings.candidates)
        if not is_spoken_of(index, asked, hits, self._settings.least_cosine):
            return []
        return [self._answer(hit, asked) for hit in hits]

    def _answer(self, hit: Hit, asked: Question) -> dict[str, Any]:
        index, graph = self.index(), self.graph()
        document = self._corpus.documents[hit.document_id]
        text, _ = unpack(self._texts[hit.document_id])
        quote = best_sentence(
            text,
            [(p.start, p.end) for p in hit.passages],
            asked.terms,
            index.lexical.idf,
            lambda found: index.embedder.embed(found) @ asked.vector,
        )
        best = hit.passages[0]
        concepts = graph.concepts_at(hit.rows[0])[:_CONCEPTS]
        return {
            "id": document.id,
            "title": document.title,
            "score": float(f"{hit.score:.6g}"),
            "quote": quote.words,
            "start": quote.start,
            "why": document.event_id.hex(),
            "passage": {"start": best.start, "end": best.end, "section": best.section},
            "concepts": [self._corpus.concepts[c].label for _, c in concepts],
        }

    def _sources(self, document_ids: Iterable[str]) -> Iterator[Source]:
        for document_id in document_ids:
            text, sections = unpack(self._texts[document_id])
            yield Source(document_id, self._corpus.documents[document_id].title, text, sections)
