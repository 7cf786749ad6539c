"""A reader small enough to trust: key phrases and hashed vectors, as the events the real reader would emit.

For tests of modules that stand behind the reader. Phrases are runs of one to three words between stop words; a
document proposes its twelve best by tf-idf, a phrase two documents propose becomes a concept, and the concept's
sources are all documents it occurs in.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tori.clock import VirtualClock
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import ConceptAdded, DocumentEmbedded
from tori.ids import IdSource, content_name, source_suffix

WORD = re.compile(r"[a-z_][a-z0-9_]+")
STOP = frozenset(
    """a about above all also an and any are as at be because been before being but by can could did do does doing each
    either else even every few first for from get had has have having here how however i if in into is it its itself just
    like make may me might more most much must my need new no nor not now of off on once one only or other our out over own
    same see set shall she should since so some such than that the their them then there therefore these they this those
    through thus to too two under until up upon us use used uses using very via was way we well were what when where whether
    which while who whom whose why will with within without would yet you your""".split()
)
CHOSEN = 12
DIMENSIONS = 64


def phrases(text: str) -> Counter[str]:
    """Return the phrases of one to three words between stop words and punctuation, with their counts."""
    found: Counter[str] = Counter()
    for clause in re.split(r"[^a-z0-9_ \n-]+|\n\s*\n", text.lower()):
        run: list[str] = []
        for word in [*WORD.findall(clause), ""]:
            if word and word not in STOP and len(word) > 2:
                run.append(word)
                continue
            for size in (1, 2, 3):
                for start in range(len(run) - size + 1):
                    found[" ".join(run[start : start + size])] += 1
            run = []
    return found


def concepts(documents: Sequence[Document]) -> dict[str, dict[str, float]]:
    """Return {phrase: {document id: uses}} for every phrase that at least two documents propose."""
    counts = {d.id: phrases(f"{d.title}.\n\n{d.text}") for d in documents}
    frequency: Counter[str] = Counter()
    for found in counts.values():
        frequency.update(found.keys())
    proposals: Counter[str] = Counter()
    for document in documents:
        title = phrases(document.title)
        found = counts[document.id]

        def score(phrase: str, found: Counter[str] = found, title: Counter[str] = title) -> tuple[float, str]:
            rarity = math.log((1 + len(documents)) / frequency[phrase])
            words = 1 + 0.5 * phrase.count(" ")
            return (1 + math.log(found[phrase])) * rarity * words * (2 if phrase in title else 1), phrase

        able = [p for p in found if frequency[p] > 1]
        proposals.update(sorted(able, key=score, reverse=True)[:CHOSEN])
    kept = {p for p, n in proposals.items() if n > 1}
    return {p: {d: float(c[p]) for d, c in counts.items() if p in c} for p in sorted(kept)}


def vector(document: Document) -> bytes:
    """Return a unit float16 vector: signed hashing of the document's words, so that shared words mean nearness."""
    total = np.zeros(DIMENSIONS)
    for word, count in Counter(WORD.findall(f"{document.title} {document.text}".lower())).items():
        if word not in STOP:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            total += math.log1p(count) * np.random.default_rng(seed).standard_normal(DIMENSIONS)
    norm = float(np.linalg.norm(total))
    return (total / norm if norm else total).astype("<f2").tobytes()


def read(
    documents: Iterable[Document], events: Sequence[Event], *, vectors: bool = True, ids: IdSource | None = None
) -> list[Event]:
    """Return what a reader says about ``documents`` whose DocumentIngested are ``events``, sorted by name."""
    documents = sorted(documents, key=lambda d: d.id)
    ids = ids or IdSource(source_suffix("reader", b"test"), VirtualClock().wall_ns)
    by_document = {e.payload.document_id: e.id for e in events}  # type: ignore[union-attr]  # DocumentIngested only
    out = []
    for phrase, uses in concepts(documents).items():
        sources = tuple(sorted(uses))
        concept_id = content_name("c", phrase)
        payload = ConceptAdded(concept_id, phrase, None, 0, sources, tuple(uses[s] for s in sources))
        out.append(Event(ids.next(), payload, concept_id, b"", tuple(by_document[s] for s in sources)))
    if vectors:
        for document in documents:
            payload_v = DocumentEmbedded(document.id, vector(document), "tiny")
            out.append(Event(ids.next(), payload_v, document.id, b"", (by_document[document.id],)))
    return out
