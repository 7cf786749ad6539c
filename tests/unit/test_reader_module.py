"""The reader on a bench: events, evidence, idempotence, replay, snapshots, answers."""

from __future__ import annotations

import hashlib
import random

import msgspec
import numpy as np
import pytest

from tests.support.modules import Bench, ingested
from tori.errors import BadInput
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import (
    ConceptAdded,
    ConceptLinked,
    ConceptModified,
    ConceptRemoved,
    DocumentEmbedded,
    DocumentIngested,
    IngestProgressed,
)
from tori.modules.reader import Reader
from tori.modules.reader import module as reader_module
from tori.modules.reader.difference import concept_id_of
from tori.modules.reader.evidence import pattern_of, quotation
from tori.modules.reader.record import DocumentRead, SelectionMade

TASK = "concept_selection"
TOPICS = (
    "The global interpreter lock protects reference counts. A global interpreter lock has a cost for threads.",
    "A type checker reads type hints. Every type checker has its own idea of type hints.",
    "Structural pattern matching compares a subject. Pattern matching needs a subject and patterns.",
)


class HashingEmbedder:
    """Signed hashing of words into 16 dimensions; no text but an empty one is a zero vector."""

    name = "hashing-16"
    dimensions = 16

    def embed(self, texts: list[str]) -> np.ndarray:
        out = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                digest = hashlib.sha256(word.encode()).digest()
                out[row, digest[0] % 16] += 1 if digest[1] % 2 else -1
        norms = np.linalg.norm(out, axis=1, keepdims=True)
        unit: np.ndarray = np.divide(out, norms, out=np.zeros_like(out), where=norms > 0)
        return unit


def corpus(count: int = 24) -> list[Document]:
    return [Document(f"doc-{n:03}", f"Note {n}", f"{TOPICS[n % 3]} Remark number {n} ends here.") for n in range(count)]


def bench() -> Bench:
    return Bench(Reader(HashingEmbedder()))


def live(documents: list[Document], batch_size: int = 8) -> Bench:
    b = bench()
    b.feed(ingested(documents), batch_size)
    b.scan(TASK)
    return b


def events(b: Bench, kind: type) -> list[Event]:
    return [f for f in b.facts if isinstance(f, Event) and isinstance(f.payload, kind)]


def test_every_document_is_embedded_once_as_a_unit_vector_with_its_cause() -> None:
    documents = ingested(corpus(5))
    b = bench()
    emitted = b.feed(documents)
    embedded = [e for e in emitted if isinstance(e.payload, DocumentEmbedded)]
    assert [e.causes for e in embedded] == [(d.id,) for d in documents]
    for event in embedded:
        assert isinstance(event.payload, DocumentEmbedded)
        vector = np.frombuffer(event.payload.vector, dtype="<f2").astype(np.float32)
        assert abs(float(np.linalg.norm(vector)) - 1) < 0.01
        assert event.payload.model == "hashing-16"


def test_a_vector_without_length_is_left_out() -> None:
    class Silent(HashingEmbedder):
        def embed(self, texts: list[str]) -> np.ndarray:
            return np.full((len(texts), 16), [[0.0], [np.nan]][len(texts) % 2], dtype=np.float32)

    b = Bench(Reader(Silent()))
    assert not [e for e in b.feed(ingested(corpus(3)), 1) if isinstance(e.payload, DocumentEmbedded)]
    assert b.module.query("summary", {})["documents"] == 3


def test_the_default_embedder_is_the_port_s(monkeypatch: pytest.MonkeyPatch) -> None:
    from tori.retrieval import embedder

    monkeypatch.setattr(embedder, "get_embedder", HashingEmbedder)
    b = Bench(Reader())
    (event,) = [e for e in b.feed(ingested(corpus(1))) if isinstance(e.payload, DocumentEmbedded)]
    assert event.key == "doc-000"


def test_concepts_appear_while_documents_stream_in_and_settle_in_the_scan() -> None:
    b = bench()
    b.feed(ingested(corpus(16)), 8)
    interim = {e.payload.label for e in events(b, ConceptAdded) if isinstance(e.payload, ConceptAdded)}
    assert {"global interpreter lock", "type checker", "pattern matching"} <= interim
    assert [f for f in b.facts if isinstance(f, SelectionMade)] == [SelectionMade(16)]
    b.scan(TASK)
    assert events(b, ConceptLinked)
    b.module.validate()


def test_the_same_result_concluded_twice_says_nothing_new() -> None:
    b = live(corpus())
    assert b.scan(TASK) == []
    result = Reader.run(TASK, b.module.prepare(TASK))
    assert list(b.module.conclude(TASK, result, b.context())) == []


def test_the_digest_depends_on_the_set_of_documents_only() -> None:
    documents = corpus(30)
    first = live(documents, 8)
    for seed, size in ((1, 1), (2, 5), (3, 64)):
        shuffled = documents[:]
        random.Random(seed).shuffle(shuffled)
        assert live(shuffled, size).module.section() == first.module.section()
    changed = [*documents[1:], msgspec.structs.replace(documents[0], text=TOPICS[1])]
    assert live(changed).module.section() != first.module.section()


