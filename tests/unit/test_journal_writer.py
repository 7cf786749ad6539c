"""The journal on disk: appending, rolling, following, taking over."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.support.failing_files import FailingFiles
from tests.support.journals import Numbers, abandon, number_of, numbers_in, open_writer, segment_files
from tori.errors import JournalDamaged, JournalError, JournalFenced, JournalMissing, JournalRefused, JournalTruncated
from tori.journal.follower import Cursor, Follower, Run
from tori.journal.frame import EVENTS, HEADER_BYTES, Frame, decode_header, encode_frame
from tori.journal.ownership import create_journal
from tori.journal.reader import JournalReader
from tori.journal.segment import list_segments


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_what_is_committed_is_read_back_in_order(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    for count in (1, 5, 3):
        writer.append(numbers.frames(count))
    writer.commit()
    assert numbers_in(directory) == list(range(9))
    writer.close()


def test_written_is_visible_before_durable(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    assert numbers_in(directory, "written") == [0, 1]
    assert numbers_in(directory, "durable") == []
    writer.commit()
    assert numbers_in(directory, "durable") == [0, 1]
    writer.close()


def test_segments_roll_and_nothing_is_lost_between_them(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    for _ in range(60):
        writer.append(numbers.frames(4))
    writer.commit()
    assert len(segment_files(directory)) > 3
    assert numbers_in(directory) == list(range(240))
    writer.close()


def test_a_unit_larger_than_a_segment_gets_one_of_its_size(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=1024)
    writer.append(numbers.frames(200))
    writer.commit()
    assert numbers_in(directory) == list(range(200))
    writer.close()


def test_a_reader_follows_over_a_roll_and_a_take_over(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    reader = JournalReader(directory)
    follower = Follower(reader)
    seen: list[int] = []

    def take() -> None:
        while follower.has_work:
            for frame in follower.take([]):
                seen.extend(number_of(e) for e in frame.events)

    for _ in range(30):
        writer.append(numbers.frames(3))
        writer.commit()
        take()
    writer.close()
    writer = open_writer(directory)
    assert writer.epoch == 2
    writer.append(numbers.frames(3))
    writer.commit()
    take()
    assert seen == list(range(93))
    assert follower.lag == 0
    assert follower.cursor.epoch == 2
    reader.close()
    writer.close()


def test_a_new_epoch_goes_on_with_sequence_and_offset(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(7))
    writer.close()
    again = open_writer(directory)
    assert again.recovered.sequence == 7
    assert again.next_sequence == 7
    again.append(numbers.frames(1))
    again.close()
    assert numbers_in(directory) == list(range(8))


def test_a_written_unit_survives_the_death_of_the_process(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(5))
    abandon(writer)
    again = open_writer(directory)
    assert numbers_in(directory) == [0, 1, 2, 3, 4]
    again.close()


def test_a_torn_tail_is_cut_at_every_offset(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=8192)
    writer.append(numbers.frames(2))
    writer.commit()
    kept = writer.written_offset
    writer.append(numbers.frames(3))
    end = writer.written_offset
    abandon(writer)
    (segment,) = segment_files(directory)
    whole = segment.read_bytes()
    for torn in range(kept, end, 37):
        segment.write_bytes(whole[:torn] + bytes(len(whole) - torn))
        _remove_later_epochs(directory, 1)
        again = open_writer(directory)
        assert again.recovered.sequence == 2
        again.close()
        assert numbers_in(directory) == [0, 1]


def test_a_flipped_bit_below_the_durable_position_is_damage(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=8192)
    first = writer.append(numbers.frames(2))
    writer.commit()
    writer.append(numbers.frames(2))
    writer.commit()
    writer.append(numbers.frames(2))
    writer.close()
    (segment,) = segment_files(directory)
    for at in range(first.end - 200, first.end - 10, 23):
        whole = bytearray(segment.read_bytes())
        whole[at] ^= 0x10
        original = segment.read_bytes()
        segment.write_bytes(bytes(whole))
        with pytest.raises(JournalDamaged) as caught:
            open_writer(directory)
        assert caught.value.fields["durable_sequence"] > caught.value.fields["first_sequence"]
        segment.write_bytes(original)


def test_a_reader_refuses_a_damaged_frame(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=8192)
    ticket = writer.append(numbers.frames(2))
    writer.commit()
    (segment,) = segment_files(directory)
    with segment.open("r+b") as file:
        file.seek(ticket.end - 20)
        byte = file.read(1)
        file.seek(ticket.end - 20)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(JournalDamaged, match="checksum"):
        numbers_in(directory)
    writer.close()


def test_a_fenced_writer_neither_publishes_nor_acks(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(1))
    writer._epoch_words.words[0] = 5
    with pytest.raises(JournalFenced):
        writer.append(numbers.frames(1))
    with pytest.raises(JournalFenced):
        writer.commit()
    abandon(writer)


def test_a_second_writer_in_one_process_is_refused(directory: Path) -> None:
    writer = open_writer(directory)
    with pytest.raises(JournalFenced, match="already open"):
        open_writer(directory)
    writer.close()


def test_a_failed_sync_stops_the_writer_and_acks_nothing(directory: Path) -> None:
    numbers = Numbers()
    files = FailingFiles()
    writer = open_writer(directory, files=files)
    writer.append(numbers.frames(1))
    files.refusal = lambda operation: errno.EIO if operation == "fdatasync" else 0
    durable = writer.durable_offset
    with pytest.raises(JournalError, match="cannot be synced"):
        writer.commit()
    assert writer.durable_offset == durable
    files.refusal = lambda operation: 0
    with pytest.raises(JournalError, match="stopped after a failed sync"):
        writer.append(numbers.frames(1))
    abandon(writer)


def test_no_room_for_a_segment_is_a_clear_error_and_loses_nothing(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    writer.commit()
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", _no_space)
        with pytest.raises(JournalRefused, match="no room"):
            writer.append(numbers.frames(150))
    writer.append(numbers.frames(150))
    writer.commit()
    assert numbers_in(directory) == [0, 1, *range(152, 302)]
    writer.close()


def _no_space(fd: int, offset: int, size: int) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_cursor_past_the_end_is_refused(directory: Path) -> None:
    writer = open_writer(directory)
    reader = JournalReader(directory)
    with pytest.raises(JournalTruncated):
        Follower(reader, Cursor(offset=1 << 30))
    reader.close()
    writer.close()


def test_missing_and_foreign_journals_are_named(tmp_path: Path) -> None:
    with pytest.raises(JournalMissing):
        JournalReader(tmp_path / "nowhere")
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "0000000000000000-00000001.seg").write_bytes(b"")
    with pytest.raises(JournalMissing, match=r"journal\.json"):
        open_writer(strange)
    newer = tmp_path / "newer"
    newer.mkdir()
    (newer / "journal.json").write_text('{"format": 99, "journal_id": "00"}')
    with pytest.raises(JournalError, match="format 99"):
        open_writer(newer)


def test_an_empty_journal_can_be_followed_before_it_is_written(directory: Path) -> None:
    create_journal(directory)
    reader = JournalReader(directory)
    follower = Follower(reader)
    assert not follower.has_work
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    writer.commit()
    assert follower.has_work
    assert [number_of(e) for f in follower.take([]) for e in f.events] == [0, 1]
    reader.close()
    writer.close()


def test_urgent_frames_overtake_and_come_once(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=1 << 16)
    reader = JournalReader(directory)
    follower = Follower(reader)
    for _ in range(5):
        writer.append(numbers.frames(2))
    writer.append(numbers.urgent())
    writer.append(numbers.frames(2))
    writer.commit()
    runs: list[Run] = []
    seen = [number_of(e) for f in follower.take(runs, max_events=1) for e in f.events]
    assert seen == [10]
    while follower.has_work:
        seen += [number_of(e) for f in follower.take(runs) for e in f.events]
    assert seen == [10, *range(10), 11, 12]
    assert follower.cursor.overtaken == {}
    # the recorded runs replay in the same order
    again = Follower(JournalReader(directory))
    replayed = []
    for run in runs:
        for frame in again.reader.frames(run.start, run.end):
            if again.pass_by(frame) and frame.header.kind == EVENTS:
                replayed += [number_of(e) for e in frame.events]
    assert replayed == seen
    assert again.cursor == follower.cursor
    again.reader.close()
    reader.close()
    writer.close()


def test_a_cursor_knows_how_far_it_has_reached_and_in_which_epoch(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    for _ in range(2):
        writer.append(numbers.frames(2))
    writer.commit()
    writer.close()
    writer = open_writer(directory)
    writer.append(numbers.urgent())
    end = writer.written_offset
    writer.append(numbers.frames(2))
    writer.commit()
    reader = JournalReader(directory)
    follower = Follower(reader)
    for _ in range(2):  # the urgent one, then the first in order, which the epoch before wrote
        (frame,) = follower.take([], max_events=1)
        assert (follower.cursor.reached, follower.cursor.epoch) == (end, 2)
    assert (frame.header.epoch, follower.cursor.offset) == (1, frame.end)
    reader.close()
    writer.close()


def test_a_follower_skips_frames_without_its_types(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=1 << 16)
    writer.append(numbers.frames(3))
    writer.append(numbers.urgent())
    writer.commit()
    reader = JournalReader(directory)
    follower = Follower(reader, type_bits=1 << 64)
    seen = [number_of(e) for f in follower.take([]) for e in f.events]
    assert seen == [3]
    assert not follower.has_work
    assert follower.lag == 0
    reader.close()
    writer.close()


def test_a_header_round_trips_and_every_flipped_bit_is_found() -> None:
    frame = Frame(EVENTS, b"body", 3, 1, 10, 20, b"\x01" + bytes(31))
    data = encode_frame(
        frame, journal_id=bytes(range(16)), epoch=7, first_sequence=9, commit=4, durable_sequence=8, is_last=True
    )
    header = decode_header(data)
    assert header is not None
    assert (header.epoch, header.first_sequence, header.count, header.commit) == (7, 9, 3, 4)
    assert header.is_last_of_unit
    assert header.size == len(data)
    for at in range(HEADER_BYTES):
        for bit in range(8):
            broken = bytearray(data)
            broken[at] ^= 1 << bit
            assert decode_header(bytes(broken)) is None


def _remove_later_epochs(directory: Path, epoch: int) -> None:
    """Take the directory back to what it was before anybody recovered it."""
    for name in list_segments(directory):
        if name.epoch > epoch:
            name.file(directory).unlink()
    for path in directory.glob("*.seg"):
        if int(path.stem.partition("-")[2], 16) > epoch:
            path.unlink()
    for path in directory.glob("control-*"):
        if int(path.name.partition("-")[2]) > epoch:
            path.unlink()
