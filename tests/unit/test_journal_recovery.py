"""Recovery where sequences alone do not tell: units without entries, quiet restarts, takers-over that find less."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.journals import Numbers, abandon, numbers_in, open_writer, segment_files
from tori.errors import JournalDamaged, JournalTruncated
from tori.journal.follower import Cursor, Follower, Run
from tori.journal.frame import CURSOR, Frame, decode_header
from tori.journal.reader import JournalReader
from tori.journal.reserve import FIRST_BYTES
from tori.journal.segment import list_segments
from tori.journal.unit import cursor_frame


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def without_words(directory: Path) -> None:
    """Take the writers' own words away, as a power loss may."""
    for path in directory.glob("control-*"):
        path.unlink()


def test_damage_in_units_without_entries_is_no_tail(directory: Path) -> None:
    """They move no sequence: only the durable offset in the frames after them tells that they were promised."""
    writer = open_writer(directory)
    units = []
    for at in range(6):
        units.append(writer.append([cursor_frame([Run("input", at, at + 1)])]))
        writer.commit()
    abandon(writer)
    without_words(directory)
    (segment,) = segment_files(directory)
    data = bytearray(segment.read_bytes())
    data[units[1].end + 20] ^= 4
    segment.write_bytes(bytes(data))
    with pytest.raises(JournalDamaged, match="were promised") as caught:
        open_writer(directory)
    assert caught.value.fields["durable_offset"] == units[4].end


def test_frames_say_which_offset_was_durable(directory: Path) -> None:
    writer = open_writer(directory)
    first = writer.append([Frame(CURSOR, b"\x90")])
    writer.commit()
    second = writer.append([Frame(CURSOR, b"\x90")])
    writer.close()
    data = segment_files(directory)[0].read_bytes()
    headers = [decode_header(data, at) for at in (0, 128, first.end)]
    assert [h.durable_offset for h in headers if h is not None] == [0, 128, first.end]
    assert second.end > first.end


def test_frames_of_before_the_offset_was_told_are_recovered(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tori.journal import writer as module

    numbers = Numbers()
    encode = module.encode_frame
    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_frame", lambda frame, **known: encode(frame, **{**known, "durable_offset": 0}))
        writer = open_writer(directory)
        writer.append(numbers.frames(2))
        writer.commit()
        known = writer.durable_offset
        writer.append(numbers.frames(3))
        abandon(writer)
    again = open_writer(directory)
    assert (again.recovered.sequence, again.recovered.durable_offset) == (5, known)
    assert numbers_in(directory) == [0, 1, 2, 3, 4]
    again.close()


def test_quiet_restarts_keep_the_time_of_the_last_event(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    writer.close()
    times = []
    for _ in range(4):
        writer = open_writer(directory)
        times.append(writer.recovered.last_time_ns)
        writer.close()
    assert times[0] > 0
    assert len(set(times)) == 1


def test_restarts_without_events_take_no_more_room(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=1 << 20)
    writer.append(numbers.frames(2))
    writer.close()
    for _ in range(5):
        open_writer(directory, segment_bytes=1 << 20).close()
    assert sum(path.stat().st_size for path in directory.glob("*.*")) < 3 * FIRST_BYTES
    assert [p for p in directory.iterdir() if p.suffix == ".spare"] == []
    assert len(list(directory.glob("control-*"))) == 1


def test_segments_grow_to_the_limit(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=4 * FIRST_BYTES)
    while len(list_segments(directory)) < 5:
        writer.append(numbers.frames(500))
    sizes = [name.file(directory).stat().st_size // FIRST_BYTES for name in list_segments(directory)]
    assert sizes == [1, 2, 4, 4, 4]
    writer.close()


def test_a_follower_is_told_when_a_new_epoch_begins_before_its_cursor(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    kept = writer.append(numbers.frames(2))
    writer.commit()
    writer.append(numbers.frames(4))
    writer.commit()
    follower = Follower(JournalReader(directory))
    while follower.has_work:
        follower.take([])
    cursor = Cursor(follower.cursor.offset, follower.cursor.sequence)
    abandon(writer)
    without_words(directory)
    (segment,) = segment_files(directory)
    data = segment.read_bytes()
    segment.write_bytes(data[: kept.end] + bytes(len(data) - kept.end))  # the disk lied about its last sync
    again = open_writer(directory)
    with pytest.raises(JournalTruncated, match="past its end"):
        _ = follower.has_work
    with pytest.raises(JournalTruncated, match="past its end"):
        follower.take([])
    with pytest.raises(JournalTruncated):
        Follower(JournalReader(directory), cursor)
    again.close()


def test_a_fresh_reader_sees_what_the_last_epoch_promised_while_nobody_writes(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    writer.close()
    word = directory / "epoch"
    word.write_bytes((7).to_bytes(8, "little"))  # a take-over that got no further
    assert numbers_in(directory) == [0, 1]
