"""From a selection to events: only what differs from the concepts known so far, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import msgspec

from tori.events.envelope import Event
from tori.events.mind import ConceptAdded, ConceptLinked, ConceptModified, ConceptRemoved, Evidence
from tori.ids import content_name
from tori.modules.base import Context
from tori.modules.reader.evidence import LONGEST_REACH, pattern_of, quotation
from tori.modules.reader.record import DocumentRead, KnownConcept, KnownLink
from tori.modules.reader.selection import Found, Selection
from tori.modules.reader.variant import spelling_key

MOST_QUOTES = 3
_TRIED = MOST_QUOTES + 2
"""Documents searched for quotations: a phrase may stand in a title only, or in the same sentence as elsewhere."""

Documents = Mapping[str, DocumentRead]
Links = Mapping[str, Mapping[str, KnownLink]]


def concept_id_of(label: str) -> str:
    """Return the id of the concept named ``label`` in any spelling."""
    return content_name("c", spelling_key(label))


class _Wanted(msgspec.Struct, gc=False):
    """One concept of the selection in terms of document ids."""

    id: str
    found: Found
    sources: tuple[str, ...]
    weights: tuple[float, ...]
    changed: tuple[str, ...] | None
    """None for a new concept."""


def concept_events(
    selection: Selection,
    known: Mapping[str, KnownConcept],
    documents: Documents,
    text_of: Callable[[bytes], str],
    context: Context,
) -> Iterator[Event]:
    """Yield ConceptAdded, ConceptModified and ConceptRemoved, sorted by id, that lead from ``known`` to ``selection``.

    ``documents`` are those of now; a source that left since the selection was prepared is left out.
    """
    wanted: dict[str, _Wanted] = {}
    for found in selection.concepts:
        want = _want(found, selection.documents, known, documents)
        if want is not None:
            wanted[want.id] = want
    differing = [wanted[i] for i in sorted(wanted) if wanted[i].changed != ()]
    evidence = _evidence(differing, documents, text_of)
    for want in differing:
        quotes = evidence[want.id]
        causes = tuple(q.event_id for q in quotes)
        state = (want.id, want.found.label, None, 0, want.sources, want.weights)
        payload = (
            ConceptAdded(*state, evidence=quotes)
            if want.changed is None
            else ConceptModified(*state, changed=want.changed, evidence=quotes)
        )
        yield context.event(payload, key=want.id, causes=causes)
    for concept_id in sorted(known.keys() - wanted.keys()):
        old = known[concept_id]
        gone = ConceptRemoved(concept_id, old.label, reason="no longer named by two documents")
        yield context.event(gone, key=concept_id, causes=(old.event_id,))


def _want(found: Found, rows: Sequence[str], known: Mapping[str, KnownConcept], documents: Documents) -> _Wanted | None:
    uses = [(rows[row], float(n)) for row, n in zip(found.documents, found.uses, strict=True) if rows[row] in documents]
    if not uses:
        return None
    sources, weights = tuple(d for d, _ in uses), tuple(w for _, w in uses)
    concept_id = concept_id_of(found.label)
    old = known.get(concept_id)
    if old is None:
        return _Wanted(concept_id, found, sources, weights, None)
    current = {documents[d].event_id for d in sources}
    changed = {
        "label": old.label != found.label,
        "sources": old.sources != sources,
        "weights": old.weights != weights,
        "evidence": not current.issuperset(old.causes),
    }
    return _Wanted(concept_id, found, sources, weights, tuple(name for name, differs in changed.items() if differs))


def _evidence(
    wanted: Sequence[_Wanted], documents: Documents, text_of: Callable[[bytes], str]
) -> dict[str, tuple[Evidence, ...]]:
    """Return up to three quotations a concept, from the documents that use it most; one text in memory at a time."""
    asked: dict[str, list[_Wanted]] = {}
    rank: dict[str, list[str]] = {}
    for want in wanted:
        by_use = sorted(zip(want.sources, want.weights, strict=True), key=lambda item: (-item[1], item[0]))
        rank[want.id] = [d for d, _ in by_use[:_TRIED]]
        for document_id in rank[want.id]:
            asked.setdefault(document_id, []).append(want)
    patterns = {want.id: pattern_of(want.found.forms) for want in wanted}
    quotes: dict[str, dict[str, Evidence]] = {want.id: {} for want in wanted}
    for document_id in sorted(asked):
        event_id = documents[document_id].event_id
        text = text_of(event_id)
        for want in asked[document_id]:
            hit = quotation(text, patterns[want.id])
            if hit is not None:
                quotes[want.id][document_id] = Evidence(document_id, event_id, hit.quote, hit.start)
    evidence = {}
    for want in wanted:
        hits = quotes[want.id]
        found = {" ".join(hits[d].quote.split()): hits[d] for d in reversed(rank[want.id]) if d in hits}
        kept = tuple(reversed(found.values()))[:MOST_QUOTES]
        evidence[want.id] = kept or _loose_evidence(want, documents[rank[want.id][0]], text_of)
    return evidence


def _loose_evidence(want: _Wanted, document: DocumentRead, text_of: Callable[[bytes], str]) -> tuple[Evidence, ...]:
    """Return one quotation for a phrase that stands nowhere in one piece: a word of it, or the document's beginning."""
    text = text_of(document.event_id)
    words = sorted(want.found.label.split(" "), key=lambda word: (-len(word), word))
    for word in words:
        hit = quotation(text, pattern_of([word]))
        if hit is not None:
            return (Evidence(document.document_id, document.event_id, hit.quote, hit.start),)
    opening = text.strip()[:LONGEST_REACH]
    return (Evidence(document.document_id, document.event_id, opening, text.find(opening)),)


def link_events(selection: Selection, known: Links, latest: Mapping[str, bytes], context: Context) -> Iterator[Event]:
    """Yield ConceptLinked, sorted by ids, that lead from ``known`` links to those of ``selection``.

    ``latest`` gives the latest event of every concept there will be. Weight 0 takes a link back; links of a removed
    concept go with it.
    """
    ids = [concept_id_of(c.label) for c in selection.concepts]
    wanted: dict[tuple[str, str], tuple[float, str]] = {}
    for link in selection.links:
        a, b = sorted((ids[link.a], ids[link.b]))
        if a in latest and b in latest:
            wanted[a, b] = (link.weight, link.kind)
    have = {
        (a, b): (link.weight, link.kind)
        for a, partners in known.items()
        for b, link in partners.items()
        if a < b and a in latest and b in latest
    }
    for a, b in sorted(wanted.keys() | have.keys()):
        new = wanted.get((a, b), (0.0, have.get((a, b), (0.0, ""))[1]))
        if new != have.get((a, b)):
            yield context.event(ConceptLinked(a, b, *new), key=a, causes=(latest[a], latest[b]))
