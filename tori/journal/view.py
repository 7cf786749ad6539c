"""Events as plain rows, for people and programs at the edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tori.errors import BadInput
from tori.events.catalogue import ENTRIES
from tori.events.envelope import Envelope, Event
from tori.events.filter import EVENT_FIELDS, Filter
from tori.journal.archive import Archive, unfold
from tori.journal.frame import EVENTS
from tori.journal.reader import FrameView

LONG_TEXT = 400
MAX_BROWSED = 1_000_000
"""Events one question looks at: about two seconds of decoding."""


def iso_time(time_ns: int) -> str:
    """Return a time as ISO 8601 in UTC, with microseconds."""
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="microseconds")


def plain_payload(payload: Any, *, shorten: bool = True) -> dict[str, Any]:
    """Return a payload's fields as JSON values: bytes as hex, long texts cut when ``shorten``."""
    return {name: _plain(getattr(payload, name), shorten=shorten) for name in payload.__struct_fields__}


def _plain(value: Any, *, shorten: bool) -> Any:
    if isinstance(value, bytes):
        return value.hex() if len(value) <= 64 or not shorten else f"{value[:32].hex()}... ({len(value)} bytes)"
    if isinstance(value, str):
        return value if len(value) <= LONG_TEXT or not shorten else f"{value[:LONG_TEXT]}... ({len(value)} characters)"
    if isinstance(value, msgspec.Struct):
        return plain_payload(value, shorten=shorten)
    if isinstance(value, (list, tuple)):
        return [_plain(v, shorten=shorten) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v, shorten=shorten) for k, v in value.items()}
    return value


def event_row(event: Event, source: str, *, shorten: bool = True) -> dict[str, Any]:
    """Return one event as a row."""
    return {
        "id": event.id.hex(),
        "type": event.type,
        "source": source,
        "time": iso_time(event.time_ns),
        "key": event.key,
        "causes": [c.hex() for c in event.causes],
        "payload": plain_payload(event.payload, shorten=shorten),
    }


def parse_id(text: str) -> bytes:
    """Return an event id from its hex form; raises BadInput."""
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise BadInput(
            f"{text!r} is not an event id.", remedy="An event id is 32 hex digits, as `tori tail` prints it."
        ) from error


def story_rows(archive: Archive, event_id: str) -> list[dict[str, Any]]:
    """Return an event and everything it follows from, breadth first; texts are whole."""
    return [event_row(event, name, shorten=False) for event, name in archive.story(parse_id(event_id))]


def _row(envelope: Envelope) -> dict[str, Any]:
    return event_row(envelope.event, envelope.context.source) | {"position": str(envelope.position)}


def newest_rows(archive: Archive, count: int, types: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Return the newest ``count`` events of all journals in order of time."""
    found = [
        e for name in archive.readers for e in archive.newest(name, count * (8 if types else 1)) if _fits(e, types)
    ]
    found.sort(key=lambda e: e.event.id)
    return [_row(e) for e in found[-count:]]


def browse_rows(archive: Archive, text: str, limit: int, now_ns: int) -> dict[str, Any]:
    """Return the newest ``limit`` events of all journals that fit a filter, oldest first, and how many were looked at.

    Frames outside the filter's time and types are skipped undecoded. After MAX_BROWSED events it stops and says so.
    """
    wanted = Filter.parse(text, EVENT_FIELDS, now_ns=now_ns)
    found: list[Envelope] = []
    browsed = 0
    for name in archive.readers:
        if not wanted.may_fit("source", name):
            continue
        mine: list[Envelope] = []
        for frame in _frames_within(archive, name, wanted):
            browsed += frame.header.count
            mine += [e for e in unfold(name, frame) if wanted.fits(_match_row(e))]
            if len(mine) >= limit or browsed >= MAX_BROWSED:
                break
        found += mine
    found.sort(key=lambda e: e.event.id)
    rows = [_row(e) | {"correlation": _correlation(e)} for e in found[-limit:]]
    return {"events": rows, "browsed": browsed, "is_complete": browsed < MAX_BROWSED}


def _frames_within(archive: Archive, name: str, wanted: Filter) -> Iterator[FrameView]:
    first, last = wanted.span()
    bits = sum(1 << entry.number for entry in ENTRIES if wanted.may_fit("type", entry.type))
    for frame in archive.backwards(name):
        if frame.header.last_time_ns < first:
            return  # journals are in order of time: everything before is older still
        if frame.header.first_time_ns <= last and frame.has_any(bits):
            yield frame


def _correlation(envelope: Envelope) -> str:
    return (envelope.event.correlation_id or envelope.event.id).hex()


def _match_row(envelope: Envelope) -> dict[str, Any]:
    event = envelope.event
    return {
        "id": event.id.hex(),
        "type": event.type,
        "source": envelope.position.journal,
        "key": event.key,
        "correlation": _correlation(envelope),
        "cause": [c.hex() for c in event.causes],
        "time": event.time_ns,
    }


def event_rows(archive: Archive, offsets: Mapping[str, int], count: int, types: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return up to about ``count`` events after ``offsets``, in order of time, and the offsets reached."""
    found: list[Envelope] = []
    reached: dict[str, int] = {}
    for name, reader in archive.readers.items():
        limit = reader.limit()
        at = offsets.get(name, limit)
        for frame in reader.frames(at, limit):
            if frame.header.kind == EVENTS:
                found += [e for e in unfold(name, frame) if _fits(e, types)]
            at = frame.end
            if len(found) >= count:
                break
        reached[name] = at
    found.sort(key=lambda e: e.event.id)
    return {"events": [_row(e) for e in found], "offsets": reached}


def _fits(envelope: Envelope, types: tuple[str, ...]) -> bool:
    return not types or envelope.event.type in types
