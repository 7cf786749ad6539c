"""The filter grammar: what fits, what is refused, and that any text is either."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tori.clock import SECOND_NS
from tori.errors import BadInput
from tori.events.filter import EVENT_FIELDS, LETTER_FIELDS, Filter, parse_moment, terms_of

NOW = 1_764_096_000 * SECOND_NS
ROW = {
    "type": "ConceptAdded",
    "source": "reader",
    "key": "pep-703 x",
    "cause": ["aa", "bb"],
    "time": NOW - 3600 * SECOND_NS,
}


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("", True),
        ("type=Concept*", True),
        ("type=Alien*|ConceptAdded", True),
        ("type!=Concept*", False),
        ("type!=Alien*|Scar*", True),
        ("source=reader key=pep-*", True),
        ("source=reader key=gh-*", False),
        ('key="pep-703 x"', True),
        ("key~PEP", True),
        ("key~gh", False),
        ("cause=bb", True),
        ("cause=cc", False),
        ("correlation=", True),
        ("correlation=x", False),
        ("time>=2h", True),
        ("time<2h", False),
        ("time>1h", False),
        ("time>=1h time<=1h", True),
        ("time>=2025-11-25T17:00", True),
        ("time<2025-11-25T18:00+01:00", False),
        ("key=pep?703*", True),
    ],
)
def test_terms_hold_together(text: str, fits: bool) -> None:
    assert Filter.parse(text, now_ns=NOW).fits(ROW) is fits


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("type", "no term"),
        ("colour=red", "no field 'colour'"),
        ("time=2h", "does not go with time"),
        ("type>x", "does not go with type"),
        ("time>", "no value"),
        ("time>yesterday", "is no time"),
        ('key="open', "quotation"),
        ("type=x " * 33, "at most 32 terms"),
        ("k" * 5000, "at most 4096"),
    ],
)
def test_what_is_wrong_is_named(text: str, what: str) -> None:
    with pytest.raises(BadInput, match=what):
        Filter.parse(text, now_ns=NOW)


@given(
    st.text(max_size=60)
    | st.sampled_from(LETTER_FIELDS).flatmap(lambda f: st.text(max_size=20).map(lambda t: f"{f}={t}"))
)
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    with contextlib.suppress(BadInput):
        assert Filter.parse(text, LETTER_FIELDS).fits(ROW) in (True, False)


@given(st.dictionaries(st.sampled_from(["type", "source", "key", "correlation"]), st.text(min_size=1, max_size=12)))
def test_options_make_the_same_terms(options: dict[str, str]) -> None:
    parsed = Filter.parse(terms_of(options))
    assert {t.field: t.value for t in parsed.terms} == options
    assert all(t.operator == "=" for t in parsed.terms)


def test_spans_and_prechecks() -> None:
    wanted = Filter.parse(terms_of({"type": "Concept*"}, since="2h", until="1h"), EVENT_FIELDS, now_ns=NOW)
    assert wanted.span() == (NOW - 7200 * SECOND_NS, NOW - 3600 * SECOND_NS)
    assert wanted.may_fit("type", "ConceptAdded")
    assert not wanted.may_fit("type", "AlienDetected")
    assert wanted.may_fit("source", "anything")
    assert parse_moment("2025-11-25T18:40:00.123456", 0) % SECOND_NS == 123_456_000
    assert terms_of({"error": "a b"}) == "error~'a b'"
