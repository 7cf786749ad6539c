"""A folder of text, Markdown, reStructuredText, HTML and PDF as a source. Symbolic links never lead out of it."""

from __future__ import annotations

import codecs
import os
import posixpath
import stat
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from tori.events.document import LONGEST_TITLE, Document, Section
from tori.sources import hypertext, markup
from tori.sources.base import LARGEST_TEXT_BYTES, Refusal, Source, flaw_of
from tori.sources.moment import time_ns_of
from tori.sources.pdf import LARGEST_PDF_BYTES, PdfChild, joined

KINDS = {
    ".txt": markup.PLAIN,
    ".text": markup.PLAIN,
    ".md": markup.MARKDOWN,
    ".markdown": markup.MARKDOWN,
    ".rst": markup.REST,
    ".html": markup.HTML,
    ".htm": markup.HTML,
    ".xhtml": markup.HTML,
    ".pdf": markup.PDF,
}
SKIPPED_FOLDERS = frozenset(
    ["__pycache__", "_build", "bower_components", "node_modules", "site-packages", "third_party", "vendor", "venv"]
)
"""Folders of other people's or of built files; hidden folders are skipped too."""
DEEPEST = 100
"""Folders inside one another that are looked into."""
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_PDF_MARK = b"%PDF-"


class _Content(NamedTuple):
    """What a file says, whatever its format."""

    text: str
    title: str
    fields: dict[str, str]
    targets: list[str]
    """Links as written."""
    sections: tuple[Section, ...]


class _Refused(Exception):
    """A file cannot become a document; its arguments are reason and remedy."""


