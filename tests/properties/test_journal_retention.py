"""Retention never takes what somebody needs, and leaves a journal that can be followed, recovered and scrubbed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.journals import Numbers, number_of, numbers_in, open_writer
from tori.errors import BadSettings, JournalTruncated
from tori.journal.follower import Cursor, Follower
from tori.journal.reader import JournalReader
from tori.journal.retention import (
    KEPT_JOURNALS,
    KEPT_SEGMENTS,
    Guards,
    KeepEverythingPolicy,
    SealedSegment,
    WindowPolicy,
    remove,
    survey,
)
from tori.journal.scrub import Scrub
from tori.journal.segment import SegmentName

NOW_NS = 10**18


@st.composite
def surveys(draw: st.DrawFn) -> list[SealedSegment]:
    sizes = draw(st.lists(st.integers(1, 100), max_size=12))
    found, base, begins = [], draw(st.integers(0, 1_000)), NOW_NS - draw(st.integers(0, 10**15))
    for size in sizes:
        begins += draw(st.integers(0, 10**14))
        found.append(SealedSegment(SegmentName(base, 1), base + size, size, begins))
        base += size
    return found


offsets = st.dictionaries(st.sampled_from(["reader", "alien", "checkpoint"]), st.integers(0, 2_000))
limits = st.one_of(st.none(), st.integers(1, 10**6))


@given(surveys(), offsets, offsets, st.frozensets(st.sampled_from(["reader", "alien", "braid"])), limits, limits)
def test_what_somebody_needs_is_never_removed(
    segments: list[SealedSegment],
    cursors: dict[str, int],
    findings: dict[str, int],
    needed_by: frozenset[str],
    keep_s: int | None,
    keep_bytes: int | None,
) -> None:
    policy = WindowPolicy(keep_s, keep_bytes)
    guards = Guards(cursors, findings, needed_by)
    decision = policy.decide("alien", segments, guards, NOW_NS)
    names = [s.name for s in segments]
    assert list(decision.removable) == names[: len(decision.removable)], "the oldest go first, without holes"
    assert len(names) - len(decision.removable) >= min(len(names), KEPT_SEGMENTS)
    removed = segments[: len(decision.removable)]
    for offset in (*cursors.values(), *findings.values()):
        assert all(s.end <= offset for s in removed)
    if needed_by - cursors.keys():
        assert not removed, "who has not said what it needs needs everything"
    if keep_s is None and keep_bytes is None:
        assert not removed
    for journal in KEPT_JOURNALS:
        assert policy.decide(journal, segments, Guards(), NOW_NS).removable == ()
    assert KeepEverythingPolicy().decide("alien", segments, Guards(), NOW_NS).removable == ()
    assert decision.kept_because


@given(surveys(), st.integers(1, 300))
def test_without_guards_the_limit_is_met(segments: list[SealedSegment], keep_bytes: int) -> None:
    decision = WindowPolicy(keep_bytes=keep_bytes).decide("alien", segments, Guards(), NOW_NS)
    left = segments[len(decision.removable) :]
    assert len(left) <= KEPT_SEGMENTS or sum(s.size_bytes for s in left) <= keep_bytes


@settings(max_examples=25)
@given(st.lists(st.integers(1, 6), min_size=20, max_size=60), st.floats(0, 1))
def test_a_follower_reads_on_from_its_cursor_after_a_removal(counts: list[int], share: float) -> None:
    with tempfile.TemporaryDirectory(prefix="tori-retention-") as place:
        directory = Path(place) / "journal"
        numbers = Numbers()
        writer = open_writer(directory, segment_bytes=1024)
        for count in counts:
            writer.append(numbers.frames(count))
        writer.commit()
        follower = Follower(JournalReader(directory))
        seen: list[int] = []
        while len(seen) < share * numbers.next:
            seen += [number_of(e) for f in follower.take([], max_events=1) for e in f.events]
        cursor = follower.cursor
        decision = WindowPolicy(keep_bytes=1).decide("alien", survey(directory), Guards({"f": cursor.offset}), NOW_NS)
        assert remove(directory, decision) == len(decision.removable)
        again = Follower(JournalReader(directory), Cursor(cursor.offset, cursor.sequence))
        while again.has_work:
            seen += [number_of(e) for f in again.take([]) for e in f.events]
        assert seen == list(range(numbers.next))
        _early_readers_are_told(directory, bool(decision.removable))
        writer.close()
        follower.reader.close()
        again.reader.close()
        writer = open_writer(directory, segment_bytes=1024)
        assert writer.recovered.sequence == numbers.next
        writer.close()
        scrub = Scrub(directory)
        assert scrub.run_whole() == []
        scrub.close()
        assert numbers_in(directory) == list(range(numbers.next))[-len(numbers_in(directory)) :]


def _early_readers_are_told(directory: Path, is_removed: bool) -> None:
    reader = JournalReader(directory)
    if is_removed:
        with pytest.raises(JournalTruncated, match="has been removed"):
            reader.frame(0)
    reader.close()


def test_limits_must_make_sense() -> None:
    with pytest.raises(BadSettings):
        WindowPolicy(keep_s=0)
    with pytest.raises(BadSettings):
        WindowPolicy(keep_bytes=-1)
