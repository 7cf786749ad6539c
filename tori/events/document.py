"""A document as it enters TORI: plain text with a name, and whatever its source knew about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import msgspec

LARGEST_TEXT_BYTES = 8 * 1024 * 1024
"""A document's text may take this many bytes of UTF-8; an event may not be larger (DESIGN section 5)."""
LONGEST_ID = 512
"""Characters an id may have, and a thread."""
LONGEST_TITLE = 2_000
LONGEST_SOURCE = 4_096
MOST_PARTS = 65_536
"""Links, and sections, that a document may have."""
EARLIEST_NS, LATEST_NS = -(2**63), 2**63 - 1
"""Times a document may have: 64 bits of nanoseconds, the years 1678 to 2261."""


class Section(msgspec.Struct, frozen=True, array_like=True):
    """A titled span of a document's text that reads by itself (a heading's body, one documented object)."""

    start: int
    """First character, counted in the document's text."""
    end: int
    """One past the last character."""
    title: str


class Document(msgspec.Struct, frozen=True, array_like=True):
    """One text from one source. ``id`` is stable between runs: a new text under an old id replaces the old one."""

    id: str
    title: str
    text: str
    time_ns: int | None = None
    """The document's own date, nanoseconds since the epoch UTC; None when the source has no date."""
    source: str = ""
    """Where it came from, for people: a path, ``python:numpy 2.4.6``."""
    thread: str = ""
    """The series it belongs to (a package, a conversation); empty = it is its own thread."""
    links: tuple[str, ...] = ()
    """Ids of documents it names explicitly."""
    sections: tuple[Section, ...] = ()

    def content_hash(self) -> bytes:
        """Return the sha256 over every field but ``source``: the same content under the same id is the same document."""
        parts = msgspec.msgpack.encode(
            (self.id, self.title, self.text, self.time_ns, self.thread, self.links, self.sections)
        )
        return hashlib.sha256(parts).digest()


MOVED = "file:"
"""Before a path in ``source``: this file takes the place of another with the same id."""


def moved(documents: Iterable[Document]) -> list[Document]:
    """Return documents that may replace those of other files."""
    return [msgspec.structs.replace(d, source=MOVED + d.source) if d.source.startswith("/") else d for d in documents]


class Receipt(msgspec.Struct, frozen=True):
    """What became of a batch of documents."""

    accepted: int
    duplicates: int
    refused: tuple[tuple[str, str], ...] = ()
    """(document id, reason) of those that were not taken."""


def flaw_of(document: Document) -> str:
    """Return why a document cannot be taken, naming the field, or an empty string. Every door asks this."""
    flaw = flaw_of_id(document.id) or flaw_of_text(document.text)
    if flaw:
        return flaw
    if document.time_ns is not None and not EARLIEST_NS <= document.time_ns <= LATEST_NS:
        return "the time is outside the years 1678 to 2261."
    for name, text, longest in (
        ("title", document.title, LONGEST_TITLE),
        ("thread", document.thread, LONGEST_ID),
        ("source", document.source, LONGEST_SOURCE),
    ):
        if len(text) > longest:
            return f"the {name} has {len(text)} characters; {longest} are allowed."
    for name, parts in (("links", document.links), ("sections", document.sections)):
        if len(parts) > MOST_PARTS:
            return f"there are {len(parts)} {name}; {MOST_PARTS} are allowed."
    if any(len(link) > LONGEST_ID for link in document.links):
        return f"a link is longer than the {LONGEST_ID} characters an id may have."
    if any(not 0 <= section.start <= section.end <= len(document.text) for section in document.sections):
        return "a section lies outside the text."
    return ""


def flaw_of_id(document_id: str) -> str:
    """Return why ``document_id`` cannot name a document, or an empty string."""
    if not document_id.strip():
        return "the id is empty."
    if len(document_id) > LONGEST_ID:
        return f"the id has {len(document_id)} characters; {LONGEST_ID} are allowed."
    if not document_id.isprintable():
        return "the id holds a control character, a line break or bytes that are no text."
    if ".." in document_id.replace("\\", "/").split("/"):
        return "the id leads out of its place with '..'."
    return ""


def flaw_of_text(text: str) -> str:
    """Return why ``text`` cannot be a document's text, or an empty string."""
    if not text.strip():
        return "the text is empty."
    if "\0" in text:
        return "the text holds a NUL character: it is binary."
    if len(text) * 4 <= LARGEST_TEXT_BYTES and text.isascii():
        return ""
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return "the text holds half a surrogate pair: decode it as UTF-8 first."
    return f"the text is larger than {LARGEST_TEXT_BYTES} bytes." if size > LARGEST_TEXT_BYTES else ""
