"""The filter grammar: one line of terms that an event or a dead letter must fit, the same on the command line, in REST and on screens.

    type=Concept*|AlienDetected source=reader key=pep-* time>=2026-11-01 time<1h error~"not now"

Terms stand beside each other and all must hold. A term is a field, an operator, a value; quotes hold blanks together.

| operator | is | for |
|---|---|---|
| ``=``, ``!=`` | fits, fits not: a glob with ``*`` and ``?``, alternatives with ``|`` | every field but time |
| ``~`` | contains, whatever the case | every field but time |
| ``<``, ``<=``, ``>``, ``>=`` | compares | time |

A time is ISO 8601 (UTC when it names no zone) or an age before now: ``90s``, ``15m``, ``2h``, ``7d``; ``time>=2h`` is the last two hours.
"""

from __future__ import annotations

import operator
import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from tori.clock import SECOND_NS
from tori.errors import BadInput

MAX_LENGTH = 4096
MAX_TERMS = 32
EVENT_FIELDS = ("id", "type", "source", "key", "correlation", "cause", "time")
LETTER_FIELDS = ("id", "event", "module", "source", "type", "key", "error", "time", "state")
_TERM = re.compile(r"([a-z]+)(<=|>=|!=|=|<|>|~)(.*)", re.DOTALL)
_AGE = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_COMPARE: dict[str, Callable[[int, int], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Row = Mapping[str, str | int | Iterable[str]]
"""``time`` in nanoseconds, every other field a text or several."""


@dataclass(frozen=True)
class Term:
    """One condition."""

    field: str
    operator: str
    value: str
    time_ns: int = 0
    """The value of a time."""

    def fits(self, row: Row) -> bool:
        found = row.get(self.field, "")
        if self.operator in _COMPARE:
            return isinstance(found, int) and _COMPARE[self.operator](found, self.time_ns)
        texts = (
            [found]
            if isinstance(found, str)
            else [str(t) for t in found]
            if isinstance(found, Iterable)
            else [str(found)]
        )
        if self.operator == "~":
            return any(self.value.casefold() in text.casefold() for text in texts)
        fits = any(_glob(part).fullmatch(text) is not None for part in self.value.split("|") for text in texts)
        return fits is (self.operator == "=")


@dataclass(frozen=True)
class Filter:
    """A parsed line; no terms fit everything."""

    terms: tuple[Term, ...] = ()

    @classmethod
    def parse(cls, text: str, fields: Iterable[str] = EVENT_FIELDS, *, now_ns: int = 0) -> Filter:
        """Return the filter written as ``text``; ``now_ns`` is what ages count from. Raises BadInput naming the term."""
        known = tuple(fields)
        if len(text) > MAX_LENGTH:
            raise BadInput(f"filter: at most {MAX_LENGTH} characters, not {len(text)}.")
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise BadInput(f"filter: {error}.", remedy='Close the quotes: error~"not now".') from error
        if len(words) > MAX_TERMS:
            raise BadInput(f"filter: at most {MAX_TERMS} terms, not {len(words)}.")
        return cls(tuple(_term(word, known, now_ns) for word in words))

    def fits(self, row: Row) -> bool:
        """Say whether every term holds."""
        return all(term.fits(row) for term in self.terms)

    def span(self) -> tuple[int, int]:
        """Return times (first, last) in nanoseconds outside of which nothing fits."""
        first, last = 0, 2**63 - 1
        for term in self.terms:
            if term.operator in (">", ">="):
                first = max(first, term.time_ns)
            elif term.operator in ("<", "<="):
                last = min(last, term.time_ns)
        return first, last

    def may_fit(self, field: str, value: str) -> bool:
        """Say whether something whose ``field`` is ``value`` can fit at all."""
        return all(term.fits({field: value}) for term in self.terms if term.field == field)


def _term(word: str, known: tuple[str, ...], now_ns: int) -> Term:
    found = _TERM.fullmatch(word)
    if found is None:
        raise BadInput(f"filter: {word!r} is no term.", remedy="Write field, operator, value: type=Concept* time>=2h.")
    field, sign, value = found.groups()
    if field not in known:
        raise BadInput(f"filter: there is no field {field!r}.", remedy=f"Fields: {', '.join(known)}.")
    if (field == "time") is not (sign in _COMPARE):
        wanted = "<, <=, >, >=" if field == "time" else "=, !=, ~"
        raise BadInput(f"filter: {sign} does not go with {field}.", remedy=f"{field} takes {wanted}.")
    if not value and sign not in ("=", "!="):
        raise BadInput(f"filter: {field}{sign} has no value.", remedy="Only = and != can ask for nothing.")
    return Term(field, sign, value, parse_moment(value, now_ns) if field == "time" else 0)


def parse_moment(text: str, now_ns: int) -> int:
    """Return nanoseconds since the epoch for ISO 8601, or for an age before ``now_ns``; raises BadInput."""
    age = _AGE.fullmatch(text)
    if age is not None:
        return now_ns - int(age[1]) * _UNITS[age[2]] * SECOND_NS
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(
            f"time: {text!r} is no time.", remedy="Write 2026-11-25, 2026-11-25T18:30, or an age: 90s, 15m, 2h, 7d."
        ) from error
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * SECOND_NS + since.microseconds * 1000


def terms_of(options: Mapping[str, str | None], *, since: str | None = None, until: str | None = None) -> str:
    """Return the filter that options of a command line mean: ``{"type": "Concept*"}`` and a span of time."""
    parts = [f"{field}{_sign(field)}{shlex.quote(value)}" for field, value in options.items() if value]
    parts += [f"time{sign}{shlex.quote(value)}" for sign, value in ((">=", since), ("<", until)) if value]
    return " ".join(parts)


def _sign(field: str) -> str:
    return "~" if field == "error" else "="


def _glob(pattern: str) -> re.Pattern[str]:
    """Return the expression of a glob; every ``*`` but the last is atomic, so the time stays within len(pattern) x len(text)."""
    first, *rest = ("".join("." if c == "?" else re.escape(c) for c in part) for part in re.split(r"\*+", pattern))
    if not rest:
        return re.compile(first, re.DOTALL)
    *middle, last = rest
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}", re.DOTALL)