class Folder(Source):
    """The text files under ``root``, sorted by path. A file's id is its path without the extension, after ``name/`` if one is given.

    ``encodings`` are tried in order after a byte order mark; ``mtime_as_time`` dates an undated file by its last
    modification, which is when it was copied rather than when it was written: hence not by default.
    """

    unit = "files"

    def __init__(
        self, root: Path, *, encodings: Sequence[str] = ("utf-8",), mtime_as_time: bool = False, name: str = ""
    ) -> None:
        super().__init__(str(root))
        self.root = root if root.is_dir() else root.parent
        self._only = None if root.is_dir() else root.name
        self._encodings = tuple(encodings)
        self._mtime_as_time = mtime_as_time
        self._prefix = f"{name}/" if name else ""
        self._files: list[str] | None = None
        self._refusals: list[Refusal] = []

    def total(self) -> int | None:
        return len(self._listed())

    def documents(self) -> Iterator[Document | Refusal]:
        self.position = 0
        self._files = None
        files = self._listed()
        ids = {path: self._prefix + found for path, found in _ids_of(files).items()}
        yield from self._refusals
        with PdfChild() as child:
            for path in files:
                self.position += 1
                yield from self._read(path, ids, child)

    def _listed(self) -> list[str]:
        if self._files is None:
            self._refusals = []
            self._files = [self._only] if self._only else sorted(self._walk())
            self._refusals.sort(key=lambda refusal: refusal.path)
        return self._files

    def _walk(self) -> Iterator[str]:
        inside = self.root.resolve()
        pending = [(str(self.root), 0)]
        while pending:
            folder, depth = pending.pop()
            try:
                with os.scandir(folder) as entries:
                    found = list(entries)
            except OSError as error:
                self._refuse(folder, f"cannot be listed: {error.strerror}.", "Allow reading it.")
                continue
            for entry in found:
                if entry.is_symlink():
                    self._check_link(entry, inside)
                elif entry.is_dir(follow_symlinks=False):
                    if entry.name.startswith(".") or entry.name in SKIPPED_FOLDERS:
                        continue
                    if depth >= DEEPEST:
                        self._refuse(entry.path, f"more than {DEEPEST} folders deep.", "Ingest it by itself.")
                    else:
                        pending.append((entry.path, depth + 1))
                elif not entry.name.startswith(".") and _kind_of(entry.name):
                    yield Path(entry.path).relative_to(self.root).as_posix()

    def _check_link(self, entry: os.DirEntry[str], inside: Path) -> None:
        """Refuse a link out of the folder, in a circle or to nothing; one to a place inside is read there, under its own name."""
        if not _kind_of(entry.name) and not os.path.isdir(entry.path):
            return
        path = Path(entry.path)
        try:
            target = path.resolve(strict=True)
        except FileNotFoundError:
            self._refuse(entry.path, "a symbolic link to nothing.", "Remove it, or copy its target here.")
        except (OSError, RuntimeError):
            self._refuse(entry.path, "a symbolic link that leads in a circle.", "Remove it.")
        else:
            if not target.is_relative_to(inside):
                self._refuse(entry.path, "a symbolic link that leads out of the folder.", "Copy its target here.")

    def _refuse(self, path: str, reason: str, remedy: str) -> None:
        self._refusals.append(Refusal(path, reason, remedy))

    def _read(self, path: str, ids: dict[str, str], child: PdfChild) -> Iterator[Document | Refusal]:
        full = self.root / path
        kind = _kind_of(path)
        try:
            largest = LARGEST_PDF_BYTES if kind == markup.PDF else LARGEST_TEXT_BYTES
            data, mtime_ns = _bytes_of(full, largest, only_start=kind == markup.PDF)
            if kind == markup.PDF:
                content, flaws = _pdf(full, data, child)
                yield from flaws
            else:
                content = self._content(path, kind, data)
            document = self._document(path, content, ids, mtime_ns)
            flaw = flaw_of(document)
            yield Refusal(str(full), flaw, "Correct the file or remove it.") if flaw else document
        except _Refused as refused:
            reason, remedy = refused.args
            yield Refusal(str(full), reason, remedy)
        except OSError as error:
            yield Refusal(str(full), f"cannot be read: {error.strerror}.", "Allow reading it, or remove it.")

    def _content(self, path: str, kind: str, data: bytes) -> _Content:
        declared = hypertext.charset_of(data) if kind == markup.HTML else ""
        text = _decoded(data, [*filter(_is_encoding, [declared] if declared else []), *self._encodings])
        if text is None:
            tried = ", ".join(self._encodings)
            raise _Refused(f"not text in {tried}.", "Save it as UTF-8, or name its encoding.")
        if kind == markup.HTML:
            return _hypertext(text)
        matter = markup.front_matter(text)
        body = text[matter.length :]
        if not body.strip() and matter.length:
            raise _Refused("nothing follows its front matter.", "Write a text, or remove it.")
        structure = markup.sniff(body) if kind == markup.PLAIN else kind
        fields = matter.fields or (markup.docinfo(body) if structure == markup.REST else {})
        found = markup.headings(body, structure)
        title = fields.get("title") or (found[0].title if found else _stem(path))
        return _Content(body, title, fields, markup.links(body, kind), markup.between(found, body, title))

    def _document(self, path: str, content: _Content, ids: dict[str, str], mtime_ns: int) -> Document:
        time_ns = _date_of(content.fields)
        if time_ns is None and self._mtime_as_time:
            time_ns = mtime_ns
        return Document(
            id=ids[path],
            title=(content.title or _stem(path))[:LONGEST_TITLE],
            text=content.text,
            time_ns=time_ns,
            source=str(self.root.absolute() / path).encode("utf-8", "replace").decode(),
            links=_resolved(content.targets, path, ids),
            sections=content.sections,
        )


