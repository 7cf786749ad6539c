"""A folder of text, Markdown and reStructuredText as a source. Symbolic links never lead out of it."""

from __future__ import annotations

import codecs
import os
import posixpath
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import unquote

from tori.events.document import Document
from tori.sources import markup
from tori.sources.base import LARGEST_TEXT_BYTES, Refusal, Source, flaw_of_id, flaw_of_text
from tori.sources.moment import time_ns_of

KINDS = {
    ".txt": markup.PLAIN,
    ".text": markup.PLAIN,
    ".md": markup.MARKDOWN,
    ".markdown": markup.MARKDOWN,
    ".rst": markup.REST,
}
SKIPPED_FOLDERS = frozenset(
    ["__pycache__", "_build", "bower_components", "node_modules", "site-packages", "third_party", "vendor", "venv"]
)
"""Folders of other people's or of built files; hidden folders are skipped too."""
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class Folder(Source):
    """The text files under ``root``, sorted by path. A file's id is its path without the extension.

    ``encodings`` are tried in order after a byte order mark; ``mtime_as_time`` dates an undated file by its last
    modification, which is when it was copied rather than when it was written: hence not by default.
    """

    unit = "files"

    def __init__(self, root: Path, *, encodings: Sequence[str] = ("utf-8",), mtime_as_time: bool = False) -> None:
        super().__init__(str(root))
        self.root = root if root.is_dir() else root.parent
        self._only = None if root.is_dir() else root.name
        self._encodings = tuple(encodings)
        self._mtime_as_time = mtime_as_time
        self._files: list[str] | None = None
        self._refusals: list[Refusal] = []

    def total(self) -> int | None:
        return len(self._listed())

    def documents(self) -> Iterator[Document | Refusal]:
        self.position = 0
        self._files = None
        files = self._listed()
        ids = _ids_of(files)
        yield from self._refusals
        for path in files:
            self.position += 1
            yield self._read(path, ids)

    def _listed(self) -> list[str]:
        if self._files is None:
            self._refusals = []
            self._files = [self._only] if self._only else sorted(self._walk())
            self._refusals.sort(key=lambda refusal: refusal.path)
        return self._files

    def _walk(self) -> Iterator[str]:
        inside = self.root.resolve()

        def unreadable(error: OSError) -> None:
            self._refuse(str(error.filename), f"cannot be listed: {error.strerror}.", "Allow reading it.")

        for folder, names, files in os.walk(self.root, onerror=unreadable):
            names[:] = [n for n in names if not n.startswith(".") and n not in SKIPPED_FOLDERS]
            for name in [*names, *files]:
                path = Path(folder, name)
                is_text = name in names or path.suffix.lower() in KINDS
                if is_text and path.is_symlink() and not path.resolve().is_relative_to(inside):
                    self._refuse(str(path), "a symbolic link that leads out of the folder.", "Copy its target here.")
            for name in files:
                path = Path(folder, name)
                # A link inside the folder is skipped silently: its target is read under its own name.
                if not name.startswith(".") and path.suffix.lower() in KINDS and not path.is_symlink():
                    yield path.relative_to(self.root).as_posix()

    def _refuse(self, path: str, reason: str, remedy: str) -> None:
        self._refusals.append(Refusal(path, reason, remedy))

    def _read(self, path: str, ids: dict[str, str]) -> Document | Refusal:
        full = self.root / path
        try:
            state = full.stat()
            if state.st_size > LARGEST_TEXT_BYTES:
                reason = f"{state.st_size} bytes; a document may have {LARGEST_TEXT_BYTES}."
                return Refusal(str(full), reason, "Split it into parts.")
            data = full.read_bytes()
        except OSError as error:
            return Refusal(str(full), f"cannot be read: {error.strerror}.", "Allow reading it, or remove it.")
        text = _decoded(data, self._encodings)
        if text is None:
            tried = ", ".join(self._encodings)
            return Refusal(str(full), f"not text in {tried}.", "Save it as UTF-8, or name its encoding.")
        document_id = ids[path]
        flaw = flaw_of_id(document_id) or flaw_of_text(text)
        if flaw:
            return Refusal(str(full), flaw, "Correct the file or remove it.")
        return self._document(path, document_id, text, ids, state.st_mtime_ns)

    def _document(
        self, path: str, document_id: str, text: str, ids: dict[str, str], mtime_ns: int
    ) -> Document | Refusal:
        kind = KINDS[posixpath.splitext(path)[1].lower()]
        matter = markup.front_matter(text)
        body = text[matter.length :]
        if not body.strip():
            return Refusal(str(self.root / path), "nothing follows its front matter.", "Write a text, or remove it.")
        structure = markup.sniff(body) if kind == markup.PLAIN else kind
        fields = matter.fields or (markup.docinfo(body) if structure == markup.REST else {})
        time_ns = _date_of(fields)
        if time_ns is None and self._mtime_as_time:
            time_ns = mtime_ns
        found = markup.headings(body, structure)
        title = fields.get("title") or (found[0].title if found else posixpath.splitext(posixpath.basename(path))[0])
        return Document(
            id=document_id,
            title=title,
            text=body,
            time_ns=time_ns,
            source=str(self.root / path),
            links=_resolved(markup.links(body, kind), path, ids),
            sections=markup.sections(body, structure, title),
        )


def _decoded(data: bytes, encodings: Sequence[str]) -> str | None:
    """Return the text of ``data`` with line feeds only, or None when it is binary or in none of the encodings."""
    marked = [name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)]
    if not marked and b"\0" in data:
        return None
    for encoding in [*marked, *encodings]:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
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
