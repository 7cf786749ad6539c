"""The canonical pass: what every thread and crossing should be, from the set of documents and concepts alone."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec

from tori.ids import content_name
from tori.modules.braid.settings import YEAR_NS, BraidSettings
from tori.modules.braid.state import date_of
from tori.modules.corpus import Corpus, DocumentMeta

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class CleanupInput(msgspec.Struct, array_like=True):
    corpus: bytes
    settings: BraidSettings


class ThreadDraft(msgspec.Struct, array_like=True):
    """A thread as it should stand."""

    id: str
    title: str
    document_ids: list[str]
    concept_ids: list[str]
    first: str
    last: str
    is_closed: bool


class CrossingDraft(msgspec.Struct, array_like=True):
    """A crossing as it should stand."""

    id: str
    thread_ids: list[str]
    concept_id: str
    strength: float


class CleanupResult(msgspec.Struct, array_like=True):
    threads: list[ThreadDraft]
    crossings: list[CrossingDraft]


def thread_of(document: DocumentMeta) -> str:
    """Return the id of the thread a document belongs to: the series its source names, else its own."""
    return thread_id(document.thread, document.id)


def thread_id(thread: str, document_id: str) -> str:
    """Return the content-derived id of the thread of a document."""
    return content_name("t", thread or document_id)


def clean(corpus: Corpus, settings: BraidSettings) -> CleanupResult:
    """Return all threads and crossings, sorted by id."""
    members: dict[str, list[DocumentMeta]] = defaultdict(list)
    for document_id in sorted(corpus.documents):
        document = corpus.documents[document_id]
        members[thread_of(document)].append(document)
    ids = sorted(members)
    concept_ids, weights = _weights(corpus, members, ids)
    marking = _marking(weights, concept_ids, settings.thread_concepts)
    newest = max((d.time_ns for d in corpus.documents.values() if d.time_ns is not None), default=0)
    quiet_before = newest - int(settings.quiet_years * YEAR_NS)
    threads = [_draft(i, members[i], marking[row], quiet_before) for row, i in enumerate(ids)]
    return CleanupResult(threads, _crossings(ids, concept_ids, weights, settings))


def _draft(thread: str, documents: list[DocumentMeta], concept_ids: list[str], quiet_before: int) -> ThreadDraft:
    times = [d.time_ns for d in documents if d.time_ns is not None]
    return ThreadDraft(
        thread,
        documents[0].thread or documents[0].title or documents[0].id,
        [d.id for d in documents],
        concept_ids,
        date_of(min(times, default=None)),
        date_of(max(times, default=None)),
        bool(times) and max(times) < quiet_before,
    )


def _weights(corpus: Corpus, members: dict[str, list[DocumentMeta]], ids: list[str]) -> tuple[list[str], csr_array]:
    """Return (concept ids, uses): a float64 csr matrix of threads (rows as ``ids``) x concepts, indices sorted."""
    import numpy as np
    from scipy.sparse import csr_array

    document_ids, concept_ids, matrix = corpus.matrix()
    row_of = {d.id: row for row, i in enumerate(ids) for d in members[i]}
    rows = np.asarray([row_of[d] for d in document_ids], dtype=np.int64)
    shape = (len(ids), len(document_ids))
    belongs = csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=shape)
    weights = csr_array(belongs @ matrix.astype(np.float64))
    weights.sort_indices()
    weights.eliminate_zeros()
    return concept_ids, weights


def _marking(weights: csr_array, concept_ids: list[str], limit: int) -> list[list[str]]:
    """Return for each thread the concepts that mark it, by uses x ln(1 + threads / threads holding it), sorted by id."""
    import numpy as np

    holders = np.bincount(weights.indices, minlength=weights.shape[1])
    idf = np.log1p(weights.shape[0] / np.maximum(holders, 1))
    marking = []
    for start, end in zip(weights.indptr[:-1], weights.indptr[1:], strict=True):
        columns = weights.indices[start:end]
        scores = np.round(weights.data[start:end] * idf[columns], 9)
        best = columns[np.lexsort((columns, -scores))[:limit]]
        marking.append(sorted(concept_ids[c] for c in best))
    return marking


def _crossings(
    ids: list[str], concept_ids: list[str], weights: csr_array, settings: BraidSettings
) -> list[CrossingDraft]:
    """Return the kept crossings.

    A crossing is a concept that 2..``most_crossing`` threads hold. Its strength is the mean over those threads of

        (-ln(1 - exp(-r k / m)) / L) * u / (u + 1)

    r = concepts the thread holds, k = threads that hold the concept, m = all holdings: the information in the thread
    holding it, were holdings independent given both degrees (configuration model; the tail of a Poisson of mean r k / m);
    L = the same for r = 1, k = 2, the largest possible; u = uses, so one passing mention counts half. In 0..1: near 1
    when threads of few concepts dwell on something almost nobody else holds.
    """
    import numpy as np

    columns = weights.tocsc()
    columns.sort_indices()
    breadth = np.diff(weights.indptr)
    holdings = max(int(weights.nnz), 1)
    largest = max(-math.log(-math.expm1(-2.0 / holdings)), 1e-9)
    found: list[CrossingDraft] = []
    for column, concept in enumerate(concept_ids):
        rows = columns.indices[columns.indptr[column] : columns.indptr[column + 1]]
        if not 2 <= len(rows) <= settings.most_crossing:
            continue
        uses = columns.data[columns.indptr[column] : columns.indptr[column + 1]]
        surprise = -np.log(-np.expm1(-breadth[rows] * float(len(rows)) / holdings)) / largest
        strength = float(np.mean(np.maximum(surprise, 0.0) * uses / (uses + 1.0)))
        threads = [ids[r] for r in rows]
        found.append(CrossingDraft(content_name("b", concept, *threads), threads, concept, float(f"{strength:.6g}")))
    return _strongest(found, settings)


def _strongest(crossings: list[CrossingDraft], settings: BraidSettings) -> list[CrossingDraft]:
    """Return the crossings among the strongest of one of their threads, at most ``most_braids``, sorted by id."""
    counts: dict[str, int] = defaultdict(int)
    kept = []
    for crossing in sorted(crossings, key=lambda c: (-c.strength, c.id)):
        if any(counts[t] < settings.braids_per_thread for t in crossing.thread_ids):
            kept.append(crossing)
        for thread in crossing.thread_ids:
            counts[thread] += 1
    return sorted(kept[: settings.most_braids], key=lambda c: c.id)
