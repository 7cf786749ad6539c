"""What the fields of specs and triggers may be. Specs come from people and from afar, where nobody checked a type."""

from __future__ import annotations

import math
from enum import Enum
from typing import TypeVar

from tori.errors import BadSettings

MOST_S = 3_155_760_000.0
"""A century: more is a slip of the pen, and in nanoseconds after the present it would not fit into 64 bits."""
E = TypeVar("E", bound=Enum)


def check_kind(name: str, value: object, kind: type, remedy: str) -> None:
    """Raise BadSettings with the remedy when a value is not of a kind."""
    if not isinstance(value, kind):
        raise BadSettings(f"{name}: {value!r} cannot stand there.", remedy=remedy)


def check_number(name: str, value: object, most: float = MOST_S) -> None:
    """Raise BadSettings for what is no finite number, or more than ``most``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise BadSettings(f"{name}: {value!r} is no number.", remedy="Write one, without quotes.")
    if value > most:
        raise BadSettings(f"{name}: {value!r} is too much.", remedy=f"{most:,.0f} is the most.")


def read_whole(name: str, value: object) -> int:
    """Return a whole number; raises BadSettings for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadSettings(f"{name}: {value!r} is no whole number.", remedy="Write one, without quotes.")
    return value


def read_word(name: str, value: object, kind: type[E]) -> E:
    """Return a member of an enum, given as itself, by its name in any case, or by its value; raises BadSettings for another word."""
    word = value.lower() if isinstance(value, str) else value
    for member in kind:
        if word == member.name.lower() or (word == member.value and not isinstance(word, (bool, float))):
            return member
    raise BadSettings(
        f"{name}: {value!r} is no such word.", remedy=f"Write one of {', '.join(m.name.lower() for m in kind)}."
    )


def read_names(name: str, value: object) -> tuple[str, ...]:
    """Return names as a tuple; raises BadSettings for a single text, whose letters would be taken for names."""
    if not isinstance(value, (tuple, list)) or not all(isinstance(word, str) for word in value):
        raise BadSettings(f"{name}: {value!r} is no list of names.", remedy='Write ("name",), with the comma.')
    return tuple(value)
