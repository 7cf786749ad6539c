"""JSON Lines: every field, every refusal names its line, and the 703 PEPs load whole."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from tori.events.document import Document, Section
from tori.sources import JsonLines, Refusal, open_source
from tori.sources import jsonl as module

PEPS = Path(__file__).parents[2].parent / "shared" / "data" / "peps.jsonl.gz"


def write(path: Path, *lines: object) -> Path:
    data = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def test_every_field_arrives(tmp_path: Path) -> None:
    row = {
        "id": "a",
        "title": "T",
        "text": "Hello world",
        "time": "2018-04-02",
        "source": "feed",
        "links": ["b", "a", "b", ""],
        "thread": "s",
        "sections": [{"start": 0, "end": 5, "title": "Hello"}, [6, 11, "World"]],
        "unknown": {"x": 1},
    }
    (found,) = JsonLines(write(tmp_path / "x.jsonl", row)).documents()
    sections = (Section(0, 5, "Hello"), Section(6, 11, "World"))
    assert found == Document("a", "T", "Hello world", 1_522_627_200 * 10**9, "feed", "s", ("b",), sections)


def test_titles_and_sections_come_from_headings_when_absent(tmp_path: Path) -> None:
    rows = {"id": 7, "text": "# One\n\ntext\n\n# Two\n"}, {"id": "b", "text": "plain", "time": 86_400}
    first, second = JsonLines(write(tmp_path / "x.jsonl.gz", *rows)).documents()
    assert isinstance(first, Document)
    assert isinstance(second, Document)
    assert (first.id, first.title, [s.title for s in first.sections]) == ("7", "One", ["One", "Two"])
    assert (second.title, second.time_ns, second.sections) == ("b", 86_400 * 10**9, ())
    assert second.source == "x.jsonl.gz:2"


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{not json", "not a document"),
        ('{"id": "x"}', "text"),
        ('{"id": "x", "text": 5}', "text"),
        ('{"id": " ", "text": "t"}', "id is empty"),
        ('{"id": "x\\ny", "text": "t"}', "control character"),
        (json.dumps({"id": "x" * 600, "text": "t"}), "600 characters"),
        ('{"id": "x", "text": "  "}', "text is empty"),
        ('{"id": "x", "text": "a\\u0000b"}', "NUL"),
        ('{"id": "x", "text": "t", "time": "soon"}', "time"),
        ('{"id": "x", "text": "t", "time": NaN}', "not a document"),
        ('{"id": "x", "text": "t", "sections": [[0, 9, "far"]]}', "sections"),
        ('{"id": "x", "text": "\\ud800"}', "not a document"),
    ],
)
def test_a_broken_line_seven_is_named_and_the_rest_goes_on(tmp_path: Path, line: str, word: str) -> None:
    good = [{"id": str(n), "text": "fine"} for n in range(8)]
    found = list(JsonLines(write(tmp_path / "x.jsonl", *good[:6], line, *good[6:])).documents())
    refusals = [f for f in found if isinstance(f, Refusal)]
    assert len(found) == 9
    assert [r.line for r in refusals] == [7]
    assert word in refusals[0].reason
    assert refusals[0].remedy
    assert "line 7" in str(refusals[0])


def test_bad_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"id": "x", "text": "caf\xe9"}\n\n{"id": "y", "text": "fine"}\n')
    refused, fine = JsonLines(path).documents()
    assert isinstance(refused, Refusal)
    assert isinstance(fine, Document)


def test_a_line_of_excess_length_is_refused_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 1_000)
    rows = [{"id": "a", "text": "x" * 5_000}, {"id": "b", "text": "fine"}]
    refused, fine = JsonLines(write(tmp_path / "x.jsonl", *rows)).documents()
    assert isinstance(refused, Refusal)
    assert refused.line == 1
    assert isinstance(fine, Document)


def test_text_beyond_eight_megabytes_is_refused(tmp_path: Path) -> None:
    rows = [{"id": "a", "text": "x" * (8 * 2**20 + 1)}, {"id": "b", "text": "fine"}]
    refused, fine = JsonLines(write(tmp_path / "x.jsonl", *rows)).documents()
    assert isinstance(refused, Refusal)
    assert "8388608 bytes" in refused.reason
    assert isinstance(fine, Document)


def test_a_bomb_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_LINE", 10_000)
    path = tmp_path / "x.jsonl.gz"
    path.write_bytes(gzip.compress(b"\n" * 100_000 + b" " * 3_000_000))
    found = list(JsonLines(path).documents())
    assert isinstance(found[-1], Refusal)
    assert "expands" in found[-1].reason


def test_a_cut_or_damaged_file_gives_what_it_has(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl.gz"
    noise = os.urandom(50_000).hex()
    whole = gzip.compress(
        json.dumps({"id": "a", "text": "fine"}).encode() + b"\n" + json.dumps({"id": "b", "text": noise}).encode()
    )
    path.write_bytes(whole[: len(whole) // 2])
    found = list(JsonLines(path).documents())
    assert isinstance(found[-1], Refusal)
    assert "reading stopped" in found[-1].reason
    path.write_bytes(b"no gzip at all")
    (refused,) = JsonLines(path).documents()
    assert isinstance(refused, Refusal)


@pytest.mark.skipif(not PEPS.exists() and os.environ.get("CI") != "true", reason="../shared/data is absent")
def test_all_703_peps_load_with_links_and_times() -> None:
    source = open_source(PEPS)
    found = list(source.documents())
    documents = [f for f in found if isinstance(f, Document)]
    assert len(found) == len(documents) == 703
    assert sum(len(d.links) for d in documents) == 1_590
    assert all(d.time_ns is not None and d.title for d in documents)
    assert [d.id for d in documents if not d.sections] == ["pep-0009"]  # one literal block
    assert source.position == source.total()
    assert [d.id for d in documents[:2]] == ["pep-0001", "pep-0002"]
