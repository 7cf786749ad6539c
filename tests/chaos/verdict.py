"""What the checker returns: one set a promise, with the evidence, and whether enough happened to say anything."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SETS = {
    "acked_not_delivered": "A \\ (D u Q): acknowledged, and a durable subscriber neither handled it nor set it aside",
    "acked_not_in_journal": "A \\ L: acknowledged, and not read back",
    "phantom": "(D u L) \\ (A u I): delivered or read back, and nobody asked for it",
    "rejected_in_journal": "F n L: refused, and there all the same",
    "two_digests": "one position, two contents",
    "position_gap": "positions that do not follow one another",
    "disorder": "out of order within producer, lane and key",
    "duplicate": "the same (producer, seq), document content or event id twice in a journal",
    "duplicate_effect": "an input handled twice",
    "delivered_not_in_journal": "D \\ L: handed to a durable subscriber, and not read back",
    "unreported_damage": "bytes below the durable position are not whole, and the product did not say so",
}
"""What the contract wants empty; the last two sharpen 'durable frames only' and 'damage is found'."""


class Evidence(msgspec.Struct, frozen=True, order=True):
    """One violation: which id, where, and what is wrong."""

    id: str
    where: str
    what: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """``valid`` needs every set empty and enough operations and faults; too few of them prove nothing."""

    verdict: Literal["valid", "violated", "unknown"]
    sets: dict[str, tuple[Evidence, ...]]
    counts: dict[str, int]
    faults: dict[str, int]
    """By kind, those during which a call was open."""
    doubts: tuple[str, ...] = ()
    """Why it is unknown."""

    @property
    def is_valid(self) -> bool:
        return self.verdict == "valid"

    @property
    def violated(self) -> set[str]:
        return {name for name, found in self.sets.items() if found}

    def sizes(self) -> dict[str, int]:
        return {name: len(found) for name, found in self.sets.items()}

    def story(self, limit: int = 5) -> str:
        """Return what is wrong, for a person."""
        lines = [f"{self.verdict}: {self.counts}, faults {self.faults}", *self.doubts]
        for name, found in self.sets.items():
            lines += [f"  {name} ({len(found)}): {SETS[name]}"] if found else []
            lines += [f"    {e.id} at {e.where}: {e.what}" for e in found[:limit]]
        return "\n".join(lines)

    def plain(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain
