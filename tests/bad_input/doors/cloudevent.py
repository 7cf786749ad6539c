"""Events from outside: CloudEvents, topic patterns, and values that Python code puts into events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from tests.bad_input.bench import Bench, caught
from tests.bad_input.case import Door, Outcome
from tori.events import cloudevents
from tori.events.codec import check_event, decode_body
from tori.events.envelope import Envelope, Event, FrameContext
from tori.events.mind import ConceptAdded
from tori.events.system import CustomEvent
from tori.events.topic import Topic
from tori.ids import IdSource, source_suffix
from tori.journal.position import Position

DOOR = Door("event from outside", __doc__)
EVENT = Event(IdSource(source_suffix("x", b"x"), lambda: 1_700_000_000 * 10**9).next(), ConceptAdded("c-1", "roses"))
GOOD = cloudevents.to_cloudevent(Envelope(EVENT, FrameContext("reader"), 2, Position("reader", 1, 0)))
FIELDS = "docs/events.md"


def received(**changes: Any) -> Callable[[Bench], Outcome]:
    """Return what receives the good event with attributes changed; None leaves one out."""
    message = {name: value for name, value in (GOOD | changes).items() if value is not None}
    return raw(msgspec.json.encode(message))


def raw(text: bytes) -> Callable[[Bench], Outcome]:
    return lambda _: caught(lambda: cloudevents.decode(text))


def data(**changes: Any) -> Callable[[Bench], Outcome]:
    return received(data=GOOD["data"] | changes)


NEEDS = "A CloudEvent needs specversion, id, source, type; TORI also position."
DOOR.add(
    "an unknown type",
    received(type="tori.ConceptAded"),
    "there is no event type 'ConceptAded'.",
    "Did you mean ConceptAdded",
)
DOOR.add("a type of somebody else", received(type="com.example.x"), "is no type of TORI.", "Types look like tori.")
DOOR.add("a payload without its field", received(data={"label": "x"}), "data.concept_id: missing", FIELDS)
DOOR.add(
    "a payload with a field too many",
    data(colour="red"),
    "data.colour: ConceptAdded has no such field.",
    "It has: concept_id",
)
DOOR.add("a payload with a wrong type", data(label=7), "data.label: expected a string, not a number.", FIELDS)
DOOR.add(
    "a payload that is a list", received(data=[1]), "data: expected an object (ConceptAdded), not an array.", FIELDS
)
DOOR.add("no payload", received(data=None), "data: missing.", "The payload goes into data")
DOOR.add("a payload in base64", received(data_base64="AAAA"), "data_base64: payloads are JSON.", "bytes fields as hex")
DOOR.add(
    "a future specversion", received(specversion="2.0"), "specversion: '2.0' is not supported.", "Send CloudEvents 1.0."
)
DOOR.add("no id", received(id=None), "id: missing.", NEEDS)
DOOR.add("an id that is no hex", received(id="z" * 32), "id: not hex", "Copy it whole, hex digits only.")
DOOR.add("an id that is too short", received(id="ab"), "id: an event id has 32 hex digits, not 2.", "Copy it whole")
DOOR.add("an empty source", received(source=""), "source: expected a string that is not empty", NEEDS)
DOOR.add(
    "a time that is not the id's",
    received(time="2020-01-01T00:00:00Z"),
    "differs from the time inside the id",
    "Leave time out",
)
DOOR.add(
    "a time in no zone",
    received(time="2020-01-01 00:00"),
    "time: '2020-01-01 00:00' is no time in UTC.",
    "Write it like",
)
DOOR.add(
    "a position that is none",
    received(position="here"),
    "position: 'here' is not journal:epoch:sequence.",
    "Copy it whole",
)
DOOR.add(
    "a priority out of range",
    received(priority=9),
    "priority: expected an integer from 0 to 4, not 9.",
    "Or leave it out.",
)
DOOR.add("XML", raw(b"<event/>"), "a CloudEvent is not JSON", "Send the structured mode, UTF-8.")
DOOR.add("a batch in place of one event", raw(b"[]"), "a CloudEvent is a JSON object.", "Send one event a message")
DOOR.add("65 MB of JSON", raw(b" " * (64 * 2**20 + 1)), "is over the limit of 67108864.", "Split it.")


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


def checked(payload: Any) -> Callable[[Bench], Outcome]:
    return lambda _: caught(lambda: check_event(msgspec.structs.replace(EVENT, payload=payload)))


def left(payload: Any) -> Callable[[Bench], Outcome]:
    envelope = Envelope(msgspec.structs.replace(EVENT, payload=payload), FrameContext("x"), 2, Position("x", 1, 0))
    return lambda _: caught(lambda: cloudevents.to_cloudevent(envelope))


DOOR.add(
    "NaN in a payload",
    left(CustomEvent("x", {"a": float("nan")})),
    "data.data.a: nan is not a finite number",
    "Leave it out, or send null.",
)
DOOR.add(
    "half a surrogate pair",
    left(CustomEvent("x", {"a": "\ud800"})),
    "data.data.a: character 0 is half",
    "Decode it as UTF-8 first.",
)
DOOR.add("JSON nested 40 deep", left(CustomEvent("x", {"a": nested(40)})), "nested more than 32 deep.", "Flatten it")
DOOR.add("a wrong value in an event", checked(ConceptAdded(7, "x")), "ConceptAdded: Expected `str`, got `int`", FIELDS)  # type: ignore[arg-type]  # on purpose
DOOR.add("an event over 8 MiB", checked(CustomEvent("x", {"a": "x" * 2**23})), "over the limit of 8388608.", "Split it")
DOOR.add(
    "a frame of a newer version",
    lambda _: caught(lambda: decode_body(msgspec.msgpack.encode([["x"], [[b"0" * 16, [9_999]]]]))),
    "a frame body does not decode",
    "upgrade tori-orchestrator.",
)
DOOR.add(
    "a topic no type fits", lambda _: caught(lambda: Topic("*", "Nothing*")), "no event type fits 'Nothing*'.", FIELDS
)
DOOR.add(
    "a topic of no group",
    lambda _: caught(lambda: Topic("*", "@dreams")),
    "there is no group '@dreams'.",
    "Groups: @document",
)
DOOR.add(
    "an empty topic part",
    lambda _: caught(lambda: Topic("", "*")),
    "source: an empty pattern fits nothing.",
    "Use * for",
)
