"""The wormhole module: follows documents, concepts and the map; scans for bridges; takes people's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.events.mind import (
    AlienDetected,
    SuggestionAccepted,
    SuggestionRejected,
    WormholeCreated,
    WormholeRemoved,
    WormholeSuggested,
)
from tori.ids import id_time_ns
from tori.modules.base import Context, Fact, Module
from tori.modules.corpus import Corpus
from tori.modules.mapping import TopicMap
from tori.modules.wormhole.answer import bridges_answer, section_item
from tori.modules.wormhole.evidence import bridge_evidence
from tori.modules.wormhole.scan import Pair, ScanInput, ScanResult, scan
from tori.modules.wormhole.settings import DAY_NS, WormholeSettings
from tori.modules.wormhole.state import ASKED, FORGOTTEN, VERDICTS, ScanConcluded, Standing, State

_PREFIX = "wormhole-"
REJECTED = "rejected"
GONE = "no longer holds"
UNUSED = "unused for {days:g} days"


class Wormhole(Module):
    """Bridges between documents: similar, far, significant against degree-preserving chance at a stated FDR."""

    name = "wormhole"
    inputs = (*Corpus.inputs, AlienDetected, SuggestionAccepted, SuggestionRejected)
    records = ScanConcluded
    tasks = ("wormhole_scan",)

    def __init__(self, settings: WormholeSettings | None = None) -> None:
        self.settings = settings or WormholeSettings()
        self.corpus = Corpus()
        self.map = TopicMap()
        self._standing: dict[str, Standing] = {}
        self._verdicts: dict[str, bool] = {}
        self._forgotten: dict[str, None] = {}
        self._asked: list[tuple[str, bytes]] = []
        self._scan: ScanConcluded | None = None

    @property
    def threshold(self) -> float:
        """Least strength of a bridge: the setting, moved by the net count of rejections, never beyond its limit."""
        net = sum(-1 if accepted else 1 for accepted in self._verdicts.values())
        limit = self.settings.feedback_limit
        return self.settings.threshold + max(-limit, min(limit, net * self.settings.feedback_step))

    # -- events ------------------------------------------------------------------------------------------------

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Remove what a person rejected elsewhere; everything else waits for the scan."""
        facts: list[Fact] = []
        removed: set[str] = set()
        for event in batch:
            payload = event.payload
            if isinstance(payload, SuggestionRejected) and payload.suggestion_id not in removed:
                standing = self._standing.get(payload.suggestion_id)
                if standing is not None:
                    removed.add(standing.id)
                    facts.append(_removed(standing, REJECTED, context, (event.id,)))
        return facts

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, ScanConcluded):
            self._apply_scan(fact)
        elif isinstance(fact, Event) and not self.corpus.apply(fact) and not self.map.apply(fact):
            self._apply_event(fact)

    def _apply_event(self, event: Event) -> None:
        payload = event.payload
        if isinstance(payload, WormholeCreated | WormholeSuggested):
            self._standing[payload.wormhole_id] = Standing(
                payload.wormhole_id,
                payload.concept_a,
                payload.concept_b,
                isinstance(payload, WormholeCreated),
                payload.strength,
                payload.p_value,
                payload.distance,
                payload.evidence,
                payload.reason,
                event.id,
            )
        elif isinstance(payload, WormholeRemoved):
            self._standing.pop(payload.wormhole_id, None)
        elif isinstance(payload, SuggestionAccepted | SuggestionRejected):
            if payload.suggestion_id.startswith(_PREFIX):
                self._verdicts.pop(payload.suggestion_id, None)
                self._verdicts[payload.suggestion_id] = isinstance(payload, SuggestionAccepted)
                _trim(self._verdicts, VERDICTS)
        elif isinstance(payload, AlienDetected):
            alarm = (payload.concept_id, event.id)
            self._asked = [*(a for a in self._asked if a != alarm), alarm][-ASKED:]

    def _apply_scan(self, record: ScanConcluded) -> None:
        self._scan = msgspec.structs.replace(record, forgotten=[])
        self._asked = []
        for suggestion_id in record.forgotten:
            self._forgotten[suggestion_id] = None
        _trim(self._forgotten, FORGOTTEN)
        for pair in record.bridges:
            standing = self._standing.get(pair.id)
            if standing is not None:
                self._standing[pair.id] = msgspec.structs.replace(
                    standing, strength=pair.strength, p_value=pair.p_value, distance=pair.distance
                )

    def standing(self) -> Iterator[bytes]:
        yield from self.corpus.event_ids()
        yield from self.map.event_ids()
        yield from (s.event_id for s in self._standing.values())
        yield from (alarm for _, alarm in self._asked)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            State(
                self.corpus.snapshot(),
                self.map.snapshot(),
                [self._standing[k] for k in sorted(self._standing)],
                list(self._verdicts.items()),
                list(self._forgotten),
                self._asked,
                self._scan,
            )
        )

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=State)
        self.corpus.restore(state.corpus)
        self.map.restore(state.nodes)
        self._standing = {s.id: s for s in state.standing}
        self._verdicts = dict(state.verdicts)
        self._forgotten = dict.fromkeys(state.forgotten)
        self._asked = list(state.asked)
        self._scan = state.scan

    def validate(self) -> None:
        for standing in self._standing.values():
            assert standing.a < standing.b, f"ends of {standing.id} out of order: {standing.a}, {standing.b}"
            assert {e.document_id for e in standing.evidence} == {standing.a, standing.b}, standing.id
            assert self._verdicts.get(standing.id, True), f"{standing.id} was rejected and still stands"
        assert len(self._verdicts) <= VERDICTS, len(self._verdicts)
        assert len(self._forgotten) <= FORGOTTEN, len(self._forgotten)
        assert len(self._asked) <= ASKED, len(self._asked)

    # -- the scan ----------------------------------------------------------------------------------------------

    def prepare(self, task: str) -> bytes:
        if task not in self.tasks:
            return super().prepare(task)
        return msgspec.msgpack.encode(
            ScanInput(
                self.corpus.snapshot(),
                self.map.communities(),
                self.threshold,
                self._ends(is_accepted=True),
                self._ends(is_accepted=False),
                sorted(k for k, accepted in self._verdicts.items() if not accepted),
                self.settings,
            )
        )

    def _ends(self, *, is_accepted: bool) -> list[tuple[str, str]]:
        """Return the ends of what stands and a person accepted, or of the suggestions nobody answered."""
        return sorted(
            (s.a, s.b)
            for s in self._standing.values()
            if self._verdicts.get(s.id, False) == is_accepted and (is_accepted or not s.is_created)
        )

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        if task not in cls.tasks:
            return super().run(task, data)
        return msgspec.msgpack.encode(scan(msgspec.msgpack.decode(data, type=ScanInput)))

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        if task not in self.tasks:
            return super().conclude(task, result, context)
        found = msgspec.msgpack.decode(result, type=ScanResult)
        bridges = [p for p in found.bridges if self._may_stand(p)]
        unused = self._unused(bridges, context.now_ns)
        facts: list[Fact] = []
        figures = (found.tested, found.significant, found.threshold, found.reason)
        record = ScanConcluded(*figures, bridges, unused, found.scanned)
        if self._asked or unused or record != self._scan:
            facts.append(record)
        news = [p for p in bridges if self._is_news(p)]
        facts += [self._event(WormholeCreated, p, _created_reason(p), context) for p in news]
        facts += self._suggest(found, {p.id for p in bridges}, frozenset(unused), context)
        holding = {p.id for pairs in (bridges, found.near, found.held) for p in pairs}
        for standing in sorted(self._standing.values(), key=lambda s: s.id):
            if standing.id in unused:
                reason = UNUSED.format(days=self.settings.unused_days)
                facts.append(_removed(standing, reason, context, (standing.event_id,)))
            elif standing.id not in holding:
                facts.append(_removed(standing, GONE, context, (standing.event_id,)))
        return facts

    def _may_stand(self, pair: Pair) -> bool:
        is_known = pair.a in self.corpus.documents and pair.b in self.corpus.documents
        return is_known and self._verdicts.get(pair.id, True)

    def _is_news(self, pair: Pair) -> bool:
        """Return whether a bridge needs an event: not there yet, a suggestion so far, or quoting an older text."""
        standing = self._standing.get(pair.id)
        if standing is None or not standing.is_created:
            return True
        return any(e.event_id != self.corpus.documents[e.document_id].event_id for e in standing.evidence)

    def _unused(self, bridges: Sequence[Pair], now_ns: int) -> list[str]:
        """Return the ids of suggestions that nobody accepted in time and that did not become bridges."""
        created = {p.id for p in bridges}
        limit_ns = self.settings.unused_days * DAY_NS
        return sorted(
            s.id
            for s in self._standing.values()
            if not s.is_created
            and s.id not in created
            and s.id not in self._verdicts
            and now_ns - id_time_ns(s.event_id) >= limit_ns
        )

    def _suggest(self, found: ScanResult, created: set[str], unused: frozenset[str], context: Context) -> list[Fact]:
        """Return suggestions: the strongest pairs that are nearly bridges, and what the alarms asked for."""
        open_count = sum(1 for s in self._standing.values() if not s.is_created)
        wanted: dict[str, tuple[Pair, str, tuple[bytes, ...]]] = {}
        for concept_id, alarm in self._asked:
            documents = self._documents_of(concept_id)
            touching = [p for p in found.near if p.a in documents or p.b in documents]
            for pair in touching[: self.settings.alarm_suggestions]:
                wanted.setdefault(pair.id, (pair, "asked for by an alarm", (alarm,)))
        for pair in found.near[: self.settings.suggestions]:
            wanted.setdefault(pair.id, (pair, "nearly a bridge", ()))
        facts: list[Fact] = []
        for pair, why, causes in wanted.values():
            is_old = pair.id in self._standing or pair.id in self._forgotten or pair.id in created | unused
            if is_old or not self._may_stand(pair) or open_count + len(facts) >= self.settings.bridges:
                continue
            facts.append(self._event(WormholeSuggested, pair, f"{why}: {_created_reason(pair)}", context, causes))
        return facts

    def _documents_of(self, concept_id: str) -> frozenset[str]:
        concept = self.corpus.concepts.get(concept_id) or self.map.nodes.get(concept_id)
        return frozenset(concept.sources) if concept is not None else frozenset()

    def _event(
        self,
        kind: type[WormholeCreated | WormholeSuggested],
        pair: Pair,
        reason: str,
        context: Context,
        causes: tuple[bytes, ...] = (),
    ) -> Event:
        ends = (self.corpus.documents[pair.a], self.corpus.documents[pair.b])
        payload = kind(
            pair.id,
            pair.a,
            pair.b,
            pair.strength,
            pair.p_value,
            pair.distance,
            bridge_evidence(ends, pair.shared, context),
            reason,
        )
        return context.event(payload, key=pair.id, causes=(*(d.event_id for d in ends), *causes))

    # -- answers -----------------------------------------------------------------------------------------------

    def section(self) -> dict[str, Any]:
        scan_record = self._scan
        bridges = [p for p in scan_record.bridges if self._verdicts.get(p.id, True)] if scan_record else []
        return {"bridges": [section_item(p) for p in sorted(bridges, key=lambda p: p.id)]}

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "bridges":
            limit = arguments.get("limit", 20)
            if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
                raise BadInput(f"limit must be a whole number >= 0, not {limit!r}.")
            _only(arguments, "limit")
            standing = sorted(self._standing.values(), key=lambda s: (-s.strength, s.id))
            return bridges_answer(self.settings.fdr, self._scan, standing, self._verdicts, self.corpus, limit)
        if name == "find":
            _only(arguments, "id")
            found = self._standing.get(str(arguments.get("id", "")))
            return {"event_id": found.event_id.hex()} if found is not None else {}
        if name == "summary":
            _only(arguments)
            created = sum(1 for s in self._standing.values() if s.is_created)
            return {
                "documents": len(self.corpus.documents),
                "bridges": created,
                "suggestions": len(self._standing) - created,
                "scanned": self._scan.scanned if self._scan else 0,
                "tested": self._scan.tested if self._scan else 0,
                "significant": self._scan.significant if self._scan else 0,
                "threshold": round(self.threshold, 6),
                "verdicts": len(self._verdicts),
            }
        raise BadInput(f"module {self.name} cannot answer {name!r}.", remedy="It answers: bridges, find, summary.")

    def command(self, name: str, arguments: Mapping[str, Any], context: Context) -> tuple[Sequence[Fact], Any]:
        """``accept`` or ``reject`` {id, by, comment}: record a person's verdict; a rejected bridge never comes back."""
        if name not in ("accept", "reject"):
            raise BadInput(f"module {self.name} does not know the command {name!r}.", remedy="It has: accept, reject.")
        _only(arguments, "id", "by", "comment")
        given = str(arguments.get("id", ""))
        standing = self._standing.get(given)
        if standing is None:
            if name == "reject" and self._verdicts.get(given) is False:
                return (), {"id": given, "status": REJECTED}
            raise BadInput(f"no bridge or suggestion {given!r} stands.", remedy="`tori bridges` lists their ids.")
        by, comment = str(arguments.get("by", "")), str(arguments.get("comment", ""))
        kind = SuggestionAccepted if name == "accept" else SuggestionRejected
        if name == "accept" and self._verdicts.get(given):
            return (), {"id": given, "status": "accepted"}
        verdict = context.event(kind(given, by, comment), key=given, causes=(standing.event_id,))
        facts: list[Fact] = [verdict]
        if name == "reject":
            facts.append(_removed(standing, REJECTED, context, (verdict.id, standing.event_id)))
        return facts, {"id": given, "status": "accepted" if name == "accept" else REJECTED}


def _created_reason(pair: Pair) -> str:
    where = "not connected by links" if pair.distance < 0 else f"{pair.distance:g} links apart"
    shared = f"; both speak of {', '.join(pair.shared[:3])}" if pair.shared else ""
    return f"{where}{shared}"


def _removed(standing: Standing, reason: str, context: Context, causes: Sequence[bytes]) -> Event:
    payload = WormholeRemoved(
        standing.id,
        standing.a,
        standing.b,
        standing.strength,
        standing.p_value,
        standing.distance,
        standing.evidence,
        reason,
    )
    return context.event(payload, key=standing.id, causes=causes)


def _only(arguments: Mapping[str, Any], *known: str) -> None:
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise BadInput(f"unknown argument {unknown[0]!r}.", remedy=f"Known: {', '.join(known) or 'none'}.")


def _trim(kept: dict[str, Any], limit: int) -> None:
    while len(kept) > limit:
        del kept[next(iter(kept))]