def test_evidence_stands_verbatim_and_is_among_the_causes() -> None:
    b = live(corpus())
    seen = [*events(b, ConceptAdded), *events(b, ConceptModified)]
    assert seen
    for event in seen:
        assert isinstance(event.payload, ConceptAdded | ConceptModified)
        assert 1 <= len(event.payload.evidence) <= 3
        assert list(event.payload.sources) == sorted(event.payload.sources)
        assert len(event.payload.weights) == len(event.payload.sources)
        for quote in event.payload.evidence:
            text = b.events[quote.event_id].payload.text  # type: ignore[union-attr]  # a DocumentIngested
            assert text[quote.start : quote.start + len(quote.quote)] == quote.quote
            assert quote.event_id in event.causes
            assert event.payload.label.split()[0] in quote.quote.lower()


def test_content_seen_before_is_not_read_again() -> None:
    documents = corpus(20)
    b = live(documents)
    assert b.feed(ingested(documents)) == []
    assert b.module.query("summary", {})["replaced"] == 0


def test_a_replaced_document_moves_its_concepts_and_their_evidence() -> None:
    b = live(corpus(18))
    label = "pattern matching"
    before = b.module.query("concept", {"id": label})
    for n in range(2, 18, 3):
        b.feed(ingested([Document(f"doc-{n:03}", "Other", TOPICS[n % 2] + f" Changed {n}.")], b.ids))
    b.scan(TASK)
    removed = [e.payload.concept_id for e in events(b, ConceptRemoved) if isinstance(e.payload, ConceptRemoved)]
    assert before["id"] in removed
    assert b.module.query("find", {"id": label}) == {}
    lock = b.module.query("concept", {"id": "global interpreter lock"})
    assert set(lock["sources"]) == {f"doc-{n:03}" for n in range(18) if n % 3 == 0 or n in (2, 8, 14)}
    assert b.module.query("summary", {})["replaced"] == 6
    b.module.validate()
    fresh = live(_current(b))
    assert fresh.module.section() == b.module.section()


def _current(b: Bench) -> list[Document]:
    latest = {e.key: e.payload for e in b.events.values() if isinstance(e.payload, DocumentIngested)}
    return [Document(p.document_id, p.title, p.text) for p in latest.values()]


def test_a_quoted_document_with_a_new_text_renews_the_evidence() -> None:
    b = live(corpus(18))
    concept = b.module.query("concept", {"id": "type checker"})
    target = min(concept["sources"])
    text = b.events[next(e for e in b.events if b.events[e].key == target)].payload.text  # type: ignore[union-attr]  # a DocumentIngested
    (fresh,) = ingested([Document(target, "Note", text.replace("Remark", "Comment"))], b.ids)
    b.feed([fresh])
    emitted = b.scan(TASK)
    changed = [e for e in emitted if isinstance(e.payload, ConceptModified) and e.payload.label == "type checker"]
    assert len(changed) == 1
    assert isinstance(changed[0].payload, ConceptModified)
    assert "evidence" in changed[0].payload.changed
    assert fresh.id in changed[0].causes


def test_replay_equals_life_and_snapshots_roundtrip() -> None:
    b = live(corpus(20))
    lived = b.module.snapshot()
    again = Reader(HashingEmbedder())
    for fact in b.facts:
        again.apply(fact)
    assert again.snapshot() == lived
    restored = Reader(HashingEmbedder())
    restored.restore(lived)
    assert restored.snapshot() == lived
    assert restored.section() == b.module.section()
    restored.validate()
    b.facts.clear()
    b.feed(ingested([Document("new", "New", TOPICS[0])], b.ids))
    for fact in b.facts:
        restored.apply(fact)
    assert restored.snapshot() == b.module.snapshot()


def test_a_result_prepared_before_documents_left_the_state_is_cut_to_what_is_there() -> None:
    whole, part = live(corpus(24)), live(corpus(18))
    result = Reader.run(TASK, whole.module.prepare(TASK))
    part.commit(part.module.conclude(TASK, result, part.context()))
    part.module.validate()


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "PROGRESS_DOCUMENTS", 10)
    b = live(corpus(24), 4)
    told = [e.payload for e in events(b, IngestProgressed)]
    assert all(isinstance(p, IngestProgressed) for p in told)
    counts = [p.documents for p in told if isinstance(p, IngestProgressed)]
    assert counts == sorted(counts)
    assert counts[-1] == 24
    assert len(counts) < 6
    last = told[-1]
    assert isinstance(last, IngestProgressed)
    assert last.concepts == b.module.query("summary", {})["concepts"]
    assert last.characters == sum(len(d.text) for d in corpus(24))


