"""Measures recall: which documents are found for a question, with each ranking alone and fused.

    python scripts/bench/recall.py --json

MuSiQue-100: 100 multi-hop questions over 1,890 passages; recall@k = share of a question's supporting passages among
the first k. Nothing is tuned on it.
PEP citations: a sentence that names another PEP is the query (the name taken out), the named PEP the answer. PEPs whose
sentences ask are not in the corpus, so no query meets its own text or links. They fall in two halves by hash: weights
may be tuned on ``dev`` only, ``test`` is what is reported.
Concepts come from the reader module. Figures hold for the embedder named in the output.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.support.modules import Bench, ingested  # noqa: E402
from tori.events.document import Document  # noqa: E402
from tori.modules.braid import Braid  # noqa: E402
from tori.modules.braid.recall import Question, fuse, gather  # noqa: E402
from tori.modules.reader import Reader  # noqa: E402
from tori.retrieval.passage import sentences  # noqa: E402
from tori.sources.jsonl import JsonLines  # noqa: E402

CUTOFFS = (1, 2, 5, 10)
QUERIES = 400
_CITATION = re.compile(r":pep:`(?:[^`<]*<)?(\d{1,4})[^`]*`|\bPEPs?[ -](\d{1,4})\b")


class Query(NamedTuple):
    text: str
    gold: frozenset[str]


def remember(documents: Sequence[Document]) -> Braid:
    """Return a braid module that holds the documents and the reader's concepts."""
    events = ingested(documents)
    reader, braid = Bench(Reader()), Bench(Braid())
    read = reader.feed(events) + reader.scan("concept_selection")
    braid.feed([*events, *read])
    assert isinstance(braid.module, Braid)
    return braid.module


def rankings(braid: Braid, graph_weight: float) -> dict[str, Callable[[Question], np.ndarray]]:
    """Return the ways to score every passage."""
    recall, settings = braid.recall, braid.settings
    index, graph = recall.index(), recall.graph()
    walking = msgspec.structs.replace(settings, graph_weight=graph_weight)

    def dense_only(question: Question) -> np.ndarray:
        scores: np.ndarray = np.maximum(index.dense_scores(question), 0.0)
        return scores

    return {
        "bm25": index.lexical_scores,
        "dense": dense_only,
        "fused": lambda q: fuse(index, q, settings),
        "fused+pagerank": lambda q: fuse(index, q, walking, graph),
        "pagerank": lambda q: graph.scores(q, fuse(index, q, settings), index.keys()),
    }


def evaluate(braid: Braid, queries: Sequence[Query], graph_weight: float) -> dict[str, dict[str, Any]]:
    """Return for each ranking recall at the cut-offs and mean reciprocal rank, with bootstrap intervals of 95 %."""
    index = braid.recall.index()
    results = {}
    for name, score in rankings(braid, graph_weight).items():
        table = []
        began = time.perf_counter()
        for query in queries:
            hits = gather(index, score(index.question(query.text)), 50, {}, braid.settings.candidates)
            found = [h.document_id for h in hits]
            first = next((1.0 / (i + 1) for i, d in enumerate(found) if d in query.gold), 0.0)
            table.append([first, *(len(query.gold & set(found[:k])) / len(query.gold) for k in CUTOFFS)])
        elapsed = (time.perf_counter() - began) * 1e3 / len(queries)
        results[name] = {**_summary(np.asarray(table)), "ms": round(elapsed, 1)}
    return results


def _summary(table: np.ndarray) -> dict[str, Any]:
    """Return mean and interval in percent of every column: reciprocal rank, then recall at the cut-offs."""
    draws = np.random.default_rng(0).integers(0, len(table), (1_000, len(table)))
    low, high = np.percentile(table[draws].mean(axis=1), [2.5, 97.5], axis=0)
    names = ["mrr", *(f"recall@{k}" for k in CUTOFFS)]
    return {
        name: [round(100 * float(v), 1) for v in (mean, a, b)]
        for name, mean, a, b in zip(names, table.mean(axis=0), low, high, strict=True)
    }


def musique(folder: Path) -> tuple[list[Document], list[Query]]:
    """Return the passages as documents, and the questions."""
    with gzip.open(folder / "musique_train_corpus.json.gz", "rt", encoding="utf-8") as file:
        rows = json.load(file)
    documents = [Document(f"p{i:04d}", row["title"], row["text"]) for i, row in enumerate(rows)]
    name = {(d.title, d.text): d.id for d in documents}
    with gzip.open(folder / "musique_train.json.gz", "rt", encoding="utf-8") as file:
        asked = json.load(file)
    queries = [
        Query(
            q["question"],
            frozenset(name[p["title"], p["paragraph_text"]] for p in q["paragraphs"] if p["is_supporting"]),
        )
        for q in asked
    ]
    return documents, queries


def citations(folder: Path, half: str) -> tuple[list[Document], list[Query]]:
    """Return the PEPs that do not ask (four of five), and the citing sentences of one half of those that do."""
    every = [d for d in JsonLines(folder / "peps.jsonl.gz").documents() if isinstance(d, Document)]
    corpus = [d for d in every if _bucket(d.id) >= 2]
    bucket = {"dev": 0, "test": 1}[half]
    asking = [d for d in every if _bucket(d.id) == bucket]
    known = {d.id for d in corpus}
    found = {q for d in asking for q in _citing(d, known)}
    ordered = sorted(found, key=lambda q: hashlib.sha256(q.text.encode()).digest())
    return corpus, ordered[:QUERIES]


def _citing(document: Document, known: Iterable[str]) -> Iterable[Query]:
    for start, end in sentences(document.text, 0, len(document.text)):
        sentence = document.text[start:end]
        gold = {f"pep-{int(a or b):04d}" for a, b in _CITATION.findall(sentence)} - {document.id}
        query = " ".join(_CITATION.sub(" ", sentence).split())
        if len(gold) == 1 and gold <= set(known) and 6 <= len(query.split()) <= 60:
            yield Query(query, frozenset(gold))


def _bucket(document_id: str) -> int:
    """Return 0..9, each for about a tenth of the documents."""
    return hashlib.sha256(document_id.encode()).digest()[0] * 10 // 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--half", choices=("dev", "test"), default="test", help="half of the asking PEPs")
    parser.add_argument("--graph-weight", type=float, help="try another weight of PageRank; default: the module's")
    parser.add_argument("--only", choices=("musique", "citations"))
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    report: dict[str, Any] = {}
    for name, load in (("musique", musique), ("citations", lambda f: citations(f, arguments.half))):
        if arguments.only in (None, name):
            documents, queries = load(arguments.data)
            braid = remember(documents)
            weight = arguments.graph_weight
            weight = braid.settings.graph_weight if weight is None else weight
            report[name] = {
                "documents": len(documents),
                "concepts": len(braid.corpus.concepts),
                "queries": len(queries),
                "embedder": braid.recall.index().embedder.name,
                "rankings": evaluate(braid, queries, weight),
            }
    if arguments.json:
        print(json.dumps(report, indent=1))
        return
    for name, part in report.items():
        print(f"{name}: {part['queries']} queries, {part['documents']} documents, {part['concepts']} concepts")
        for ranking, values in part["rankings"].items():
            cells = "  ".join(f"{k} {v[0]:5.1f}" for k, v in values.items() if k != "ms")
            print(f"  {ranking:15s} {cells}  {values['ms']:5.1f} ms")


if __name__ == "__main__":
    main()
