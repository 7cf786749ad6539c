"""What every document source is: an iterator of documents and refusals in a stable order, with a hint of its length."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from tori.events.document import Document

LARGEST_TEXT_BYTES = 8 * 1024 * 1024
"""A document's text may take this many bytes of UTF-8; an event may not be larger (DESIGN section 5)."""
LONGEST_ID = 512
"""Characters an id may have."""


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


def flaw_of_id(document_id: str) -> str:
    """Return why ``document_id`` cannot name a document, or an empty string."""
    if not document_id.strip():
        return "the id is empty."
    if len(document_id) > LONGEST_ID:
        return f"the id has {len(document_id)} characters; {LONGEST_ID} are allowed."
    if not document_id.isprintable():
        return "the id holds a control character or a line break."
    return ""


def flaw_of_text(text: str) -> str:
    """Return why ``text`` cannot be a document's text, or an empty string."""
    if not text.strip():
        return "the text is empty."
    if "\0" in text:
        return "the text holds a NUL character: it is binary."
    if len(text) * 4 > LARGEST_TEXT_BYTES and len(text.encode("utf-8", "surrogatepass")) > LARGEST_TEXT_BYTES:
        return f"the text is larger than {LARGEST_TEXT_BYTES} bytes."
    return ""
