"""The module as others meet it: events with evidence, interim joins, marks of alarms, questions, replay."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.support.modules import Bench, ingested
from tests.support.planted_map import TASK, block_of, blocks, events_of, mapped
from tests.support.tiny_reader import read, vector
from tori.errors import BadInput
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import (
    AlienDetected,
    AlienResolved,
    ConceptAdded,
    ConceptLinked,
    ConceptModified,
    ConceptRemoved,
    DocumentEmbedded,
    DocumentIngested,
)
from tori.modules.base import Fact
from tori.modules.corpus import Corpus
from tori.modules.hierarchy import Hierarchy, naming

DOCUMENTS = blocks(5, 12, seed=21, linked=0.1)


@pytest.fixture
def bench() -> Bench:
    return mapped(DOCUMENTS)


def hierarchy(bench: Bench) -> Hierarchy:
    assert isinstance(bench.module, Hierarchy)
    return bench.module


def event(bench: Bench, payload: Any) -> Event:
    return Event(bench.ids.next(), payload)


def added(bench: Bench) -> list[Event]:
    return [f for f in bench.facts if isinstance(f, Event) and isinstance(f.payload, ConceptAdded)]


def text_of(bench: Bench, document_id: str) -> str:
    payload = bench.events[hierarchy(bench).corpus.documents[document_id].event_id].payload
    assert isinstance(payload, DocumentIngested)
    return payload.text


def test_every_quotation_stands_in_its_document_and_among_the_causes(bench: Bench) -> None:
    assert added(bench)
    for found in added(bench):
        payload = found.payload
        assert 1 <= len(payload.evidence) <= naming.MAX_QUOTES
        term = payload.label.split(" / ")[0]
        for evidence in payload.evidence:
            text = text_of(bench, evidence.document_id)
            assert text[evidence.start : evidence.start + len(evidence.quote)] == evidence.quote
            assert term in evidence.quote.lower()
            assert evidence.event_id in found.causes
            assert evidence.document_id in payload.sources
        assert set(found.causes) <= {d.event_id for d in hierarchy(bench).corpus.documents.values()}


class Recorder(Hierarchy):
    """A hierarchy that keeps what was applied, as a journal does."""

    def __init__(self) -> None:
        super().__init__()
        self.applied: list[Fact] = []

    def apply(self, fact: Fact) -> None:
        self.applied.append(fact)
        super().apply(fact)


def test_replaying_equals_living() -> None:
    bench = Bench(Recorder())
    bench.feed(events_of(DOCUMENTS[:50]))
    bench.scan(TASK)
    assert bench.feed(events_of(DOCUMENTS[50:], ids=bench.ids))
    middle = bench.module.snapshot()
    assert isinstance(bench.module, Recorder)
    count = len(bench.module.applied)
    bench.feed(events_of(DOCUMENTS, ids=bench.ids))
    bench.scan(TASK)
    fresh, resumed = Hierarchy(), Hierarchy()
    resumed.restore(middle)
    for fact in bench.module.applied:
        fresh.apply(fact)
    for fact in bench.module.applied[count:]:
        resumed.apply(fact)
    assert fresh.snapshot() == resumed.snapshot() == bench.module.snapshot()


def test_a_snapshot_restores_to_the_same_bytes(bench: Bench) -> None:
    bench.feed([event(bench, ConceptLinked("a", "b", 1.0, "synonym"))])
    bench.feed([event(bench, AlienDetected("x", next(iter(hierarchy(bench).nodes)), "l", 0.01, 3.0, "2020"))])
    twin = Hierarchy()
    twin.restore(bench.module.snapshot())
    assert twin.snapshot() == bench.module.snapshot()
    assert twin.section() == bench.module.section()
    assert twin.query("map", {}) == bench.module.query("map", {})


def test_a_new_document_joins_its_neighbours_until_the_next_pass(bench: Bench) -> None:
    module = hierarchy(bench)
    kin = DOCUMENTS[0]
    newcomer = Document("new", kin.title, kin.text)
    (arrival,) = ingested([newcomer], bench.ids)
    assert bench.feed([arrival]) == []
    emitted = bench.feed([event(bench, DocumentEmbedded("new", vector(newcomer), "tiny"))])
    home = module.view.leaf_of[kin.id]
    assert module.view.leaf_of["new"] == home
    assert {e.payload.concept_id for e in emitted} == {n.id for n in module.view.path(home)}
    for found in emitted:
        assert isinstance(found.payload, ConceptModified)
        assert found.payload.changed == ("sources",)
        assert "new" in found.payload.sources
        assert found.causes == (arrival.id,)
    module.validate()
    summary = module.query("summary", {})
    assert (summary["attached"], summary["drift"]) == (1, round(1 / 61, 6))


def test_a_link_is_enough_to_join(bench: Bench) -> None:
    target = DOCUMENTS[5].id
    bench.feed(ingested([Document("new", "", "nothing known", links=(target,))], bench.ids))
    module = hierarchy(bench)
    assert module.view.leaf_of["new"] == module.view.leaf_of[target]


def test_a_known_document_and_a_stranger_move_nothing(bench: Bench) -> None:
    kin = DOCUMENTS[0]
    before = bench.module.section()
    changed = ingested([Document(kin.id, kin.title, "another text"), Document("new", "", "nothing known")], bench.ids)
    assert bench.feed(changed) == []
    assert bench.feed([event(bench, DocumentEmbedded("new", b"", "tiny"))]) == []
    assert bench.feed([event(bench, DocumentEmbedded("unknown", vector(kin), "tiny"))]) == []
    assert bench.module.section() == before
    assert bench.module.query("summary", {})["drift"] == round(1 / 61, 6)


def test_a_pass_corrects_an_interim_join(bench: Bench) -> None:
    module = hierarchy(bench)
    stranger = DOCUMENTS[-1]
    wrong = Document("new", stranger.title, stranger.text, links=(DOCUMENTS[0].id,))
    events = ingested([wrong], bench.ids)
    bench.feed(events)
    assert module.view.leaf_of["new"] == module.view.leaf_of[DOCUMENTS[0].id]
    everything = ingested([*DOCUMENTS, wrong])
    bench.feed(read([*DOCUMENTS, wrong], everything, ids=bench.ids))
    bench.scan(TASK)
    assert module.view.leaf_of["new"] == module.view.leaf_of[stranger.id]


def test_alarms_mark_the_node_and_its_ancestors(bench: Bench) -> None:
    module = hierarchy(bench)
    leaf = module.view.leaf_of[DOCUMENTS[0].id]
    concept = next(c.id for c in module.corpus.concepts.values() if module.view.home(c) == leaf)
    for name, target in (("x1", concept), ("x2", leaf), ("x3", DOCUMENTS[0].id), ("x4", "gone")):
        bench.feed([event(bench, AlienDetected(name, target, "l", 0.01, 3.0, "2020"))])
    assert module.query("node", {"id": leaf})["alien"] == 3
    assert sum(n["alien"] for n in module.query("map", {"scale": 1})["nodes"]) == 3
    bench.feed([event(bench, AlienResolved("x1", concept, "l", 0.01, 3.0, "2020"))])
    assert module.query("node", {"id": leaf})["alien"] == 2


def test_marks_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tori.modules.hierarchy.module.MAX_ALIENS", 2)
    bench.feed([event(bench, AlienDetected(f"x{i}", "c", "l", 0.01, 3.0, "2020")) for i in range(5)])
    assert list(hierarchy(bench).marks) == ["x3", "x4"]


def test_synonyms_do_not_stand_in_one_label(bench: Bench) -> None:
    module = hierarchy(bench)
    node = next(n for n in module.nodes.values() if " / " in n.label)
    terms = node.label.split(" / ")
    ids = {c.label: c.id for c in module.corpus.concepts.values()}
    bench.feed([event(bench, ConceptLinked(ids[terms[0]], ids[terms[1]], 1.0, "synonym"))])
    bench.feed([event(bench, ConceptLinked(ids[terms[0]], ids[terms[-1]], 1.0, "association"))])
    emitted = bench.scan(TASK)
    modified = [e.payload for e in emitted if isinstance(e.payload, ConceptModified)]
    assert [p.concept_id for p in modified] == [node.id]
    assert modified[0].changed == ("label",)
    assert modified[0].evidence
    now = module.nodes[node.id].label.split(" / ")
    assert not {terms[0], terms[1]} <= set(now)
    bench.feed([event(bench, ConceptLinked(ids[terms[1]], ids[terms[0]], 0.0, "synonym"))])
    bench.scan(TASK)
    assert module.nodes[node.id].label == node.label


def test_a_removed_concept_takes_its_synonyms_along() -> None:
    bench = Bench(Hierarchy())
    bench.feed([event(bench, ConceptLinked(a, b, 1.0, "synonym")) for a, b in (("a", "b"), ("b", "c"), ("d", "c"))])
    bench.feed([event(bench, ConceptRemoved("a", "label")), event(bench, ConceptLinked("b", "c", 1.0))])
    assert hierarchy(bench).synonyms == {("c", "d")}


def test_a_moved_node_tells_its_old_parent(bench: Bench) -> None:
    module = hierarchy(bench)
    node = next(iter(module.nodes.values()))
    module.nodes[node.id] = msgspec.structs.replace(node, parent="m-elsewhere")
    (fact,) = module.conclude(TASK, Hierarchy.run(TASK, module.prepare(TASK)), bench.context())
    assert isinstance(fact, Event)
    assert isinstance(fact.payload, ConceptModified)
    assert (fact.payload.old_parent_id, fact.payload.parent_id) == ("m-elsewhere", node.parent)
    assert fact.payload.changed == ("parent_id",)


def test_removed_nodes_are_named_with_their_documents(bench: Bench) -> None:
    before = dict(hierarchy(bench).nodes)
    bench.feed(events_of(blocks(3, 9, seed=77), ids=bench.ids))
    emitted = bench.scan(TASK)
    assert any(isinstance(e.payload, ConceptRemoved) for e in emitted)
    for found in emitted:
        if isinstance(found.payload, ConceptRemoved):
            assert found.payload.sources == before[found.payload.concept_id].documents
            assert found.payload.reason
            assert found.causes


def test_without_texts_the_counts_of_the_reader_name_the_nodes(bench: Bench) -> None:
    before = {n.id: n.label for n in hierarchy(bench).nodes.values()}
    module = Hierarchy()
    module.restore(bench.module.snapshot())
    module.nodes.clear()
    context = bench.context()

    def missing(event_id: bytes) -> Event:
        raise BadInput("no journal here holds it.")

    context._read = missing
    facts = module.conclude(TASK, Hierarchy.run(TASK, module.prepare(TASK)), context)
    named = {f.payload.concept_id: f.payload for f in facts if isinstance(f, Event)}
    assert {name: payload.label for name, payload in named.items()} == before
    assert all(payload.evidence == () for payload in named.values())


def test_locate_leads_from_the_coarsest_to_the_leaf(bench: Bench) -> None:
    module = hierarchy(bench)
    path = module.query("locate", {"document_id": DOCUMENTS[3].id})["path"]
    assert [n["scale"] for n in path] == list(range(module.view.top_scale, path[-1]["scale"] - 1, -1))
    assert path[-1]["id"] == module.view.leaf_of[DOCUMENTS[3].id]
    bench.feed(ingested([Document("new", "", "")], bench.ids))
    assert module.query("locate", {"document_id": "new"})["path"] == []


def test_every_scale_is_a_partition() -> None:
    bench = mapped(blocks(4, 60, seed=5, linked=0.15))
    module = hierarchy(bench)
    for scale in range(1, module.view.top_scale + 1):
        members = [d for n in module.view.cut(scale) for d in n.documents]
        assert sorted(members) == sorted(module.corpus.documents)
    nodes = module.query("map", {})["nodes"]
    assert nodes == sorted(nodes, key=lambda n: (-n["scale"], -n["size"], n["id"]))
    assert module.query("map", {"limit": 2})["nodes"] == nodes[:2]
    first = module.query("node", {"id": nodes[0]["id"]})
    assert sum(c["size"] for c in first["children"]) in {0, first["size"]}
    assert first["documents"] == first["members"][:5]
    assert first["title"] == module.corpus.documents[first["members"][0]].title


def test_a_concept_lives_in_the_finest_node_that_holds_half_of_it(bench: Bench) -> None:
    module = hierarchy(bench)
    block = block_of(DOCUMENTS, 12)
    own = [c for c in module.corpus.concepts.values() if len({block[s] for s in c.sources}) == 1]
    assert own
    for concept in own:
        parent = module.query("parent", {"concept_id": concept.id})["parent"]
        inside = set(module.nodes[parent].documents) & set(concept.sources)
        assert len(inside) >= len(concept.sources) / 2
    node = next(iter(module.nodes.values()))
    assert module.query("parent", {"concept_id": node.id})["parent"] == node.parent
    bench.feed([event(bench, ConceptAdded("everywhere", "w", None, 0, tuple(block), (1.0,) * len(block)))])
    assert module.query("parent", {"concept_id": "everywhere"})["parent"] is None


def test_find_resolves_nodes_to_their_latest_event(bench: Bench) -> None:
    module = hierarchy(bench)
    for found in added(bench):
        assert module.query("find", {"id": found.payload.concept_id}) == {"event_id": found.id.hex()}
    assert module.query("find", {"id": "nothing"}) == {}


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("weather", {}, "map"),
        ("map", {"size": 3}, "scale"),
        ("map", {"scale": "1"}, "int"),
        ("map", {"scale": 99}, "1 to"),
        ("map", {"limit": -1}, "negative"),
        ("map", {"limit": True}, "int"),
        ("node", {}, "id"),
        ("node", {"id": "m-0"}, "m-0"),
        ("locate", {"document_id": "nobody"}, "nobody"),
        ("parent", {"concept_id": "nobody"}, "nobody"),
        ("summary", {"x": 1}, "none"),
    ],
)
def test_bad_questions_get_an_answer_that_helps(bench: Bench, name: str, arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        bench.module.query(name, arguments)


def test_other_tasks_are_refused(bench: Bench) -> None:
    for call in (
        lambda: bench.module.prepare("alien_audit"),
        lambda: Hierarchy.run("alien_audit", b""),
        lambda: bench.module.conclude("alien_audit", b"", bench.context()),
    ):
        with pytest.raises(BadInput):
            call()


def test_inputs_are_the_corpus_and_what_marks_it() -> None:
    assert set(Corpus.inputs) < set(Hierarchy.inputs)
    assert Hierarchy.tasks == (TASK,)


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("documents", ("z", "a"), "sorted"),
        ("weights", (), "weight"),
        ("parent", "m-nowhere", "parent"),
    ],
)
def test_validate_notices_a_broken_node(bench: Bench, field: str, value: object, says: str) -> None:
    module = hierarchy(bench)
    node = next(iter(module.nodes.values()))
    module.nodes[node.id] = msgspec.structs.replace(node, **{field: value})
    module._view = None
    with pytest.raises(AssertionError, match=says):
        module.validate()
