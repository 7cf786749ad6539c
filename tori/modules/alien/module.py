"""The alien module: what departed from its own past, since when, and whether it still does.

It follows documents, concepts and map nodes, and speaks only at the end of an audit: a finding needs all cells of all
subjects (one false discovery rate), so no single event can justify one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.events.mind import (
    AlienDetected,
    AlienResolved,
    ConceptAdded,
    ConceptModified,
    ConceptRemoved,
    DocumentIngested,
    Evidence,
)
from tori.modules.alien.record import Audited, AuditInput, AuditResult, Finding, Standing, Subject
from tori.modules.base import Context, Fact, Module
from tori.modules.corpus import Corpus
from tori.modules.mapping import MapNode, TopicMap
from tori.modules.quotation import opening, quotation

TASK = "alien_audit"
LABEL_SEPARATOR = " / "
"""Between the terms of a map node's label."""
NOT_YET = "no audit has run yet"


class _State(msgspec.Struct, array_like=True):
    corpus: bytes
    nodes: list[MapNode]
    audited: Audited
    events: list[tuple[str, bytes]]
    evidence: list[tuple[str, tuple[Evidence, ...]]] = []


def _blank() -> Audited:
    return Audited(0, 0, 0, "", 0, 0, NOT_YET, [])


class Alien(Module):
    """Detects significant rises of concepts and communities over time.

    Bounds: the corpus projection (without texts and vectors), the map nodes, and the findings of one audit.
    """

    name = "alien"
    state_version = 2
    inputs: ClassVar[tuple[type, ...]] = (DocumentIngested, ConceptAdded, ConceptModified, ConceptRemoved)
    records = Audited
    tasks = (TASK,)

    def __init__(self) -> None:
        self._corpus = Corpus()
        self._map = TopicMap()
        self._audited = _blank()
        self._standing: dict[str, Standing] = {}
        self._events: dict[str, bytes] = {}
        self._quotations: dict[str, tuple[Evidence, ...]] = {}
        """By finding, what its last event quoted."""

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Return nothing: findings come from audits only."""
        return ()

    def apply(self, fact: Fact) -> None:
        assert isinstance(fact, Event | Audited), fact
        if isinstance(fact, Audited):
            self._audited = fact
            self._standing = {s.finding.alien_id: s for s in fact.standing}
            self._events = {k: v for k, v in self._events.items() if k in self._standing}
            self._quotations = {k: v for k, v in self._quotations.items() if k in self._standing}
        elif isinstance(fact.payload, AlienDetected | AlienResolved):
            if fact.payload.alien_id in self._standing:
                self._events[fact.payload.alien_id] = fact.id
                self._quotations[fact.payload.alien_id] = fact.payload.evidence
        elif not self._map.apply(fact):
            self._corpus.apply(fact)

    def snapshot(self) -> bytes:
        state = _State(
            self._corpus.snapshot(),
            self._map.snapshot(),
            self._audited,
            sorted(self._events.items()),
            sorted(self._quotations.items()),
        )
        return msgspec.msgpack.encode(state)

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self._corpus.restore(state.corpus)
        self._map.restore(state.nodes)
        self._audited = state.audited
        self._standing = {s.finding.alien_id: s for s in state.audited.standing}
        self._events = dict(state.events)
        self._quotations = dict(state.evidence)

    def section(self) -> dict[str, Any]:
        return {"aliens": [_item(s.finding) for s in self._audited.standing]}

    def validate(self) -> None:
        """Every finding was announced, names a subject once, and quotes no more than it may."""
        findings = [s.finding for s in self._audited.standing]
        assert set(self._events) == set(self._standing), (set(self._events) ^ set(self._standing), "unannounced")
        assert findings == sorted(findings, key=lambda f: (f.p, f.alien_id)), "findings are out of order"
        assert all(0 <= f.p <= 1 for f in findings), "a p-value lies outside [0, 1]"
        assert len(self._standing) == len(findings), "two findings share an id"
        assert self._audited.alarms >= len(findings), "more findings than rejected cells"

    def prepare(self, task: str) -> bytes:
        _known(task)
        documents = [(d.id, d.time_ns) for _, d in sorted(self._corpus.documents.items()) if d.time_ns is not None]
        concepts = [Subject(c.id, c.label, 0, c.sources) for _, c in sorted(self._corpus.concepts.items())]
        nodes = [Subject(n.id, n.label, n.scale, n.sources) for n in self._map.snapshot()]
        undated = len(self._corpus.documents) - len(documents)
        return msgspec.msgpack.encode(AuditInput(documents, undated, concepts + nodes))

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        from tori.modules.alien.audit import audit

        _known(task)
        return msgspec.msgpack.encode(audit(msgspec.msgpack.decode(data, type=AuditInput)))

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        _known(task)
        outcome = msgspec.msgpack.decode(result, type=AuditResult)
        standing = [Standing(f, self._quoted(f)) for f in outcome.findings]
        audited = Audited(
            outcome.tested,
            outcome.dated,
            outcome.undated,
            outcome.grain,
            outcome.periods,
            outcome.alarms,
            outcome.reason,
            standing,
        )
        if audited == self._audited:
            return ()
        facts: list[Fact] = [audited]
        for now in standing:
            facts += self._announce(now, context)
        kept = {s.finding.alien_id for s in standing}
        for alien_id in sorted(set(self._standing) - kept):
            facts.append(self._withdraw(self._standing[alien_id].finding, context))
        return facts

    def _quoted(self, finding: Finding) -> tuple[bytes, ...]:
        return tuple(self._corpus.documents[d].event_id for d in finding.documents)

    def _announce(self, now: Standing, context: Context) -> list[Event]:
        """Return the events that bring listeners from what was said of this departure to ``now``."""
        before = self._standing.get(now.finding.alien_id)
        reopened = before is not None and before.finding.ended and not now.finding.ended
        events = []
        if before is None or reopened or not _same(before, now):
            evidence = self._evidence(now.finding, context)
            causes = tuple(dict.fromkeys(e.event_id for e in evidence)) or now.quoted
            payload = AlienDetected(*_fields(now.finding, now.finding.context), evidence)
            events.append(context.event(payload, key=now.finding.concept_id, causes=causes))
        if now.finding.ended and (events or before is None or before.finding.ended != now.finding.ended):
            said = events[0].id if events else self._events[now.finding.alien_id]
            text = f"back in the background since {now.finding.ended}; {now.finding.context}"
            payload_r = AlienResolved(*_fields(now.finding, text), self._evidence(now.finding, context))
            events.append(context.event(payload_r, key=now.finding.concept_id, causes=(said, *now.quoted)))
        return events

    def _withdraw(self, finding: Finding, context: Context) -> Event:
        text = f"no longer stands among all {self._audited.dated} dated documents; was: {finding.context}"
        payload = AlienResolved(*_fields(finding, text))
        return context.event(payload, key=finding.concept_id, causes=(self._events[finding.alien_id],))

    def _evidence(self, finding: Finding, context: Context) -> tuple[Evidence, ...]:
        terms = [part for label in finding.terms for part in label.split(LABEL_SEPARATOR)]
        evidence = []
        for document_id in finding.documents:
            event_id = self._corpus.documents[document_id].event_id
            payload = context.read(event_id).payload
            assert isinstance(payload, DocumentIngested)
            found = quotation(payload.text, terms) or opening(payload.text)
            if found.quote:
                evidence.append(Evidence(document_id, event_id, found.quote, found.start))
        return tuple(evidence)

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "aliens":
            return self._aliens(arguments)
        if name == "summary":
            _only(arguments)
            ended = sum(bool(s.finding.ended) for s in self._audited.standing)
            return {
                "aliens": len(self._standing),
                "standing": len(self._standing) - ended,
                "ended": ended,
                "tested": self._audited.tested,
                "alarms": self._audited.alarms,
                "dated": self._audited.dated,
                "reason": self._audited.reason,
            }
        if name == "find":
            _only(arguments, "id")
            event_id = self._events.get(str(arguments.get("id", "")))
            return {"event_id": event_id.hex()} if event_id else {}
        raise BadInput(f"module alien cannot answer {name!r}.", remedy="It answers: aliens, find, summary.")

    def _aliens(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        from tori.modules.alien.audit import FDR

        _only(arguments, "limit")
        limit = arguments.get("limit", 20)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise BadInput(f"limit is {limit!r}.", remedy="Give a whole number of at least 0.", field="limit")
        items = []
        for standing in self._audited.standing[:limit]:
            event_id = self._events[standing.finding.alien_id]
            finding = standing.finding
            items.append(
                _item(finding)
                | {
                    "alien_id": finding.alien_id,
                    "significance": finding.p,
                    "model": finding.model,
                    "evidence": [self._row(e) for e in self._quotations[finding.alien_id]],
                    "event_id": event_id.hex(),
                }
            )
        return {
            "tested": self._audited.tested,
            "fdr": FDR,
            "found": len(self._standing),
            "grain": self._audited.grain,
            "periods": self._audited.periods,
            "dated": self._audited.dated,
            "undated": self._audited.undated,
            "items": items,
            "reason": self._audited.reason or ("" if items else f"no departure among {self._audited.tested} tested"),
        }

    def _row(self, evidence: Evidence) -> dict[str, Any]:
        document = self._corpus.documents.get(evidence.document_id)
        return {
            "document_id": evidence.document_id,
            "title": evidence.document_id if document is None else document.title,
            "quote": evidence.quote,
            "start": evidence.start,
            "event_id": evidence.event_id.hex(),
        }


def _known(task: str) -> None:
    if task != TASK:
        raise BadInput(f"module alien has no task {task!r}.", remedy=f"It has: {TASK}.", field="task")


def _only(arguments: Mapping[str, Any], *known: str) -> None:
    for name in arguments:
        if name not in known:
            remedy = f"It takes: {', '.join(known) or 'no arguments'}."
            raise BadInput(f"unknown argument {name!r}.", remedy=remedy, field=name)


def _fields(finding: Finding, context: str) -> tuple[str, str, str, float, float, str, str, str]:
    return (
        finding.alien_id,
        finding.concept_id,
        finding.label,
        finding.p,
        finding.statistic,
        finding.onset,
        context,
        finding.model,
    )


def _same(before: Standing, now: Standing) -> bool:
    """Return whether both say the same of a departure, apart from how long it lasted."""
    old, new = before.finding, now.finding
    return before.quoted == now.quoted and _fields(old, old.context) == _fields(new, new.context)


def _item(finding: Finding) -> dict[str, Any]:
    """Return a finding as plain JSON, content only."""
    return {
        "id": finding.alien_id,
        "concept_id": finding.concept_id,
        "label": finding.label,
        "scale": finding.scale,
        "p": finding.p,
        "statistic": finding.statistic,
        "onset": finding.onset,
        "last": finding.last,
        "ended": finding.ended,
        "context": finding.context,
        "terms": list(finding.terms),
        "documents": list(finding.documents),
    }
