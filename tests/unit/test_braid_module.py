"""Braid memory on small planted corpora: threads, crossings, recall, restarts, the digest."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.modules import Bench, ingested
from tests.support.tiny_corpus import Events
from tori.digest import canonical
from tori.errors import BadInput
from tori.events.document import Document, Section
from tori.events.envelope import Event
from tori.events.mind import (
    BraidDissolved,
    BraidFormed,
    ConceptAdded,
    ConceptModified,
    ConceptRemoved,
    ThreadAppended,
    ThreadClosed,
    WormholeCreated,
    WormholeRemoved,
)
from tori.ids import content_name
from tori.modules.braid import Braid
from tori.modules.braid.settings import YEAR_NS, BraidSettings


def document(name: str, text: str, year: float | None = None, **fields: Any) -> Document:
    time_ns = None if year is None else int((year - 1970) * YEAR_NS)
    return Document(name, fields.pop("title", name.title()), text, time_ns, **fields)


GARDEN = document("garden", "Roses grow slowly. The gardener waters the roses at dawn. Frost kills tomatoes.", 2020)
ENGINE = document("engine", "Pistons move fast. A turbocharger feeds the engine with air. Oil cools pistons.", 2021)
KITCHEN = document("kitchen", "Tomatoes simmer for hours. Salt makes soup taste good. Serve it warm.", 2010)
SPRING = document("spring", "The frost ends. Seeds are sown in trays near a window.", 2022, thread="almanac")
SUMMER = document("summer", "Heat dries the soil. Mulch keeps water in it.", 2023, thread="almanac")
CORPUS = [GARDEN, ENGINE, KITCHEN, SPRING, SUMMER]
TABLE = {
    "tomatoes": {"garden": 1.0, "kitchen": 3.0},
    "frost": {"garden": 1.0, "spring": 2.0},
    "pistons": {"engine": 2.0},
}


def bench(documents: Sequence[Document] = CORPUS, settings: BraidSettings | None = None) -> Bench:
    found = Bench(Braid(settings))
    found.feed([*ingested(documents), *Events().concepts(TABLE)])
    return found


def braid(found: Bench) -> Braid:
    assert isinstance(found.module, Braid)
    return found.module


def ask(found: Bench, question: str, **arguments: Any) -> list[dict[str, Any]]:
    answers: list[dict[str, Any]] = found.module.query("ask", {"question": question, **arguments})["answers"]
    return answers


def types(events: Sequence[Event]) -> list[str]:
    return [type(e.payload).__name__ for e in events]


# -- threads -------------------------------------------------------------------------------------------------------


def test_a_document_begins_its_own_thread_or_joins_its_series() -> None:
    found = Bench(Braid())
    events = ingested(CORPUS)
    emitted = found.feed(events)
    assert types(emitted) == ["ThreadCreated"] * 4 + ["ThreadAppended"]
    last = emitted[-1].payload
    assert isinstance(last, ThreadAppended)
    assert last.thread_id == content_name("t", "almanac")
    assert (last.title, last.position) == ("almanac", 2)
    assert last.metadata == {"first": "2022-01-01", "last": "2023-01-01", "document": "summer"}
    assert [e.causes for e in emitted] == [(e.id,) for e in events]


@pytest.mark.parametrize("batch_size", [1, 64])
def test_a_replaced_document_is_appended_and_may_move(batch_size: int) -> None:
    found = bench()
    moved = msgspec.structs.replace(SPRING, thread="", text="Now alone.")
    again = msgspec.structs.replace(GARDEN, text="Only weeds.")
    alone = msgspec.structs.replace(SUMMER, thread="heat")
    emitted = found.feed(ingested([again, moved, alone]), batch_size)
    assert types(emitted) == ["ThreadAppended", "ThreadAppended", "ThreadCreated", "ThreadClosed", "ThreadCreated"]
    assert emitted[0].payload.position == 1
    assert (emitted[1].payload.thread_id, emitted[1].payload.position) == (content_name("t", "almanac"), 1)
    assert emitted[3].payload.metadata["reason"] == "moved"
    assert content_name("t", "almanac") not in braid(found).threads
    found.module.validate()
    assert ask(found, "roses dawn gardener")[0]["quote"] != "The gardener waters the roses at dawn."


def test_quiet_threads_close_and_wake() -> None:
    found = bench()
    emitted = found.scan("memory_cleanup")
    closed = [e.payload for e in emitted if isinstance(e.payload, ThreadClosed)]
    assert [c.title for c in closed] == ["Kitchen"]
    assert closed[0].metadata["reason"] == "quiet"
    assert found.module.query("summary", {})["closed"] == 1
    newer = msgspec.structs.replace(KITCHEN, time_ns=SUMMER.time_ns)
    assert types(found.feed(ingested([newer]))) == ["ThreadAppended"]
    assert found.module.query("summary", {})["closed"] == 0
    assert not any(isinstance(e.payload, ThreadClosed) for e in found.scan("memory_cleanup"))


def test_undated_threads_never_close() -> None:
    found = bench([*CORPUS, document("undated", "Nobody knows when this was written.")])
    found.scan("memory_cleanup")
    thread = found.module.query("thread", {"id": content_name("t", "undated")})
    assert (thread["closed"], thread["first"], thread["last"]) == (False, "", "")


def test_a_pass_settles_what_threads_say() -> None:
    found = bench()
    emitted = found.scan("memory_cleanup")
    garden = next(e for e in emitted if e.payload.__class__ is ThreadAppended and e.payload.title == "Garden")
    assert set(garden.payload.concept_ids) == {content_name("concept", c) for c in ("tomatoes", "frost")}
    assert garden.payload.metadata["reason"] == "settled"
    assert braid(found).corpus.documents["garden"].event_id in garden.causes
    assert found.scan("memory_cleanup") == []


# -- crossings -----------------------------------------------------------------------------------------------------


def test_braids_form_where_threads_share_a_rare_concept() -> None:
    found = bench()
    formed = [e for e in found.scan("memory_cleanup") if isinstance(e.payload, BraidFormed)]
    crossings = {e.payload.concept_id: e for e in formed}
    assert set(crossings) == {content_name("concept", "tomatoes"), content_name("concept", "frost")}
    event = crossings[content_name("concept", "tomatoes")]
    assert set(event.payload.thread_ids) == {content_name("t", "garden"), content_name("t", "kitchen")}
    assert 0 < event.payload.strength <= 1
    corpus = braid(found).corpus
    assert {corpus.documents[d].event_id for d in ("garden", "kitchen")} < set(event.causes)
    listed = found.module.query("braids", {"limit": 1})["braids"]
    assert len(listed) == 1
    assert listed[0]["strength"] == max(e.payload.strength for e in formed)


def test_braids_dissolve_with_their_concept() -> None:
    found = bench()
    found.scan("memory_cleanup")
    events = Events()
    concept_id = content_name("concept", "tomatoes")
    found.feed([Event(events.ids.next(), ConceptRemoved(concept_id, "tomatoes"), concept_id)])
    emitted = found.scan("memory_cleanup")
    assert [e.payload.concept_id for e in emitted if isinstance(e.payload, BraidDissolved)] == [concept_id]
    assert found.module.query("summary", {})["braids"] == 1


def test_common_concepts_cross_nothing() -> None:
    documents = [document(f"d{i}", f"Text number {i} on bread.") for i in range(12)]
    found = Bench(Braid())
    everywhere = {d.id: 1.0 for d in documents}
    found.feed([*ingested(documents), *Events().concepts({"bread": everywhere, "rye": {"d0": 1.0, "d1": 1.0}})])
    found.scan("memory_cleanup")
    assert [b["concept"] for b in found.module.query("braids", {})["braids"]] == ["rye"]


def test_crossings_are_bounded_a_thread_and_in_all() -> None:
    documents = [document(f"d{i}", f"Text number {i}.") for i in range(6)]
    table = {f"c{i}": {"d0": 1.0 + i, f"d{1 + i % 5}": 2.0} for i in range(30)}
    for limits, most in ((BraidSettings(braids_per_thread=2), 12), (BraidSettings(most_braids=3), 3)):
        found = Bench(Braid(limits))
        found.feed([*ingested(documents), *Events().concepts(table)])
        found.scan("memory_cleanup")
        assert 0 < found.module.query("summary", {})["braids"] <= most


def test_rarer_and_heavier_crossings_are_stronger() -> None:
    documents = [document(f"d{i}", f"Text number {i}.") for i in range(8)]
    table = {f"noise{i}": {f"d{j}": 1.0 for j in range(i % 4, 8, 2)} for i in range(12)}
    table["rare"] = {"d0": 5.0, "d1": 5.0}
    table["light"] = {"d0": 1.0, "d1": 1.0}
    table["wide"] = {f"d{j}": 5.0 for j in range(6)}
    found = Bench(Braid(BraidSettings(braids_per_thread=100)))
    found.feed([*ingested(documents), *Events().concepts(table)])
    found.scan("memory_cleanup")
    strength = {b["concept"]: b["strength"] for b in found.module.query("braids", {"limit": 100})["braids"]}
    assert strength["rare"] > strength["light"]
    assert strength["rare"] > strength["wide"]


# -- recall --------------------------------------------------------------------------------------------------------


def test_an_answer_quotes_its_document() -> None:
    found = bench()
    best = ask(found, "What feeds air to an engine?")[0]
    assert best["id"] == "engine"
    assert best["quote"] == "A turbocharger feeds the engine with air."
    assert ENGINE.text[best["start"] :].startswith(best["quote"])
    assert found.events[bytes.fromhex(best["why"])].payload.document_id == "engine"
    assert best["passage"] == {"start": 0, "end": len(ENGINE.text), "section": ""}
    assert best["concepts"] == ["pistons"]
    assert best["score"] > 0


@pytest.mark.parametrize("question", ["zebra quantum", "what is the best xylophone?", "qwertz asdf"])
def test_what_nobody_speaks_about_has_no_answer(question: str) -> None:
    assert ask(bench(), question) == []


def test_other_words_for_the_same_are_an_answer() -> None:
    """ "Planting season" shares no word with any text; the garden, spring and summer are what it means."""
    assert {a["id"] for a in ask(bench(), "planting season")[:3]} == {"garden", "spring", "summer"}


def test_title_and_section_are_found() -> None:
    text = "It depends on many things.\n\nNobody could agree on any of it for years and years and years and years."
    half = text.index("Nobody")
    titled = document(
        "x", text, title="Zebra", sections=(Section(0, half, "Stripes"), Section(half, len(text), "Hooves"))
    )
    found = bench([*CORPUS, titled])
    assert ask(found, "zebra")[0]["id"] == "x"
    assert ask(found, "hooves")[0]["passage"]["section"].endswith("Hooves")


def test_answers_are_bounded_and_the_index_follows() -> None:
    found = bench()
    assert len(ask(found, "tomatoes frost water", top=2)) == 2
    assert found.module.query("warm", {}) == {"passages": 5}
    found.feed(ingested([document("lynx", "A lynx hunts hares in snow.", 2024)]))
    assert ask(found, "what does the lynx hunt")[0]["id"] == "lynx"
    assert found.module.query("summary", {})["passages"] == 6


def test_an_empty_memory_answers_nothing() -> None:
    found = Bench(Braid())
    assert ask(found, "anything") == []
    assert found.scan("memory_cleanup") == []
    assert found.module.section() == {"threads": [], "braids": []}


def test_an_empty_document_is_found_by_title() -> None:
    found = bench([*CORPUS, document("void", "", title="Quasar")])
    best = ask(found, "quasar")[0]
    assert (best["id"], best["quote"], best["start"]) == ("void", "", 0)


def test_a_bridge_is_a_shortcut() -> None:
    found = bench(settings=BraidSettings(graph_weight=5.0, dense_weight=0.0))
    assert "engine" not in [a["id"] for a in ask(found, "roses gardener")]
    events = Events()
    bridge = WormholeCreated("w1", "garden", "engine", 0.9, 0.001, 4.0)
    found.feed([Event(events.ids.next(), bridge, "w1")])
    assert "engine" in [a["id"] for a in ask(found, "roses gardener")]
    found.feed([Event(events.ids.next(), WormholeRemoved("w1", "garden", "engine", 0.9, 0.001, 4.0), "w1")])
    assert "engine" not in [a["id"] for a in ask(found, "roses gardener")]


def test_the_question_names_concepts() -> None:
    found = bench()
    graph = braid(found).recall.graph()
    assert [graph.concept_ids[n] for n in graph.concepts_in(["frost", "tomato"])] == sorted(
        content_name("concept", c) for c in ("tomatoes", "frost")
    )
    assert graph.concepts_in(["nothing"]) == []


def test_newer_documents_win_ties_and_links_count_as_use() -> None:
    same = "The comet returns every seventy years and is seen with the naked eye."
    old, new = document("a-old", same, 1990, title="Comet"), document("b-new", same, 2020, title="Comet")
    assert [a["id"] for a in ask(bench([old, new]), "when does the comet return")] == ["b-new", "a-old"]
    presence = braid(bench([old, new, document("c", "x", 2021, links=("a-old",))])).recall.presence()
    assert presence["a-old"] > presence["b-new"]


def test_texts_are_bounded() -> None:
    found = Bench(Braid(BraidSettings(text_bytes=600, opening_characters=40)))
    rng = random.Random(1)
    texts = {f"d{i}": f"Opening{i} word. " + "".join(rng.choices("abcdefgh ", k=400)) for i in range(5)}
    found.feed(ingested([document(d, t) for d, t in texts.items()]))
    found.module.validate()
    assert found.module.query("summary", {})["text_bytes"] < 600 + 5 * 80
    best = ask(found, "opening4")[0]
    assert best["id"] == "d4"
    assert texts["d4"][best["start"] :].startswith(best["quote"])


def test_the_index_is_built_anew_when_most_of_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = bench()
    monkeypatch.setattr("tori.modules.braid.recall.PassageIndex.is_wasteful", True)
    before = ask(found, "roses")
    assert ask(found, "roses") == before


# -- the module's laws ---------------------------------------------------------------------------------------------

QUESTIONS = ("roses at dawn", "tomatoes", "soil and water", "frost")


@given(st.permutations(CORPUS), st.integers(1, 4), st.integers(0, 2))
@settings(max_examples=20, deadline=None)
def test_the_order_of_arrival_does_not_show(order: list[Document], batch_size: int, stale: int) -> None:
    reference = bench()
    reference.scan("memory_cleanup")
    found = Bench(Braid())
    older = [msgspec.structs.replace(d, text="Something older.", thread="old") for d in order[:stale]]
    found.feed(ingested(older), batch_size)
    ask(found, "something")
    found.scan("memory_cleanup")
    found.feed(ingested(order), batch_size)
    found.feed(Events().concepts(TABLE), batch_size)
    found.scan("memory_cleanup")
    found.module.validate()
    assert canonical(found.module.section()) == canonical(reference.module.section())
    for question in QUESTIONS:
        assert _without_ids(ask(found, question)) == _without_ids(ask(reference, question))


def _without_ids(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in a.items() if k != "why"} for a in answers]


@given(st.lists(st.sampled_from(CORPUS), max_size=8), st.integers(0, 8))
@settings(max_examples=20, deadline=None)
def test_a_restored_snapshot_is_the_same_module(stream: list[Document], cut: int) -> None:
    found = Bench(Braid())
    found.feed(ingested(stream[:cut]))
    found.feed(Events().concepts(TABLE))
    ask(found, "frost")
    found.scan("memory_cleanup")
    events = ingested(stream[cut:])
    copy = Bench(Braid())
    copy.module.restore(found.module.snapshot())
    copy.events.update(found.events)
    assert copy.module.snapshot() == found.module.snapshot()
    for one in (found, copy):
        one.feed(events)
    for question in QUESTIONS:
        assert ask(found, question) == ask(copy, question)
    assert found.module.section() == copy.module.section()


def test_replaying_equals_living() -> None:
    living, replayed = Bench(Braid()), Braid()
    ids = Events()
    for event in [*ids.documents(CORPUS, embedded=False), *ids.concepts(TABLE)]:
        emitted = living.feed([event])
        for fact in (event, *emitted):
            replayed.apply(fact)
    for fact in living.scan("memory_cleanup"):
        replayed.apply(fact)
    assert replayed.snapshot() == living.module.snapshot()


def test_concepts_may_change() -> None:
    found = bench()
    ask(found, "tomatoes")
    ids = Events().ids
    concept_id = content_name("concept", "pistons")
    changed = ConceptModified(concept_id, "oil", None, 0, ("engine",), (1.0,), changed=("label",))
    map_node = ConceptAdded("map-1", "everything", None, 1, ("engine",), (1.0,))
    found.feed([Event(ids.next(), changed, concept_id), Event(ids.next(), map_node, "map-1")])
    assert ask(found, "turbocharger engine")[0]["concepts"] == ["oil"]
    assert "map-1" not in braid(found).corpus.concepts


def test_the_section_is_canonical() -> None:
    found = bench()
    found.scan("memory_cleanup")
    section = found.module.section()
    assert [t["id"] for t in section["threads"]] == sorted(t["id"] for t in section["threads"])
    almanac = next(t for t in section["threads"] if t["title"] == "almanac")
    assert almanac["documents"] == ["spring", "summer"]
    text = canonical(section).decode()
    assert not any(e.hex() in text for e in found.events)


# -- questions -----------------------------------------------------------------------------------------------------


def test_threads_and_find() -> None:
    found = bench()
    found.scan("memory_cleanup")
    listed = found.module.query("threads", {"limit": 2})["threads"]
    assert [t["title"] for t in listed] == ["almanac", "Engine"]
    thread = found.module.query("thread", {"id": listed[0]["id"]})
    assert [d["id"] for d in thread["documents"]] == ["spring", "summer"]
    assert [d["date"] for d in thread["documents"]] == ["2022-01-01", "2023-01-01"]
    assert thread["concepts"] == ["frost"]
    assert [b["concept"] for b in thread["braids"]] == ["frost"]
    for owned in (listed[0]["id"], thread["braids"][0]["id"]):
        event_id = bytes.fromhex(found.module.query("find", {"id": owned})["event_id"])
        assert owned in (getattr(found.events[event_id].payload, f, "") for f in ("thread_id", "braid_id"))
    assert found.module.query("find", {"id": "unknown"}) == {}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("sing", {}, "ask, braids"),
        ("ask", {}, "question"),
        ("ask", {"question": "  "}, "question"),
        ("ask", {"question": 3}, "question"),
        ("ask", {"question": "x", "top": 0}, "top"),
        ("ask", {"question": "x", "top": True}, "top"),
        ("ask", {"question": "x", "limit": 3}, "limit"),
        ("threads", {"limit": "3"}, "limit"),
        ("thread", {"id": "t-0"}, "t-0"),
        ("summary", {"x": 1}, "nothing"),
    ],
)
def test_bad_questions_are_refused_by_name(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        bench().module.query(name, arguments)


def test_unknown_tasks_are_refused() -> None:
    found = bench()
    with pytest.raises(BadInput, match="memory_cleanup"):
        found.module.prepare("dream")
    with pytest.raises(BadInput, match="dream"):
        Braid.run("dream", b"")
    with pytest.raises(BadInput, match="dream"):
        found.module.conclude("dream", b"", found.context())


def test_a_pass_that_began_earlier_leaves_newer_threads_alone() -> None:
    found = bench([GARDEN, KITCHEN])
    result = Braid.run("memory_cleanup", found.module.prepare("memory_cleanup"))
    moved = msgspec.structs.replace(GARDEN, thread="beds")
    ids = Events().ids
    gone = content_name("concept", "tomatoes")
    found.feed([*ingested([moved, SPRING, SUMMER]), Event(ids.next(), ConceptRemoved(gone, "tomatoes"), gone)])
    emitted = found.commit(found.module.conclude("memory_cleanup", result, found.context()))
    assert not any(isinstance(e.payload, BraidFormed) and e.payload.concept_id == gone for e in emitted)
    found.module.validate()
    found.scan("memory_cleanup")
    reference = Bench(Braid())
    kept = {k: v for k, v in TABLE.items() if k != "tomatoes"}
    reference.feed([*ingested([moved, KITCHEN, SPRING, SUMMER]), *Events().concepts(kept)])
    reference.scan("memory_cleanup")
    assert found.module.section() == reference.module.section()
