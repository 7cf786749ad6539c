"""Selection over planted corpora: what must become a concept, what must not, and that only the set of documents counts."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tori.modules.reader.association import associations
from tori.modules.reader.phrase import Candidates, candidates
from tori.modules.reader.selection import Found, Selection, select
from tori.modules.reader.variant import clear_acronyms, representatives, singulars, spelling_key

FILLER = (
    "lorem ipsum dolor amet elit tempor labore magna aliqua enim minim veniam nostrud ullamco laboris nisi aliquip commodo "
    "consequat irure voluptate velit esse cillum fugiat nulla pariatur sint occaecat cupidatat proident sunt culpa officia"
).split()


def document(n: int, *sentences: str, title: str = "") -> tuple[str, Candidates]:
    noise = random.Random(n)
    words = ". ".join(f"the {noise.choice(FILLER)} of {noise.choice(FILLER)}" for _ in range(30))
    return f"d{n:03}", candidates(title or f"Report {n}", ". ".join(sentences) + ". " + words, ())[0]


def corpus() -> dict[str, Candidates]:
    """30 documents, two topics: an acronym, spellings, a phrase in every document, phrases inside others."""
    rows: dict[str, Candidates] = {}
    for n in range(30):
        said = ["It is a common matter"]
        if n < 8:
            said += ["The global interpreter lock (GIL) holds", "Each type checker helps"] * 2
        elif n < 12:
            said += ["The GIL is on every interpreter under a lock", "Some type-checkers help"] * 2
        elif n < 20:
            said += ["The steering council is there", "A pattern matching engine"] * 2
        rows.update([document(n, *said)])
    return rows


def by_label(selection: Selection) -> dict[str, Found]:
    return {c.label: c for c in selection.concepts}


def test_planted_phrases_become_concepts_with_their_sources() -> None:
    found = by_label(select(corpus()))
    assert found["steering council"].documents == tuple(range(12, 20))
    assert found["type checker"].documents == tuple(range(12))
    assert found["global interpreter lock"].documents == tuple(range(12))
    assert "GIL" in found["global interpreter lock"].forms
    assert {"type checker", "type checkers", "type-checkers"} & set(found["type checker"].forms)
    assert found["steering council"].uses == (2,) * 8


def test_parts_of_a_longer_phrase_and_common_words_are_none() -> None:
    found = by_label(select(corpus()))
    for gone in ("interpreter lock", "global interpreter", "GIL", "council", "steering", "matter", "common"):
        assert gone not in found


def test_the_order_of_documents_does_not_matter() -> None:
    rows = list(corpus().items())
    first = msgspec.msgpack.encode(select(dict(rows)))
    for seed in range(3):
        random.Random(seed).shuffle(rows)
        assert msgspec.msgpack.encode(select(dict(rows))) == first


def test_a_heading_of_the_corpus_is_no_concept() -> None:
    rows = {}
    for n in range(20):
        text = "Reference solution\n==================\n\nThe reference solution of the wave equation.\n\n" + " ".join(
            FILLER
        )
        rows[f"d{n}"] = candidates(f"Wave {n}", text if n < 9 else text.split("\n\n", 1)[1], ())[0]
    assert "reference solution" not in by_label(select(rows))


def test_an_empty_corpus_and_a_single_document_have_no_concepts() -> None:
    assert select({}) == Selection((), (), ())
    assert select(dict([document(1, "the steering council")])).concepts == ()


def test_a_title_counts_more_than_a_text() -> None:
    rows = dict(
        document(n, *(f"{w} thing" for w in FILLER[:14]), title="Lattice theory" if n < 2 else "") for n in range(20)
    )
    assert "lattice theory" in by_label(select(rows))


def test_a_large_corpus_forgets_accidents() -> None:
    rows = dict(document(n, "odd accident" if n < 2 else "plain matter here") for n in range(120))
    assert "odd accident" not in by_label(select(rows))
    rows = dict(document(n, *["odd accident"] * 2 if n < 2 else "plain matter here") for n in range(120))
    assert "odd accident" in by_label(select(rows))


def test_concepts_that_stand_together_are_linked() -> None:
    selection = select(corpus())
    labels = [c.label for c in selection.concepts]
    pairs = {(labels[link.a], labels[link.b]): link for link in selection.links}
    link = pairs["global interpreter lock", "type checker"]
    assert link.kind == "association"
    assert link.weight > 0
    assert ("steering council", "type checker") not in pairs
    assert not select(corpus(), with_links=False).links


def test_an_acronym_of_two_meanings_links_to_both() -> None:
    said = (
        "Thread local storage (TLS) here, thread local storage",
        "Transport layer security (TLS) here, transport layer security",
        "Only TLS certificates and TLS sockets",
    )
    rows = dict(document(n, *[said[n % 3]] * 3, "the TLS") for n in range(12))
    rows.update(document(n, "nothing of it") for n in range(12, 24))
    selection = select(rows)
    labels = [c.label for c in selection.concepts]
    synonyms = {frozenset((labels[x.a], labels[x.b])): x.weight for x in selection.links if x.kind == "synonym"}
    assert synonyms == {
        frozenset(("TLS", "thread local storage")): 0.5,
        frozenset(("TLS", "transport layer security")): 0.5,
    }


def test_names_of_people_are_no_concepts() -> None:
    rows = dict(document(n, "Thanks to Ada Lovelace", "Ada Lovelace noted", "the lattice theory") for n in range(10))
    rows.update(document(n, "nothing at all") for n in range(10, 24))
    found = by_label(select(rows))
    assert "lattice theory" in found
    assert "ada lovelace" not in found


def test_spellings_meet_at_the_most_used_one() -> None:
    totals = {"type-checker": 2, "type checker": 9, "Type checkers": 3, "typechecker": 1}
    assert set(representatives(totals).values()) == {"type checker"}
    assert representatives({"numpy": 3, "NumPy": 3})["numpy"] == "NumPy"


def test_only_attested_and_plausible_singulars_count() -> None:
    assert representatives({"type hints": 5})["type hints"] == "type hints"
    assert representatives({"type hints": 5, "type hint": 2})["type hints"] == "type hint"
    assert representatives({"windows": 90, "window": 3})["windows"] == "windows"
    assert representatives({"queries": 4, "query": 4})["queries"] == "query"
    assert representatives({"classes": 4, "class": 4})["classes"] == "class"
    assert singulars("class") == singulars("basis") == singulars("bus") == singulars("gas") == []
    assert spelling_key("Type-Checker") == "typechecker"


def test_meanings_of_acronyms() -> None:
    clear, torn = clear_acronyms(
        [[("ABC", "abstract base class")], [("ABC", "abstract base classes")], [("CI", "one x")], [("CI", "two x")]],
        {"ABC": 10, "CI": 2},
    )
    assert clear == {"ABC": "abstract base class"}
    assert torn == {"CI": [("one x", 0.5), ("two x", 0.5)]}
    rare = [[("ABC", "abstract base class")]] * 2
    assert clear_acronyms(rare, {"ABC": 50}) == ({}, {})


def test_associations_need_three_documents_and_keep_three_partners() -> None:
    sources = [range(6), range(6), range(6), range(6), range(6), [0, 1], [7, 8, 9]]
    found = associations(sources, 40)
    assert {pair for a, b, _ in found for pair in [(a, b)]} <= {(a, b) for a in range(5) for b in range(a + 1, 5)}
    degree = [sum(n in (a, b) for a, b, _ in found) for n in range(7)]
    assert min(degree[:5]) >= 3
    assert degree[5:] == [0, 0]
    assert associations([], 0) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), min_size=1, max_size=12), min_size=1, max_size=14))
def test_selection_laws_on_any_corpus(topics: list[list[int]]) -> None:
    rows = {
        f"d{n}": candidates("", ". ".join(f"the {FILLER[t]} {FILLER[t + 1]} is" for t in said), ())[0]
        for n, said in enumerate(topics)
    }
    selection = select(rows)
    labels = [c.label for c in selection.concepts]
    assert labels == sorted(set(labels))
    for concept in selection.concepts:
        assert len(concept.documents) >= 2
        assert list(concept.documents) == sorted(set(concept.documents))
        assert concept.label in concept.forms
        assert all(n > 0 for n in concept.uses)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(selection), type=Selection) == selection
    assert select(dict(reversed(rows.items()))) == selection


@pytest.mark.parametrize("size", [1, 2, 5])
def test_duplicated_documents_only_raise_counts(size: int) -> None:
    rows = {f"{d}-{n}": row for d, row in corpus().items() for n in range(size)}
    found = by_label(select(rows))
    assert len(found["steering council"].documents) == 8 * size
