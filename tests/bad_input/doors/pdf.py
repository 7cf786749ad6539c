"""PDFs in a folder."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

from tests.bad_input.bench import Bench
from tests.bad_input.case import Door, Outcome
from tests.support.tiny_pdf import tiny_pdf
from tori.sources import open_source
from tori.sources.pdf import LARGEST_PDF_BYTES, MOST_PAGES, PdfChild

DOOR = Door("PDF", __doc__)
BROKEN = "Open it in a viewer and print it to a new PDF, or leave it out."


def pdf(content: bytes) -> Callable[[Bench], Outcome]:
    def run(bench: Bench) -> Outcome:
        (bench.place / "x.pdf").write_bytes(content)
        return bench.ingest(bench.place / "x.pdf")

    return run


DOOR.add("a PDF that is not one", pdf(b"PK\3\4 an archive"), "not a PDF: it does not begin like one.", "or remove it.")
DOOR.add("an empty PDF", pdf(b""), "not a PDF: it does not begin like one.", "or remove it.")
DOOR.add("a PDF that is cut", pdf(tiny_pdf(["some text"] * 3)[:-300]), "not a PDF that can be read", BROKEN)
DOOR.add("a PDF of its first line only", pdf(b"%PDF-1.7\n"), "not a PDF that can be read", BROKEN)
DOOR.add("an encrypted PDF", pdf(tiny_pdf(["x"], encrypt=True)), "it is encrypted", "Save a copy without one.")
DOOR.add(
    "a scan without text", pdf(tiny_pdf([None, None])), "no text on its 2 pages: a scan?", "Run it through OCR first."
)
DOOR.add(
    "a PDF whose pages cannot be read",
    pdf(tiny_pdf(["x"], streams={0: b"this is no zlib stream at all"})),
    "none of its 1 pages can be read",
    BROKEN,
)
DOOR.add("a PDF without pages", pdf(tiny_pdf([])), "it has no pages.", BROKEN)
DOOR.add(
    "a PDF of too many pages",
    pdf(tiny_pdf([""] * (MOST_PAGES + 1))),
    f"it has {MOST_PAGES + 1} pages; {MOST_PAGES} are allowed.",
    "Split it into parts.",
)


@DOOR.case("a PDF over 64 MiB", "67108865 bytes; a document may have 67108864.", "Split it into parts.")
def large(bench: Bench) -> Outcome:
    path = bench.place / "x.pdf"
    with path.open("wb") as file:
        file.write(b"%PDF-1.4\n")
        file.truncate(LARGEST_PDF_BYTES + 1)
    return bench.ingest(path)


@DOOR.case("a PDF of 41 kB that needs hundreds of MB", "needs more than 160 MiB", BROKEN)
def bomb(bench: Bench) -> Outcome:
    path = bench.place / "x.pdf"
    stream = zlib.compress(b"BT /F1 12 Tf " + b"(y) Tj " * 4_000_000, 6)
    path.write_bytes(tiny_pdf(["x"], streams={0: stream}))
    with PdfChild(memory_bytes=160 << 20) as child:
        found = child.read(path)
    return Outcome(f"{found.reason} {found.remedy}", 65 if found.reason else 0)


@DOOR.case(
    "a PDF with one bad page of three",
    "page 2 cannot be read",
    "The other 2 pages are taken; repair the file.",
    exit_code=0,
)
def one_bad_page(bench: Bench) -> Outcome:
    path = Path(bench.place / "x.pdf")
    path.write_bytes(tiny_pdf(["one", "lost", "three"], streams={1: b"this is no zlib stream at all"}))
    refusal, document = open_source(path).documents()
    assert "three" in getattr(document, "text", "")
    return Outcome(str(refusal), 0)
