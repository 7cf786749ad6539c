"""PDFs as documents: text by page, read by a process of its own, because a PDF is a program that a stranger wrote.

Parsers of PDF are known for endless loops and for memory that a small file asks for. The child (``tori.sources.pdf_worker``) has
limits on memory and time; when it meets them it is ended, the file is refused, and the next one gets a new child.
"""

from __future__ import annotations

import contextlib
import logging
import re
import select
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from tori.errors import BadInput
from tori.events.document import Section

LARGEST_PDF_BYTES = 64 * 1024 * 1024
MOST_PAGES = 5_000
LARGEST_TEXT_CHARACTERS = 8 * 1024 * 1024
LONGEST_ANSWER_BYTES = 64 * 1024 * 1024
MEMORY_BYTES = 1 << 30
"""Address space of the child: pypdf unpacks at most 75 MB a stream and holds several copies of it."""
TIME_S = 60.0
"""A page takes 10-50 ms; a book of a thousand pages half a minute."""
_BROKEN = "Open it in a viewer and print it to a new PDF, or leave it out."
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\u00ad": "", "\xa0": " "}
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufffe\uffff]")
_HYPHENATED = re.compile(r"(?<=[a-zà-ÿ])-[ ]?\n(?=[a-zà-ÿ])")


class Extract(msgspec.Struct):
    """What a PDF holds: the text of every page (empty where there is none) and what it says about itself."""

    pages: list[str] = []
    title: str = ""
    created: str = ""
    """ISO 8601, or empty."""
    bad_pages: list[tuple[int, str]] = []
    """(number from 1, what is wrong) of pages that could not be read."""
    reason: str = ""
    """Why there is no document at all."""
    remedy: str = ""


def extract(data: Any) -> Extract:
    """Return what the open binary file ``data`` holds; every flaw is in the result. Call it in a process with limits."""
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    try:
        reader = PdfReader(data, strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            return Extract(reason="it is encrypted and needs a password.", remedy="Save a copy without one.")
        count = len(reader.pages)
    except DependencyError as error:
        return Extract(reason=f"it is encrypted: {_brief(error)}.", remedy="Save a copy without encryption.")
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, OSError, RecursionError) as error:
        return Extract(reason=f"not a PDF that can be read: {_brief(error)}.", remedy=_BROKEN)
    if count > MOST_PAGES:
        return Extract(reason=f"it has {count} pages; {MOST_PAGES} are allowed.", remedy="Split it into parts.")
    found = Extract()
    size = 0
    for number in range(count):
        text, flaw = _page(reader, number)
        if flaw:
            found.bad_pages.append((number + 1, flaw))
        size += len(text)
        if size > LARGEST_TEXT_CHARACTERS:
            return Extract(
                reason=f"its text is longer than {LARGEST_TEXT_CHARACTERS} characters.", remedy="Split it into parts."
            )
        found.pages.append(text)
    if not any(page.strip() for page in found.pages):
        return _without_text(found)
    found.title, found.created = _about(reader)
    return found


class _Complaints(logging.Handler):
    """Keeps the last thing pypdf complained about; it repairs what it can and only logs what that cost."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.last = record.getMessage()


def _page(reader: Any, number: int) -> tuple[str, str]:
    """Return a page's text, and why it could not be read: pypdf raised, or complained and found nothing."""
    complaints = _Complaints()
    log = logging.getLogger("pypdf")
    log.addHandler(complaints)
    try:
        text = clean(reader.pages[number].extract_text())
    except MemoryError:
        raise
    except Exception as error:  # whatever a stranger's bytes make of the parser: the page is named and left out
        return "", _brief(error)
    finally:
        log.removeHandler(complaints)
    return text, "" if text.strip() else complaints.last[:200].rstrip(".")


