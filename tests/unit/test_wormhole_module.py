"""The module: events with evidence and causes, verdicts, alarms, decay, replay."""

from __future__ import annotations

import msgspec
import pytest

from tests.support.modules import Bench
from tests.support.tiny_corpus import Events, concepts, two_worlds
from tori.errors import BadInput
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import (
    AlienDetected,
    SuggestionAccepted,
    SuggestionRejected,
    WormholeCreated,
    WormholeRemoved,
    WormholeSuggested,
)
from tori.ids import content_name
from tori.modules.wormhole import Wormhole, WormholeSettings
from tori.modules.wormhole.scan import wormhole_id

PLANTED = wormhole_id("garden-03", "engine-05")
TASK = "wormhole_scan"


class World:
    """A bench with the two worlds in it."""

    def __init__(self, settings: WormholeSettings | None = None) -> None:
        self.documents, self.members = two_worlds(0)
        self.make = Events()
        self.bench = Bench(Wormhole(settings))
        self.bench.feed(self.make.documents(self.documents))
        self.bench.feed(self.make.concepts(concepts(self.documents)))
        self.bench.feed(self.make.communities(self.members))

    def scan(self) -> list[Event]:
        events = self.bench.scan(TASK)
        self.bench.module.validate()
        return events

    def ask(self, limit: int = 50) -> dict[str, list[dict[str, object]]]:
        answer = self.bench.module.query("bridges", {"limit": limit})
        assert isinstance(answer, dict)
        return answer

    def ids(self, key: str = "items") -> list[object]:
        return [item["wormhole_id"] for item in self.ask()[key]]

    def alarm(self, label: str) -> list[Event]:
        concept_id = content_name("concept", label)
        payload = AlienDetected("alien-1", concept_id, label, 0.001, 9.0, "2024")
        return self.bench.feed([Event(self.make.ids.next(), payload, concept_id)])


def near_world() -> World:
    """A world in which the planted pair is just not similar enough: it can only be suggested."""
    strength = 0.0
    for event in World().scan():
        if isinstance(event.payload, WormholeCreated) and event.payload.wormhole_id == PLANTED:
            strength = event.payload.strength
    return World(WormholeSettings(threshold=strength * 1.02))


def test_a_bridge_quotes_both_ends_and_names_the_documents_as_causes() -> None:
    world = World()
    created = [e for e in world.scan() if isinstance(e.payload, WormholeCreated)]
    event = next(e for e in created if e.payload.wormhole_id == PLANTED)
    payload = event.payload
    assert (payload.concept_a, payload.concept_b) == ("engine-05", "garden-03")
    assert 0 < payload.p_value < 0.001
    assert payload.distance == -1.0
    assert "secret" in payload.reason
    assert [e.document_id for e in payload.evidence] == ["engine-05", "garden-03"]
    for evidence in payload.evidence:
        text = world.bench.events[evidence.event_id].payload.text
        assert text[evidence.start : evidence.start + len(evidence.quote)] == evidence.quote
        assert "secret" in evidence.quote
    assert set(event.causes) == {world.bench.module.corpus.documents[d].event_id for d in ("engine-05", "garden-03")}
    item = next(i for i in world.ask()["items"] if i["wormhole_id"] == PLANTED)
    assert item["status"] == "created"
    assert item.keys() >= set(WormholeCreated.__struct_fields__)
    assert world.bench.module.query("find", {"id": PLANTED}) == {"event_id": event.id.hex()}
    assert world.bench.module.query("find", {"id": "wormhole-none"}) == {}


def test_concluding_twice_emits_nothing_the_second_time() -> None:
    world = World()
    module = world.bench.module
    result = Wormhole.run(TASK, module.prepare(TASK))
    assert world.bench.commit(module.conclude(TASK, result, world.bench.context()))
    assert list(module.conclude(TASK, result, world.bench.context())) == []
    assert world.scan() == []


def test_rejecting_removes_for_good_and_raises_the_threshold() -> None:
    world = World()
    world.scan()
    before = world.bench.module.query("summary", {})
    answer = world.bench.command("reject", id=PLANTED, by="me", comment="known")
    assert answer == {"id": PLANTED, "status": "rejected"}
    last = world.bench.facts[-2:]
    assert isinstance(last[0].payload, SuggestionRejected) and last[0].payload.comment == "known"
    assert isinstance(last[1].payload, WormholeRemoved) and last[1].payload.reason == "rejected"
    assert last[0].id in last[1].causes
    assert PLANTED not in world.ids()
    assert PLANTED not in [b["id"] for b in world.bench.module.section()["bridges"]]
    world.scan()
    assert PLANTED not in world.ids()
    after = world.bench.module.query("summary", {})
    assert after["threshold"] == pytest.approx(before["threshold"] + 0.005)
    assert world.bench.command("reject", id=PLANTED) == answer


def test_a_rejection_from_another_journal_removes_too() -> None:
    world = World()
    world.scan()
    verdict = Event(world.make.ids.next(), SuggestionRejected(PLANTED, "them"), PLANTED)
    again = Event(world.make.ids.next(), SuggestionRejected(PLANTED, "them"), PLANTED)
    stranger = Event(world.make.ids.next(), SuggestionRejected("other-1", "them"), "other-1")
    emitted = world.bench.feed([verdict, again, stranger])
    assert [type(e.payload) for e in emitted] == [WormholeRemoved]
    assert world.bench.module.query("summary", {})["verdicts"] == 1


