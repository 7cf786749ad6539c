"""CloudEvents 1.0, JSON format, structured mode: how an event looks to everybody outside.

| attribute | is |
|---|---|
| ``id`` | event id, 32 hex digits |
| ``source`` | producer, percent-encoded (a relative URI reference) |
| ``type`` | ``tori.`` and the type's name |
| ``subject`` | ordering key, left out when empty |
| ``time`` | RFC 3339 to the nanosecond: the time inside the id |
| ``data`` | the payload as an object, bytes as hex |
| ``correlationid``, ``causes`` | event ids in hex; causes separated by blanks |
| ``traceparent`` | W3C trace context (the distributed tracing extension) |
| ``origin``, ``originseq`` | the idempotent producer and its number |
| ``schemaversion``, ``priority`` | the frame's schema; lane 0 to 4 |
| ``position`` | ``journal:epoch:sequence`` |
| ``depth`` | reactions between it and a door or scan, left out when 0 |

Strings of the context may not hold control characters or noncharacters (specification, "Type System"); those are
percent-encoded, and so is the percent sign. Unknown extension attributes are ignored, as the specification asks.
https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from tori.errors import BadInput
from tori.events.catalogue import ENTRIES, Lane, entry_of
from tori.events.codec import MAX_PAYLOAD_BYTES, check_event
from tori.events.envelope import Envelope, Event, FrameContext
from tori.events.plain import from_plain, read_hex, to_plain
from tori.ids import ID_BYTES, id_time_ns
from tori.journal.position import Position

TYPE_PREFIX = "tori."
MAX_DEPTH = 2**31 - 1
MAX_JSON_BYTES = 8 * MAX_PAYLOAD_BYTES
"""JSON text over this is refused unread; a payload within its own limit is at most six times larger as JSON."""

_NONCHARACTERS = "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
_ESCAPED = re.compile(f"[%\x00-\x1f\x7f-\x9f\ufdd0-\ufdef{_NONCHARACTERS}]")
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|\+00:00)")
_MISSING: Any = object()
_NEEDED = "A CloudEvent needs specversion, id, source, type; TORI also position."


def encode(envelope: Envelope) -> bytes:
    """Return one event as the JSON text of a CloudEvent; raises as ``to_cloudevent``."""
    return msgspec.json.encode(to_cloudevent(envelope))


def decode(text: bytes) -> Envelope:
    """Return the event in the JSON text of a CloudEvent; raises BadInput naming the attribute or field that is wrong."""
    if len(text) > MAX_JSON_BYTES:
        raise BadInput(f"a CloudEvent of {len(text)} bytes is over the limit of {MAX_JSON_BYTES}.", remedy="Split it.")
    try:
        message = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(f"a CloudEvent is not JSON: {error}.", remedy="Send the structured mode, UTF-8.") from error
    return from_cloudevent(message)


def to_cloudevent(envelope: Envelope) -> dict[str, Any]:
    """Return one event as a CloudEvent; raises BadInput when a value has no place in JSON (NaN, a wrong type)."""
    event, context, lane, position = envelope
    if not context.source:
        raise BadInput("source: an event without a source cannot leave as a CloudEvent.", remedy="Name its producer.")
    entry = entry_of(event.type)
    message: dict[str, Any] = {
        "specversion": "1.0",
        "id": event.id.hex(),
        "source": quote(context.source, safe=""),
        "type": TYPE_PREFIX + entry.type,
        "time": format_time(event.time_ns),
        "datacontenttype": "application/json",
        "schemaversion": context.schema,
        "priority": lane,
        "position": _escape(str(position)),
    }
    if event.causes:
        message["causes"] = " ".join(cause.hex() for cause in event.causes)
    if event.correlation_id:
        message["correlationid"] = event.correlation_id.hex()
    for name, text in (("subject", event.key), ("traceparent", context.traceparent), ("origin", context.origin)):
        if text:
            message[name] = _escape(text)
    if event.depth:
        message["depth"] = event.depth
    if context.origin_seq:
        message["originseq"] = str(context.origin_seq)
    message["data"] = to_plain(event.payload)
    return message


def from_cloudevent(message: Any) -> Envelope:
    """Return the event that a CloudEvent describes; raises BadInput naming the attribute or field that is wrong."""
    if not isinstance(message, dict):
        raise BadInput("a CloudEvent is a JSON object.", remedy="Send one event a message, structured mode.")
    _check_frame(message)
    name = _text(message, "type")
    if not name.startswith(TYPE_PREFIX):
        raise BadInput(f"type: {name!r} is no type of TORI.", remedy=f"Types look like {TYPE_PREFIX}{ENTRIES[0].type}.")
    entry = entry_of(name.removeprefix(TYPE_PREFIX))
    if "data" not in message:
        raise BadInput("data: missing.", remedy="The payload goes into data, as a JSON object.")
    event_id = _id(message, "id")
    _check_time(message, event_id)
    event = Event(
        event_id,
        from_plain(entry.payload, message["data"]),
        _text(message, "subject", ""),
        _id(message, "correlationid", b""),
        tuple(read_id(part, "causes") for part in _text(message, "causes", "").split()),
        _number(message, "depth", 0, (0, MAX_DEPTH)),
    )
    context = FrameContext(
        _text(message, "source"),
        _text(message, "origin", ""),
        _natural(_text(message, "originseq", "0"), "originseq"),
        _number(message, "schemaversion", 1, (1, 2**31 - 1)),
        _text(message, "traceparent", ""),
    )
    lane = _number(message, "priority", int(entry.priority), (Lane.CRITICAL, Lane.BACKGROUND))
    return Envelope(check_event(event), context, lane, _position(message))


def format_time(time_ns: int) -> str:
    """Return RFC 3339 in UTC with nine digits of a second."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def parse_time(text: str, path: str = "time") -> int:
    """Return nanoseconds since the epoch for RFC 3339 in UTC; raises BadInput naming ``path``."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadInput(f"{path}: {text!r} is no time in UTC.", remedy="Write it like 2026-01-31T08:30:00.123456789Z.")
    try:
        seconds = int(datetime.fromisoformat(f"{found[1]}+00:00").timestamp())
    except ValueError as error:
        raise BadInput(f"{path}: {text!r} is no time: {error}.", remedy="Correct the day or the hour.") from error
    return seconds * 1_000_000_000 + int((found[2] or "").ljust(9, "0"))


def read_id(text: Any, path: str) -> bytes:
    """Return the 16 bytes of an event id in hex; raises BadInput naming ``path``."""
    found = read_hex(text, path)
    if len(found) != ID_BYTES:
        raise BadInput(
            f"{path}: an event id has {2 * ID_BYTES} hex digits, not {2 * len(found)}.", remedy="Copy it whole."
        )
    return found


def _check_frame(message: Mapping[str, Any]) -> None:
    version = _text(message, "specversion")
    if version != "1.0":
        raise BadInput(f"specversion: {version!r} is not supported.", remedy="Send CloudEvents 1.0.")
    if "data_base64" in message:
        raise BadInput("data_base64: payloads are JSON.", remedy="Send the payload in data, bytes fields as hex.")
    content_type = _text(message, "datacontenttype", "application/json")
    if content_type.split(";")[0].strip().lower() != "application/json":
        raise BadInput(f"datacontenttype: {content_type!r} is not supported.", remedy="Send application/json.")


def _check_time(message: Mapping[str, Any], event_id: bytes) -> None:
    text = _text(message, "time", "")
    if text and parse_time(text) != id_time_ns(event_id):
        inside = format_time(id_time_ns(event_id))
        raise BadInput(f"time: {text} differs from the time inside the id, {inside}.", remedy="Leave time out.")


def _text(message: Mapping[str, Any], name: str, default: str = _MISSING) -> str:
    value = message.get(name, default)
    if value is _MISSING:
        raise BadInput(f"{name}: missing.", remedy=_NEEDED)
    if not isinstance(value, str) or (not value and name in message):
        raise BadInput(f"{name}: expected a string that is not empty, not {value!r}.", remedy=_NEEDED)
    return _unescape(value, name)


def _id(message: Mapping[str, Any], name: str, default: bytes = _MISSING) -> bytes:
    if name not in message and default is not _MISSING:
        return default
    return read_id(_text(message, name), name)


def _natural(text: str, path: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadInput(f"{path}: expected digits, not {text!r}.", remedy="Send it as it was received.")
    return int(text)


def _number(message: Mapping[str, Any], name: str, default: int, limits: tuple[int, int]) -> int:
    value = message.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not limits[0] <= value <= limits[1]:
        raise BadInput(
            f"{name}: expected an integer from {limits[0]:d} to {limits[1]:d}, not {value!r}.",
            remedy="Or leave it out.",
        )
    return value


def _position(message: Mapping[str, Any]) -> Position:
    text = _text(message, "position")
    journal, *numbers = text.rsplit(":", 2)
    if len(numbers) != 2:
        raise BadInput(f"position: {text!r} is not journal:epoch:sequence.", remedy="Copy it whole.")
    return Position(journal, _natural(numbers[0], "position epoch"), _natural(numbers[1], "position sequence"))


def _escape(text: str) -> str:
    return _ESCAPED.sub(lambda found: quote(found[0], safe=""), text)


def _unescape(text: str, path: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: percent-encoded bytes that are not UTF-8.", remedy="Encode it as UTF-8.") from error
