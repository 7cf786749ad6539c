"""The hot codec: frame bodies there and back, and what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.event_strategy import EVENTS, TEXT
from tori.errors import BadInput
from tori.events.codec import (
    MAX_PAYLOAD_BYTES,
    check_event,
    decode_body,
    decode_lazily,
    encode_body,
    encoder,
    tag_of,
    tags_of,
)
from tori.events.document import Document
from tori.events.envelope import Event, FrameContext
from tori.events.mind import ConceptAdded, Evidence, ScarHealed
from tori.events.system import CustomEvent

ENDLESS: list[Any] = []
ENDLESS.append(ENDLESS)
CONTEXTS = st.builds(FrameContext, TEXT, TEXT, st.integers(0, 2**63 - 1), st.integers(1, 9), TEXT)


@given(CONTEXTS, st.lists(EVENTS, max_size=4))
def test_a_body_is_read_as_it_was_written(context: FrameContext, events: list[Event]) -> None:
    body = encode_body(context, events)
    read = decode_body(memoryview(body))
    assert (read.context, read.events) == (context, events)
    lazy = decode_lazily(body)
    assert [event.id for event in lazy.events] == [event.id for event in events]
    assert [msgspec.Raw(encoder.encode(event.payload)) for event in events] == [event.payload for event in lazy.events]


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", encoder.encode([1, 2]), encoder.encode([FrameContext("s"), [[b"i", [254]]]])]
)
def test_what_is_no_body_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput, match="does not decode.*upgrade"):
        decode_body(body)


@given(EVENTS)
def test_a_sound_event_passes_the_door_unchanged(event: Event) -> None:
    assert check_event(event) == event


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (ConceptAdded("c", 5), "Expected `str`"),  # type: ignore[arg-type]  # what the door is for
        (ConceptAdded("c", "\ud800"), "surrogates"),
        (ConceptAdded("c", "l", sources=(1,)), "Expected `str`"),  # type: ignore[arg-type]  # what the door is for
        ({"concept_id": "c"}, "dict"),
        (CustomEvent("mine", {"x": 2**70}), "CustomEvent: .*2..64"),
        (CustomEvent("mine", {"x": ENDLESS}), "CustomEvent: "),
    ],
)
def test_the_door_refuses_what_would_not_be_read_back(payload: Any, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        check_event(Event(bytes(16), payload))


def test_the_door_refuses_what_is_too_large() -> None:
    with pytest.raises(BadInput, match="ConceptAdded of 83886.. bytes is over the limit of 8388608"):
        check_event(Event(bytes(16), ConceptAdded("c", "x" * MAX_PAYLOAD_BYTES)))


def test_numbers_of_types() -> None:
    assert tag_of(ConceptAdded) == 4
    assert tags_of((ConceptAdded, ScarHealed)) == {4, 21}
    with pytest.raises(BadInput, match="not an event type"):
        tag_of(Evidence)


def test_a_document_is_its_content() -> None:
    document = Document("d", "title", "text", source="here")
    assert document.content_hash() == Document("d", "title", "text", source="there").content_hash()
    assert document.content_hash() != Document("d", "title", "other").content_hash()
