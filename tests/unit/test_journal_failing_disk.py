"""A journal on a disk that fails: refused whole, written again, never trusted twice."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.failing_files import FailingFiles
from tests.support.journals import Numbers, abandon, number_of, numbers_in, open_writer, segment_files
from tori.errors import JournalDamaged, JournalError, JournalRefused, JournalUnsynced
from tori.journal.follower import Follower
from tori.journal.reader import JournalReader
from tori.journal.segment import list_segments, parse_name
from tori.journal.writer import REWRITE_ATTEMPTS


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def files() -> FailingFiles:
    return FailingFiles()


def failing(operation: str, number: int, times: int = 1_000) -> Callable[[str], int]:
    """Return a refusal that fails one kind of call, so many times."""
    left = [times]

    def refusal(asked: str) -> int:
        if asked != operation or not left[0]:
            return 0
        left[0] -= 1
        return number

    return refusal


def test_after_a_failed_sync_everything_is_written_again_and_acknowledged(directory: Path, files: FailingFiles) -> None:
    numbers = Numbers()
    writer = open_writer(directory, files=files)
    writer.append(numbers.frames(2))
    writer.commit()
    durable = writer.durable_offset
    writer.append(numbers.frames(3))
    files.refusal = failing("fdatasync", errno.EIO, 1)
    writer.commit()
    assert numbers_in(directory) == [0, 1, 2, 3, 4]
    assert [(s.base, s.generation) for s in list_segments(directory)] == [(0, 0), (durable, 1)]
    (warning,) = writer.warnings.take()
    assert (warning.kind, warning.errno, warning.offset) == ("sync_failed", errno.EIO, durable)
    writer.append(numbers.frames(1))
    writer.close()
    assert numbers_in(directory) == [0, 1, 2, 3, 4, 5]


def test_a_poisoned_file_is_never_synced_or_written_again(directory: Path, files: FailingFiles) -> None:
    numbers = Numbers()
    writer = open_writer(directory, files=files)
    poisoned = writer._segment.file
    writer.append(numbers.frames(2))
    files.refusal = failing("fdatasync", errno.EIO, 1)
    writer.commit()
    assert writer._segment.file is not poisoned
    with pytest.raises(OSError, match="Bad file descriptor"):
        poisoned.fdatasync()
    writer.close()


def test_a_sync_that_fails_over_several_segments_keeps_offsets_and_sequences(
    directory: Path, files: FailingFiles
) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=1024, files=files)
    tickets = [writer.append(numbers.frames(4)) for _ in range(12)]
    assert len(segment_files(directory)) > 2
    reader = JournalReader(directory)
    follower = Follower(reader, visibility="written")
    before = [number_of(e) for f in follower.take([], max_events=20) for e in f.events]
    files.refusal = failing("fdatasync", errno.EIO, 1)
    writer.commit(tickets[-1].end)
    assert writer.durable_offset == tickets[-1].end
    after = [number_of(e) for f in follower.take([], max_events=1000) for e in f.events]
    assert before + after == numbers_in(directory) == list(range(48))
    reader.close()
    writer.close()


def test_a_full_disk_during_the_rewrite_is_temporary(directory: Path, files: FailingFiles) -> None:
    numbers = Numbers()
    writer = open_writer(directory, files=files)
    writer.append(numbers.frames(2))
    files.refusal = lambda operation: {"fdatasync": errno.EIO, "create": errno.ENOSPC}.get(operation, 0)
    for _ in range(2):
        with pytest.raises(JournalUnsynced, match="no room to write it again"):
            writer.commit()
    with pytest.raises(JournalRefused):
        writer.append(numbers.frames(1))
    assert numbers_in(directory) == []
    files.refusal = failing("nothing", 0)
    writer.commit()
    assert numbers_in(directory) == [0, 1]
    writer.close()


def test_a_dead_disk_stops_the_writer_and_later_syncs_change_nothing(directory: Path, files: FailingFiles) -> None:
    numbers = Numbers()
    writer = open_writer(directory, files=files)
    writer.append(numbers.frames(2))
    durable = writer.durable_offset
    files.refusal = failing("fdatasync", errno.EIO, 1 + REWRITE_ATTEMPTS)
    with pytest.raises(JournalError, match="cannot be synced"):
        writer.commit()
    with pytest.raises(JournalError, match="stopped after a failed sync"):
        writer.commit()
    assert writer.durable_offset == durable
    abandon(writer)
    again = open_writer(directory)
    assert numbers_in(directory) in ([], [0, 1])
    again.close()


def test_what_a_dead_process_left_unsynced_is_written_to_a_new_file(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(50))
    writer.commit()
    known = writer.durable_offset
    writer.append(numbers.frames(2))
    writer.append(numbers.frames(3))
    abandon(writer)
    again = open_writer(directory)
    assert again.recovered.sequence == 55
    assert again.recovered.durable_offset == known
    assert [(s.base, s.epoch) for s in list_segments(directory)] == [(0, 1), (known, 2)]
    assert numbers_in(directory) == list(range(55))
    again.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failed_write_refuses_the_unit_whole_and_goes_on_in_a_new_file(
    directory: Path, files: FailingFiles, number: int
) -> None:
    numbers = Numbers()
    writer = open_writer(directory, files=files)
    writer.append(numbers.frames(2))
    files.refusal = failing("pwrite", number, 1)
    with pytest.raises(JournalRefused) as caught:
        writer.append(numbers.frames(3))
    assert caught.value.fields["errno"] == number
    writer.append(numbers.frames(1))
    writer.commit()
    assert numbers_in(directory) == [0, 1, 5]
    assert list_segments(directory)[-1].generation == 1
    abandon(writer)
    again = open_writer(directory)
    assert numbers_in(directory) == [0, 1, 5]
    again.close()


def test_a_unit_torn_by_a_short_write_never_comes_back(directory: Path, files: FailingFiles) -> None:
    numbers = Numbers()
    writer = open_writer(directory, files=files)
    writer.append(numbers.frames(1))
    files.short = 300
    files.refusal = _after(1, failing("pwrite", errno.ENOSPC))
    with pytest.raises(JournalRefused):
        writer.append([*numbers.frames(2), *numbers.urgent()])
    abandon(writer)
    again = open_writer(directory)
    assert numbers_in(directory) == [0]
    again.close()


def _after(calls: int, refusal: Callable[[str], int]) -> Callable[[str], int]:
    """Return ``refusal``, once so many pwrites have gone well."""
    left = [calls]

    def asked(operation: str) -> int:
        if operation == "pwrite" and left[0]:
            left[0] -= 1
            return 0
        return refusal(operation)

    return asked


def test_the_segment_made_ahead_is_the_reserve_of_a_full_disk(directory: Path, files: FailingFiles) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=2048, files=files)
    while writer.written_offset < 1500:
        writer.append(numbers.frames(3))
    files.refusal = failing("create", errno.ENOSPC)
    accepted = numbers.next
    refusals: list[str] = []
    while not refusals:
        try:
            writer.append(numbers.frames(3))
            accepted = numbers.next
        except JournalRefused as error:
            refusals.append(error.message)
    assert "no room" in refusals[0]
    writer.commit()
    assert 2048 < writer.written_offset < 4096 + 2048
    assert numbers_in(directory) == list(range(accepted))
    assert {w.kind for w in writer.warnings.take()} == {"no_reserve"}
    files.refusal = failing("nothing", 0)
    writer.append(numbers.frames(1))
    writer.close()


def test_unsynced_bytes_are_bounded_by_a_commit(directory: Path) -> None:
    numbers = Numbers()
    writer = open_writer(directory, unsynced_bytes=1000)
    for _ in range(40):
        writer.append(numbers.frames(2))
        assert sum(len(unit) for _, unit in writer._pending) < 1500
    writer.close()


def test_a_name_that_could_not_be_made_durable_is_hidden_by_the_next(directory: Path, files: FailingFiles) -> None:
    numbers = Numbers()
    writer = open_writer(directory, segment_bytes=1024, files=files)
    while writer.written_offset < 700:
        writer.append(numbers.frames(2))
    accepted = numbers.next
    files.refusal = failing("sync_directory", errno.EIO, 1)
    with pytest.raises(JournalRefused, match="cannot begin a segment"):
        writer.append(numbers.frames(20))
    first = numbers.next
    writer.append(numbers.frames(1))
    writer.commit()
    assert numbers_in(directory) == [*range(accepted), first]
    abandon(writer)
    again = open_writer(directory)
    assert numbers_in(directory) == [*range(accepted), first]
    again.close()


def test_entries_that_the_last_writer_promised_are_missed(directory: Path) -> None:
    """Damage in the last commit group looks like a torn tail; the writer's own word tells it apart."""
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    writer.commit()
    abandon(writer)
    (segment,) = segment_files(directory)
    data = bytearray(segment.read_bytes())
    data[300] ^= 1
    segment.write_bytes(bytes(data))
    with pytest.raises(JournalDamaged, match=r"0\.\.1 were promised"):
        open_writer(directory)


def test_a_full_disk_at_the_start_is_refused_and_leaves_the_journal_as_it_was(
    directory: Path, files: FailingFiles
) -> None:
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    writer.close()
    files.refusal = failing("create", errno.ENOSPC)
    with pytest.raises(JournalRefused, match="cannot be opened"):
        open_writer(directory, files=files)
    assert numbers_in(directory) == [0, 1]
    files.refusal = failing("nothing", 0)
    again = open_writer(directory, files=files)
    again.append(numbers.frames(1))
    again.close()
    assert numbers_in(directory) == [0, 1, 2]


def test_names_of_segments_are_read_with_and_without_generation() -> None:
    assert parse_name("0000000000000010-00000002.seg") == (16, 2, 0)
    assert parse_name("0000000000000010-00000002-0003.seg") == (16, 2, 3)
    for other in ("0000000000000010.seg", "x-1.seg", "1-2-3-4.seg", "0000000000000010-00000002.spare"):
        assert parse_name(other) is None
