"""The alien module as its host sees it: a planted burst is announced with evidence, ends, and never speaks twice."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.modules import Bench, ingested
from tests.support.planted_years import BURST, PER_YEAR
from tests.support.planted_years import burst as corpus
from tori.clock import VirtualClock
from tori.errors import BadInput
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import AlienDetected, AlienResolved, ConceptAdded, ConceptModified, ConceptRemoved
from tori.ids import IdSource, source_suffix
from tori.modules.alien import Alien
from tori.modules.alien.record import Audited


def concept_events(documents: list[Document], *, node: bool = True) -> list[Event]:
    """What a reader and a hierarchy would say of them."""
    ids = IdSource(source_suffix("reader", b"test"), VirtualClock().wall_ns)
    events = []
    for label in ["steering council", *(f"topic {c}" for c in "abcdef")]:
        sources = tuple(sorted(d.id for d in documents if label in d.text))
        if sources:
            events.append(Event(ids.next(), ConceptAdded(label, label, None, 0, sources, (1.0,) * len(sources))))
    if node:
        sources = tuple(sorted(d.id for d in documents if "council" in d.text or "topic a" in d.text))
        payload = ConceptAdded("node-1", "topic a / council", None, 1, sources, (1.0,) * len(sources))
        events.append(Event(ids.next(), payload))
    return events


def bench(documents: list[Document], module: Alien | None = None) -> Bench:
    told = Bench(module or Alien())
    told.feed(ingested(documents) + concept_events(documents))
    return told


def kinds(events: list[Event]) -> list[str]:
    return [e.type for e in events]


def test_a_planted_burst_is_found_with_evidence_and_its_end() -> None:
    told = bench(corpus())
    events = told.scan("alien_audit")
    assert kinds(events) == ["AlienDetected", "AlienResolved"]
    found, ended = events[0].payload, events[1].payload
    assert isinstance(found, AlienDetected)
    assert isinstance(ended, AlienResolved)
    assert (found.concept_id, found.onset, found.label) == ("steering council", "2009", "steering council")
    assert found.significance < 1e-6
    assert found.context.startswith("10 of 12 documents in 2009, where 0 of the 96 before held it")
    assert "beta-binomial" in found.model
    assert ended.context.startswith("back in the background since 2010")
    assert events[0].id in events[1].causes
    told.module.validate()


def test_every_quote_stands_in_its_document_and_names_its_cause() -> None:
    told = bench(corpus())
    event = told.scan("alien_audit")[0]
    evidence = event.payload.evidence  # type: ignore[union-attr]  # an AlienDetected, see above
    assert len(evidence) == 3
    assert set(event.causes) == {e.event_id for e in evidence}
    for e in evidence:
        source = told.events[e.event_id].payload
        assert source.document_id == e.document_id  # type: ignore[union-attr]  # a DocumentIngested
        assert source.text[e.start : e.start + len(e.quote)] == e.quote  # type: ignore[union-attr]  # as above
        assert e.quote == "We settle the steering councils here, as agreed."
    copy = Alien()
    copy.restore(told.module.snapshot())
    for module in (told.module, copy):
        (item,) = module.query("aliens", {})["items"]
        assert item.keys() >= set(AlienDetected.__struct_fields__)
        assert [(q["document_id"], q["quote"], q["event_id"]) for q in item["evidence"]] == [
            (e.document_id, e.quote, e.event_id.hex()) for e in evidence
        ]


def test_concept_and_community_of_the_same_documents_are_one_episode() -> None:
    told = bench(corpus())
    told.scan("alien_audit")
    items = told.module.query("aliens", {})["items"]
    assert len(items) == 1
    assert items[0]["terms"] == ["steering council", "topic a / council"]
    assert "with topic a / council" in items[0]["context"]


def test_concluding_twice_says_nothing_new() -> None:
    told = bench(corpus())
    told.scan("alien_audit")
    before = told.module.snapshot()
    assert told.scan("alien_audit") == []
    assert told.module.snapshot() == before


def test_the_section_does_not_depend_on_order_or_interim_audits() -> None:
    documents = corpus()
    straight = bench(documents)
    straight.scan("alien_audit")
    reversed_ = Bench(Alien())
    reversed_.feed(concept_events(documents)[::-1] + ingested(documents[::-1]), batch_size=7)
    reversed_.scan("alien_audit")
    grown = bench(corpus(BURST))
    grown.scan("alien_audit")
    grown.feed(ingested(documents[len(corpus(BURST)) :]) + concept_events(documents))
    grown.scan("alien_audit")
    assert reversed_.module.section() == straight.module.section() == grown.module.section()


def test_an_alarm_stands_until_its_end_is_seen() -> None:
    told = bench(corpus(BURST))
    assert kinds(told.scan("alien_audit")) == ["AlienDetected"]
    item = told.module.query("aliens", {})["items"][0]
    assert item["ended"] == ""
    later = corpus(BURST + 1)
    told.feed(ingested(later[-PER_YEAR:]) + concept_events(later))
    events = told.scan("alien_audit")
    assert kinds(events) == ["AlienResolved"]
    assert events[0].payload.context.startswith("back in the background since 2010")  # type: ignore[union-attr]  # AlienResolved
    assert told.module.query("summary", {})["ended"] == 1
    assert told.module.query("find", {"id": item["id"]}) == {"event_id": events[0].id.hex()}


def test_an_alarm_that_no_longer_stands_is_withdrawn() -> None:
    told = bench(corpus())
    detected = told.scan("alien_audit")[0]
    ids = IdSource(source_suffix("reader", b"more"), VirtualClock().wall_ns)
    told.feed(
        [
            Event(ids.next(), ConceptRemoved("steering council", "steering council")),
            Event(ids.next(), ConceptRemoved("node-1", "topic a / council", None, 1)),
        ]
    )
    events = told.scan("alien_audit")
    assert kinds(events) == ["AlienResolved"]
    assert events[0].payload.alien_id == detected.payload.alien_id  # type: ignore[union-attr]  # alien events
    assert "no longer stands" in events[0].payload.context  # type: ignore[union-attr]  # AlienResolved
    assert told.module.section() == {"aliens": []}
    assert told.module.query("find", {"id": detected.payload.alien_id}) == {}  # type: ignore[union-attr]  # as above


def test_a_changed_node_replaces_the_old_one() -> None:
    told = bench(corpus(BURST))
    ids = IdSource(source_suffix("hierarchy", b"more"), VirtualClock().wall_ns)
    told.feed([Event(ids.next(), ConceptModified("node-1", "other name", None, 1, ("note-2001-00",), (1.0,)))])
    told.scan("alien_audit")
    assert told.module.query("aliens", {})["items"][0]["terms"] == ["steering council"]


def test_undated_documents_take_no_part() -> None:
    told = bench(corpus(dated=False))
    assert told.module.query("aliens", {})["reason"] == "no audit has run yet"
    assert told.scan("alien_audit") == []
    answer = told.module.query("aliens", {})
    assert (answer["tested"], answer["items"]) == (0, [])
    assert answer["reason"] == "no dated documents: aliens need dates"


@pytest.mark.parametrize(
    ("documents", "reason"),
    [
        (corpus()[:10], "10 dated documents: aliens need more than 10"),
        (corpus()[:12], "all dated documents lie in one period: aliens need a past"),
    ],
)
def test_too_few_dates_say_so(documents: list[Document], reason: str) -> None:
    told = bench(documents)
    told.scan("alien_audit")
    assert told.module.query("aliens", {})["reason"] == reason


def test_a_snapshot_is_the_whole_state() -> None:
    told = bench(corpus())
    told.scan("alien_audit")
    copy = Alien()
    copy.restore(told.module.snapshot())
    assert copy.snapshot() == told.module.snapshot()
    assert copy.section() == told.module.section()
    assert copy.query("aliens", {}) == told.module.query("aliens", {})
    copy.validate()


def test_replaying_the_facts_gives_the_same_state() -> None:
    documents = corpus()
    inputs = ingested(documents) + concept_events(documents)
    told = Bench(Alien())
    told.feed(inputs)
    told.scan("alien_audit")
    replayed = Alien()
    for event in inputs:
        replayed.apply(event)
    for fact in told.facts:
        replayed.apply(msgspec.msgpack.decode(msgspec.msgpack.encode(fact), type=type(fact)))
    assert replayed.snapshot() == told.module.snapshot()
    assert sum(isinstance(f, Audited) for f in told.facts) == 1


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("gaps", {}, "aliens, find, summary"),
        ("aliens", {"limit": -1}, "limit"),
        ("aliens", {"limit": True}, "limit"),
        ("aliens", {"limits": 1}, "limits"),
        ("summary", {"limit": 1}, "no arguments"),
    ],
)
def test_a_wrong_question_is_refused_by_name(name: str, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Alien().query(name, arguments)


def test_a_wrong_task_is_refused() -> None:
    with pytest.raises(BadInput, match="alien_audit"):
        Alien().prepare("wormhole_scan")
    with pytest.raises(BadInput, match="alien_audit"):
        Alien.run("wormhole_scan", b"")
