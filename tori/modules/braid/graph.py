"""The graph that PageRank walks: passages, their documents, the concepts that stand in them, links and bridges."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tori.modules.braid.state import Bridge
from tori.modules.corpus import Corpus
from tori.retrieval.fusion import top_rows
from tori.retrieval.graph import pagerank, transition
from tori.retrieval.term import terms

if TYPE_CHECKING:
    import numpy as np
    from scipy.sparse import csr_array

    from tori.modules.braid.recall import PassageIndex, Question

CONCEPT, MEMBER, LINK, BRIDGE = 1.0, 0.3, 0.3, 0.3
"""Shares of the kinds of edges at a node that has them all."""
_SEED_PASSAGES = 20
_CONCEPT_SEED = 0.3
"""Restart mass of the concepts named in the question against that of the passages found."""


class ConceptRows:
    """In which passages each concept stands: passages of its sources that hold every term of its label. Kept up to date."""

    def __init__(self) -> None:
        self.rows: dict[str, np.ndarray] = {}
        self.labels: dict[str, frozenset[str]] = {}

    def update(self, corpus: Corpus, index: PassageIndex, documents: set[str], concepts: set[str]) -> None:
        """Look again at the ``concepts`` that changed, and at those with a source among the ``documents`` that did."""
        import numpy as np

        for gone in self.rows.keys() - corpus.concepts.keys():
            del self.rows[gone], self.labels[gone]
        names = sorted(index.rows)
        number = {d: i for i, d in enumerate(names)}
        owner = np.zeros(len(index.passages), dtype=np.int64)
        for document_id in names:
            held = index.rows[document_id]
            owner[held.start : held.stop] = number[document_id]
        is_source = np.zeros(len(names), dtype=bool)
        for concept_id, concept in corpus.concepts.items():
            if concept_id in self.rows and concept_id not in concepts and documents.isdisjoint(concept.sources):
                continue
            label = frozenset(terms(concept.label))
            sources = [number[s] for s in concept.sources if s in number]
            is_source[sources] = True
            rows = index.lexical.rows_with_all(label)
            self.rows[concept_id] = rows[is_source[owner[rows]]]
            self.labels[concept_id] = label
            is_source[sources] = False


class RecallGraph:
    """Nodes in canonical order: passages by (document id, start), then documents, then concepts, by id.

    A passage and a concept that stands in it are joined with the weight of the concept's idf over passages.
    """

    def __init__(self, corpus: Corpus, index: PassageIndex, stands: ConceptRows, bridges: Iterable[Bridge]) -> None:
        import numpy as np

        self._documents = sorted(index.rows)
        rows = [row for d in self._documents for row in index.rows[d]]
        self._rows = np.asarray(rows, dtype=np.int64)
        self._node_of_row = np.full(len(index.passages), -1, dtype=np.int64)
        self._node_of_row[self._rows] = np.arange(len(rows))
        self.concept_ids = sorted(corpus.concepts)
        self._size = len(rows) + len(self._documents) + len(self.concept_ids)
        self._document_node = {d: len(rows) + i for i, d in enumerate(self._documents)}
        self._concept_base = len(rows) + len(self._documents)
        self._labels: list[frozenset[str]] = [stands.labels[c] for c in self.concept_ids]
        self._by_term: dict[str, list[int]] = defaultdict(list)
        for number, label in enumerate(self._labels):
            if label:
                self._by_term[min(label)].append(number)
        self._idf: np.ndarray = np.zeros(len(self.concept_ids))
        self._holds = self._concept_edges(stands)
        kinds = [
            (self._holds, CONCEPT),
            (self._member_edges(index), MEMBER),
            (self._document_edges((d, t, 1.0) for d in self._documents for t in corpus.documents[d].links), LINK),
            (self._document_edges((b.a, b.b, b.strength) for b in bridges), BRIDGE),
        ]
        self._walk = transition(kinds)

    def _concept_edges(self, stands: ConceptRows) -> csr_array:
        import numpy as np

        none = np.zeros(0, dtype=np.int64)
        held = [stands.rows[c] for c in self.concept_ids]
        counts = np.asarray([len(rows) for rows in held], dtype=np.int64)
        self._idf = np.log1p(len(self._rows) / np.maximum(counts, 1))
        heads = self._node_of_row[np.concatenate([none, *held])]
        tails = np.repeat(self._concept_base + np.arange(len(held)), counts)
        return self._symmetric(heads, tails, np.repeat(self._idf, counts))

    def _member_edges(self, index: PassageIndex) -> csr_array:
        import numpy as np

        owners = [self._document_node[d] for d in self._documents for _ in index.rows[d]]
        return self._symmetric(np.arange(len(owners)), np.asarray(owners, dtype=np.int64), np.ones(len(owners)))

    def _document_edges(self, edges: Iterable[tuple[str, str, float]]) -> csr_array:
        import numpy as np

        node = self._document_node
        kept = sorted((node[a], node[b], w) for a, b, w in edges if a in node and b in node and a != b)
        table = np.asarray(kept, dtype=np.float64).reshape(-1, 3)
        return self._symmetric(table[:, 0], table[:, 1], table[:, 2])

    def _symmetric(self, heads: np.ndarray, tails: np.ndarray, values: np.ndarray) -> csr_array:
        import numpy as np
        from scipy.sparse import csr_array

        both = np.concatenate((heads, tails)).astype(np.int64), np.concatenate((tails, heads)).astype(np.int64)
        return csr_array((np.concatenate((values, values)), both), shape=(self._size, self._size))

    def concepts_at(self, row: int) -> list[tuple[float, str]]:
        """Return (idf, id) of the concepts that stand in a passage, rarest first."""
        node = int(self._node_of_row[row])
        columns = self._holds.indices[self._holds.indptr[node] : self._holds.indptr[node + 1]] - self._concept_base
        return sorted(
            ((float(self._idf[c]), self.concept_ids[c]) for c in columns.tolist()), key=lambda x: (-x[0], x[1])
        )

    def concepts_in(self, question_terms: Iterable[str]) -> list[int]:
        """Return the numbers of the concepts whose label's terms all stand in the question, ascending."""
        held = frozenset(question_terms)
        return sorted(n for term in held for n in self._by_term.get(term, ()) if self._labels[n] <= held)

    def scores(self, question: Question, fused: np.ndarray, keys: np.ndarray) -> np.ndarray:
        """Return the PageRank of every row, personalised to the best fused passages and the concepts of the question."""
        import numpy as np

        scores = np.zeros(len(self._node_of_row))
        seeds = np.zeros(self._size)
        best = top_rows(fused.round(12), _SEED_PASSAGES, keys)
        if not len(best):
            return scores
        seeds[self._node_of_row[best]] = fused[best]
        named = self.concepts_in(question.terms)
        if named:
            mass = self._idf[named] / self._idf[named].sum()
            seeds[self._concept_base + np.asarray(named)] = _CONCEPT_SEED * seeds.sum() * mass
        rank = pagerank(self._walk, seeds)
        scores[self._rows] = rank[: len(self._rows)].round(9)
        return scores
