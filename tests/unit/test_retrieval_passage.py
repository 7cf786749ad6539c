"""Passages: every word in exactly one, exact offsets, sections respected; quotations verbatim."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tori.events.document import Section
from tori.retrieval.passage import LEAST_WORDS, MOST_WORDS, sentences, split
from tori.retrieval.quote import LIMIT, best_sentence
from tori.retrieval.term import terms

PARAGRAPHS = st.lists(st.integers(0, 500), max_size=8).map(
    lambda sizes: "\n\n".join(" ".join(f"word{i}." if i % 9 == 0 else f"Word{i}" for i in range(n)) for n in sizes)
)


@given(
    st.one_of(st.text(max_size=200), PARAGRAPHS),
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=4),
)
def test_every_word_stands_in_exactly_one_passage(text: str, spans: list[tuple[int, int]]) -> None:
    sections = [Section(min(a, b), max(a, b), f"s{i}") for i, (a, b) in enumerate(spans)]
    passages = split(text, sections)
    assert all(p.start < q.start and p.end <= q.start for p, q in pairwise(passages))
    assert all(text[p.start : p.end] == text[p.start : p.end].strip() != "" for p in passages)
    assert "".join("".join(text[p.start : p.end].split()) for p in passages) == "".join(text.split())


@given(PARAGRAPHS)
def test_passages_have_the_promised_length(text: str) -> None:
    lengths = [len(text[p.start : p.end].split()) for p in split(text)]
    assert all(n <= MOST_WORDS for n in lengths)
    assert all(a + b > MOST_WORDS for a, b in pairwise(lengths) if min(a, b) < LEAST_WORDS)


def test_passages_stay_inside_their_section_and_carry_its_title() -> None:
    body = " ".join(["speaks"] * 30)
    text = f"{body}\n\nGarden\n\n{body}\n\nEngine\n\n{body}"
    garden, engine = text.index("Garden"), text.index("Engine")
    found = split(text, (Section(garden, engine, "Garden"), Section(engine, len(text), "Engine")))
    assert [p.section for p in found] == ["", "Garden", "Engine"]
    assert found[1].start == garden
    assert text[found[2].start : found[2].end].startswith("Engine")


def test_a_bare_heading_joins_what_it_introduces() -> None:
    body = " ".join(["speaks"] * 30)
    text = f"Motivation\n\nThe lock\n\n{body}"
    lock = text.index("The lock")
    assert split(text, (Section(0, lock, "Motivation"), Section(lock, len(text), "The lock"))) == [
        (0, len(text), "Motivation: The lock")
    ]
    assert split("Motivation\n", (Section(0, 11, "Motivation"),)) == [(0, 10, "Motivation")]


def test_the_innermost_section_names_a_passage() -> None:
    text = " ".join(f"w{i}" for i in range(100))
    inner = Section(text.index("w40"), text.index("w80"), "inner")
    found = split(text, (Section(0, len(text), "outer"), inner))
    assert [p.section for p in found] == ["outer", "inner", "outer"]


def test_long_paragraphs_are_cut_after_sentences() -> None:
    text = " ".join(f"This is sentence number {i} of many in here." for i in range(60))
    found = split(text)
    assert len(found) > 2
    assert all(text[p.start : p.end].endswith(".") for p in found)


def test_sentences() -> None:
    text = 'One is here. "Two" follows! e.g. this stays. Three\n\nis new (really?). 4 ends'
    assert [text[a:b] for a, b in sentences(text, 0, len(text))] == [
        "One is here.",
        '"Two" follows! e.g. this stays.',
        "Three",
        "is new (really?).",
        "4 ends",
    ]


def test_the_quoted_sentence_covers_the_question() -> None:
    text = "Cats sleep all day long, it seems. The global lock is a major obstacle to threads. Dogs bark at the moon."
    quote = best_sentence(
        text, [(0, len(text))], terms("why is the lock an obstacle"), lambda t: 1.0, lambda f: np.zeros(len(f))
    )
    assert quote.words == "The global lock is a major obstacle to threads."
    assert text[quote.start :].startswith(quote.words)


def test_meaning_decides_where_no_word_is_shared() -> None:
    text = "Cats sleep all day long, it seems. Dogs bark at the silver moon tonight."
    close = "Dogs bark at the silver moon tonight."
    quote = best_sentence(
        text, [(0, len(text))], ["puppi"], lambda t: 1.0, lambda f: np.asarray([0.9 * (s == close) for s in f])
    )
    assert quote.words == close


def test_a_short_sentence_that_answers_beats_a_long_one_that_does_not() -> None:
    text = "The frost ends. Seeds are sown in trays near a window on the sunny side."
    assert (
        best_sentence(text, [(0, len(text))], ["frost"], lambda t: 1.0, lambda f: np.full(len(f), 0.2)).words
        == "The frost ends."
    )


def test_long_and_short_quotations() -> None:
    text = "lock " * 300
    quote = best_sentence(text, [(0, len(text.rstrip()))], ["lock"], lambda t: 1.0, lambda f: np.ones(len(f)))
    assert len(quote.words) <= LIMIT
    assert quote.words.endswith("lock")
    assert best_sentence("Short.", [(0, 6)], ["x"], lambda t: 1.0, lambda f: np.ones(len(f))) == (0, "Short.")
    solid = "x" * 500
    assert best_sentence(solid, [(0, 500)], ["x"], lambda t: 1.0, lambda f: np.ones(len(f))).words == "x" * LIMIT
    assert best_sentence("", [(0, 0)], ["x"], lambda t: 1.0, lambda f: np.ones(len(f))) == (0, "")
