"""What every document source is: an iterator of documents and refusals in a stable order, with a hint of its length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from tori.events.document import LARGEST_TEXT_BYTES, Document, flaw_of, flaw_of_id, flaw_of_text

__all__ = ["LARGEST_TEXT_BYTES", "Refusal", "Source", "flaw_of", "flaw_of_id", "flaw_of_text"]


@dataclass(frozen=True)
class Refusal:
    """One input that did not become a document. The rest of the source goes on."""

    path: str
    """The file, or the module of a Python package."""
    reason: str
    remedy: str
    line: int | None = None
    """Line in the file, counted from 1, where the source has lines of its own."""

    def __str__(self) -> str:
        place = self.path if self.line is None else f"{self.path}, line {self.line}"
        return f"{place}: {self.reason} {self.remedy}".rstrip()


class Source(ABC):
    """Documents from one place. ``documents`` may be walked again from the start; ``position`` counts the latest walk."""

    unit: ClassVar[str]
    """What ``total`` and ``position`` count: ``files``, ``bytes`` or ``modules``."""

    def __init__(self, name: str) -> None:
        self.name = name
        """The spec, for people."""
        self.position = 0
        """How much has been walked, in ``unit``."""

    @abstractmethod
    def total(self) -> int | None:
        """Return how much there is, in ``unit``, for a progress bar; None when nobody can tell cheaply."""

    @abstractmethod
    def documents(self) -> Iterator[Document | Refusal]:
        """Yield every document, and a refusal for everything that could not become one, in an order of content only."""
