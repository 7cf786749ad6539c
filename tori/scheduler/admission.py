"""Admission: which of the runs that wait may start now, and what holds the others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tori.errors import BadSettings
from tori.resources.pressure import Pressure
from tori.scheduler.spec import Priority


class Candidate(NamedTuple):
    """A run that waits. Sorts by urgency, then by how long it waits."""

    priority: Priority
    due_ns: int
    run_id: str


class AdmitDecision(NamedTuple):
    """It may start."""

    run_id: str


class HoldDecision(NamedTuple):
    """It has to wait; ``reason`` is for people."""

    run_id: str
    reason: str


class AdmissionPolicy(ABC):
    """Decides on all waiting runs at once."""

    @abstractmethod
    def decide(
        self, candidates: Sequence[Candidate], active: int, pressure: Pressure
    ) -> list[AdmitDecision | HoldDecision]:
        """Return one decision a candidate; ``active`` is how many runs are under way."""


@dataclass(frozen=True)
class SlotPolicy(AdmissionPolicy):
    """``limit`` runs at once; under pressure what is less urgent waits. Critical runs are never held for pressure."""

    limit: int = 16

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise BadSettings(
                f"limit: {self.limit} concurrent runs would let nothing run.", remedy="Set it to 1 or more."
            )

    def decide(
        self, candidates: Sequence[Candidate], active: int, pressure: Pressure
    ) -> list[AdmitDecision | HoldDecision]:
        bar = {Pressure.NONE: Priority.BACKGROUND, Pressure.HIGH: Priority.NORMAL, Pressure.SEVERE: Priority.CRITICAL}[
            pressure
        ]
        decisions: list[AdmitDecision | HoldDecision] = []
        free = self.limit - active
        for candidate in sorted(candidates):
            if candidate.priority > bar:
                reason = f"{candidate.priority.name.lower()} runs wait: pressure is {pressure.name.lower()}"
                decisions.append(HoldDecision(candidate.run_id, reason))
            elif free <= 0:
                decisions.append(HoldDecision(candidate.run_id, f"all {self.limit} slots are taken"))
            else:
                free -= 1
                decisions.append(AdmitDecision(candidate.run_id))
        return decisions
