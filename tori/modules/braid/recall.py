"""Recall: the passages that answer a question, found four ways and fused.

BM25, dense cosine and personalised PageRank over passages, documents and concepts are fused by reciprocal rank; the
three best passages of a document add up; base-level activation of its dates tips the balance between equals.

Everything here is a cache over the module's state: built when first asked, kept up to date afterwards, and the same
whatever the order in which it grew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from tori.events.document import Section
from tori.modules.braid.settings import BraidSettings
from tori.retrieval.dense import DenseIndex
from tori.retrieval.embedder import Embedder
from tori.retrieval.fusion import reciprocal_rank, top_rows
from tori.retrieval.lexical import LexicalIndex
from tori.retrieval.passage import Passage, split
from tori.retrieval.term import terms

if TYPE_CHECKING:
    import numpy as np

    from tori.modules.braid.graph import RecallGraph

_BATCH = 64
"""Documents embedded together."""
PASSAGES_PER_DOCUMENT = 3


class Source(NamedTuple):
    """What a document gives to the index."""

    id: str
    title: str
    text: str
    sections: tuple[Section, ...]


class Hit(NamedTuple):
    """A document that answers, with its passages, best first."""

    document_id: str
    score: float
    passages: list[Passage]
    rows: list[int]


class Question(NamedTuple):
    """A question ready to be looked up."""

    terms: list[str]
    vector: np.ndarray


class PassageIndex:
    """Passages of documents, lexically and densely indexed; a document can be put again or dropped at any time.

    Title and section stand in the indexed text of every passage: the largest single gain there is (SCIENCE).
    Memory a passage of 150 words: about 3 kB (1 kB of vector, 12 bytes a term, offsets).
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.lexical = LexicalIndex()
        self.dense = DenseIndex(embedder.dimensions)
        self.rows: dict[str, range] = {}
        self.passages: list[Passage] = []
        self._documents: list[str] = []
        self._keys: list[int] = []
        self._dropped = 0

    def put(self, sources: Iterable[Source]) -> None:
        """Index documents; those already here are replaced."""
        batch: list[Source] = []
        for source in sources:
            batch.append(source)
            if len(batch) == _BATCH:
                self._put(batch)
                batch = []
        if batch:
            self._put(batch)

    def _put(self, batch: Sequence[Source]) -> None:
        texts: list[str] = []
        for source in batch:
            self.drop(source.id)
            start = len(self.passages)
            prefix = int.from_bytes(hashlib.sha256(source.id.encode()).digest()[:5], "big") << 20
            for number, passage in enumerate(split(source.text, source.sections) or [Passage(0, 0, "")]):
                text = f"{source.title}\n{passage.section}\n{source.text[passage.start : passage.end]}"
                self.lexical.add(terms(text))
                texts.append(text)
                self.passages.append(passage)
                self._documents.append(source.id)
                self._keys.append(prefix + number)
            self.rows[source.id] = range(start, len(self.passages))
        self.dense.add(self.embedder.embed(texts))

    def drop(self, document_id: str) -> None:
        """Leave a document out from now on."""
        for row in self.rows.pop(document_id, ()):
            self.lexical.remove(row)
            self._dropped += 1

    @property
    def is_wasteful(self) -> bool:
        """Return whether more than half of the rows belong to dropped texts: time to build it anew."""
        return self._dropped > 1_000 and self._dropped * 2 > len(self.passages)

    def document_of(self, row: int) -> str:
        return self._documents[row]

    def keys(self) -> np.ndarray:
        """Return what breaks ties between rows: depends on document id and passage number only."""
        import numpy as np

        return np.asarray(self._keys, dtype=np.int64)

    def question(self, text: str) -> Question:
        """Return ``text`` as terms and vector."""
        return Question(terms(text), self.embedder.embed([text])[0])

    def lexical_scores(self, question: Question) -> np.ndarray:
        """Return the BM25 score of every row."""
        return self.lexical.scores(question.terms).round(9)

    def dense_scores(self, question: Question) -> np.ndarray:
        """Return the cosine of every row; 0 for dropped ones."""
        scores = self.dense.scores(question.vector)
        scores[~self.lexical.alive()] = 0.0
        return scores.round(6)


def fuse(
    index: PassageIndex, question: Question, settings: BraidSettings, graph: RecallGraph | None = None
) -> np.ndarray:
    """Return the fused score of every row; ``graph`` adds the PageRank ranking."""
    limit, keys = settings.candidates, index.keys()
    lexical, dense = index.lexical_scores(question), index.dense_scores(question)
    rankings = [
        (top_rows(lexical, limit, keys), lexical, 1.0),
        (top_rows(dense, limit, keys), dense, settings.dense_weight),
    ]
    fused = reciprocal_rank(rankings)
    if graph is None or settings.graph_weight <= 0:
        return fused
    walked = graph.scores(question, fused, keys)
    fused += reciprocal_rank([(top_rows(walked, limit, keys), walked, settings.graph_weight)])
    return fused


def is_spoken_of(index: PassageIndex, question: Question, hits: Sequence[Hit], least_cosine: float) -> bool:
    """Return whether any of the hits speaks about the question: shares a word with it, or is close to it in meaning.

    Otherwise they are merely the nearest of what there is; presented as answers they would be made up.
    """
    lexical, dense = index.lexical_scores(question), index.dense_scores(question)
    return any(lexical[r] > 0 or dense[r] >= least_cosine for h in hits for r in h.rows)


def gather(index: PassageIndex, fused: np.ndarray, top: int, presence: Mapping[str, float], limit: int) -> list[Hit]:
    """Return the ``top`` documents by the sum of their three best passages times ``presence`` (1 where absent)."""
    rows: dict[str, list[int]] = {}
    for row in top_rows(fused.round(12), limit, index.keys()).tolist():
        held = rows.setdefault(index.document_of(row), [])
        if len(held) < PASSAGES_PER_DOCUMENT:
            held.append(row)
    scored = [
        (round(sum(float(fused[r]) for r in held) * presence.get(document_id, 1.0), 9), document_id)
        for document_id, held in rows.items()
    ]
    scored.sort(key=lambda s: (-s[0], s[1]))
    return [Hit(d, score, [index.passages[r] for r in rows[d]], rows[d]) for score, d in scored[:top]]
