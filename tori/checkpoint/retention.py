"""Retention: which checkpoints are kept. A policy decides; the store deletes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tori.errors import BadSettings


@dataclass(frozen=True)
class Holding:
    """A checkpoint on disk and the modules whose snapshots in it are still there."""

    checkpoint_id: str
    modules: tuple[str, ...]


class RetentionPolicy(ABC):
    """Decides what may go."""

    @abstractmethod
    def decide(self, holdings: Sequence[Holding]) -> tuple[str, ...]:
        """Return the ids to delete, oldest first. ``holdings`` come newest first."""


@dataclass(frozen=True)
class KeepNewestPolicy(RetentionPolicy):
    """Keeps a checkpoint while it is among the ``keep`` newest of any module in it.

    So a module that checkpoints rarely keeps its own history, however often the others do.
    """

    keep: int = 3

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise BadSettings(
                f"keep: {self.keep} checkpoints would leave nothing to restart from.", remedy="Keep 2 or more."
            )

    def decide(self, holdings: Sequence[Holding]) -> tuple[str, ...]:
        seen: Counter[str] = Counter()
        removable = []
        for holding in holdings:
            seen.update(holding.modules)
            if all(seen[module] > self.keep for module in holding.modules):
                removable.append(holding.checkpoint_id)
        return tuple(reversed(removable))
