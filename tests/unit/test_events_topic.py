"""Topic patterns: what they take, what they skip, and what they refuse."""

from __future__ import annotations

import fnmatch
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.event_strategy import EVENTS, NAMES, TEXT
from tori.errors import BadInput
from tori.events.catalogue import ENTRIES, entry_of
from tori.events.envelope import Event
from tori.events.mind import ConceptRemoved, DocumentEmbedded
from tori.events.topic import Matcher, Topic, _glob
from tori.journal.frame import type_set_of

GLOBS = st.text("ab*?.[", min_size=1, max_size=8)


def removed(key: str = "") -> Event:
    return Event(bytes(16), ConceptRemoved("c", "label"), key)


def test_a_pattern_reads_as_it_is_written() -> None:
    topic = Topic.parse("reader:Concept*:pep:8")
    assert topic == Topic("reader", "Concept*", "pep:8")
    assert Topic.parse(str(topic)) == topic
    assert Topic.parse("reader") == Topic("reader", "*", "*")
    assert topic.types == {"ConceptAdded", "ConceptModified", "ConceptRemoved", "ConceptLinked"}


@pytest.mark.parametrize(
    ("text", "source", "key", "is_taken"),
    [
        ("*", "reader", "x", True),
        ("reader", "reader", "x", True),
        ("reader", "readers", "x", False),
        ("read??", "reader", "x", True),
        ("*:ConceptAdded|ConceptRemoved", "reader", "x", True),
        ("*:ConceptAdded", "reader", "x", False),
        ("*:@concept:a*b*c", "reader", "a.b\nb.c", True),
        ("*:@concept:a*b*c", "reader", "a.c.b", False),
        ("*:*:pep-????", "reader", "pep-0008", True),
        ("*:*:pep-????", "reader", "pep-8", False),
        ("*:*:a.c", "reader", "abc", False),
        ("*:@wormhole", "reader", "x", False),
    ],
)
def test_what_a_pattern_takes(text: str, source: str, key: str, is_taken: bool) -> None:
    assert Matcher([Topic.parse(text)]).accepts(removed(key), source) is is_taken


@given(GLOBS, st.text("ab.[", max_size=8))
def test_globs_agree_with_fnmatch(pattern: str, text: str) -> None:
    glob = _glob(pattern)
    expected = fnmatch.fnmatchcase(text, pattern.replace("[", "[[]"))
    assert (glob is None or glob.fullmatch(text) is not None) is expected


def test_a_hostile_glob_stays_fast() -> None:
    glob = _glob("*a" * 100 + "*b")
    assert glob is not None
    begun = time.process_time()
    assert glob.fullmatch("a" * 5000) is None
    assert time.process_time() - begun < 1


@given(
    EVENTS,
    NAMES,
    st.lists(
        st.builds(
            Topic, NAMES | st.just("*"), st.sampled_from(["*", "Concept*", "@task"]), TEXT.filter(bool) | st.just("*")
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_skipping_a_frame_never_loses_an_event(event: Event, source: str, topics: list[Topic]) -> None:
    matcher = Matcher(topics)
    number = entry_of(event.type).number
    frame_types = int.from_bytes(type_set_of({number, 255}), "little")
    if matcher.accepts(event, source):
        assert matcher.may_accept(frame_types, source)
        assert matcher.type_set & (1 << number)


def test_a_frame_without_a_wanted_type_is_skipped() -> None:
    matcher = Matcher([Topic(type="@wormhole"), Topic("reader", "DocumentEmbedded")])
    documents = 1 << entry_of("DocumentIngested").number
    embedded = 1 << entry_of("DocumentEmbedded").number
    assert not matcher.may_accept(documents, "reader")
    assert matcher.may_accept(embedded, "reader")
    assert not matcher.may_accept(embedded, "clients")
    assert matcher.accepts(Event(bytes(16), DocumentEmbedded("d", b"", "m")), "reader")
    wanted = {entry.number for entry in ENTRIES if entry.group == "wormhole"} | {2}
    assert matcher.type_set_bytes() == type_set_of(wanted)


@pytest.mark.parametrize(
    ("text", "field"),
    [("", "source"), ("*:ConceptAded", "type"), ("*:@nothing", "type: there is no group"), ("*:*:" + "k" * 257, "key")],
)
def test_a_bad_pattern_names_its_part(text: str, field: str) -> None:
    with pytest.raises(BadInput, match=field):
        Topic.parse(text)


@pytest.mark.parametrize("count", [0, 65])
def test_the_number_of_patterns_is_bounded(count: int) -> None:
    with pytest.raises(BadInput, match="1 to 64"):
        Matcher([Topic()] * count)
