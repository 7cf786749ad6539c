"""Tiny corpora for tests: an extractor of concepts in forty lines, planted structures, and a small map.

Not the reader: words and pairs of words that stand in at least two documents and in at most ``common`` of them.
Enough to give a module under test every event it takes, without another module.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.support.modules import ingested
from tori.clock import VirtualClock
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import ConceptAdded, DocumentEmbedded
from tori.ids import IdSource, content_name, source_suffix

SHARED = Path(__file__).parents[2].parent / "shared"
STOP = frozenset(
    """
    a an and are as at be been but by can could do does for from has have he her his how if in into is
    it its may more most no not of on one only or other our out s same she should so some such t than
    that the their them then there these they this those to up use used using was we were what when
    where which while who will with would you your all any also because each however just like many must
    new
    """.split()
)
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]+")


def peps() -> list[Document]:
    """Return the 703 PEPs of ../shared/data; FileNotFoundError when the folder is absent."""
    with gzip.open(SHARED / "data" / "peps.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Document(r["id"], r["title"], r["text"], links=tuple(r["links"])) for r in rows]


def terms(text: str) -> Counter[str]:
    """Count words and adjacent pairs of words of ``text`` that hold no stop word."""
    counts: Counter[str] = Counter()
    previous = ""
    for match in _WORD.finditer(text):
        word = match.group().lower()
        if word in STOP or len(word) < 3:
            previous = ""
            continue
        counts[word] += 1
        if previous and text[match.start() - 1] == " ":
            counts[f"{previous} {word}"] += 1
        previous = word
    return counts


def concepts(documents: Sequence[Document], common: float = 0.2, top: int = 40) -> dict[str, dict[str, float]]:
    """Return {label: {document id: uses}}: the ``top`` terms a document by tf-idf that at least two documents share."""
    uses = {d.id: terms(f"{d.title}\n{d.text}") for d in documents}
    spread: Counter[str] = Counter(t for counts in uses.values() for t in counts)
    limit = max(2.0, common * len(documents))
    kept = {t for t, n in spread.items() if 2 <= n <= limit}
    chosen: Counter[str] = Counter()
    for counts in uses.values():
        ranked = sorted((t for t in counts if t in kept), key=lambda t: (-counts[t] * np.log(len(uses) / spread[t]), t))
        chosen.update(ranked[:top])
    labels = sorted(t for t, n in chosen.items() if n >= 2)
    return {t: {d: float(uses[d][t]) for d in sorted(uses) if t in uses[d]} for t in labels}


def embed(text: str, size: int = 64) -> bytes:
    """Return a unit vector for ``text``: signed feature hashing of its terms, float16."""
    vector = np.zeros(size)
    for term, count in terms(text).items():
        digest = hashlib.blake2b(term.encode(), digest_size=8).digest()
        vector[int.from_bytes(digest[:4], "big") % size] += (1 if digest[4] & 1 else -1) * np.log1p(count)
    return bytes((vector / (np.linalg.norm(vector) or 1.0)).astype("<f2").tobytes())


class Events:
    """Makes the events other modules would send; one id source, so ids rise."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.ids = IdSource(source_suffix("reader", b"test"), self.clock.wall_ns)

    def documents(self, documents: Iterable[Document], *, embedded: bool = True) -> Iterator[Event]:
        """Yield DocumentIngested for each document, then DocumentEmbedded."""
        for document in documents:
            yield from ingested([document], self.ids)
            if embedded:
                vector = embed(f"{document.title}\n{document.text}")
                yield Event(self.ids.next(), DocumentEmbedded(document.id, vector, "hashing"), document.id)

    def concepts(self, table: Mapping[str, Mapping[str, float]]) -> Iterator[Event]:
        """Yield ConceptAdded of scale 0 for {label: {document id: weight}}."""
        for label, spread in sorted(table.items()):
            sources = tuple(sorted(spread))
            weights = tuple(spread[s] for s in sources)
            concept_id = content_name("concept", label)
            yield Event(self.ids.next(), ConceptAdded(concept_id, label, None, 0, sources, weights), concept_id)

    def communities(self, members: Mapping[str, Iterable[str]]) -> Iterator[Event]:
        """Yield ConceptAdded of scale 1, one top map node for {label: document ids}."""
        for label, documents in sorted(members.items()):
            sources = tuple(sorted(documents))
            node = content_name("map", label)
            yield Event(self.ids.next(), ConceptAdded(node, label, None, 1, sources, (1.0,) * len(sources)), node)


def corpus_events(documents: Sequence[Document], members: Mapping[str, Iterable[str]] | None = None) -> list[Event]:
    """Return every event of a small corpus: documents, vectors, extracted concepts, top communities."""
    events = Events()
    return [*events.documents(documents), *events.concepts(concepts(documents)), *events.communities(members or {})]


