"""The scan: a planted bridge is found, null twins stay within the stated rate, what is near or a copy is no bridge."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import msgspec
import pytest
from scipy.stats import binom

from tests.support.tiny_corpus import Events, concepts, corpus_events, random_table, rewired_table, two_worlds
from tori.events.document import Document
from tori.events.envelope import Event
from tori.modules.corpus import Corpus
from tori.modules.mapping import TopicMap
from tori.modules.wormhole.scan import NOT_CONNECTED, ScanInput, ScanResult, scan, wormhole_id
from tori.modules.wormhole.settings import WormholeSettings

PLANTED = ("engine-05", "garden-03")


def scanned(events: Iterable[Event], **settings: float) -> ScanResult:
    corpus, topics = Corpus(), TopicMap()
    for event in events:
        if not corpus.apply(event):
            topics.apply(event)
    chosen = msgspec.structs.replace(WormholeSettings(), **settings)
    return scan(ScanInput(corpus.snapshot(), topics.communities(), chosen.threshold, [], [], [], chosen))


def replaced(documents: Sequence[Document], document_id: str, **fields: object) -> list[Document]:
    return [msgspec.structs.replace(d, **fields) if d.id == document_id else d for d in documents]


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_bridge_is_the_strongest(seed: int) -> None:
    documents, members = two_worlds(seed)
    result = scanned(corpus_events(documents, members))
    assert result.bridges, result.reason
    best = result.bridges[0]
    assert (best.a, best.b) == PLANTED
    assert best.distance == NOT_CONNECTED
    assert best.p_value <= 1e-4
    assert sum("secret" in label for label in best.shared) >= 6
    assert result.tested == 24 * 24


@pytest.mark.no_cover
def test_the_promise_on_null_twins() -> None:
    """P(any significant pair) <= fdr when nothing is there, similar enough to be a bridge or not.

    Forty twins whose documents and concepts keep their sums but share at random: the number of twins with any
    finding must not exceed the 95 % quantile of Binomial(40, fdr). The seeds are fixed, so chance cannot fail it on some days.
    """
    documents, table = random_table(11, 48, 120)
    false = 0
    for seed in range(40):
        events = Events()
        twin = rewired_table(table, seed)
        result = scanned([*events.documents(documents, embedded=False), *events.concepts(twin)])
        assert result.tested == 48 * 47 // 2
        false += result.significant > 0
    assert false <= binom.ppf(0.95, 40, 0.05), f"{false} of 40 null twins had a significant pair"


def test_a_null_twin_says_why_it_is_empty() -> None:
    documents, table = random_table(11, 48, 120)
    events = Events()
    result = scanned([*events.documents(documents, embedded=False), *events.concepts(rewired_table(table, 3))])
    assert result.bridges == []
    assert result.reason == f"{result.significant} of 1128 tested pairs significant"


def test_the_result_does_not_depend_on_the_order_of_arrival() -> None:
    documents, members = two_worlds(1)
    events = corpus_events(documents, members)
    first = scanned(events)
    for seed in range(3):
        shuffled = list(events)
        random.Random(seed).shuffle(shuffled)
        assert scanned(shuffled) == first


def test_documents_linked_within_two_steps_are_not_far() -> None:
    documents, members = two_worlds(0)
    middle = Document("garden-99", "nothing here", "an empty page", links=PLANTED)
    linked = scanned(corpus_events([*documents, middle], members))
    assert PLANTED not in [(p.a, p.b) for p in [*linked.bridges, *linked.near]]
    chain = [
        Document("x1", "first stone", "pebble", links=("garden-03", "x2")),
        Document("x2", "second stone", "gravel", links=("engine-05",)),
    ]
    far = scanned(corpus_events([*documents, *chain], members))
    assert [p.distance for p in far.bridges if (p.a, p.b) == PLANTED] == [3.0]


def test_documents_of_one_community_or_thread_or_series_are_no_bridge() -> None:
    documents, members = two_worlds(0)
    together = {"garden": [*members["garden"], "engine-05"], "engine": members["engine"][6:]}
    same_thread = replaced(replaced(documents, "garden-03", thread="t"), "engine-05", thread="t")
    same_title = replaced(
        replaced(documents, "garden-03", title="Release 3.1 plan"), "engine-05", title="Release 3.2 plan"
    )
    for texts, communities in ((documents, together), (same_thread, members), (same_title, members)):
        result = scanned(corpus_events(texts, communities))
        assert PLANTED not in [(p.a, p.b) for p in result.bridges]


def test_copies_are_no_bridge() -> None:
    documents, members = two_worlds(0)
    original = next(d for d in documents if d.id == "garden-03")
    result = scanned(corpus_events(replaced(documents, "engine-05", text=original.text), members))
    assert PLANTED not in [(p.a, p.b) for p in result.bridges]


def test_caps_rejections_and_the_most_documents() -> None:
    documents, members = two_worlds(0)
    secrets = " ".join(w for w in documents[3].text.replace(" meets", "").split() if w.startswith("secret"))
    for number in (4, 6):
        old = documents[number]
        documents = replaced(documents, old.id, text=f"{old.text} And {secrets.replace(' ', ' meets ')} as well.")
    events = corpus_events(documents, members)
    free = [(p.a, p.b) for p in scanned(events, threshold=0.1).bridges]
    assert len(free) == 3
    assert [(p.a, p.b) for p in scanned(events, threshold=0.1, per_document=2).bridges] == free[:2]
    assert [(p.a, p.b) for p in scanned(events, threshold=0.1, bridges=1).bridges] == free[:1]
    few = scanned(events, documents=20)
    assert few.tested <= 20 * 19 // 2
    corpus, topics = Corpus(), TopicMap()
    for event in events:
        if not corpus.apply(event):
            topics.apply(event)
    rejected = [wormhole_id(*PLANTED)]
    given = ScanInput(corpus.snapshot(), topics.communities(), 0.2, [], [], rejected, WormholeSettings())
    assert PLANTED not in [(p.a, p.b) for p in scan(given).bridges]


def test_of_two_versions_only_the_stronger_bridge_is_told() -> None:
    documents, members = two_worlds(0)
    engine = next(d for d in documents if d.id == "engine-05")
    titled = replaced(documents, "engine-05", title="Wheel Format 1.0")
    later = Document("engine-77", "Wheel Format 1.9", f"{engine.text} A few words more than before, somewhere.")
    communities = {**members, "engine": [*members["engine"], later.id]}
    told = [
        p for p in scanned(corpus_events([*titled, later], communities), threshold=0.1).bridges if p.b == PLANTED[1]
    ]
    assert len(told) == 1
    assert told[0].a in ("engine-05", "engine-77")
    apart = replaced([*titled, later], "engine-77", title="Something else entirely")
    both = scanned(corpus_events(apart, communities), threshold=0.1).bridges
    assert {p.a for p in both if p.b == PLANTED[1]} == {"engine-05", "engine-77"}


def test_every_empty_answer_has_its_reason() -> None:
    assert scanned([]).reason == "no documents"
    documents, members = two_worlds(0)
    assert scanned(corpus_events(documents[:5])).reason == "fewer than 8 documents"
    assert scanned(Events().documents(documents)).reason == "no concept stands in two documents"
    everywhere = {"cache layer": {d.id: 1.0 for d in documents}}
    common = scanned([*Events().documents(documents), *Events().concepts(everywhere)])
    assert common.reason.startswith("all 1 concepts that documents share stand in more than 25% of them")
    one = {"all": [d.id for d in documents], "none": []}
    everything = scanned(corpus_events(documents, one))
    assert everything.reason == "every pair of documents is linked, in one community or in one series"
    strict = scanned(corpus_events(documents, members), threshold=0.99)
    assert "none of them as similar as 0.99" in strict.reason


def test_a_lone_root_of_the_map_is_looked_through() -> None:
    topics = TopicMap()
    documents, members = two_worlds(0)
    events = Events()
    communities = list(events.communities(members))
    root = next(iter(events.communities({"root": [d.id for d in documents]})))
    for event in communities:
        child = msgspec.structs.replace(event.payload, parent_id=root.payload.concept_id)
        topics.apply(msgspec.structs.replace(event, payload=child))
    topics.apply(root)
    assert len(topics.top()) == 2
    assert len(set(topics.communities().values())) == 2
    assert concepts(documents)
