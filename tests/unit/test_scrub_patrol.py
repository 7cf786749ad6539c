"""The patrol: pieces, damage told once, rest when all was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.journals import Numbers, open_writer, segment_files
from tori.checkpoint.report import damaged
from tori.clock import VirtualClock
from tori.errors import BadSettings
from tori.journal.retention import KeepEverythingPolicy, WindowPolicy
from tori.journal.scrub import NOTE, Patrol, Scrub
from tori.modules.open import retention_policy


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    numbers = Numbers()
    place = tmp_path / "notes"
    writer = open_writer(place, segment_bytes=1024)
    for _ in range(40):
        writer.append(numbers.frames(3))
    writer.close()
    return place


def spoil(directory: Path) -> None:
    path = segment_files(directory)[1]
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(bytes(data))


def test_it_reads_a_piece_a_call_and_rests_when_all_was_read(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = VirtualClock()
    patrol = Patrol(directory, 3600.0, clock)
    sizes: list[int] = []
    run = Scrub.run

    def counting(scrub: Scrub, max_bytes: int) -> object:
        before = scrub.checked_bytes
        found = run(scrub, max_bytes)
        sizes.append(scrub.checked_bytes - before)
        return found

    monkeypatch.setattr(Scrub, "run", counting)
    for _ in range(100):
        assert patrol.run(1000) == []
    calls = len(sizes)
    assert 5 < calls < 100, "it came to the end and then looked at nothing"
    assert max(sizes) < 2000
    clock.advance(3599)
    patrol.run(1000)
    assert len(sizes) == calls
    clock.advance(1)
    patrol.run(1000)
    assert len(sizes) == calls + 1
    assert patrol.run(0) == []
    patrol.close()


def test_damage_is_told_once_with_journal_offset_and_entries(directory: Path) -> None:
    spoil(directory)
    clock = VirtualClock()
    patrol = Patrol(directory, 1.0, clock)
    (found,) = patrol.run(1 << 20)
    event = damaged(found)
    assert event.modules == ("notes",)
    assert f"journal notes, offset {found.offset}" in event.digest
    assert "3 entries from sequence" in event.digest
    assert event.path is not None
    assert event.path.endswith(found.segment)
    assert (directory / NOTE).exists()
    clock.advance(2)
    assert patrol.run(1 << 20) == []


def test_the_settings_choose_the_policy() -> None:
    assert isinstance(retention_policy(None), KeepEverythingPolicy)
    assert isinstance(retention_policy({"journal": {"keep_size_bytes": 0, "keep_s": 0.0}}), KeepEverythingPolicy)
    policy = retention_policy({"journal": {"keep_size_bytes": 5, "keep_s": 0.0, "keep_whole": "clients"}})
    assert policy == WindowPolicy(None, 5, ("clients", "orchestrator"))
    with pytest.raises(BadSettings):
        retention_policy({"journal": {"keep_size_bytes": -5}})
