"""Topic patterns: which events a subscription takes, by source, type and key.

Written ``source:type:key``, each part a glob with ``*`` (any run of characters) and ``?`` (any one); parts left out at
the end are ``*``. The type part may hold alternatives (``Concept*|AlienDetected``) and groups of the catalogue
(``@wormhole``). The key is the rest of the text, so keys may hold colons: ``clients:DocumentIngested:pep-*``.

A pattern compiles to a predicate on events and to a 256-bit set of type numbers: a frame whose own set shares no bit
with it is skipped without decoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from tori.errors import BadInput
from tori.events.catalogue import BY_NAME, ENTRIES
from tori.events.codec import tag_of
from tori.events.envelope import Event

MAX_LENGTH = 256
"""Characters in one part of a pattern."""
MAX_PATTERNS = 64
"""Patterns in one subscription."""
TYPE_SET_BYTES = 32


@dataclass(frozen=True)
class Topic:
    """One pattern. Raises BadInput when a part is too long or empty, or the type part fits no type."""

    source: str = "*"
    type: str = "*"
    key: str = "*"

    def __post_init__(self) -> None:
        for name, part in (("source", self.source), ("type", self.type), ("key", self.key)):
            if not part:
                raise BadInput(f"{name}: an empty pattern fits nothing.", remedy="Use * for anything.")
            if len(part) > MAX_LENGTH:
                raise BadInput(
                    f"{name}: a pattern has at most {MAX_LENGTH} characters, not {len(part)}.",
                    remedy="Shorten it with *.",
                )
        _ = self.types

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Return the pattern written as ``source:type:key``."""
        return cls(*text.split(":", 2))

    def __str__(self) -> str:
        return f"{self.source}:{self.type}:{self.key}"

    @cached_property
    def types(self) -> frozenset[str]:
        """Names of the types the pattern can fit."""
        return frozenset(name for part in self.type.split("|") for name in _types_of(part))


class Matcher:
    """Compiled patterns: an event is taken when any of them fits. Raises BadInput for none, or more than MAX_PATTERNS."""

    __slots__ = ("_tests", "type_set")

    def __init__(self, topics: Iterable[Topic]) -> None:
        topics = tuple(topics)
        if not 0 < len(topics) <= MAX_PATTERNS:
            flaw = f"a subscription has 1 to {MAX_PATTERNS} topic patterns, not {len(topics)}."
            raise BadInput(flaw, remedy="Join them: a type part may hold alternatives, A|B.")
        self._tests = tuple((_bits(topic.types), _glob(topic.source), _glob(topic.key)) for topic in topics)
        self.type_set = 0
        """Bits of the type numbers any pattern can fit."""
        for bits, _, _ in self._tests:
            self.type_set |= bits

    def accepts(self, event: Event, source: str) -> bool:
        """Return whether an event from ``source`` is taken."""
        bit = 1 << tag_of(type(event.payload))
        return any(
            bits & bit
            and (from_source is None or from_source.fullmatch(source) is not None)
            and (key is None or key.fullmatch(event.key) is not None)
            for bits, from_source, key in self._tests
        )

    def may_accept(self, frame_types: int, source: str, key: str | None = None) -> bool:
        """Return whether a frame of ``source`` holding these types can hold an event that is taken; no means skip it.

        ``key``: whether it can hold one with this key.
        """
        return any(
            bits & frame_types
            and (from_source is None or from_source.fullmatch(source) is not None)
            and (key is None or of_key is None or of_key.fullmatch(key) is not None)
            for bits, from_source, of_key in self._tests
        )

    def type_set_bytes(self) -> bytes:
        """Return the type set as frame headers write it: 32 bytes, little-endian."""
        return self.type_set.to_bytes(TYPE_SET_BYTES, "little")


def _types_of(part: str) -> list[str]:
    if part.startswith("@"):
        found = [entry.type for entry in ENTRIES if entry.group == part[1:]]
        if not found:
            raise BadInput(f"type: there is no group {part!r}.", remedy=f"Groups: {', '.join(_groups())}.")
        return found
    glob = _glob(part)
    found = [name for name in BY_NAME if glob is None or glob.fullmatch(name)]
    if not found:
        raise BadInput(f"type: no event type fits {part!r}.", remedy="docs/events.md lists the types.")
    return found


def _groups() -> list[str]:
    return list(dict.fromkeys(f"@{entry.group}" for entry in ENTRIES))


def _bits(types: Iterable[str]) -> int:
    bits = 0
    for name in types:
        bits |= 1 << BY_NAME[name].number
    return bits


def _glob(pattern: str) -> re.Pattern[str] | None:
    """Return the expression for a glob, None when it takes anything.

    Every ``*`` but the last matches as little as it can and never gives back (an atomic group): for globs the leftmost match
    is always enough, and the time stays within len(pattern) x len(text).
    """
    parts = re.split(r"\*+", pattern)
    fixed = ["".join("." if c == "?" else re.escape(c) for c in part) for part in parts]
    if len(fixed) == 1:
        return re.compile(fixed[0], re.DOTALL)
    first, *middle, last = fixed
    if not (first or last or middle):
        return None
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}", re.DOTALL)