def test_the_last_of_two_versions_in_one_batch_counts() -> None:
    b = bench()
    b.feed(ingested([Document("a", "A", "first text"), Document("a", "A", "second text")]))
    (record,) = [f for f in b.facts if isinstance(f, DocumentRead)]
    assert record.characters == len("second text")


def test_answers() -> None:
    b = live(corpus())
    reader = b.module
    listed = reader.query("concepts", {"limit": 3})
    assert len(listed) == 3
    assert listed[0]["documents"] >= listed[-1]["documents"]
    (only,) = [c for c in reader.query("concepts", {"prefix": "Global"}) if c["label"] == "global interpreter lock"]
    assert only["id"] == concept_id_of("Global Interpreter-Lock")
    described = reader.query("concept", {"id": only["id"]})
    assert described["label"] == "global interpreter lock"
    assert described["sources"]["doc-000"] == 2
    found = reader.query("find", {"id": "global interpreter lock"})
    assert bytes.fromhex(found["event_id"]) in b.events
    assert reader.query("find", {"id": "no such thing"}) == {}
    assert reader.query("summary", {})["documents"] == 24
    assert all(link["weight"] > 0 for link in described["links"])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("nothing", {}),
        ("find", {}),
        ("find", {"id": 7}),
        ("concept", {"id": "no such thing"}),
        ("concepts", {"limit": 0}),
        ("concepts", {"limit": True}),
        ("concepts", {"prefix": 7}),
    ],
)
def test_bad_questions_are_bad_input(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        bench().module.query(name, arguments)


def test_unknown_tasks_are_bad_input() -> None:
    reader = bench().module
    with pytest.raises(BadInput):
        reader.prepare("x")
    with pytest.raises(BadInput):
        Reader.run("x", b"")
    with pytest.raises(BadInput):
        reader.conclude("x", b"", bench().context())


def test_links_are_taken_back_when_they_no_longer_hold() -> None:
    b = live(corpus(24))
    first = events(b, ConceptLinked)[0]
    assert isinstance(first.payload, ConceptLinked)
    false = b.context().event(ConceptLinked(first.payload.concept_a, concept_id_of("pattern matching"), 9.0))
    if first.payload.concept_a == concept_id_of("pattern matching"):
        false = b.context().event(ConceptLinked(concept_id_of("pattern matching"), concept_id_of("type checker"), 9.0))
    b.module.apply(false)
    taken_back = [e.payload for e in b.scan(TASK) if isinstance(e.payload, ConceptLinked)]
    assert taken_back
    assert b.scan(TASK) == []
    b.module.validate()


def test_a_phrase_that_stands_in_titles_only_still_has_a_quotation() -> None:
    texts = [f"Remark {n}. Something on lattices is said. " + TOPICS[1 + n % 2] for n in range(18)]
    documents = [Document(f"d{n:02}", "Lattice theory" if n < 5 else f"N{n}", text) for n, text in enumerate(texts)]
    documents += [Document(f"e{n}", "Ring extension", "Only words on other matters here.") for n in range(3)]
    b = live(documents)
    quotes = {}
    for event in [*events(b, ConceptAdded), *events(b, ConceptModified)]:
        assert isinstance(event.payload, ConceptAdded | ConceptModified)
        quotes[event.payload.label] = [q.quote for q in event.payload.evidence]
    assert quotes["ring extension"] == ["Only words on other matters here."]
    assert all(quotes.values())


def test_one_sentence_of_two_documents_is_quoted_once() -> None:
    b = live([Document(f"d{n:02}", f"N{n}", TOPICS[n % 3]) for n in range(18)])
    for event in events(b, ConceptAdded):
        assert isinstance(event.payload, ConceptAdded)
        assert len({q.quote for q in event.payload.evidence}) == len(event.payload.evidence) == 1


def test_quotations_are_whole_sentences_where_there_are_any() -> None:
    text = "Lead words. The *global\n interpreter* lock guards all the state (in part). Then more.\n\nGIL\n\n- the IT thing, it is"
    found = quotation(text, pattern_of(["global interpreter lock", "GIL"]))
    assert found is not None
    assert found.quote == "The *global\n interpreter* lock guards all the state (in part)."
    assert text[found.start :].startswith(found.quote)
    short = quotation(text, pattern_of(["GIL"]))
    assert short is not None
    assert short.quote == "GIL"
    assert quotation(text, pattern_of(["IT"])) is not None
    assert quotation("it is", pattern_of(["IT"])) is None
    assert quotation(text, pattern_of(["absent"])) is None


def test_quotations_are_bounded_and_hold_their_phrase() -> None:
    text = "word " * 500 + "needle here " + "word " * 500
    found = quotation(text, pattern_of(["needle here"]))
    assert found is not None
    assert len(found.quote) <= 460
    assert "needle here" in found.quote
    assert text[found.start : found.start + len(found.quote)] == found.quote
    unbroken = "x" * 300 + "-needle-" + "y" * 300
    stuck = quotation(unbroken, pattern_of(["needle"]))
    assert stuck is not None
    assert "needle" in stuck.quote
