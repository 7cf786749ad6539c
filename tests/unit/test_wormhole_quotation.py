"""Quotations are verbatim, short, and about the term."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tori.modules.quotation import QUOTE_LIMIT, opening, quotation, stands

TEXT = (
    "Heading\n=======\n\nThe parser reads tokens. A parsing expression grammar removes the\nlookahead limit of the old"
    " parser generator; grammars stay readable. Nothing else changes.\n"
)


def test_the_sentence_around_the_rarest_term_is_quoted_verbatim() -> None:
    found = quotation(TEXT, ["parsing expression grammar", "lookahead"])
    assert found is not None
    assert found.term == "parsing expression grammar"
    assert found.quote.startswith("A parsing expression grammar removes")
    assert TEXT[found.start : found.start + len(found.quote)] == found.quote


def test_terms_are_found_across_lines_plurals_and_case_but_not_inside_words() -> None:
    assert stands("LOOKAHEAD limit", TEXT)
    assert stands("parser generator", "two Parser\n  generators")
    assert stands("category", "Categories of things")
    assert not stands("token", "tokenizer")
    assert not stands("parse", "reparse")
    assert not stands("", TEXT)
    assert quotation(TEXT, ["absent"]) is None


def test_letters_whose_lower_case_is_longer_do_not_shift_the_quotation() -> None:
    text = "\u0130" * 50 + " A note about the Bridge between things."
    found = quotation(text, ["bridge"])
    assert found is not None
    assert "Bridge" in text[found.start : found.start + len(found.quote)]


def test_the_opening_is_the_first_sentence() -> None:
    assert opening("  First words. Then more.").quote == "First words."
    assert opening("").quote == ""


@given(st.text(alphabet="ab .\n-T\u0130é", max_size=700), st.text(alphabet="abT é", max_size=4))
@settings(max_examples=150, deadline=None)
def test_every_quotation_stands_where_it_says(text: str, term: str) -> None:
    for found in (quotation(text, [term]), opening(text)):
        if found is not None:
            assert text[found.start : found.start + len(found.quote)] == found.quote
            assert len(found.quote) <= QUOTE_LIMIT + len(term) + 10
            assert found.quote == found.quote.strip()
