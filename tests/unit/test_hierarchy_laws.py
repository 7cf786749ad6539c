"""The small parts: nearest neighbours, agreement of partitions, merging, labels, sentences."""

from __future__ import annotations

import math
import re

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tori.events.mind import Evidence
from tori.modules.corpus import ConceptMeta, Corpus, DocumentMeta
from tori.modules.hierarchy import graph, naming, partition
from tori.modules.hierarchy.draft import Candidate, DraftNode
from tori.modules.hierarchy.label import Vocabulary

PARTITIONS = st.integers(2, 30).flatmap(lambda n: st.tuples(*[st.lists(st.integers(0, 4), min_size=n, max_size=n)] * 2))


def corpus_of(*links: tuple[str, ...], vectors: dict[str, list[float]] | None = None) -> Corpus:
    corpus = Corpus()
    for i, targets in enumerate(links):
        corpus.documents[f"d{i}"] = DocumentMeta(f"d{i}", f"title {i}", b"", links=targets)
    corpus.vectors = {k: np.asarray(v, dtype="<f2").tobytes() for k, v in (vectors or {}).items()}
    return corpus


def add(corpus: Corpus, label: str, *sources: str) -> None:
    corpus.concepts[label] = ConceptMeta(label, label, b"", sources, (1.0,) * len(sources))


def draw_graph(corpus: Corpus) -> tuple[np.ndarray, graph.Terms]:
    order = graph.canonical_order(list(corpus.documents.values()))
    terms = graph.terms_of(corpus, order)
    return graph.document_graph(corpus, order, terms).toarray(), terms


@given(PARTITIONS)
def test_agreement_is_symmetric_bounded_and_one_on_itself(pair: tuple[list[int], list[int]]) -> None:
    a, b = (partition.renumber(np.asarray(p)) for p in pair)
    agreement = partition.adjusted_mutual_information
    assert agreement(a, a) == pytest.approx(1.0)
    assert agreement(a, b) == pytest.approx(agreement(b, a))
    assert agreement(a, b) <= 1 + 1e-9


def exact_ami(a: np.ndarray, b: np.ndarray) -> float:
    """Adjusted mutual information with the exact hypergeometric expectation (Vinh, Epps, Bailey 2010, eq. 24a)."""
    n = len(a)
    rows, columns = np.bincount(a), np.bincount(b)
    joint = np.zeros((len(rows), len(columns)))
    np.add.at(joint, (a, b), 1)
    information = sum(x / n * math.log(n * x / (rows[i] * columns[j])) for (i, j), x in np.ndenumerate(joint) if x > 0)
    expected = 0.0
    for r in rows:
        for c in columns:
            for x in range(max(1, r + c - n), min(r, c) + 1):
                ways = math.comb(int(r), x) * math.comb(int(n - r), int(c - x)) / math.comb(n, int(c))
                expected += x / n * math.log(n * x / (r * c)) * ways
    entropies = [-sum(x / n * math.log(x / n) for x in sizes) for sizes in (rows, columns)]
    return float((information - expected) / (sum(entropies) / 2 - expected))


@pytest.mark.parametrize(("size", "blocks"), [(120, 6), (300, 10), (700, 17)])
@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3, 0.6])
def test_agreement_is_near_its_exact_form(size: int, blocks: int, noise: float) -> None:
    rng = np.random.default_rng(blocks)
    a = partition.renumber(rng.integers(0, blocks, size))
    b = partition.renumber(np.where(rng.random(size) < noise, rng.integers(0, blocks, size), a))
    assert partition.adjusted_mutual_information(a, b) == pytest.approx(exact_ami(a, b), abs=0.03)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_renumbering_keeps_the_partition(values: list[int]) -> None:
    labels = partition.renumber(np.asarray(values))
    assert labels[0] == 0
    assert all(labels[i] <= labels[:i].max() + 1 for i in range(1, len(labels)))
    assert len(set(zip(values, labels.tolist(), strict=True))) == len(set(values)) == labels.max() + 1


def test_small_communities_join_the_neighbour_they_weigh_most_with() -> None:
    weights = np.zeros((8, 8))
    for i, j, w in [(0, 1, 1), (1, 2, 1), (3, 4, 1), (4, 5, 1), (6, 2, 0.2), (6, 3, 0.9)]:
        weights[i, j] = weights[j, i] = w
    merged = partition.merge_small(csr_array(weights), np.asarray([0, 0, 0, 1, 1, 1, 2, 3]), 3)
    assert merged.tolist() == [0, 0, 0, 1, 1, 1, 1, 2]


def test_a_graph_without_edges_is_all_alone() -> None:
    (found,) = partition.profile(csr_array((4, 4)), [1.0], 1, 4, 3)
    assert found.size == 4
    assert [p.size for p in partition.profile(csr_array((4, 4)), [1.0, 2.0], 1, 2, 3)] == [4]


