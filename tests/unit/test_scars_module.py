"""Scars: a planted hole is found, null twins stay within the level, it heals when filled; events, replay, answers."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence

import msgspec
import pytest
from scipy.stats import binom

from tests.support.modules import Bench
from tests.support.tiny_corpus import Events, circle, random_table, rewired_table
from tori.errors import BadInput
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import ScarDetected, ScarHealed
from tori.modules.corpus import Corpus
from tori.modules.scars import Scars, ScarSettings
from tori.modules.scars.scan import ScanInput, ScanResult, scan

TASK = "scar_scan"
Table = Mapping[str, Mapping[str, float]]


def scanned(texts: Sequence[Document], table: Table, **settings: float) -> ScanResult:
    events = Events()
    return scanned_events([*events.documents(texts, embedded=False), *events.concepts(table)], **settings)


def scanned_events(events: Iterable[Event], **settings: float) -> ScanResult:
    corpus = Corpus()
    for event in events:
        corpus.apply(event)
    return scan(ScanInput(corpus.snapshot(), [], msgspec.structs.replace(ScarSettings(), **settings)))


class World:
    """A bench with the planted hole in it."""

    def __init__(self, size: int = 36) -> None:
        self.documents, self.table = circle(size)
        self.make = Events()
        self.bench = Bench(Scars())
        self.bench.clock.advance(3600)
        self.bench.feed(self.make.documents(self.documents, embedded=False))
        self.bench.feed(self.make.concepts(self.table))

    def scan(self) -> list[Event]:
        events = self.bench.scan(TASK)
        self.bench.module.validate()
        return events

    def fill(self) -> None:
        """Add documents, an hour later, that speak of opposite sides of the circle at once."""
        self.make.clock.advance(7200)
        things = sorted(self.table)
        half = len(things) // 2
        for number in range(half):
            both = [*things[number : number + 3], *(things[(number + half + k) % len(things)] for k in range(3))]
            document = Document(f"m{number:02d}", "a middle", " and ".join(both))
            self.documents.append(document)
            for thing in both:
                self.table = {**self.table, thing: {**self.table[thing], document.id: 1.0}}
            self.bench.feed(self.make.documents([document], embedded=False))
        self.bench.feed(self.make.concepts(self.table))


@pytest.mark.parametrize(("size", "window"), [(36, 6), (48, 6), (60, 8)])
def test_the_planted_hole_is_found(size: int, window: int) -> None:
    result = scanned(*circle(size, window))
    assert len(result.gaps) == 1, result.reason
    gap = result.gaps[0]
    assert gap.p_value == 1 / 40
    assert 4 <= len(gap.cycle) <= 8
    assert gap.severity > 0.5
    places = sorted(int(d[1:]) for d in gap.cycle)
    steps = [b - a for a, b in zip(places, [*places[1:], places[0] + size], strict=True)]
    assert max(steps) <= size / 3, "the loop goes all the way round"
    assert set(gap.chord) <= set(gap.cycle)


def test_a_line_has_no_hole() -> None:
    documents, table = circle(48, 6)
    opened = {
        label: {d: 1.0 for d in spread if not (d >= "c43" and label <= "thingae")} for label, spread in table.items()
    }
    result = scanned(documents, opened)
    assert result.gaps == []
    assert "loop" in result.reason


@pytest.mark.no_cover
def test_the_promise_on_null_twins() -> None:
    """P(any gap) <= level on corpora whose documents and concepts keep their sums but share at random.

    Twenty twins of a circle and twenty of an uneven corpus: the number with any gap must not exceed the 95 %
    quantile of Binomial(40, level). The seeds are fixed, so chance cannot fail it on some days.
    """
    false = 0
    ringed, ring_table = circle(24, 5)
    uneven, uneven_table = random_table(11, 36, 90)
    for seed in range(20):
        false += bool(scanned(ringed, rewired_table(ring_table, seed)).gaps)
        false += bool(scanned(uneven, rewired_table(uneven_table, seed)).gaps)
    assert false <= binom.ppf(0.95, 40, 0.05), f"{false} of 40 null twins had a gap"


def test_the_result_does_not_depend_on_the_order_of_arrival() -> None:
    events = Events()
    documents, table = circle(36)
    given = [*events.documents(documents), *events.concepts(table)]
    first = scanned_events(given)
    for seed in range(3):
        random.Random(seed).shuffle(given)
        assert scanned_events(given) == first


def test_bounds_and_reasons() -> None:
    documents, table = circle(48)
    assert scanned([], {}).reason == "no documents"
    assert scanned(documents[:6], {}).reason == "fewer than 12 documents with shared concepts"
    assert scanned(documents, table, landmarks=20).points == 20
    assert scanned(documents, table, documents=30).points <= 30
    assert scanned(documents, table, longest=3).reason == "no loop wider than chance has at most 3 members"
    assert scanned(documents, table, gaps=0).gaps == []
    clique = {f"thing {j}": {d.id: 1.0 for d in documents[j : j + 2]} for j in range(0, 48, 2)}
    assert scanned(documents, clique).gaps == []


def test_a_gap_is_told_with_quotations_causes_and_what_is_missing() -> None:
    world = World()
    (event,) = world.scan()
    payload = event.payload
    assert isinstance(payload, ScarDetected)
    assert [e.document_id for e in payload.evidence] == list(payload.concepts)
    assert set(event.causes) == {world.bench.module.corpus.documents[d].event_id for d in payload.concepts}
    for evidence in payload.evidence:
        text = world.bench.events[evidence.event_id].payload.text
        assert text[evidence.start : evidence.start + len(evidence.quote)] == evidence.quote
        assert "thing" in evidence.quote
    assert payload.persistence == pytest.approx(payload.death - payload.birth)
    assert payload.details.startswith('missing: something that relates "station ')
    answer = world.bench.module.query("gaps", {"limit": 3})
    assert [i["scar_id"] for i in answer["items"]] == [payload.scar_id]
    assert answer["items"][0].keys() >= set(ScarDetected.__struct_fields__)
    assert answer["reason"] == ""
    assert world.bench.module.query("find", {"id": payload.scar_id}) == {"event_id": event.id.hex()}
    assert [g["id"] for g in world.bench.module.section()["gaps"]] == [payload.scar_id]


def test_concluding_twice_emits_nothing_the_second_time() -> None:
    world = World()
    module = world.bench.module
    result = Scars.run(TASK, module.prepare(TASK))
    assert world.bench.commit(module.conclude(TASK, result, world.bench.context()))
    assert list(module.conclude(TASK, result, world.bench.context())) == []
    assert world.scan() == []


def test_a_gap_heals_when_documents_fill_it_and_they_are_named() -> None:
    world = World()
    (detected,) = world.scan()
    world.fill()
    healed = [e for e in world.scan() if isinstance(e.payload, ScarHealed)]
    assert [e.payload.scar_id for e in healed] == [detected.payload.scar_id]
    assert healed[0].payload.details.startswith('closed by "a middle"')
    assert detected.id in healed[0].causes
    closers = {e.document_id for e in healed[0].payload.evidence}
    assert closers
    assert all(d.startswith("m") for d in closers)
    assert {world.bench.module.corpus.documents[d].event_id for d in closers} <= set(healed[0].causes)
    assert detected.payload.scar_id not in [i["scar_id"] for i in world.bench.module.query("gaps", {})["items"]]


def test_a_gap_may_move_or_fade() -> None:
    world = World()
    (detected,) = world.scan()
    module = world.bench.module
    result = msgspec.msgpack.decode(Scars.run(TASK, module.prepare(TASK)), type=ScanResult)
    gap = result.gaps[0]
    moved = msgspec.structs.replace(gap, cycle=(*gap.cycle[:-1], "c35"))
    facts = module.conclude(
        TASK, msgspec.msgpack.encode(msgspec.structs.replace(result, gaps=[moved])), world.bench.context()
    )
    healed = next(f.payload for f in facts if isinstance(f, Event) and isinstance(f.payload, ScarHealed))
    assert healed.details == f"moved: now {moved.id}"
    facts = module.conclude(
        TASK, msgspec.msgpack.encode(msgspec.structs.replace(result, gaps=[])), world.bench.context()
    )
    faded = [f.payload for f in facts if isinstance(f, Event)]
    assert [p.details for p in faded] == ["no longer wider than chance"]
    assert faded[0].scar_id == detected.payload.scar_id


def test_a_new_text_gets_new_quotations_and_keeps_the_date_of_detection() -> None:
    world = World()
    (detected,) = world.scan()
    member = detected.payload.concepts[0]
    old = next(d for d in world.documents if d.id == member)
    changed = msgspec.structs.replace(old, text=f"Long ago. {old.text}")
    world.bench.feed(world.make.documents([changed], embedded=False))
    (again,) = world.scan()
    assert isinstance(again.payload, ScarDetected)
    assert again.payload.scar_id == detected.payload.scar_id
    assert world.bench.module.query("gaps", {})["total"] == 1
    assert world.scan() == []


def test_replay_and_restore_give_the_same_bytes() -> None:
    world = World()
    fed = list(world.bench.events.values())
    world.scan()
    module = world.bench.module
    fresh = Scars()
    fresh.restore(module.snapshot())
    assert fresh.snapshot() == module.snapshot()
    assert fresh.section() == module.section()
    twin = Scars()
    for fact in [*fed, *world.bench.facts]:
        twin.apply(fact)
    assert twin.snapshot() == module.snapshot()
    assert twin.prepare(TASK) == module.prepare(TASK)


def test_wrong_questions_name_what_exists() -> None:
    module = Scars()
    context = Bench(module).context()
    assert module.query("gaps", {})["reason"] == "no scan has run yet"
    assert module.query("summary", {})["gaps"] == 0
    assert module.query("find", {"id": "scar-x"}) == {}
    assert module.section() == {"gaps": []}
    with pytest.raises(BadInput, match="find, gaps, summary"):
        module.query("holes", {})
    with pytest.raises(BadInput, match="limit"):
        module.query("gaps", {"limit": "all"})
    with pytest.raises(BadInput, match="Known: limit"):
        module.query("gaps", {"lim": 1})
    with pytest.raises(BadInput, match="scar_scan"):
        module.prepare("scan")
    with pytest.raises(BadInput):
        Scars.run("scan", b"")
    with pytest.raises(BadInput):
        module.conclude("scan", b"", context)
    with pytest.raises(BadInput):
        module.command("close", {}, context)
