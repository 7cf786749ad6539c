"""The hot codec: frame bodies as msgpack, array-like Structs, payload types by integer tag.

One decode call turns a whole frame into typed, validated events; msgspec refuses unknown tags and wrong fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event, FrameContext
from tori.events.payloads import Payload

MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
"""Largest encoded frame body of one event; larger content belongs in a blob named by its sha256."""


class EventBody(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Body of an events frame."""

    context: FrameContext
    events: list[Event]


class _LazyEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    id: bytes
    payload: msgspec.Raw
    key: str = ""
    correlation_id: bytes = b""
    causes: tuple[bytes, ...] = ()
    depth: int = 0


class LazyBody(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Body of an events frame with its payloads left as bytes: to look for an id without decoding payloads."""

    context: FrameContext
    events: list[_LazyEvent]


encoder = msgspec.msgpack.Encoder()
_body_decoder = msgspec.msgpack.Decoder(EventBody)
_lazy_decoder = msgspec.msgpack.Decoder(LazyBody)
_payload_decoder = msgspec.msgpack.Decoder(Payload)
_event_decoder = msgspec.msgpack.Decoder(Event)


def encode_body(context: FrameContext, events: Sequence[Event]) -> bytes:
    """Return the body of one events frame."""
    return encoder.encode((context, events))


def decode_body(body: bytes | memoryview) -> EventBody:
    """Return context and events of a frame body; raises BadInput when it is not one."""
    try:
        return _body_decoder.decode(body)
    except msgspec.DecodeError as error:
        raise BadInput(
            f"a frame body does not decode: {error}.",
            remedy="It was written by a newer version, or by something else: upgrade tori-orchestrator.",
        ) from error


def decode_lazily(body: bytes | memoryview) -> LazyBody:
    """Return a frame body with raw payloads."""
    return _lazy_decoder.decode(body)


def check_event(event: Event) -> Event:
    """Return ``event`` as it will be read back; raises BadInput naming the field when a value does not fit its type.

    Structs do not check what Python code puts into them; doors call this on what comes from outside.
    """
    try:
        encoded = encoder.encode(event)
        decoded = _event_decoder.decode(encoded)
    except (msgspec.DecodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadInput(
            f"{type(event.payload).__name__}: {error}.", remedy="See docs/events.md for its fields."
        ) from error
    if len(encoded) > MAX_PAYLOAD_BYTES:
        raise BadInput(
            f"{type(event.payload).__name__} of {len(encoded)} bytes is over the limit of {MAX_PAYLOAD_BYTES}.",
            remedy="Split it, or put the bulk into a file and name it.",
        )
    return decoded


def tags_of(payload_types: Sequence[type] | tuple[type, ...]) -> frozenset[int]:
    """Return the type numbers of payload classes."""
    return frozenset(tag_of(t) for t in payload_types)


def tag_of(payload_type: Any) -> int:
    """Return the type number of a payload class, which is also its bit in a frame's type set."""
    tag = payload_type.__struct_config__.tag
    if not isinstance(tag, int):
        raise BadInput(f"{payload_type!r} is not an event type.", remedy="Event types are in tori.events.")
    return tag