def test_links_concepts_and_vectors_each_draw_an_edge() -> None:
    corpus = corpus_of(("d1", "d1", "d0", "gone"), (), (), (), vectors={"d1": [1, 0], "d3": [1, 0]})
    add(corpus, "rare", "d0", "d2")
    weights, _ = draw_graph(corpus)
    assert weights == pytest.approx(weights.T)
    assert weights[0, 1] == graph.LINK_WEIGHT
    assert weights[0, 2] == pytest.approx(1.0)
    assert weights[1, 3] == pytest.approx(graph.EMBEDDING_WEIGHT)
    assert np.count_nonzero(weights) == 6


def test_vectors_of_no_use_draw_no_edge() -> None:
    corpus = corpus_of((), (), (), (), vectors={"d0": [0, 0], "d1": [np.nan, 1], "d2": [1, 0], "d3": [1, 0, 0]})
    weights, _ = draw_graph(corpus)
    assert not weights.any()


def test_a_ubiquitous_concept_draws_no_edge() -> None:
    corpus = corpus_of(*[()] * 10)
    add(corpus, "everywhere", *(f"d{i}" for i in range(8)))
    assert not draw_graph(corpus)[0].any()


@given(st.integers(2, 25), st.integers(0, 2**32 - 1))
def test_nearest_are_the_largest_cosines(count: int, seed: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((count, 5)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    edges = graph.nearest(rows, [-1] * count, 0.0)
    cosines = np.round((rows @ rows.T).astype(np.float64), graph.DECIMALS)
    np.fill_diagonal(cosines, 0)
    for row in range(count):
        found = [w for i, _, w in edges if i == row]
        assert sorted(found, reverse=True) == [w for w in sorted(cosines[row], reverse=True) if w > 0][:8]


def test_nearest_is_the_same_sparse_dense_and_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(1).random((40, 6)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    whole = graph.nearest(rows, [-1] * 40, 0.1)
    monkeypatch.setattr(graph, "BLOCK_CELLS", 3 * 40)
    assert graph.nearest(csr_array(rows), [-1] * 40, 0.1) == whole


def test_copies_form_a_ring() -> None:
    rows = np.ones((50, 1), dtype=np.float32)
    targets = {i: [j for r, j, _ in graph.nearest(rows, [-1] * 50, 0.0) if r == i] for i in (0, 49)}
    assert targets == {0: list(range(1, 9)), 49: list(range(8))}


def test_half_of_the_neighbours_come_from_other_threads() -> None:
    rows = np.random.default_rng(2).random((60, 4)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1)[:, None]
    groups = [i % 3 for i in range(60)]
    for row in range(60):
        chosen = [j for i, j, _ in graph.nearest(rows, groups, 0.0) if i == row]
        assert sum(groups[j] != groups[row] for j in chosen) >= 4
        assert len(chosen) <= 8


def test_longer_terms_lend_their_documents_to_the_terms_inside() -> None:
    corpus = corpus_of(*[()] * 4)
    add(corpus, "type", "d0")
    add(corpus, "type variable", "d1", "d2")
    order = graph.canonical_order(list(corpus.documents.values()))
    vocabulary = Vocabulary(graph.terms_of(corpus, order), [d.title for d in order])
    assert dict(zip(vocabulary.labels, vocabulary.base, strict=True)) == {"type": 0.75, "type variable": 0.5}


def test_titles_weigh_in_the_ranking() -> None:
    corpus = corpus_of(*[()] * 9)
    for label in ("alpha ray", "omega rays"):
        add(corpus, label, "d0", "d1", "d2")
    order = graph.canonical_order(list(corpus.documents.values()))
    titles = ["The Omega Ray"] * 3 + [""] * 6
    vocabulary = Vocabulary(graph.terms_of(corpus, order), titles)
    ranked = [vocabulary.labels[j] for j, _ in vocabulary.rank(np.arange(3), None)]
    assert ranked == ["omega rays", "alpha ray"]
    assert vocabulary.clash(0, 1)


def node_of(candidates: list[Candidate], *documents: str, parent: str | None = None) -> DraftNode:
    return DraftNode(
        "m-1" if parent is None else "m-2", parent, 1, documents, (1.0,) * len(documents), tuple(candidates)
    )


def test_a_label_keeps_only_what_literally_holds() -> None:
    texts = {
        "a": "Type variable. Type\n checker! C++ here, everywhere.",
        "b": "the type checker; c++; everywhere",
        "c": "typed everywhere",
        "d": "nothing",
    }
    texts |= {f"x{i}": "everywhere c++11" for i in range(12)}
    terms = ["type variable", "everywhere", "type checker", "C++", "nothing", "typed"]
    node = node_of([Candidate(t, True) for t in terms], "a", "b", "c", "d")
    rest = msgspec.structs.replace(node_of([], *(f"x{i}" for i in range(12))), id="m-rest")
    named = naming.labels([node, rest], {}, texts.__getitem__)
    assert named == {"m-1": "type checker / C++", "m-rest": naming.UNNAMED}


@given(
    st.lists(st.sampled_from(["a b", "b", "C API", "x.y", "c++", "bb", "é"])), st.text("abcxyé+. \nAPI", max_size=40)
)
def test_the_index_finds_what_the_pattern_finds(terms: list[str], text: str) -> None:
    index = naming.TermIndex(terms)
    index.add("d", text)
    for term in terms:
        words = r"\s+".join(map(re.escape, term.lower().split()))
        assert (index.having[term] == {"d"}) == bool(re.search(rf"(?<!\w){words}(?!\w)", text.lower())), term


def test_reading_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(naming, "MAX_READ_CHARACTERS", 5)
    node = node_of([Candidate("late", True), Candidate("early", True)], "a", "b", "c")
    texts = {"a": "early", "b": "late", "c": "late"}
    rest = msgspec.structs.replace(node_of([], "a"), id="m-rest")
    assert naming.labels([node, rest], {}, texts.__getitem__)["m-1"] == "early"


def test_a_label_without_a_term_that_holds_is_the_best_there_is() -> None:
    texts = {"a": "one of two", "b": "two", "c": "", "d": "", "e": ""}
    candidates = [Candidate("absent", True), Candidate("one", False), Candidate("two", False), Candidate("of", False)]
    rest = msgspec.structs.replace(node_of([], *(f"x{i}" for i in range(5))), id="m-rest")
    named = naming.labels([node_of(candidates, *texts), rest], {}, lambda d: texts.get(d, ""))
    assert named["m-1"] == "two / one"
    assert naming.labels([node_of([], "a")], {}, texts.__getitem__) == {"m-1": naming.UNNAMED}


def test_a_child_does_not_repeat_its_parent() -> None:
    texts = {"a": "wide narrow", "b": "wide"} | {f"x{i}": "" for i in range(9)}
    candidates = [Candidate("wide", True), Candidate("narrow", True)]
    rest = msgspec.structs.replace(node_of([], *(f"x{i}" for i in range(9))), id="m-rest")
    top, child = node_of(candidates[:1], "a", "b"), node_of(candidates, "a", parent="m-1")
    named = naming.labels([top, child, rest], {}, texts.__getitem__)
    assert (named["m-1"], named["m-2"]) == ("wide", "narrow")
    echo = node_of(candidates[:1], "a", parent="m-1")
    assert naming.labels([top, echo, rest], {}, texts.__getitem__)["m-2"] == "wide"


def test_titles_count_as_text() -> None:
    index = naming.TermIndex(["wheel"])
    index.add("a", "The Wheel 1.0\n")
    assert index.having == {"wheel": {"a"}}
    node = node_of([Candidate("wheel", True)], "a")
    assert naming.labels([node], {"a": "The Wheel 1.0"}, lambda _: "") == {"m-1": "wheel"}


@given(st.text("ab. \n", max_size=700), st.integers(0, 700), st.integers(0, 20))
def test_a_sentence_holds_its_term_and_is_short(text: str, start: int, length: int) -> None:
    start = min(start, len(text))
    end = min(start + length, len(text))
    begin, finish = naming.sentence(text, start, end)
    assert 0 <= begin <= finish <= len(text)
    assert finish - begin <= naming.QUOTE_CHARACTERS + length
    if text[start:end].strip():
        assert text[start:end].strip() in text[begin:finish]
    assert text[begin:finish] == text[begin:finish].strip()


def test_a_sentence_is_cut_at_sentences_or_words() -> None:
    text = "First one. The second holds it. Third."
    begin, finish = naming.sentence(text, 15, 21)
    assert text[begin:finish] == "The second holds it."
    long = "word " * 200 + "needle " + "word " * 200
    at = long.index("needle")
    begin, finish = naming.sentence(long, at, at + 6)
    assert set(long[begin:finish].split()) == {"word", "needle"}


def test_quotes_fall_back_on_the_first_sentence() -> None:
    documents = {d: DocumentMeta(d, d, d.encode()) for d in "abc"}
    texts = {"a": "", "b": "Hello there. More.", "c": "Again."}
    assert naming.quotes("absent / term", "abc", documents, texts.__getitem__) == (
        Evidence("b", b"b", "Hello there.", 0),
    )
    assert naming.quotes("more", "abc", documents, texts.__getitem__) == (Evidence("b", b"b", "More.", 13),)
    assert naming.quotes("more", "a", documents, texts.__getitem__) == ()
