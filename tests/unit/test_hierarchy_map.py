"""The map: planted structures come back, nothing depends on order or names, every document is in exactly one leaf."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.modules import Bench, ingested
from tests.support.planted_map import TASK, block_of, blocks, events_of, mapped, memberships, same_partition
from tests.support.tiny_reader import read
from tori.events.document import Document
from tori.events.mind import ConceptAdded, ConceptRemoved
from tori.modules.hierarchy import Hierarchy
from tori.modules.hierarchy.draft import UNCONNECTED, node_id


def labels(bench: Bench) -> dict[str, str]:
    return {n["id"]: n["label"] for n in bench.module.query("map", {})["nodes"]}


@pytest.mark.parametrize(("count", "size"), [(4, 15), (9, 12), (3, 40)])
def test_planted_blocks_come_back(count: int, size: int) -> None:
    documents = blocks(count, size, seed=count)
    found = mapped(documents)
    assert same_partition(memberships(found, top=True), block_of(documents, size))


def test_planted_links_alone_come_back() -> None:
    documents = blocks(5, 16, seed=3, linked=0.4, stray=0.01)
    bench = Bench(Hierarchy())
    bench.feed(ingested(documents))
    bench.scan(TASK)
    assert same_partition(memberships(bench, top=True), block_of(documents, 16))


def test_more_islands_than_a_scale_should_have_are_still_islands() -> None:
    documents = blocks(40, 6, linked=1.0)
    bench = Bench(Hierarchy())
    bench.feed(ingested(documents))
    bench.scan(TASK)
    assert same_partition(memberships(bench, top=True), block_of(documents, 6))


def test_labels_are_the_blocks_own_words() -> None:
    documents = blocks(6, 12, seed=1)
    bench = mapped(documents)
    texts = {d.id: f"{d.title} {d.text}".lower() for d in documents}
    for node in bench.module.query("map", {"scale": bench.module.view.top_scale})["nodes"]:
        members = bench.module.nodes[node["id"]].documents
        terms = node["label"].split(" / ")
        assert 1 <= len(terms) <= 3
        for term in terms:
            inside = sum(term in texts[d] for d in members) / len(members)
            overall = sum(term in text for text in texts.values()) / len(texts)
            assert inside >= 0.5, (term, inside)
            assert inside >= 3 * overall, (term, inside, overall)


def test_large_blocks_are_split_and_nested() -> None:
    outer = blocks(4, 60, seed=5, linked=0.15)
    inner = random.Random(6)
    names = [[f"sub{b}x{s}{c}" for c in "abcdef"] for b in range(4) for s in range(4)]
    documents = [
        Document(d.id, d.title, f"{d.text} The {' of the '.join(inner.sample(names[i // 15], 5) * 2)}.", links=d.links)
        for i, d in enumerate(outer)
    ]
    bench = mapped(documents)
    assert same_partition(memberships(bench, top=True), block_of(documents, 60))
    assert same_partition(memberships(bench, top=False), block_of(documents, 15))
    for node in bench.module.nodes.values():
        if node.parent:
            assert set(node.documents) < set(bench.module.nodes[node.parent].documents)


def test_arrival_order_and_batches_change_nothing() -> None:
    documents = blocks(4, 10, seed=2, linked=0.1)
    reference = mapped(documents)

    @settings(max_examples=6, deadline=None)
    @given(st.randoms(use_true_random=False), st.integers(1, 50))
    def check(rng: random.Random, batch_size: int) -> None:
        shuffled = documents[:]
        rng.shuffle(shuffled)
        events = ingested(shuffled)
        said = read(shuffled, events)
        rng.shuffle(said)
        bench = Bench(Hierarchy())
        bench.feed([*events, *said], batch_size)
        bench.scan(TASK)
        assert bench.module.section() == reference.module.section()

    check()


def test_renaming_documents_changes_only_names() -> None:
    documents = blocks(4, 10, seed=4, linked=0.2, stray=0.02)
    reference = mapped(documents)
    shape = {frozenset(n.documents): n.label for n in reference.module.nodes.values()}

    @settings(max_examples=6, deadline=None)
    @given(st.randoms(use_true_random=False))
    def check(rng: random.Random) -> None:
        fresh = [f"x{i}" for i in range(len(documents))]
        rng.shuffle(fresh)
        name = dict(zip((d.id for d in documents), fresh, strict=True))
        renamed = [Document(name[d.id], d.title, d.text, links=tuple(name[t] for t in d.links)) for d in documents]
        bench = mapped(renamed)
        assert {frozenset(n.documents): n.label for n in bench.module.nodes.values()} == {
            frozenset(name[d] for d in members): label for members, label in shape.items()
        }

    check()


def test_interim_joins_do_not_change_the_pass() -> None:
    documents = blocks(4, 12, seed=8)
    bench = mapped(documents[:40])
    late = ingested(documents)[40:]
    bench.feed([*late, *read(documents, ingested(documents))])
    assert bench.module.query("summary", {})["attached"] > 0
    bench.scan(TASK)
    bench.module.validate()
    assert bench.module.section() == mapped(documents).module.section()
    assert bench.module.query("summary", {})["drift"] == 0


def test_an_empty_corpus_has_no_map() -> None:
    bench = Bench(Hierarchy())
    assert bench.scan(TASK) == []
    assert bench.module.query("map", {}) == {"nodes": [], "scales": 0, "total": 0}
    assert bench.module.query("summary", {})["drift"] == 0


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_few_documents_are_all_on_the_map(count: int) -> None:
    documents = blocks(1, count, seed=9)
    assert set(memberships(mapped(documents), top=False)) == {d.id for d in documents}


def test_documents_without_words_share_one_honest_node() -> None:
    documents = [*blocks(3, 8, seed=7), Document("e1", "", ""), Document("e2", "", "\n"), Document("e3", "", "")]
    bench = mapped(documents)
    leaf = memberships(bench, top=False)
    assert set(leaf) == {d.id for d in documents}
    assert leaf["e1"] == leaf["e2"] == leaf["e3"]
    assert bench.module.nodes[leaf["e1"]].label == UNCONNECTED
    assert bench.module.nodes[leaf["e1"]].documents == ("e1", "e2", "e3")


def test_all_isolated() -> None:
    documents = [Document(f"i{n}", "", "") for n in range(30)]
    bench = mapped(documents)
    assert list(labels(bench).values()) == [UNCONNECTED]


def test_copies_stay_together() -> None:
    documents = blocks(3, 10, seed=11)
    copies = [Document(f"copy{n:02d}", documents[0].title, documents[0].text) for n in range(25)]
    bench = mapped([*documents, *copies])
    top = memberships(bench, top=True)
    assert {top[c.id] for c in copies} == {top[documents[0].id]}


def test_the_name_of_a_node_depends_on_members_and_scale_only() -> None:
    bench = mapped(blocks(4, 15, seed=12))
    for node in bench.module.nodes.values():
        assert node.id == node_id(node.scale, node.documents)


def test_threads_do_not_hide_topics() -> None:
    """Five packages, each with modules on the same four topics, and words of its own in all of them."""
    topics = blocks(4, 25, seed=13)
    documents = [
        Document(
            d.id, d.title, f"{d.text} The package{i % 5} and the library{i % 5} vendor{i % 5}.", thread=f"p{i % 5}"
        )
        for i, d in enumerate(topics)
    ]
    assert same_partition(memberships(mapped(documents), top=True), block_of(topics, 25))


def test_a_second_conclusion_says_nothing() -> None:
    bench = Bench(Hierarchy())
    bench.feed(events_of(blocks(4, 10, seed=14)))
    module = bench.module
    result = Hierarchy.run(TASK, module.prepare(TASK))
    first = bench.commit(module.conclude(TASK, result, bench.context()))
    assert len(first) == len(module.nodes) > 0
    assert module.conclude(TASK, result, bench.context()) == []
    twin = Hierarchy()
    twin.restore(module.snapshot())
    assert twin.conclude(TASK, result, bench.context()) == []


def test_a_grown_corpus_replaces_what_changed() -> None:
    documents = blocks(5, 10, seed=15)
    bench = mapped(documents[:40])
    before = set(bench.module.nodes)
    bench.feed(events_of(documents[40:], ids=bench.ids))
    emitted = bench.scan(TASK)
    removed = {e.payload.concept_id for e in emitted if isinstance(e.payload, ConceptRemoved)}
    added = {e.payload.concept_id for e in emitted if isinstance(e.payload, ConceptAdded)}
    assert set(bench.module.nodes) == (before - removed) | added
    assert added
    assert not removed & added
    bench.module.validate()
