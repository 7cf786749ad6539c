"""Headings, sections, links and front matter of light markup, with exact offsets."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tori.sources import markup
from tori.sources.moment import time_ns_of

MARKDOWN = """Preamble.

# One *strong* thing

Text.

```python
# not a heading
```

Second title
============

## Two ##
More.
"""

REST = """=====
Title
=====

Words before.

Part one
--------
::

    code
    ----

Some text
that is no title
and goes on.

* item
"""


def test_markdown_headings_skip_fenced_code_and_drop_inline_markup() -> None:
    found = markup.headings(MARKDOWN, markup.MARKDOWN)
    assert [h.title for h in found] == ["One strong thing", "Second title", "Two"]
    for heading in found:
        assert MARKDOWN[heading.start :].lstrip("# ").startswith(heading.title.split()[0])


def test_rest_headings_with_and_without_overline() -> None:
    found = markup.headings(REST, markup.REST)
    assert [h.title for h in found] == ["Title", "Part one"]
    assert REST[found[0].start :].startswith("=====\nTitle")
    assert REST[found[1].start :].startswith("Part one\n---")


def test_sections_cover_the_text_and_begin_at_their_headings() -> None:
    found = markup.sections(MARKDOWN, markup.MARKDOWN, "Notes")
    assert [s.title for s in found] == ["Notes", "One strong thing", "Second title", "Two"]
    assert "".join(MARKDOWN[s.start : s.end] for s in found) == MARKDOWN


def test_a_text_without_headings_has_no_sections() -> None:
    assert markup.sections("just words\n\nand more", markup.PLAIN, "t") == ()


def test_sniff_tells_the_markups_apart() -> None:
    assert markup.sniff(REST) == markup.REST
    assert markup.sniff("# A\n\n## B\n") == markup.MARKDOWN
    assert markup.sniff("plain words\n") == markup.PLAIN


def test_links_in_order_of_use_without_repeats() -> None:
    text = "[b](b.md) ![image](x.png) [[Wiki Page|shown]] [b](b.md#part)\n\n[ref]: c.md\n"
    assert markup.links(text, markup.MARKDOWN) == ["b.md", "Wiki Page", "b.md#part", "c.md"]
    rest = "See :doc:`guide/start`, :doc:`x <other>` and `that <more.rst>`_.\n\n.. _here: last.rst\n"
    assert markup.links(rest, markup.REST) == ["guide/start", "other", "more.rst", "last.rst"]


def test_front_matter_in_both_notations() -> None:
    text = "---\ntitle: 'A title'\nDate: 2018-04-02\n---\nBody"
    matter = markup.front_matter(text)
    assert matter.fields == {"title": "A title", "date": "2018-04-02"}
    assert text[matter.length :] == "Body"
    assert markup.front_matter('+++\ntitle = "T"\n+++\nx').fields == {"title": "T"}
    assert markup.front_matter("no matter\n---\n").length == 0
    assert markup.docinfo("Title\n=====\n\n:Date: 2020-01-01\n") == {"date": "2020-01-01"}


@given(st.text(alphabet="ab #=-~`\n*", max_size=200), st.sampled_from([markup.MARKDOWN, markup.REST, markup.PLAIN]))
def test_sections_are_in_order_and_inside_any_text(text: str, kind: str) -> None:
    found = markup.sections(text, kind, "t")
    borders = [position for s in found for position in (s.start, s.end)]
    assert borders == sorted(borders)
    assert all(0 <= b <= len(text) for b in borders)
    assert not found or found[-1].end == len(text)


HOSTILE = (
    "a|<|[|[a|Aa |:a|`|a-|a.|\n| |</a |x@|http://|A. |Aa A. |by Aa van |(AB) |&a|=== \n|a, |](|[a](b |`a<|[[a|- |*|# a "
)


@pytest.mark.parametrize("part", HOSTILE.split("|"))
def test_no_text_takes_more_than_time_in_its_length(part: str) -> None:
    text = part * (60_000 // len(part))
    began = time.process_time()
    markup.links(text, markup.PLAIN)
    markup.front_matter(text)
    markup.sections(text, markup.sniff(text), "t")
    markup.sections(text, markup.MARKDOWN, "t")
    assert time.process_time() - began < 2  # a quadratic pattern takes 8 s here, a linear one 0.05 s


def test_times_in_every_accepted_form() -> None:
    day = 1_522_627_200 * 10**9
    forms = ["2018-04-02", "2018-04-02T00:00:00Z", "2018-04-02T02:00:00+02:00", "2018-04-02 00:00", 1_522_627_200]
    assert {time_ns_of(form) for form in forms} == {day}
    assert time_ns_of(1_522_627_200.5) == day + 5 * 10**8
    assert time_ns_of("2018-04") == time_ns_of("2018-04-01")
    assert time_ns_of("1965") is not None
    assert time_ns_of("1965") < 0  # type: ignore[operator]  # not None, see above
    assert time_ns_of(None) is time_ns_of("") is None


def test_what_is_no_time_is_refused() -> None:
    for wrong in ("yesterday", "2018-13-01", True, [1], float("nan"), float("inf"), 1_522_627_200_000 * 10**6, "20 18"):
        try:
            got = time_ns_of(wrong)
        except ValueError:
            continue
        raise AssertionError(f"{wrong!r} became {got}")
