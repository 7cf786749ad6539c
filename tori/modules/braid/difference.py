"""From what a pass found to facts: only what differs from what stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tori.events.envelope import Event
from tori.events.mind import BraidDissolved, BraidFormed, ThreadAppended, ThreadClosed
from tori.modules.base import Context, Fact
from tori.modules.braid.cleanup import CleanupResult, CrossingDraft, ThreadDraft, thread_of
from tori.modules.braid.state import Crossing, StrengthsSettled, Thread
from tori.modules.corpus import Corpus

_MOST_CAUSES = 16


def thread_facts(
    drafts: Sequence[ThreadDraft], standing: Mapping[str, Thread], corpus: Corpus, context: Context
) -> Iterator[Event]:
    """Yield a ThreadClosed or ThreadAppended for each thread whose standing description differs from its draft.

    Drafts of threads that changed since the pass began are left to the next pass.
    """
    for draft in drafts:
        thread = standing.get(draft.id)
        documents = [corpus.documents[d] for d in draft.document_ids if d in corpus.documents]
        moved = any(thread_of(d) != draft.id for d in documents)
        if thread is None or moved or not len(documents) == len(draft.document_ids) == thread.position:
            continue
        found = (draft.title, tuple(draft.concept_ids), draft.first, draft.last, draft.is_closed)
        if found == (thread.title, thread.concept_ids, thread.first, thread.last, thread.is_closed):
            continue
        metadata = {"first": draft.first, "last": draft.last, "reason": "quiet" if draft.is_closed else "settled"}
        kind = ThreadClosed if draft.is_closed else ThreadAppended
        payload = kind(draft.id, tuple(draft.concept_ids), draft.title, thread.position, metadata)
        causes = [d.event_id for d in documents[:_MOST_CAUSES]]
        yield context.event(payload, key=draft.id, causes=causes)


def braid_facts(
    found: CleanupResult, standing: Mapping[str, Crossing], corpus: Corpus, context: Context
) -> Iterator[Fact]:
    """Yield BraidDissolved for crossings that no longer hold, BraidFormed for new ones, a record for new strengths."""
    drafts = {c.id: c for c in found.crossings}
    documents = {t.id: t.document_ids for t in found.threads}
    for crossing in sorted(standing.values(), key=lambda c: c.id):
        if crossing.id not in drafts:
            payload = BraidDissolved(crossing.id, crossing.thread_ids, crossing.concept_id, crossing.strength)
            yield context.event(payload, key=crossing.id, causes=(crossing.event_id,))
    moved = []
    for draft in found.crossings:
        crossing_now = standing.get(draft.id)
        if crossing_now is not None and crossing_now.strength != draft.strength:
            moved.append((draft.id, draft.strength))
        causes = _causes(draft, documents, corpus) if crossing_now is None else []
        if causes:
            formed = BraidFormed(draft.id, tuple(draft.thread_ids), draft.concept_id, draft.strength)
            yield context.event(formed, key=draft.id, causes=causes)
    if moved:
        yield StrengthsSettled(moved)


def _causes(draft: CrossingDraft, documents: Mapping[str, list[str]], corpus: Corpus) -> list[bytes]:
    """Return the concept's event and the documents that hold it, one a thread first; none when the concept is gone."""
    concept = corpus.concepts.get(draft.concept_id)
    if concept is None:
        return []
    sources = set(concept.sources)
    holders = [[d for d in documents[t] if d in sources and d in corpus.documents] for t in draft.thread_ids]
    chosen = [h[0] for h in holders if h] + [d for h in holders for d in h[1:]]
    return [concept.event_id, *(corpus.documents[d].event_id for d in chosen[:_MOST_CAUSES])]
