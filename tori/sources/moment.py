"""A document's own date: ISO 8601 or epoch seconds, as nanoseconds since the epoch, UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from tori.events.document import EARLIEST_NS, LATEST_NS

_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2}))?\Z")
_MICROSECOND = 1_000


def time_ns_of(value: object) -> int | None:
    """Return nanoseconds since the epoch for an ISO 8601 date or datetime, or for epoch seconds; None stays None.

    A datetime without a zone is UTC; ``2018`` and ``2018-04`` mean their first day. Raises ValueError for anything else.
    """
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a time")
    if isinstance(value, str):
        moment = _parsed(value.strip())
        delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
        nanoseconds = ((delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds) * _MICROSECOND
        if not EARLIEST_NS <= nanoseconds <= LATEST_NS:
            raise ValueError(f"{value!r} is outside the years 1678 to 2261")
        return nanoseconds
    try:
        nanoseconds = value * 10**9 if isinstance(value, int) else round(value * 1e6) * _MICROSECOND
    except (OverflowError, ValueError) as error:
        raise ValueError(f"{value!r} is not a time") from error
    if not EARLIEST_NS <= nanoseconds <= LATEST_NS:
        raise ValueError(f"{value!r} seconds are beyond the year 2262: milliseconds instead of seconds?")
    return nanoseconds


def _parsed(text: str) -> datetime:
    partial = _PARTIAL.match(text)
    if partial:
        return datetime(int(partial[1]), int(partial[2] or 1), 1, tzinfo=UTC)
    if len(text) <= 10:
        day = date.fromisoformat(text)
        return datetime(day.year, day.month, day.day, tzinfo=UTC)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
