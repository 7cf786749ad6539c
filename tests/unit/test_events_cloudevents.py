"""The CloudEvents edge: an exact round trip, and a refusal that names the field."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from msgspec import inspect

from tests.support.event_strategy import ENVELOPES, PAYLOADS
from tori.errors import BadInput
from tori.events.catalogue import ENTRIES
from tori.events.cloudevents import (
    MAX_JSON_BYTES,
    decode,
    encode,
    format_time,
    from_cloudevent,
    parse_time,
    to_cloudevent,
)
from tori.events.codec import MAX_PAYLOAD_BYTES
from tori.events.envelope import Envelope, Event, FrameContext
from tori.events.mind import ConceptAdded, Evidence, WormholeCreated
from tori.events.plain import from_plain, to_plain
from tori.events.schema import catalogue_schema, type_name
from tori.events.system import CustomEvent
from tori.journal.position import Position

TIME_NS = 1_700_000_000_123_456_789
VALIDATOR = jsonschema.Draft202012Validator(catalogue_schema())
ID = TIME_NS.to_bytes(8, "big") + b"reader\0\1"


def envelope(payload: Any = None, **event: Any) -> Envelope:
    payload = payload or ConceptAdded("c-1", "type hint", evidence=(Evidence("pep-484", ID, "type hints", 7),))
    return Envelope(Event(ID, payload, **event), FrameContext("reader"), 2, Position("reader", 3, 41))


def message(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in (to_cloudevent(envelope()) | changes).items() if value is not ...}


@given(ENVELOPES)
@settings(max_examples=300)
def test_the_round_trip_is_exact(original: Envelope) -> None:
    assert decode(encode(original)) == original


@given(ENVELOPES)
def test_what_leaves_fits_the_published_schema(original: Envelope) -> None:
    VALIDATOR.validate(json.loads(encode(original)))


@given(PAYLOADS)
def test_plain_payloads_agree_with_the_hot_codec(payload: Any) -> None:
    again = from_plain(type(payload), json.loads(json.dumps(to_plain(payload))))
    assert msgspec.msgpack.encode(again) == msgspec.msgpack.encode(payload)


def test_what_an_event_looks_like_outside() -> None:
    sent = to_cloudevent(envelope(key="c-1", causes=(ID, ID)))
    data = sent.pop("data")
    assert sent == {
        "specversion": "1.0",
        "id": ID.hex(),
        "source": "reader",
        "type": "tori.ConceptAdded",
        "time": "2023-11-14T22:13:20.123456789Z",
        "datacontenttype": "application/json",
        "schemaversion": 1,
        "priority": 2,
        "position": "reader:3:41",
        "subject": "c-1",
        "causes": f"{ID.hex()} {ID.hex()}",
    }
    assert data["label"] == "type hint"
    assert data["evidence"] == [{"document_id": "pep-484", "event_id": ID.hex(), "quote": "type hints", "start": 7}]


def test_defaults_may_be_left_out() -> None:
    sent = message(
        time=..., datacontenttype=..., schemaversion=..., priority=..., data={"concept_id": "c", "label": "l"}
    )
    read = from_cloudevent(sent | {"unknownextension": "ignored"})
    assert read.event == Event(ID, ConceptAdded("c", "l"))
    assert (read.lane, read.context.schema) == (2, 1)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"specversion": "0.3"}, "specversion: '0.3'"),
        ({"specversion": ...}, "specversion: missing"),
        ({"type": ...}, "type: missing"),
        ({"type": "tori.ConceptAded"}, "type: there is no event type 'ConceptAded'. Did you mean ConceptAdded"),
        ({"type": "com.example.Thing"}, "type: 'com.example.Thing'"),
        ({"type": 4}, "type: expected a string"),
        ({"type": "tori.WormholeCreated"}, "data.concept_id: WormholeCreated has no such field"),
        ({"source": ""}, "source: expected a string that is not empty"),
        ({"source": "%ff"}, "source: percent-encoded"),
        ({"id": "00"}, "id: an event id has 32 hex digits, not 2"),
        ({"id": "zz" * 16}, "id: not hex"),
        ({"id": "00 " * 16}, "id: white space"),
        ({"time": "2023-11-14T22:13:21Z"}, "time: .* differs from the time inside the id"),
        ({"time": "yesterday"}, "time: 'yesterday' is no time"),
        ({"time": "2023-13-41T22:13:21Z"}, "time: '2023-13-41T22:13:21Z' is no time"),
        ({"datacontenttype": "text/plain"}, "datacontenttype: 'text/plain'"),
        ({"data_base64": "AAAA"}, "data_base64"),
        ({"data": ...}, "data: missing"),
        ({"data": [1]}, r"data: expected an object \(ConceptAdded\), not an array"),
        ({"causes": "00"}, "causes: an event id"),
        ({"correlationid": "xyz"}, "correlationid: not hex"),
        ({"originseq": "-1"}, "originseq: expected digits"),
        ({"schemaversion": 0}, "schemaversion: expected an integer from 1"),
        ({"priority": 5}, "priority: expected an integer from 0 to 4, not 5"),
        ({"priority": True}, "priority: expected an integer"),
        ({"position": "reader"}, "position: 'reader' is not"),
        ({"position": "reader:x:1"}, "position epoch"),
    ],
)
def test_a_wrong_attribute_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput, match=field):
        from_cloudevent(message(**changes))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"concept_id": ...}, "data.concept_id: missing; ConceptAdded needs it"),
        ({"concept_id": 7}, "data.concept_id: expected a string, not a number"),
        ({"label": None}, "data.label: expected a string, not null"),
        ({"label": "\ud800"}, "data.label: character 0 is half a surrogate pair"),
        ({"scale": 1.5}, "data.scale: expected an integer, not a number"),
        ({"scale": True}, "data.scale: expected an integer, not a boolean"),
        ({"scale": 2**64}, "data.scale: 18446744073709551616 does not fit"),
        ({"sources": "pep-8"}, "data.sources: expected an array, not a string"),
        ({"sources": [1]}, r"data.sources\[0\]: expected a string"),
        ({"weights": [float("nan")]}, r"data.weights\[0\]: nan is not a finite number"),
        ({"weights": ["1"]}, r"data.weights\[0\]: expected a number, not a string"),
        ({"evidence": [{"document_id": "d", "event_id": "0", "quote": "q"}]}, r"data.evidence\[0\].event_id: not hex"),
        (
            {"evidence": [{"document_id": "d", "event_id": 0, "quote": "q"}]},
            r"data.evidence\[0\].event_id: expected bytes",
        ),
        ({"evidence": [{}]}, r"data.evidence\[0\].document_id: missing"),
        ({"colour": "red"}, "data.colour: ConceptAdded has no such field. It has: concept_id"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], field: str) -> None:
    data = {k: v for k, v in (message()["data"] | changes).items() if v is not ...}
    with pytest.raises(BadInput, match=field):
        from_cloudevent(message(data=data))


def nested(depth: int) -> Any:
    value: Any = "bottom"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"x": float("inf")}, "data.data.x: inf is not a finite number"),
        ({"x": b"raw"}, "data.data.x: expected a JSON value, not bytes"),
        ({"x": {1: 2}}, "data.data.x key: expected a string"),
        ({"x": [2**70]}, r"data.data.x\[0\]: .* does not fit 64 bits"),
        ({"x": nested(40)}, "nested more than 32 deep"),
        ([], "data.data: expected an object, not an array"),
    ],
)
def test_free_json_is_checked_on_the_way_out(data: Any, field: str) -> None:
    with pytest.raises(BadInput, match=field):
        to_cloudevent(envelope(CustomEvent("mine", data)))


def test_free_json_may_hold_what_json_can() -> None:
    data = {"a": [1, -1.5, None, True, "ü"], "b": {"c": {}}}
    assert decode(encode(envelope(CustomEvent("mine", data)))).event.payload == CustomEvent("mine", data)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (WormholeCreated("w", "a", "b", float("nan"), 0.1, 0.5), "data.strength: nan"),
        (ConceptAdded("c", b"label"), "data.label: expected a string, not bytes"),
        (ConceptAdded("c", "l", evidence=("quote",)), r"data.evidence\[0\]: expected Evidence, not a string"),
        (
            ConceptAdded("c", "l", evidence=(Evidence("d", "id", "q"),)),
            r"data.evidence\[0\].event_id: expected bytes, not a string",
        ),
    ],
)
def test_a_wrong_value_does_not_leave(payload: Any, field: str) -> None:
    with pytest.raises(BadInput, match=field):
        to_cloudevent(envelope(payload))


def test_an_event_without_a_source_does_not_leave() -> None:
    with pytest.raises(BadInput, match="source"):
        to_cloudevent(envelope()._replace(context=FrameContext("")))


def test_only_payloads_are_plain() -> None:
    with pytest.raises(BadInput, match="not an event type"):
        to_plain("text")


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"\xff", b'{"a": NaN}', b"[" * 100_000],
    ids=["empty", "cut", "array", "utf8", "nan", "deep"],
)
def test_what_is_no_cloudevent_is_refused(text: bytes) -> None:
    with pytest.raises(BadInput, match="CloudEvent"):
        decode(text)


def test_oversize_is_refused_by_payload_and_by_text() -> None:
    just_right = envelope(ConceptAdded("c", "x" * (MAX_PAYLOAD_BYTES - 100)))
    assert decode(encode(just_right)) == just_right
    with pytest.raises(BadInput, match=f"over the limit of {MAX_PAYLOAD_BYTES}"):
        decode(encode(envelope(ConceptAdded("c", "x" * (MAX_PAYLOAD_BYTES + 1)))))
    with pytest.raises(BadInput, match=f"over the limit of {MAX_JSON_BYTES}"):
        decode(b" " * (MAX_JSON_BYTES + 1))


def test_control_characters_leave_percent_encoded() -> None:
    sent = to_cloudevent(envelope(key="50%\n\ufffe"))
    assert sent["subject"] == "50%25%0A%EF%BF%BE"
    assert from_cloudevent(sent).event.key == "50%\n\ufffe"


def test_times_read_as_they_are_written() -> None:
    assert parse_time(format_time(TIME_NS)) == TIME_NS
    assert parse_time("2023-11-14T22:13:20.5+00:00") == 1_700_000_000_500_000_000


def test_every_type_is_bound_to_its_payload_in_the_schema() -> None:
    schema = catalogue_schema()
    bound = {b["properties"]["type"]["const"]: b["properties"]["data"]["$ref"] for b in schema["oneOf"]}
    assert bound == {f"tori.{entry.type}": f"#/$defs/{entry.type}" for entry in ENTRIES}
    assert VALIDATOR.is_valid(message())
    assert not VALIDATOR.is_valid(message(type="tori.WormholeCreated"))
    assert not VALIDATOR.is_valid(message(data={"concept_id": "c"}))
    evidence = schema["$defs"]["ConceptAdded"]["properties"]["evidence"]
    assert evidence == {"type": "array", "items": {"$ref": "#/$defs/Evidence"}}
    assert "map node" in schema["$defs"]["ConceptAdded"]["properties"]["scale"]["description"]


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("concept_id", "string"),
        ("parent_id", "string or null"),
        ("scale", "integer"),
        ("weights", "[number]"),
        ("evidence", "[Evidence]"),
    ],
)
def test_types_of_fields_in_words(field: str, words: str) -> None:
    node = inspect.type_info(ConceptAdded)
    assert isinstance(node, inspect.StructType)
    assert type_name(next(f.type for f in node.fields if f.name == field)) == words


def test_bytes_and_objects_in_words() -> None:
    assert type_name(inspect.type_info(bytes)) == "hex"
    assert type_name(inspect.type_info(dict[str, object])) == "{any}"
