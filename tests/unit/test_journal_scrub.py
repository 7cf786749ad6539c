"""The scrub: bounded pieces, exact reports, nothing changed; and its command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.journals import Numbers, numbers_in, open_writer, segment_files
from tori.cli import main as entry
from tori.errors import JournalDamaged
from tori.journal.scrub import NOTE, Scrub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one journal of five segments, events 0..119."""
    numbers = Numbers()
    writer = open_writer(tmp_path / "journals" / "notes", segment_bytes=1024)
    for _ in range(40):
        writer.append(numbers.frames(3))
    writer.close()
    return tmp_path


@pytest.fixture
def directory(home: Path) -> Path:
    return home / "journals" / "notes"


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def test_a_whole_journal_is_clean_piece_by_piece(directory: Path) -> None:
    scrub = Scrub(directory)
    calls = 0
    while not scrub.passes:
        before = scrub.checked_bytes
        assert scrub.run(max_bytes=500) == []
        assert scrub.checked_bytes - before < 1024
        calls += 1
    assert calls > 10
    assert scrub.frames == 41
    again = scrub.checked_bytes
    assert scrub.run_whole() == []
    assert scrub.checked_bytes == 2 * again
    scrub.close()


def test_damage_is_reported_with_its_place_and_its_entries(directory: Path) -> None:
    victim = segment_files(directory)[1]
    flip(victim, 10)
    scrub = Scrub(directory)
    (found,) = scrub.run_whole()
    scrub.close()
    base = int(victim.name.split("-")[0], 16)
    assert (found.journal, found.segment, found.offset) == ("notes", victim.name, base)
    assert found.entries == 3
    assert found.end > base
    assert found.reason == "a header fails its checksum"


def test_a_missing_segment_is_damage(directory: Path) -> None:
    missing = segment_files(directory)[2]
    end = int(segment_files(directory)[3].name.split("-")[0], 16)
    missing.unlink()
    scrub = Scrub(directory)
    found = scrub.run_whole()
    scrub.close()
    assert int(missing.name.split("-")[0], 16) == found[0].offset
    assert found[-1].end == end
    assert scrub.frames < 41


def test_an_emptied_or_shortened_segment_is_damage_to_everybody(directory: Path) -> None:
    for size in (0, 100):
        victim = segment_files(directory)[1]
        whole = victim.read_bytes()
        victim.write_bytes(whole[:size])
        scrub = Scrub(directory)
        assert next(iter(scrub.run_whole())).reason in (
            "the segment is shorter than what was promised",
            "a header fails its checksum",
        )
        scrub.close()
        with pytest.raises(JournalDamaged):
            numbers_in(directory)
        victim.write_bytes(whole)
    last = segment_files(directory)[-1]
    last.write_bytes(b"")
    with pytest.raises(JournalDamaged):
        open_writer(directory)


def test_a_journal_without_any_segment_is_damage(directory: Path) -> None:
    for path in segment_files(directory):
        path.unlink()
    scrub = Scrub(directory)
    assert [one.reason for one in scrub.run_whole()] == ["every segment is missing"]
    scrub.close()


def run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, dict[str, Any], str]:
    monkeypatch.setattr(sys, "argv", ["tori", *words])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    printed = capsys.readouterr()
    is_json = "--json" in words and printed.out.strip()
    return int(ended.value.code or 0), json.loads(printed.out) if is_json else {}, printed.out + printed.err


def test_the_command_finds_damage_and_leaves_a_note(
    home: Path, directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("--home", str(home), "--json")
    code, found, _ = run(capsys, monkeypatch, "journal", "scrub", *at)
    assert (code, found["journals"], found["damages"]) == (0, 1, [])
    assert not (directory / NOTE).exists()
    flip(segment_files(directory)[0], 400)
    code, found, _ = run(capsys, monkeypatch, "journal", "scrub", *at)
    assert code == 74
    assert found["damages"][0]["segment"] == segment_files(directory)[0].name
    assert json.loads((directory / NOTE).read_text())["damages"] == found["damages"]
    code, _, text = run(capsys, monkeypatch, "journal", "scrub", "--home", str(home))
    assert code == 74
    assert "1 damaged places" in text


def test_the_command_lists_journals_and_names_them(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, found, _ = run(capsys, monkeypatch, "journal", "list", "--home", str(home), "--json")
    assert code == 0
    (row,) = found["journals"]
    assert (row["name"], row["entries"], row["epoch"]) == ("notes", 120, 1)
    assert row["segments"][0]["begin"] == 0
    assert row["segments"][-1]["end"] >= row["durable_offset"]
    code, _, text = run(capsys, monkeypatch, "journal", "list", "--home", str(home))
    assert code == 0
    assert "notes" in text
    code, _, text = run(capsys, monkeypatch, "journal", "list", "--home", str(home), "--name", "other")
    assert code == 65
    assert "There are: notes" in text
