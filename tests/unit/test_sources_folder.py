"""A folder of texts: ids, titles, links, dates, and a refusal with a reason for everything else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tori.errors import BadInput
from tori.events.document import Document
from tori.sources import Folder, Refusal, open_source
from tori.sources.base import LARGEST_TEXT_BYTES


def split(source: Folder) -> tuple[dict[str, Document], dict[str, Refusal]]:
    documents, refusals = {}, {}
    for found in source.documents():
        if isinstance(found, Refusal):
            refusals[Path(found.path).name] = found
        else:
            documents[found.id] = found
    return documents, refusals


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "guide").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "guide" / "start.md").write_text(
        "---\ndate: 2018-04-02\n---\n# Getting *started*\n\nSee [the notes](../notes.rst), [web](https://x.org/notes.rst),\n"
        "[itself](start.md) and [[install]].\n\n## Second\nMore.\n"
    )
    (tmp_path / "guide" / "install.txt").write_text("How to install it.\r\nSecond line.\r\n")
    (tmp_path / "notes.rst").write_text("Notes\n=====\n\nSee :doc:`guide/start` and `there <guide/install.txt>`_.\n")
    (tmp_path / ".hidden" / "secret.md").write_text("no")
    (tmp_path / "node_modules" / "readme.md").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    return tmp_path


def test_documents_carry_ids_titles_links_and_dates(folder: Path) -> None:
    source = open_source(folder)
    assert isinstance(source, Folder)
    documents, refusals = split(source)
    assert list(documents) == ["guide/install", "guide/start", "notes"]
    assert refusals == {}
    start = documents["guide/start"]
    assert start.title == "Getting started"
    assert start.links == ("notes", "guide/install")
    assert start.time_ns == 1_522_627_200 * 10**9
    assert [s.title for s in start.sections] == ["Getting started", "Second"]
    assert all(start.text[s.start : s.end].lstrip("# ").startswith(s.title.split()[0]) for s in start.sections)
    assert documents["guide/install"].title == "install"
    assert documents["guide/install"].text == "How to install it.\nSecond line.\n"
    assert documents["guide/install"].time_ns is None
    assert documents["notes"].links == ("guide/start", "guide/install")
    assert source.total() == source.position == 3


def test_mtime_is_a_date_only_when_asked_for(folder: Path) -> None:
    os.utime(folder / "notes.rst", ns=(5, 7 * 10**9))
    documents, _ = split(Folder(folder, mtime_as_time=True))
    assert documents["notes"].time_ns == 7 * 10**9
    assert documents["guide/start"].time_ns == 1_522_627_200 * 10**9


def test_whatever_is_no_text_is_refused_and_the_rest_goes_on(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.md").write_text("outside")
    (folder / "binary.txt").write_bytes(b"MZ\0\0")
    (folder / "empty.md").write_text(" \n")
    (folder / "only.md").write_text("---\ntitle: x\n---\n \n")
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (folder / "large.txt").write_bytes(b"a" * (LARGEST_TEXT_BYTES + 1))
    (folder / "out.md").symlink_to(outside / "secret.md")
    (folder / "out").symlink_to(outside)
    (folder / "inside.md").symlink_to(folder / "notes.rst")
    (folder / ("x" * 100 + ".md")).write_text("fine")
    documents, refusals = split(Folder(folder))
    assert set(refusals) == {"binary.txt", "empty.md", "only.md", "latin.txt", "large.txt", "out.md", "out"}
    assert set(documents) == {"guide/install", "guide/start", "notes", "x" * 100}
    assert "symbolic link" in str(refusals["out"])
    assert "utf-8" in refusals["latin.txt"].reason
    assert all(refusal.reason and refusal.remedy for refusal in refusals.values())


def test_declared_encodings_and_byte_order_marks(folder: Path) -> None:
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    (folder / "wide.txt").write_bytes("wide \u4e16".encode("utf-16"))
    (folder / "marked.txt").write_bytes(b"\xef\xbb\xbfmarked")
    documents, refusals = split(Folder(folder, encodings=("utf-8", "latin-1")))
    assert not refusals
    assert documents["latin"].text == "caf\xe9"
    assert documents["wide"].text == "wide \u4e16"
    assert documents["marked"].text == "marked"


def test_two_files_with_one_stem_keep_two_ids(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("one [other](a.rst)")
    (tmp_path / "a.rst").write_text("two")
    documents, _ = split(Folder(tmp_path))
    assert documents["a"].text.startswith("one")
    assert documents["a.rst"].text == "two"
    assert documents["a"].links == ("a.rst",)


def test_unreadable_files_and_folders_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Folder(folder)
    real = os.open

    def fails(path: Path, flags: int) -> int:
        if Path(path).name == "notes.rst":
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr(os, "open", fails)
    documents, refusals = split(source)
    assert set(documents) == {"guide/install", "guide/start"}
    assert "Permission denied" in refusals["notes.rst"].reason


def test_one_file_is_a_source_too(folder: Path) -> None:
    documents, _ = split(open_source(folder / "notes.rst"))  # type: ignore[arg-type]  # a Folder, checked by use
    assert list(documents) == ["notes"]


def test_html_links_and_absolute_links_mean_files(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.md").write_text("[x](/b.md?v=1) [y](c.html) [z](mailto:a@b.c) [q](#top) [gone](no.md)")
    (tmp_path / "b.md").write_text("b")
    (tmp_path / "d" / "c.md").write_text("---\ndate: someday\ncreated: 2020-01-01\n---\nc")
    documents, _ = split(Folder(tmp_path))
    assert documents["d/a"].links == ("b", "d/c")
    assert documents["d/c"].time_ns == 1_577_836_800 * 10**9


@pytest.mark.parametrize("spec", ["/no/such/place", "python:no_such_package_here"])
def test_specs_that_name_nothing_are_bad_input(spec: str) -> None:
    with pytest.raises(BadInput) as caught:
        open_source(spec)
    assert caught.value.remedy


def test_unknown_kinds_encodings_and_limits_are_bad_input(tmp_path: Path) -> None:
    (tmp_path / "x.exe").write_text("x")
    with pytest.raises(BadInput, match="no kind"):
        open_source(tmp_path / "x.exe")
    with pytest.raises(BadInput, match="encoding"):
        open_source(tmp_path, encodings=("utf-99",))
    with pytest.raises(BadInput, match="limit"):
        open_source("python:stdlib", limit=0)
