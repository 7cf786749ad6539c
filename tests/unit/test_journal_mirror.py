"""A mirror: byte-identical, read unchanged, and refused loudly when it is not of the same journal any more."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.journals import Numbers, journal_bytes, number_of, numbers_in, open_writer, segment_files
from tori.bus.transport import chunks
from tori.errors import JournalDamaged, JournalError, JournalFenced, JournalMissing, JournalTruncated
from tori.journal import control as words
from tori.journal.files import SYSTEM_FILES
from tori.journal.follower import Follower, Run
from tori.journal.mirror import Mirror, create_mirror, start_of
from tori.journal.reader import JournalReader
from tori.journal.writer import JournalWriter


class Pair:
    """A journal, its mirror in another folder, and the way between them."""

    def __init__(self, root: Path, **options: object) -> None:
        self.numbers = Numbers()
        self.source = root / "a" / "numbers"
        self.copy = root / "b" / "numbers"
        self.writer: JournalWriter = open_writer(self.source)
        self.mirror = self.open_mirror(**options)

    def open_mirror(self, **options: object) -> Mirror:
        return Mirror(self.copy, self.writer.journal_id, segment_bytes=4096, **options)  # type: ignore[arg-type]  # passed on as given

    def write(self, *counts: int) -> None:
        for count in counts:
            self.writer.append(self.numbers.frames(count))
        self.writer.commit()

    def parcels(self, max_bytes: int = 700) -> list[tuple[bytes, int]]:
        """Return what the source would send now, chunk by chunk with their offsets."""
        reader = JournalReader(self.source)
        try:
            at = start_of(reader, self.mirror.resume())
            found = []
            for chunk in chunks(reader, at, max_bytes):
                found.append((chunk, at))
                at += len(chunk)
            return found
        finally:
            reader.close()

    def ship(self, max_bytes: int = 700) -> None:
        for chunk, offset in self.parcels(max_bytes):
            self.mirror.take(chunk, offset)

    def reopen_source(self) -> None:
        self.writer.close()
        self.writer = open_writer(self.source)

    def close(self) -> None:
        self.writer.close()
        self.mirror.close()


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()


def frames_of(directory: Path) -> list[tuple[int, bytes, bytes]]:
    reader = JournalReader(directory)
    try:
        found = reader.frames(reader.first_offset(), reader.limit())
        return [(f.offset, bytes(f.header.type_set) + bytes([f.header.kind]), bytes(f.body)) for f in found]
    finally:
        reader.close()


def test_a_mirror_is_byte_identical_over_rolls_and_epochs(pair: Pair) -> None:
    pair.write(*[7] * 20)
    pair.ship()
    pair.reopen_source()
    pair.write(5, 5)
    pair.writer.append(pair.numbers.urgent())
    pair.write(1)
    pair.ship(300)

    end = pair.writer.durable_offset
    assert pair.mirror.mark.offset == end
    assert pair.mirror.mark.epoch == pair.writer.epoch == 2
    assert journal_bytes(pair.copy, end) == journal_bytes(pair.source, end)
    assert numbers_in(pair.copy) == list(range(pair.numbers.next))


def test_followers_read_a_mirror_unchanged_and_runs_mean_the_same_frames(pair: Pair) -> None:
    follower_a, follower_b = Follower(JournalReader(pair.source)), None
    create_mirror(pair.copy, pair.writer.journal_id)
    runs_a: list[Run] = []
    runs_b: list[Run] = []
    follower_b = Follower(JournalReader(pair.copy))
    seen_a, seen_b = [], []
    for count in (3, 40, 1, 12):
        pair.write(count)
        pair.writer.append(pair.numbers.urgent())
        pair.write(2)
        pair.ship()
        for follower, runs, seen in ((follower_a, runs_a, seen_a), (follower_b, runs_b, seen_b)):
            while follower.has_work:
                seen += [number_of(e) for f in follower.take(runs) for e in f.events]
    assert seen_b == seen_a
    assert runs_b == runs_a
    assert sorted(seen_b) == list(range(pair.numbers.next))
    assert follower_b.lag == 0
    assert follower_a.urgent_missed == follower_b.urgent_missed == 0


def test_resuming_goes_on_from_what_is_on_disk(pair: Pair) -> None:
    pair.write(9, 9)
    pair.ship()
    pair.write(30)
    for chunk, offset in pair.parcels()[:1]:
        pair.mirror.take(chunk, offset)
    reached = pair.mirror.mark
    pair.mirror.close()
    pair.write(4)

    pair.mirror = pair.open_mirror()
    assert pair.mirror.mark == reached
    pair.ship()
    assert journal_bytes(pair.copy, pair.writer.durable_offset) == journal_bytes(
        pair.source, pair.writer.durable_offset
    )


def test_nothing_shows_before_its_unit_is_whole(pair: Pair) -> None:
    pair.ship()
    before = pair.mirror.mark
    unit = [*pair.numbers.frames(40), *pair.numbers.urgent(), *pair.numbers.frames(3)]
    pair.writer.append(unit)
    pair.writer.commit()
    parcels = pair.parcels(max_bytes=1)
    assert len(parcels) >= 3
    for chunk, offset in parcels[:-1]:
        assert pair.mirror.take(chunk, offset) == before
        assert numbers_in(pair.copy) == []
    pair.mirror.take(*parcels[-1])
    assert numbers_in(pair.copy) == list(range(pair.numbers.next))


def test_every_byte_damaged_in_transit_is_found_and_nothing_of_the_chunk_is_written(pair: Pair) -> None:
    pair.ship()
    pair.numbers.next = 200
    pair.write(1)
    ((chunk, offset),) = pair.parcels()
    before = pair.mirror.mark
    assert int.from_bytes(chunk[12:16], "little") % 8, "the frame ends with padding"
    for at in range(len(chunk)):
        torn = bytearray(chunk)
        torn[at] ^= 1
        with pytest.raises(JournalError):
            pair.mirror.take(bytes(torn), offset)
        assert pair.mirror.mark == before
    with pytest.raises(JournalDamaged):
        pair.mirror.take(chunk[:-8], offset)
    pair.ship()
    assert numbers_in(pair.copy) == [200]


def test_a_gap_a_repetition_and_a_foreign_frame_are_refused(pair: Pair, tmp_path: Path) -> None:
    pair.write(3)
    pair.write(3)
    parcels = pair.parcels(max_bytes=1)
    pair.mirror.take(*parcels[0])
    with pytest.raises(JournalDamaged, match="do not follow"):
        pair.mirror.take(parcels[2][0], parcels[2][1])
    with pytest.raises(JournalDamaged, match="do not follow"):
        pair.mirror.take(*parcels[0])
    with pytest.raises(JournalDamaged, match="entries"):
        pair.mirror.take(parcels[2][0], parcels[1][1])
    other = Pair(tmp_path / "other")
    other.write(1)
    with pytest.raises(JournalMissing, match="was replaced"):
        pair.mirror.take(other.parcels()[0][0], parcels[1][1])
    other.close()
    pair.ship()
    assert numbers_in(pair.copy) == [0, 1, 2, 3, 4, 5]


def test_frames_of_an_older_epoch_are_refused(pair: Pair) -> None:
    pair.write(2)
    pair.ship()
    pair.reopen_source()
    pair.ship()
    reader = JournalReader(pair.source)
    old = next(chunks(reader, 0, 1))
    with pytest.raises(JournalFenced, match="epoch 1 came"):
        pair.mirror.take(old, pair.mirror.mark.offset)
    reader.close()


def test_a_source_that_was_replaced_is_refused_at_both_ends(pair: Pair, tmp_path: Path) -> None:
    pair.write(2)
    pair.ship()
    other = open_writer(tmp_path / "c" / "numbers")
    reader = JournalReader(other.directory)
    with pytest.raises(JournalMissing, match="was mirrored"):
        start_of(reader, pair.mirror.mark)
    with pytest.raises(JournalMissing, match="The source was replaced"):
        create_mirror(pair.copy, other.journal_id)
    reader.close()
    other.close()


def test_a_mirror_ahead_of_a_source_that_lost_data_is_told(pair: Pair) -> None:
    pair.write(2)
    length = pair.writer.durable_offset
    pair.write(6)
    pair.ship()
    pair.writer.close()
    _wipe(pair.source, length)
    pair.writer = open_writer(pair.source)
    reader = JournalReader(pair.source)
    with pytest.raises(JournalTruncated, match="ahead of its source"):
        start_of(reader, pair.mirror.mark)
    for _ in range(40):
        pair.write(6)
    with pytest.raises(JournalTruncated, match=f"ahead of its source at {length}"):
        start_of(reader, pair.mirror.mark)
    reader.close()


def _wipe(directory: Path, length: int) -> None:
    """Make a journal forget what was promised: position words, and bytes beyond ``length``."""
    for control in directory.glob("control-*"):
        control.unlink()
    (path,) = segment_files(directory)
    data = bytearray(path.read_bytes())
    data[length:] = bytes(len(data) - length)
    path.write_bytes(bytes(data))


def test_a_torn_mirror_fetches_again_what_it_lost(pair: Pair) -> None:
    pair.write(*[5] * 60)
    pair.ship()
    pair.mirror.close()
    paths = segment_files(pair.copy)
    assert len(paths) > 3
    for path, cut in ((paths[-1], 0), (paths[-2], 1500)):
        data = bytearray(path.read_bytes())
        data[cut : cut + 600] = bytes(600)
        path.write_bytes(bytes(data))

    pair.mirror = pair.open_mirror()
    assert 0 < pair.mirror.mark.offset < pair.writer.durable_offset
    pair.ship()
    assert journal_bytes(pair.copy, pair.writer.durable_offset) == journal_bytes(
        pair.source, pair.writer.durable_offset
    )
    assert numbers_in(pair.copy) == list(range(pair.numbers.next))


def test_after_a_failed_sync_the_same_pages_are_never_synced_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    failing: list[bool] = [False]
    failed: set[int] = set()
    synced: list[int] = []

    def fdatasync(fd: int) -> None:
        inode = os.fstat(fd).st_ino
        synced.append(inode)
        if failing[0]:
            failed.add(inode)
            raise OSError(errno.EIO, "Input/output error")
        real(fd)

    real = os.fdatasync
    pair.write(3)
    pair.ship()
    pair.write(3)
    monkeypatch.setattr(os, "fdatasync", fdatasync)
    failing[0] = True
    with pytest.raises(JournalError, match="cannot be synced"):
        pair.ship()
    assert numbers_in(pair.copy) == [0, 1, 2]
    failing[0] = False
    synced.clear()
    pair.ship()
    assert failed.isdisjoint(synced), "a file whose sync failed was synced again"
    assert numbers_in(pair.copy) == list(range(6))
    pair.write(3)
    pair.ship()
    assert numbers_in(pair.copy) == list(range(9))


def test_a_full_disk_is_said_and_the_mirror_goes_on_when_there_is_room(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.write(3)
    pair.ship()
    pair.write(*[20] * 6)
    real = os.posix_fallocate

    def refuse(fd: int, offset: int, length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    for _ in range(2):
        with pytest.raises(JournalError, match="No space left"):
            pair.ship()
    held = numbers_in(pair.copy)
    assert held == list(range(len(held)))
    assert len(held) < pair.numbers.next
    monkeypatch.setattr(os, "posix_fallocate", real)
    pair.ship()
    assert numbers_in(pair.copy) == list(range(123))


def test_a_mirror_has_one_writer(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tori.journal.mirror.LOCK_S", -1.0)
    with pytest.raises(JournalFenced, match="held by another"):
        pair.open_mirror()


def test_an_empty_mirror_can_be_followed(tmp_path: Path) -> None:
    create_mirror(tmp_path / "m", b"x" * 16)
    follower = Follower(JournalReader(tmp_path / "m"))
    assert not follower.has_work
    assert follower.lag == 0


def test_after_a_power_cut_nobody_believes_the_positions_of_a_mirror(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair.write(9)
    pair.ship()
    early = pair.mirror.mark
    pair.write(30)
    pair.ship()
    pair.mirror.close()
    epoch = pair.mirror.mark.epoch
    control = words.open_control(pair.copy, epoch, create=True)
    control.words[words.WRITTEN_OFFSET] = control.words[words.DURABLE_OFFSET] = early.offset
    control.close()  # what was in memory only came back as it was once
    boot = SYSTEM_FILES.processes.boot + 1
    monkeypatch.setitem(SYSTEM_FILES.processes.__dict__, "boot", boot)

    assert numbers_in(pair.copy) == list(range(39)), "what is on the disk counts"
    pair.mirror = pair.open_mirror()
    control = words.open_control(pair.copy, epoch)
    assert control.words[words.BOOT] == boot
    assert control.words[words.DURABLE_OFFSET] == pair.mirror.mark.offset > early.offset
    control.close()
    pair.write(3)
    pair.ship()
    assert numbers_in(pair.copy) == list(range(42))
