"""Where an event stands."""

from __future__ import annotations

from typing import NamedTuple


class Position(NamedTuple):
    """(journal, epoch, sequence): names one event for good."""

    journal: str
    epoch: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.journal}:{self.epoch}:{self.sequence}"