def leiden_communities(documents: Sequence[Document], table: Mapping[str, Mapping[str, float]]) -> dict[str, list[str]]:
    """Return {name: document ids}: Leiden over links and shared concepts, a stand-in for the map of the hierarchy."""
    import graspologic_native
    from scipy.sparse import csr_array

    ids = sorted(d.id for d in documents)
    row = {d: i for i, d in enumerate(ids)}
    entries = [
        (row[d], j, np.log1p(w) * np.log(len(ids) / len(s)))
        for j, (_, s) in enumerate(sorted(table.items()))
        for d, w in s.items()
    ]
    rows, columns, values = zip(*entries, strict=True)
    dense = csr_array((values, (rows, columns)), shape=(len(ids), len(table))).toarray()
    dense /= np.maximum(np.linalg.norm(dense, axis=1, keepdims=True), 1e-12)
    similarity = dense @ dense.T
    np.fill_diagonal(similarity, 0.0)
    edges = {
        (min(i, j), max(i, j)): float(similarity[i, j])
        for i in range(len(ids))
        for j in np.argsort(-similarity[i], kind="stable")[:8].tolist()
    }
    for document in documents:
        for link in document.links:
            if link in row and link != document.id:
                i, j = sorted((row[document.id], row[link]))
                edges[i, j] = edges.get((i, j), 0.0) + 1.0
    named = [(ids[i], ids[j], w) for (i, j), w in sorted(edges.items())]
    _, found = graspologic_native.leiden(named, resolution=1.0, iterations=5, seed=1)
    members: dict[str, list[str]] = {}
    for document_id, community in sorted(found.items()):
        members.setdefault(f"community {community}", []).append(document_id)
    return members


def _letters(number: int) -> str:
    """Return a name for a number without digits: titles that differ in numbers only are one series."""
    return chr(97 + number // 26) + chr(97 + number % 26)


def two_worlds(seed: int = 0, size: int = 24) -> tuple[list[Document], dict[str, list[str]]]:
    """Return a corpus with one planted bridge, and its two communities.

    Gardens and engines: every document speaks in its own community's words, a few in everybody's. Only ``garden 3`` and
    ``engine 5`` both speak of twelve things that nearly nobody else mentions.
    """
    rng = np.random.default_rng(seed)
    common = [f"everyday{_letters(i)}" for i in range(30)]
    documents: list[Document] = []
    members: dict[str, list[str]] = {}
    for world in ("garden", "engine"):
        words = [f"{world}{_letters(i)}" for i in range(60)]
        for number in range(size):
            chosen = [*rng.choice(words, 14, replace=False), *rng.choice(common, 8, replace=False)]
            if (world, number) in (("garden", 3), ("engine", 5)):
                chosen += [f"secret{_letters(i)}" for i in range(12)]
            rng.shuffle(chosen)
            sentences = [f"Here {' meets '.join(chosen[i : i + 4])} in detail." for i in range(0, len(chosen), 4)]
            document_id = f"{world}-{number:02d}"
            title = " ".join(chosen[:3])
            documents.append(Document(document_id, title, " ".join(sentences)))
            members.setdefault(world, []).append(document_id)
    return documents, members


def random_table(
    seed: int, documents: int = 60, labels: int = 150
) -> tuple[list[Document], dict[str, dict[str, float]]]:
    """Return documents without links and a table of concepts with uneven sizes: many rare ones, a few common."""
    rng = np.random.default_rng(seed)
    p = np.outer(rng.uniform(0.4, 1.0, documents), rng.pareto(1.5, labels) + 0.2)
    held = rng.random((documents, labels)) < np.minimum(0.6, p / p.mean() * 0.1)
    found = [Document(f"d{i:03d}", f"title{_letters(i)}", f"text {i}") for i in range(documents)]
    table = {f"concept {j}": {f"d{i:03d}": 1.0 for i in np.flatnonzero(held[:, j])} for j in range(labels)}
    return found, {k: v for k, v in table.items() if v}


def rewired_table(table: Mapping[str, Mapping[str, float]], seed: int) -> dict[str, dict[str, float]]:
    """Return a null twin of ``table``: every document and every concept keeps how often it occurs.

    Plain checkerboard swaps, independent of the code under test: pick two entries, exchange their columns if both
    places are free.
    """
    rng = np.random.default_rng(seed)
    entries = [(d, label) for label, spread in sorted(table.items()) for d in sorted(spread)]
    held = set(entries)
    for i, j in rng.integers(0, len(entries), (20 * len(entries), 2)).tolist():
        (a, x), (b, y) = entries[i], entries[j]
        if (a, y) not in held and (b, x) not in held:
            held -= {(a, x), (b, y)}
            held |= {(a, y), (b, x)}
            entries[i], entries[j] = (a, y), (b, x)
    twin: dict[str, dict[str, float]] = {}
    for document_id, label in sorted(entries):
        twin.setdefault(label, {})[document_id] = 1.0
    return twin


def circle(size: int = 48, window: int = 6) -> tuple[list[Document], dict[str, dict[str, float]]]:
    """Return a planted hole: ``size`` documents around a circle, each sharing concepts with its neighbours only."""
    documents = [
        Document(
            f"c{i:02d}",
            f"station {_letters(i)}",
            " and ".join(f"thing{_letters((i + k) % size)}" for k in range(window)),
        )
        for i in range(size)
    ]
    table = {f"thing{_letters(j)}": {f"c{(j - k) % size:02d}": 1.0 for k in range(window)} for j in range(size)}
    return documents, table
