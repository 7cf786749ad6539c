"""From a text to its candidate phrases: what is prose, what ends a run, which acronyms and people it names."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tori.events.document import Section
from tori.modules.reader.clean import heading_key, prose
from tori.modules.reader.evidence import pattern_of, quotation
from tori.modules.reader.person import People, people
from tori.modules.reader.phrase import MOST_PHRASES, MOST_WORDS, acronyms, candidates, count_phrases, runs, word_form

REST = """Abstract
========

The type checker reads ``type hints`` in a :class:`module` file::

    def code_in_block(): pass

See https://example.org/path and mail x@example.org.

.. code-block:: python

   more_code()

>>> session()
output

Closing words, and enough of them that what is left outweighs what goes: a text that is mostly code would
be taken as it is, since something must be read. Nominal subtyping and structural subtyping are two kinds of subtyping,
and a protocol is the second one.

Copyright
=========

Public domain licence text.
"""


def sectioned(text: str, *titles: str) -> list[Section]:
    starts = [text.index(t) for t in titles] + [len(text)]
    return [Section(a, b, t) for a, b, t in zip(starts, starts[1:], titles, strict=False)]


def test_prose_drops_code_addresses_markup_and_apparatus() -> None:
    text, headings = prose(REST, sectioned(REST, "Abstract", "Copyright"))
    assert "The type checker reads type hints in a" in text
    for gone in ("code_in_block", "more_code", "session", "output", "example.org", "domain", "`", "===", ":class:"):
        assert gone not in text
    assert "Closing words" in text
    assert headings == ["Abstract"]


def test_lists_of_parameters_go_and_remarks_stay() -> None:
    text = (
        "Fit the model to many observations of the process, quickly and with care, in the way of least squares.\n\n"
        "Parameters\n----------\nx : array_like\n    Gone away.\n\nNotes\n-----\nUses ridge regression on all of the columns "
        "of the design matrix and is stable.\n\nArgs:\n    y: gone too\n\nNote:\n    Kept as well, since it says something.\n"
    )
    cleaned, headings = prose(text, ())
    assert "ridge regression" in cleaned
    assert "Kept as well" in cleaned
    assert "Gone" not in cleaned
    assert "gone too" not in cleaned
    assert headings == ["Parameters", "Notes", "Args", "Note"]


def test_a_list_ends_where_its_section_ends() -> None:
    one = "m.first(x)\nParameters\n----------\nx : int\n    Gone away.\n\n"
    two = "m.second()\nCompute the spectral density of a long stationary series of many observations.\n"
    text, _ = prose(one + two, [Section(0, len(one), "m.first"), Section(len(one), len(one + two), "m.second")])
    assert "spectral density" in text
    assert "Gone" not in text


def test_when_most_would_vanish_the_lists_stay_and_then_the_raw_text() -> None:
    lists = "Parameters\n----------\n" + "The spectral density of the series.\n" * 9
    assert "spectral density" in prose(lists, ())[0]
    code = "Short::\n\n" + "    spectral_density(series)\n" * 20
    assert prose(code, ())[0] == code


def test_fences_headings_and_licences() -> None:
    text = (
        "# A heading #\n\nMany words about the lattice of subgroups, and of their intervals.\n\n```\ncode here\n```\n\n"
        "Licensed under the X licence.\n\nAuthor: Ada Lovelace\n:param x: the lattice\n"
    )
    cleaned, headings = prose(text, ())
    assert headings == ["A heading"]
    assert "lattice of subgroups" in cleaned
    assert "the lattice" in cleaned
    for gone in ("code here", "Licensed", "Ada", ":param"):
        assert gone not in cleaned


def test_heading_keys_ignore_numbers_and_case() -> None:
    assert heading_key("3.1 See *Also*") == "see-also"


def test_word_forms() -> None:
    forms = {
        "Python's": "python",
        "GIL": "GIL",
        "TypeVar": "TypeVar",
        "__init__": "__init__",
        "sys.path": "sys.path",
        "metadata_": "metadata",
        "The": "",
        "3.11": "",
        "x": "",
        "C": "C",
        "don't": "",
        "python.org": "",
        "January": "",
        "Type-Checker": "type-checker",
    }
    assert {token: word_form(token) for token in forms} == forms


def test_runs_end_at_stop_words_punctuation_and_blank_lines() -> None:
    text = "Static type checkers and linters, e.g. mypy; pattern\nmatching\n\nC++ code"
    assert (
        list(runs(text))
        == [
            ["static", "type", "checkers"],
            ["linters"],
            ["mypy"],
            ["pattern", "matching"],
            ["c++", "code"],
        ]
        or [r[0] for r in runs(text)][-1].casefold() == "c++"
    )


def test_n_grams_of_one_to_four_words() -> None:
    counts, whole = count_phrases("alpha beta gamma delta epsilon. alpha beta")
    assert counts["alpha beta"] == 2
    assert counts["alpha beta gamma delta"] == counts["beta gamma delta epsilon"] == 1
    assert "alpha beta gamma delta epsilon" not in counts
    assert whole == {"alpha beta"}


def test_candidates_are_bounded_sorted_and_hold_every_word_of_a_phrase() -> None:
    text = ". ".join(f"w{n}a w{n}b w{n}c" for n in range(2_000))
    found, lead = candidates("Spectral density", text, ())
    assert list(found.phrases) == sorted(set(found.phrases))
    assert len(found.phrases) == len(found.counts)
    phrases = [p for p in found.phrases if " " in p]
    assert len(phrases) == MOST_PHRASES
    assert len(found.phrases) <= 3 * MOST_PHRASES + MOST_WORDS
    assert {w for p in phrases for w in p.split()} <= set(found.phrases)
    assert "spectral density" in found.titled
    assert text.startswith(lead[:100])


@given(st.text(max_size=300), st.text(max_size=40))
def test_any_text_gives_well_formed_candidates(text: str, title: str) -> None:
    found, _ = candidates(title, text, ())
    again, _ = candidates(title, text, ())
    assert found == again
    assert all(n > 0 for n in found.counts)
    assert set(found.titled) <= set(found.phrases)


HOSTILE = "a|<|[|[A|Aa |:a|`|a-|a.|\n| |</a |x@|http://|A. |Aa A. |by Aa van |(AB) |&a|=== \n|a, |](|.. |:a:b|- Aa "


@pytest.mark.parametrize("part", HOSTILE.split("|"))
def test_no_text_takes_more_than_time_in_its_length(part: str) -> None:
    text = part * (60_000 // len(part))
    began = time.process_time()
    candidates(part, text, ())
    quotation(text, pattern_of(["a a", "a"]))
    assert time.process_time() - began < 2  # a quadratic pattern takes 4 s and more here, a linear one 0.1 s


def test_acronyms_are_spelled_by_the_words_before_them() -> None:
    text = (
        "The global interpreter lock (GIL) is not the GIL of (NASA). Thread Local Storage (TLS) and transport layer "
        "security (TLS) differ. Application programming interfaces (APIs)."
    )
    assert acronyms(text) == [("API", "application programming interfaces"), ("GIL", "global interpreter lock")]


def test_people_are_told_by_where_they_stand() -> None:
    text = "Thanks to Ada Lovelace and the Council. Guido van Rossum wrote this. Steering Council said so: a council.\n"
    thanks = "Credits\nGrace M. Hopper, Alan Turing\n"
    found = people(text + thanks, [Section(len(text), len(text + thanks), "Credits")])
    assert found == ["ada lovelace", "alan turing", "grace hopper", "guido van rossum"]
    assert people("Nothing of the kind.", ()) == []


def test_people_of_a_corpus_are_what_enough_documents_tell() -> None:
    told = [["ada lovelace"], ["ada lovelace", "visual studio"], []]
    known = People(told, {"ada lovelace": 3, "ada": 3, "lovelace": 3, "visual studio": 40, "visual": 90, "studio": 40})
    assert known.are_named(["ada", "lovelace"])
    assert known.are_named(["lovelace"])
    assert known.are_named(["countess", "ada", "lovelace"])
    assert not known.are_named(["visual", "studio"])
    assert not known.are_named(["visual"])
