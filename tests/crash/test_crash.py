"""Crash states of the journal and of the checkpoint store: nothing promised is lost, nothing is invented.

``TORI_CRASH_STATES`` sets how many states are sampled (1,000 by default); ``scripts/crash.py`` runs the whole campaign.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from tests.crash import campaign, damage
from tests.crash.campaign import Outcome
from tori.journal import writer
from tori.journal.files import Files
from tori.journal.recovery import Remains, recover
from tori.journal.reserve import Reserve, Segment, Spare
from tori.journal.segment import SegmentName, list_segments

STATES = int(os.environ.get("TORI_CRASH_STATES", "1000"))


def report(outcome: Outcome, at_least: int) -> None:
    assert outcome.violations == []
    assert outcome.states >= at_least


def test_sampled_crash_states_of_the_journal() -> None:
    report(campaign.sampled(STATES), STATES)


def test_every_crash_state_of_short_traces() -> None:
    outcome = campaign.exhaustive(2)
    report(outcome, 1_000)
    assert outcome.traces >= 50


def test_every_crash_state_of_take_overs() -> None:
    report(campaign.take_overs(), 1_000)


def test_tails_torn_at_every_offset() -> None:
    report(damage.torn_tails(), 1_000)


def test_every_flipped_bit_is_noticed() -> None:
    report(damage.flipped_bits(STATES), STATES)


def test_sampled_crash_states_of_checkpoints() -> None:
    report(campaign.sampled_checkpoints(STATES), STATES)


def test_every_crash_state_of_a_checkpoint() -> None:
    report(campaign.every_checkpoint_crash(), 100)


def test_every_changed_byte_of_a_checkpoint_is_noticed() -> None:
    report(damage.changed_checkpoints(STATES), STATES)


# -- sabotage: what the campaigns must catch -------------------------------------------------------------------------


@pytest.mark.parametrize("sabotage", ["ack_before_fsync", "no_directory_sync", "retry_same_pages"])
def test_sabotage_of_the_files_is_caught(sabotage: str) -> None:
    assert campaign.sampled(400, sabotage=sabotage, until_one=True).violations


@pytest.mark.parametrize("sabotage", ["ack_before_fsync", "no_directory_sync"])
def test_sabotage_is_caught_in_short_traces_too(sabotage: str) -> None:
    assert campaign.exhaustive(2, sabotage=sabotage, until_one=True).violations


def test_a_journal_that_skips_checksums_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zlib, "crc32", lambda data, value=0: 0)
    assert campaign.sampled(400, until_one=True).violations
    assert damage.flipped_bits(100).violations
    assert damage.torn_tails(40).violations


def test_a_take_over_that_trusts_a_second_sync_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def trusting(directory: Path, journal_id: bytes, files: Files, **_: int) -> Remains:
        tail = recover(directory, journal_id, files=files)
        for name in list_segments(directory, files):
            files.open(name.file(directory)).fdatasync()
        return Remains(tail, tail.offset, b"")

    monkeypatch.setattr(writer, "read_remains", trusting)
    assert campaign.sampled(2_000, until_one=True).violations


def test_a_segment_named_before_its_content_is_synced_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Reserve.place

    def hasty(self: Reserve, spare: Spare, name: SegmentName, content: bytes = b"") -> Segment:
        segment = place(self, spare, name)
        segment.file.pwrite(content, 0)
        segment.file.fdatasync()
        return segment

    monkeypatch.setattr(Reserve, "place", hasty)
    assert campaign.sampled(400, until_one=True).violations


def test_a_checkpoint_store_without_directory_syncs_is_caught() -> None:
    assert campaign.sampled_checkpoints(200, sabotage="no_directory_sync").violations
    assert campaign.every_checkpoint_crash("no_directory_sync").violations