def _kind_of(name: str) -> str:
    """Return the kind of a file by its name's end, or an empty string."""
    return KINDS.get(posixpath.splitext(name)[1].lower(), "")


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _bytes_of(path: Path, largest: int, *, only_start: bool) -> tuple[bytes, int]:
    """Return a regular file's content (or its first 1,024 bytes) and its time; never waits for a pipe or a device."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise _Refused(
                "not a regular file (a pipe, socket or device).", "Remove it, or write its content to a file."
            )
        data = file.read(1_024 if only_start else largest + 1)
        size = max(state.st_size, len(data))
        if size > largest:
            raise _Refused(f"{size} bytes; a document may have {largest}.", "Split it into parts.")
        return data, state.st_mtime_ns


def _is_encoding(name: str) -> bool:
    try:
        b"x".decode(name)
    except (LookupError, UnicodeError):
        return False
    return True


def _hypertext(text: str) -> _Content:
    page = hypertext.read(text)
    if not page.text.strip():
        raise _Refused("there is no text between its tags.", "Save the page as it is shown, or remove it.")
    title = page.title or (page.headings[0].title if page.headings else "")
    return _Content(page.text, title, page.fields, page.links, markup.between(page.headings, page.text, title))


def _pdf(path: Path, start: bytes, child: PdfChild) -> tuple[_Content, list[Refusal]]:
    """Return what a PDF says, and a refusal for every page that could not be read."""
    if _PDF_MARK not in start:
        raise _Refused("not a PDF: it does not begin like one.", "Give it the ending of what it is, or remove it.")
    found = child.read(path)
    if found.reason:
        raise _Refused(found.reason, found.remedy)
    text, sections = joined(found.pages)
    taken = sum(1 for page in found.pages if page.strip())
    flaws = [
        Refusal(
            str(path), f"page {number} cannot be read: {flaw}.", f"The other {taken} pages are taken; repair the file."
        )
        for number, flaw in found.bad_pages
    ]
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    title = found.title or (first if len(first) <= markup.LONGEST_TITLE else "")
    return _Content(text, title, {"date": found.created} if found.created else {}, [], sections), flaws


def _decoded(data: bytes, encodings: Sequence[str]) -> str | None:
    """Return the text of ``data`` with line feeds only, or None when it is binary or in none of the encodings."""
    marked = [name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)][:1]
    if not marked and b"\0" in data:
        return None
    for encoding in [*marked, *encodings]:
        try:
            text = data.decode(encoding)
        except UnicodeError:
            continue
        return text.replace("\r\n", "\n").replace("\r", "\n")
    return None


def _ids_of(files: Sequence[str]) -> dict[str, str]:
    """Return {path: id}: the path without extension; where two paths would share one, all but the first keep it."""
    ids: dict[str, str] = {}
    taken: set[str] = set()
    for path in files:
        name = unicodedata.normalize("NFC", posixpath.splitext(path)[0])
        if name in taken:
            name = unicodedata.normalize("NFC", path)
        taken.add(name)
        ids[path] = name
    return ids


def _date_of(fields: dict[str, str]) -> int | None:
    for name in ("date", "created", "published", "time"):
        try:
            time_ns = time_ns_of(fields.get(name))
        except ValueError:
            continue
        if time_ns is not None:
            return time_ns
    return None


def _resolved(targets: Sequence[str], path: str, ids: dict[str, str]) -> tuple[str, ...]:
    """Return the ids of the files that ``targets`` mean, seen from ``path``; what lies elsewhere is left out."""
    found: dict[str, None] = {}
    for target in targets:
        plain = unquote(target.split("#", 1)[0].split("?", 1)[0])
        if not plain or "://" in plain or plain.startswith("mailto:"):
            continue
        place = plain.lstrip("/") if plain.startswith("/") else posixpath.join(posixpath.dirname(path), plain)
        place = posixpath.normpath(place)
        names = [place, *(place + ending for ending in KINDS)]
        if posixpath.splitext(place)[1] in (".html", ".htm"):
            names += [posixpath.splitext(place)[0] + ending for ending in KINDS]
        hit = next((ids[name] for name in names if name in ids), None)
        if hit is not None and hit != ids[path]:
            found[hit] = None
    return tuple(found)
