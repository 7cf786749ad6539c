"""Time cells: from the dates of documents to months, quarters or years, chosen by how many documents there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from statistics import median

GRAINS = {"month": 1, "quarter": 3, "year": 12}
"""Months in a cell, finest first."""
CELL_MINIMUM = 10
"""Documents the median cell must hold; a finer grain is not worth its noise (EVENTS: minimum 10 observations)."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def month_number(time_ns: int) -> int:
    """Return months since year 0 of a time in nanoseconds since the epoch, UTC."""
    moment = _EPOCH + timedelta(microseconds=time_ns // 1000)
    return moment.year * 12 + moment.month - 1


def choose_grain(months: Iterable[int]) -> str:
    """Return the finest grain whose median occupied cell holds CELL_MINIMUM documents; ``year`` when none does.

    A coarser grain with as many cells says the same in fewer words and is taken instead.
    """
    months = list(months)
    cells = {grain: Counter(m // size for m in months) for grain, size in GRAINS.items()}
    full = [grain for grain, counts in cells.items() if counts and median(counts.values()) >= CELL_MINIMUM]
    if not full:
        return "year"
    return [grain for grain in GRAINS if len(cells[grain]) == len(cells[full[0]])][-1]


def cell_name(cell: int, grain: str) -> str:
    """Return the ISO 8601 name of a cell: ``2018``, or year and first month (``2018-04``)."""
    year, month = divmod(cell * GRAINS[grain], 12)
    return f"{year:04d}" if grain == "year" else f"{year:04d}-{month + 1:02d}"
