"""A document as it enters TORI: plain text with a name, and whatever its source knew about it."""

from __future__ import annotations

import hashlib

import msgspec


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


class Receipt(msgspec.Struct, frozen=True):
    """What became of a batch of documents."""

    accepted: int
    duplicates: int
    refused: tuple[tuple[str, str], ...] = ()
    """(document id, reason) of those that were not taken."""
