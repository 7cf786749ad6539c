"""PDFs: text by page, what the file says about itself, and a refusal with a reason for everything that has no text."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import pytest

from tests.support.tiny_pdf import tiny_pdf
from tori.events.document import Document
from tori.sources import Folder, Refusal, open_source, pdf, pdf_worker
from tori.sources.pdf import PdfChild, clean, extract, joined

PAGES = ["The garden in spring\nRoses are pruned in March.", None, "The second chap-\nter is about soil."]


def read(path: Path, content: bytes) -> list[Document | Refusal]:
    path.write_bytes(content)
    return list(open_source(path).documents())


def refusal_of(path: Path, content: bytes) -> str:
    (found,) = read(path, content)
    assert isinstance(found, Refusal)
    return str(found)


def test_pages_become_sections(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "garden.pdf", tiny_pdf(PAGES, title="A year of roses", created="D:20240301120000Z"))
    assert isinstance(found, Document)
    assert (found.id, found.title) == ("garden", "A year of roses")
    assert found.time_ns == 1_709_294_400 * 10**9
    assert "Roses are pruned in March." in found.text
    assert "second chapter is" in found.text
    assert [s.title for s in found.sections] == ["page 1", "page 3"]
    assert [found.text[s.start : s.end].split()[1] for s in found.sections] == ["garden", "second"]


def test_without_metadata_the_first_line_is_the_title_and_there_is_no_date(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "x.pdf", tiny_pdf(PAGES, created="the day before yesterday"))
    assert isinstance(found, Document)
    assert found.title == "The garden in spring"
    assert found.time_ns is None


def test_a_folder_takes_pdfs_among_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("See [the book](b.pdf).")
    (tmp_path / "b.pdf").write_bytes(tiny_pdf(PAGES))
    (tmp_path / "c.PDF").write_bytes(tiny_pdf(["Another."]))
    documents = [d for d in Folder(tmp_path).documents() if isinstance(d, Document)]
    assert [d.id for d in documents] == ["a", "b", "c"]
    assert documents[0].links == ("b",)


def test_one_bad_page_does_not_lose_the_document(tmp_path: Path) -> None:
    content = tiny_pdf([*PAGES, "lost"], streams={3: b"this is no zlib stream at all"})
    found = extract(io.BytesIO(content))
    assert [number for number, _ in found.bad_pages] == [4]
    path = tmp_path / "x.pdf"
    refused, document = read(path, content)
    assert isinstance(refused, Refusal)
    assert "page 4 cannot be read" in str(refused)
    assert "other 2 pages are taken" in str(refused)
    assert isinstance(document, Document)
    assert "Roses" in document.text


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"%PDF-1.4\nand then nothing that a PDF has", "not a PDF that can be read"),
        (b"PK\3\4 a zip archive", "does not begin like one"),
        (b"", "does not begin like one"),
        (tiny_pdf(PAGES, encrypt=True), "encrypted"),
        (tiny_pdf([None, None]), "no text on its 2 pages: a scan?"),
        (tiny_pdf([]), "no pages"),
        (tiny_pdf(["x"], streams={0: b"this is no zlib stream at all"}), "none of its 1 pages can be read"),
        (tiny_pdf(PAGES)[:-200], "ended unexpectedly"),
    ],
)
def test_what_has_no_text_is_refused_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in refusal_of(tmp_path / "x.pdf", content)


def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MOST_PAGES", 2)
    assert "has 3 pages; 2 are allowed" in extract(io.BytesIO(tiny_pdf(PAGES))).reason
    monkeypatch.setattr(pdf, "MOST_PAGES", 10)
    monkeypatch.setattr(pdf, "LARGEST_TEXT_CHARACTERS", 20)
    assert "longer than 20 characters" in extract(io.BytesIO(tiny_pdf(PAGES))).reason
    path = tmp_path / "x.pdf"
    with path.open("wb") as file:
        file.write(b"%PDF-1.4\n")
        file.truncate(pdf.LARGEST_PDF_BYTES + 1)
    (found,) = open_source(path).documents()
    assert isinstance(found, Refusal)
    assert "a document may have 67108864" in str(found)


def test_a_bomb_ends_the_child_and_not_us(tmp_path: Path) -> None:
    good, bomb = tmp_path / "a.pdf", tmp_path / "b.pdf"
    good.write_bytes(tiny_pdf(PAGES))
    stream = zlib.compress(b"BT /F1 12 Tf (x) Tj ET " + b"(y) Tj " * 4_000_000, 6)
    bomb.write_bytes(tiny_pdf(["x"], streams={0: stream}))
    assert bomb.stat().st_size < 500_000
    with PdfChild(memory_bytes=160 << 20) as child:
        assert child.read(good).pages
        assert "more than 160 MiB" in child.read(bomb).reason
        assert child.read(good).pages


def test_a_pdf_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "x.pdf"
    path.write_bytes(tiny_pdf(["x"], streams={0: zlib.compress(b"BT /F1 12 Tf " + b"(y) Tj " * 500_000 + b"ET", 9)}))
    with PdfChild(time_s=1.0) as child:
        assert "longer than 1 s" in child.read(path).reason


def test_the_child_answers_about_a_file_that_went_away(tmp_path: Path) -> None:
    request = b'"' + str(tmp_path / "gone.pdf").encode().hex().encode() + b'"\n'
    answers = io.BytesIO()
    pdf_worker.serve(io.BytesIO(request), answers)
    assert b"No such file" in answers.getvalue()


def test_text_is_cleaned() -> None:
    assert clean("e\ufb03cient\0 exam-\nple\r\nwell-\nKnown \ud800") == "efficient example\nwell-\nKnown ?"
    text, sections = joined(["", " a ", "b"])
    assert text == "a\n\nb"
    assert [(s.start, s.end, s.title) for s in sections] == [(0, 1, "page 2"), (3, 4, "page 3")]
