"""Who is who: the same names for the same things, whether a client speaks of them or a journal's bytes do.

Written from the field order in docs/events.md and from ADR 2, with msgpack and sha256 alone: nothing here asks the product.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

DOCUMENT_INGESTED, DEAD_LETTERED, CUSTOM = 1, 99, 100
"""Type numbers that the checker understands."""
OPERATION = "chaos.operation"
"""Name of the custom event of a producer under test: {origin, incarnation, seq, key, body}."""


def digest_of(payload: bytes) -> str:
    """Return the digest of an encoded payload."""
    return hashlib.sha256(payload).hexdigest()[:24]


def document_item(
    document_id: str,
    title: str,
    text: str,
    time_ns: int | None,
    thread: str,
    links: Any,
    sections: Any,
) -> str:
    """Return the id of a document with this content: the same text under the same id is the same thing."""
    content = msgspec.msgpack.encode((document_id, title, text, time_ns, thread, links, sections))
    return f"{document_id}@{hashlib.sha256(content).hexdigest()[:24]}"


def payload_item(fields: list[Any]) -> str:
    """Return the item that a decoded payload ``[type number, fields...]`` stands for, or "" when it is no client's."""
    if fields[0] == DOCUMENT_INGESTED:
        document_id, title, text, _, time_ns, _, thread, links, sections = fields[1:10]
        return document_item(document_id, title, text, time_ns, thread, links, sections)
    if fields[0] == CUSTOM and fields[1] == OPERATION:
        data = fields[2]
        return producer_item(data["origin"], data["incarnation"], data["seq"])
    return ""


def producer_item(origin: str, incarnation: int, seq: int) -> str:
    """Return the id of what an idempotent producer numbers."""
    return f"{origin}/{incarnation}/{seq}"