def _without_text(found: Extract) -> Extract:
    count = len(found.pages)
    if found.bad_pages:
        number, flaw = found.bad_pages[0]
        return Extract(reason=f"none of its {count} pages can be read (page {number}: {flaw}).", remedy=_BROKEN)
    if not count:
        return Extract(reason="it has no pages.", remedy=_BROKEN)
    return Extract(reason=f"there is no text on its {count} pages: a scan?", remedy="Run it through OCR first.")


def _about(reader: Any) -> tuple[str, str]:
    """Return title and creation date; metadata that cannot be read are none."""
    title = created = ""
    with contextlib.suppress(Exception):  # metadata are an aid; a stranger's bytes may raise anything here
        title = " ".join(clean(str(reader.metadata.title or "")).split()).removeprefix("Microsoft Word - ")
    with contextlib.suppress(Exception):
        moment: datetime = reader.metadata.creation_date
        created = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    return title[:300], created


def clean(text: str) -> str:
    """Return a page's text without control characters and ligatures, words cut at a line's end put together."""
    text = text.encode("utf-8", "replace").decode().replace("\r\n", "\n").replace("\r", "\n")
    return _HYPHENATED.sub("", _CONTROL.sub("", text.translate(_LIGATURES)))


def joined(pages: list[str]) -> tuple[str, tuple[Section, ...]]:
    """Return the text of all pages and one section a page that has text."""
    parts: list[str] = []
    sections: list[Section] = []
    length = 0
    for number, page in enumerate(pages, 1):
        body = page.strip()
        if body:
            start = length + 2 if parts else 0
            parts.append(body)
            length = start + len(body)
            sections.append(Section(start, length, f"page {number}"))
    return "\n\n".join(parts), tuple(sections)


def _brief(error: BaseException) -> str:
    text = " ".join(str(error).split()).rstrip(".")
    return (text or type(error).__name__)[:200]


class PdfChild:
    """The process that reads PDFs, started when the first one comes, started again after one that ended it."""

    def __init__(self, *, time_s: float = TIME_S, memory_bytes: int = MEMORY_BYTES) -> None:
        self._time_s = time_s
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, path: Path) -> Extract:
        """Return what a PDF holds, or why it was refused; raises BadInput when no child can be started."""
        process = self._started()
        assert process.stdin is not None
        try:
            process.stdin.write(msgspec.json.encode(str(path).encode("utf-8", "surrogateescape").hex()) + b"\n")
            process.stdin.flush()
            answer = self._answer(process)
        except (BrokenPipeError, EOFError):
            self.close()
            limit = self._memory_bytes >> 20
            return Extract(reason=f"reading it needs more than {limit} MiB or ends the reader.", remedy=_BROKEN)
        except TimeoutError:
            self.close()
            return Extract(reason=f"reading it takes longer than {self._time_s:.0f} s.", remedy="Split it into parts.")
        return msgspec.msgpack.decode(answer, type=Extract)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "tori.sources.pdf_worker", str(self._memory_bytes)]
            try:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0
                )
            except OSError as error:
                raise BadInput(
                    f"no process can be started to read PDFs: {error.strerror}.", remedy="Try again with more memory."
                ) from error
        return self._process

    def _answer(self, process: subprocess.Popen[bytes]) -> bytes:
        deadline = time.monotonic() + self._time_s
        size = int.from_bytes(self._receive(process, 4, deadline), "big")
        if size > LONGEST_ANSWER_BYTES:
            raise EOFError
        return self._receive(process, size, deadline)

    def _receive(self, process: subprocess.Popen[bytes], size: int, deadline: float) -> bytes:
        assert process.stdout is not None
        stream = process.stdout.fileno()
        poll = select.poll()
        poll.register(stream, select.POLLIN)
        found = bytearray()
        while len(found) < size:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise TimeoutError
            data = process.stdout.read(min(1 << 20, size - len(found)))
            if not data:
                raise EOFError
            found += data
        return bytes(found)

    def close(self) -> None:
        """End the child."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if stream is not None:
                    stream.close()
        self._process = None

    def __enter__(self) -> PdfChild:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