def test_an_accepted_bridge_stays_until_its_ends_are_near() -> None:
    world = World()
    world.scan()
    assert world.bench.command("accept", id=PLANTED) == {"id": PLANTED, "status": "accepted"}
    count = len(world.bench.facts)
    world.bench.command("accept", id=PLANTED)
    assert len(world.bench.facts) == count
    assert world.ask()["items"][0]["status"] == "accepted"
    dull = Document("garden-03", "changed altogether", "nothing of the kind any more")
    world.bench.feed(world.make.documents([dull]))
    world.scan()
    assert PLANTED in world.ids()
    world.bench.feed(world.make.documents([msgspec.structs.replace(dull, links=("engine-05",))]))
    removed = [e.payload for e in world.scan() if isinstance(e.payload, WormholeRemoved)]
    assert [(r.wormhole_id, r.reason) for r in removed if r.wormhole_id == PLANTED] == [(PLANTED, "no longer holds")]


def test_a_new_text_gets_new_quotations() -> None:
    world = World()
    world.scan()
    old = next(d for d in world.documents if d.id == "garden-03")
    world.bench.feed(world.make.documents([msgspec.structs.replace(old, text=f"Preface, much later. {old.text}")]))
    events = world.scan()
    fresh = next(e.payload for e in events if e.payload.wormhole_id == PLANTED)
    assert isinstance(fresh, WormholeCreated)
    current = world.bench.module.corpus.documents["garden-03"].event_id
    assert {e.event_id for e in fresh.evidence if e.document_id == "garden-03"} == {current}
    assert [e.payload.wormhole_id for e in world.scan()] == []


def test_what_is_nearly_a_bridge_is_suggested_then_forgotten_when_unused() -> None:
    world = near_world()
    events = world.scan()
    assert PLANTED in [e.payload.wormhole_id for e in events if isinstance(e.payload, WormholeSuggested)]
    assert PLANTED in world.ids("suggestions")
    assert PLANTED not in world.ids()
    section = world.bench.module.section()
    world.bench.clock.advance(6.9 * 86_400)
    assert world.scan() == []
    world.bench.clock.advance(0.2 * 86_400)
    removed = [e.payload for e in world.scan()]
    assert {(type(p), p.reason) for p in removed} == {(WormholeRemoved, "unused for 7 days")}
    assert world.scan() == []
    assert world.bench.module.section() == section


def test_an_accepted_suggestion_does_not_decay_and_lowers_the_threshold() -> None:
    world = near_world()
    world.scan()
    before = world.bench.module.threshold
    world.bench.command("accept", id=PLANTED)
    assert world.bench.module.threshold == pytest.approx(before - 0.005)
    world.bench.clock.advance(30 * 86_400)
    world.scan()
    status = {i["wormhole_id"]: i["status"] for k in ("items", "suggestions") for i in world.ask()[k]}
    assert status[PLANTED] in ("accepted", "created")


def test_an_alarm_asks_for_bridges_of_its_documents() -> None:
    settings = WormholeSettings(threshold=0.3, suggestions=0, draws=20)
    world = World(settings)
    assert world.alarm("secretab") == []
    alarm = next(e for e in world.bench.events.values() if isinstance(e.payload, AlienDetected))
    suggested = [e for e in world.scan() if isinstance(e.payload, WormholeSuggested)]
    for event in suggested:
        assert event.payload.reason.startswith("asked for by an alarm")
        assert alarm.id in event.causes
        assert {"garden-03", "engine-05"} & {event.payload.concept_a, event.payload.concept_b}
    assert len(suggested) <= settings.alarm_suggestions
    near = World(msgspec.structs.replace(settings, threshold=near_world().bench.module.threshold))
    near.alarm("secretab")
    assert PLANTED in [e.payload.wormhole_id for e in near.scan() if isinstance(e.payload, WormholeSuggested)]
    assert near.scan() == []


def test_replay_and_restore_give_the_same_bytes() -> None:
    world = World()
    world.scan()
    world.bench.command("accept", id=PLANTED)
    other = world.ids()[-1]
    if other != PLANTED:
        world.bench.command("reject", id=other)
    world.alarm("secretab")
    module = world.bench.module
    fresh = Wormhole()
    fresh.restore(module.snapshot())
    assert fresh.snapshot() == module.snapshot()
    assert fresh.section() == module.section()
    assert fresh.prepare(TASK) == module.prepare(TASK)
    assert fresh.query("bridges", {}) == module.query("bridges", {})


def test_replaying_the_journal_gives_the_state_that_was_lived() -> None:
    world = World()
    fed = list(world.bench.events.values())
    world.scan()
    world.bench.command("accept", id=PLANTED)
    twin = Wormhole()
    for event in fed:
        twin.apply(event)
    for fact in world.bench.facts:
        twin.apply(fact)
    assert twin.snapshot() == world.bench.module.snapshot()


def test_wrong_questions_name_what_exists() -> None:
    world = World()
    module = world.bench.module
    context = world.bench.context()
    assert world.ask()["reason"] == "no scan has run yet"
    assert module.section() == {"bridges": []}
    with pytest.raises(BadInput, match="bridges, find, summary"):
        module.query("bridge", {})
    with pytest.raises(BadInput, match="limit"):
        module.query("bridges", {"limit": -1})
    with pytest.raises(BadInput, match="Known: limit"):
        module.query("bridges", {"limt": 1})
    with pytest.raises(BadInput, match="accept, reject"):
        module.command("keep", {}, context)
    with pytest.raises(BadInput, match="no bridge or suggestion"):
        module.command("accept", {"id": "x"}, context)
    with pytest.raises(BadInput, match="wormhole_scan"):
        module.prepare("scan")
    with pytest.raises(BadInput):
        Wormhole.run("scan", b"")
    with pytest.raises(BadInput):
        module.conclude("scan", b"", context)
    verdict = Event(world.make.ids.next(), SuggestionAccepted("other-1"), "other-1")
    assert world.bench.feed([verdict]) == []
