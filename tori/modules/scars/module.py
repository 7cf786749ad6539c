"""The scars module: follows documents and concepts, scans for gaps, tells when one heals."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested, Evidence, ScarDetected, ScarHealed
from tori.ids import id_time_ns
from tori.modules.base import Context, Fact, Module
from tori.modules.corpus import Corpus
from tori.modules.quotation import opening, quotation
from tori.modules.scars.scan import Gap, OpenScar, ScanInput, ScanResult, scan
from tori.modules.scars.settings import ScarSettings
from tori.modules.scars.state import ScanConcluded, Standing, State

_FRESH = 500
"""Most new documents looked at as having closed a gap, the latest first."""
_MOVED = 0.5
"""A gap that shares this much of its members (Jaccard) with a healed one is the same gap, moved."""


class Scars(Module):
    """Gaps: loops of related documents with nothing in the middle, wider than two nulls allow at a stated level."""

    name = "scars"
    inputs = Corpus.inputs
    records = ScanConcluded
    tasks = ("scar_scan",)

    def __init__(self, settings: ScarSettings | None = None) -> None:
        self.settings = settings or ScarSettings()
        self.corpus = Corpus()
        self._standing: dict[str, Standing] = {}
        self._scan: ScanConcluded | None = None

    # -- events ------------------------------------------------------------------------------------------------

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Return nothing: gaps are found by the scan alone."""
        return ()

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, ScanConcluded):
            self._scan = fact
            for gap in fact.gaps:
                standing = self._standing.get(gap.id)
                if standing is not None:
                    self._standing[gap.id] = msgspec.structs.replace(
                        standing, birth=gap.birth, death=gap.death, p_value=gap.p_value, severity=gap.severity
                    )
        elif isinstance(fact, Event) and not self.corpus.apply(fact):
            self._apply_event(fact)

    def _apply_event(self, event: Event) -> None:
        payload = event.payload
        if isinstance(payload, ScarDetected):
            known = self._standing.get(payload.scar_id)
            gap = self._gap(payload.scar_id)
            self._standing[payload.scar_id] = Standing(
                payload.scar_id,
                payload.concepts,
                payload.birth,
                payload.death,
                payload.p_value,
                payload.severity,
                payload.details,
                payload.evidence,
                event.id,
                known.since_ns if known is not None else event.time_ns,
                gap.chord if gap is not None else ("", ""),
            )
        elif isinstance(payload, ScarHealed):
            self._standing.pop(payload.scar_id, None)

    def _gap(self, scar_id: str) -> Gap | None:
        """Return the gap as the last scan saw it; the record of a scan is applied before its events."""
        gaps = self._scan.gaps if self._scan is not None else []
        return next((g for g in gaps if g.id == scar_id), None)

    def standing(self) -> Iterator[bytes]:
        yield from self.corpus.event_ids()
        yield from (s.event_id for s in self._standing.values())

    def snapshot(self) -> bytes:
        standing = [self._standing[k] for k in sorted(self._standing)]
        return msgspec.msgpack.encode(State(self.corpus.snapshot(), standing, self._scan))

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=State)
        self.corpus.restore(state.corpus)
        self._standing = {s.id: s for s in state.standing}
        self._scan = state.scan

    def validate(self) -> None:
        for standing in self._standing.values():
            assert 4 <= len(standing.cycle) <= self.settings.longest, standing.cycle
            assert len(set(standing.cycle)) == len(standing.cycle), standing.cycle
            assert standing.birth < standing.death, (standing.birth, standing.death)
            assert standing.chord[0] in standing.cycle, standing.chord
        assert {g.id for g in (self._scan.gaps if self._scan else [])} == set(self._standing)

    # -- the scan ----------------------------------------------------------------------------------------------

    def prepare(self, task: str) -> bytes:
        if task not in self.tasks:
            return super().prepare(task)
        return msgspec.msgpack.encode(ScanInput(self.corpus.snapshot(), self._open(), self.settings))

    def _open(self) -> list[OpenScar]:
        """Return the gaps that stand, each with the documents that came after it was found."""
        arrived = sorted((-id_time_ns(d.event_id), d.id) for d in self.corpus.documents.values())
        return [
            OpenScar(s.id, s.chord, tuple(d for time, d in arrived[:_FRESH] if -time > s.since_ns))
            for s in (self._standing[k] for k in sorted(self._standing))
        ]

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        if task not in cls.tasks:
            return super().run(task, data)
        return msgspec.msgpack.encode(scan(msgspec.msgpack.decode(data, type=ScanInput)))

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        if task not in self.tasks:
            return super().conclude(task, result, context)
        found = msgspec.msgpack.decode(result, type=ScanResult)
        gaps = [g for g in found.gaps if all(d in self.corpus.documents for d in g.cycle)]
        record = ScanConcluded(found.tested, found.points, found.chance, found.reason, gaps)
        facts: list[Fact] = [record] if record != self._scan else []
        facts += [self._detected(g, context) for g in gaps if self._is_news(g)]
        holding = {g.id for g in gaps}
        for scar_id in sorted(set(self._standing) - holding):
            standing = self._standing[scar_id]
            facts.append(self._healed(standing, gaps, found.closers.get(scar_id, []), context))
        return facts

    def _is_news(self, gap: Gap) -> bool:
        """Return whether a gap needs an event: not known yet, or its evidence quotes an older text."""
        standing = self._standing.get(gap.id)
        if standing is None:
            return True
        return any(e.event_id != self.corpus.documents[e.document_id].event_id for e in standing.evidence)

    def _detected(self, gap: Gap, context: Context) -> Event:
        evidence = tuple(
            self._quote(document_id, shared, context) for document_id, shared in zip(gap.cycle, gap.shared, strict=True)
        )
        payload = ScarDetected(
            gap.id,
            gap.cycle,
            gap.birth,
            gap.death,
            gap.persistence,
            gap.p_value,
            gap.severity,
            self._missing(gap),
            evidence,
        )
        return context.event(payload, key=gap.id, causes=tuple(e.event_id for e in evidence))

    def _quote(self, document_id: str, terms: Sequence[str], context: Context) -> Evidence:
        meta = self.corpus.documents[document_id]
        payload = context.read(meta.event_id).payload
        text = payload.text if isinstance(payload, DocumentIngested) else ""
        found = quotation(text, terms) or opening(text)
        return Evidence(document_id, meta.event_id, found.quote, found.start)

    def _missing(self, gap: Gap) -> str:
        """Return what would close the gap, as a sentence."""
        ends = [
            f'"{self.corpus.documents[d].title}"' + (f" ({', '.join(side)})" if side else "")
            for d, side in zip(gap.chord, gap.sides, strict=True)
        ]
        return f"missing: something that relates {ends[0]} to {ends[1]}; the loop of {len(gap.cycle)} goes around it"

    def _healed(self, standing: Standing, gaps: Sequence[Gap], closers: Sequence[str], context: Context) -> Event:
        members = set(standing.cycle)
        moved = [g.id for g in gaps if len(members & set(g.cycle)) >= _MOVED * len(members | set(g.cycle))]
        known = [self.corpus.documents[d] for d in closers if d in self.corpus.documents]
        evidence: tuple[Evidence, ...] = ()
        if known:
            details = "closed by " + ", ".join(f'"{d.title}"' for d in known)
            evidence = tuple(self._quote(d.id, (), context) for d in known)
        elif moved:
            details = f"moved: now {moved[0]}"
        else:
            details = "no longer wider than chance"
        payload = ScarHealed(
            standing.id,
            standing.cycle,
            standing.birth,
            standing.death,
            standing.death - standing.birth,
            standing.p_value,
            standing.severity,
            details,
            evidence,
        )
        return context.event(payload, key=standing.id, causes=(standing.event_id, *(d.event_id for d in known)))

    # -- answers -----------------------------------------------------------------------------------------------

    def section(self) -> dict[str, Any]:
        gaps = sorted(self._scan.gaps, key=lambda g: g.id) if self._scan is not None else []
        return {
            "gaps": [
                {
                    "id": g.id,
                    "documents": list(g.cycle),
                    "birth": _rounded(g.birth),
                    "death": _rounded(g.death),
                    "p_value": _rounded(g.p_value),
                }
                for g in gaps
            ]
        }

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "gaps":
            _only(arguments, "limit")
            limit = arguments.get("limit", 10)
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
                raise BadInput(f"limit must be a whole number >= 0, not {limit!r}.")
            return self._gaps(limit)
        if name == "find":
            _only(arguments, "id")
            found = self._standing.get(str(arguments.get("id", "")))
            return {"event_id": found.event_id.hex()} if found is not None else {}
        if name == "summary":
            _only(arguments)
            return {
                "documents": len(self.corpus.documents),
                "gaps": len(self._standing),
                "tested": self._scan.tested if self._scan else 0,
                "points": self._scan.points if self._scan else 0,
                "chance": _rounded(self._scan.chance) if self._scan else 0.0,
            }
        raise BadInput(f"module {self.name} cannot answer {name!r}.", remedy="It answers: find, gaps, summary.")

    def _gaps(self, limit: int) -> dict[str, Any]:
        record = self._scan
        standing = sorted(self._standing.values(), key=lambda s: (s.birth - s.death, s.id))
        why_none = (
            (record.reason or f"no loop among {record.tested} outlasts chance") if record else "no scan has run yet"
        )
        return {
            "tested": record.tested if record else 0,
            "points": record.points if record else 0,
            "level": self.settings.level,
            "chance": _rounded(record.chance) if record else 0.0,
            "total": len(standing),
            "items": [self._item(s) for s in standing[:limit]],
            "reason": "" if standing else why_none,
        }

    def _item(self, standing: Standing) -> dict[str, Any]:
        return {
            "scar_id": standing.id,
            "concepts": list(standing.cycle),
            "titles": [self._title(d) for d in standing.cycle],
            "chord": list(standing.chord),
            "birth": _rounded(standing.birth),
            "death": _rounded(standing.death),
            "persistence": _rounded(standing.death - standing.birth),
            "p_value": _rounded(standing.p_value),
            "severity": _rounded(standing.severity),
            "details": standing.details,
            "evidence": [
                {
                    "document_id": e.document_id,
                    "title": self._title(e.document_id),
                    "quote": e.quote,
                    "start": e.start,
                    "event_id": e.event_id.hex(),
                }
                for e in standing.evidence
            ],
            "event_id": standing.event_id.hex(),
        }

    def _title(self, document_id: str) -> str:
        meta = self.corpus.documents.get(document_id)
        return meta.title if meta is not None else document_id


def _rounded(value: float) -> float:
    """Return ``value`` with 6 significant digits."""
    return float(f"{value:.6g}")


def _only(arguments: Mapping[str, Any], *known: str) -> None:
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise BadInput(f"unknown argument {unknown[0]!r}.", remedy=f"Known: {', '.join(known) or 'none'}.")
