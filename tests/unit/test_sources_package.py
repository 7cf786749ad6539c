"""A package carries the documents of a source as they are, within bounds."""

from __future__ import annotations

import zipfile
from pathlib import Path

import msgspec
import pytest

from tori.errors import BadInput
from tori.events.document import Document
from tori.sources import open_source
from tori.sources.base import Refusal
from tori.sources.package import Package, pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "notes"
    (path / "deep").mkdir(parents=True)
    for number in range(70):
        (path / "deep" / f"note-{number:03d}.md").write_text(
            f"# Note {number}\n\nAbout roses and rye, {number} times.\n"
        )
    (path / "picture.txt").write_bytes(b"\x00\xff\xfe binary")
    return path


def documents_of(items: object) -> list[Document]:
    return [item for item in items if isinstance(item, Document)]  # type: ignore[attr-defined]  # any iterable


def test_documents_arrive_as_they_were_read(folder: Path, tmp_path: Path) -> None:
    manifest = pack(open_source(folder), tmp_path / "p.tori.zip")
    package = Package(tmp_path / "p.tori.zip")
    there = documents_of(package.documents())
    assert there == documents_of(open_source(folder).documents())
    assert package.total() == package.position == len(there) == manifest.documents == 70
    assert manifest.batches == 3
    assert manifest.refused == 1
    assert "picture.txt" in manifest.refusals[0]
    assert documents_of(package.documents()) == there, "it may be walked again"


def test_a_package_is_bounded(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"more than 0 MiB.*--max-mb"):
        pack(open_source(folder), tmp_path / "p.tori.zip", max_bytes=1000)


def test_a_source_without_documents_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="there is no document to take"):
        pack(open_source(tmp_path / "empty"), tmp_path / "p.tori.zip")


def test_what_is_no_package_is_said(tmp_path: Path) -> None:
    path = tmp_path / "p.tori.zip"
    with pytest.raises(BadInput, match="not a package"):
        Package(path)
    path.write_bytes(b"PK nothing")
    with pytest.raises(BadInput, match="not a package"):
        Package(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    with pytest.raises(BadInput, match="not a package"):
        Package(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "p.tori.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("000000.msgpack", bytes(65 << 20))
        archive.writestr("manifest.json", msgspec.json.encode({"source": "s", "documents": 1, "batches": 1}))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(BadInput, match="unpacks to"):
        Package(path)


def test_a_damaged_batch_is_one_refusal(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.tori.zip"
    pack(open_source(folder), path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["000001.msgpack"] = b"\xc1"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    found = list(Package(path).documents())
    refused = [item for item in found if isinstance(item, Refusal)]
    assert len(refused) == 1
    assert "000001.msgpack" in str(refused[0])
    assert len(found) == 70 - 32 + 1
