"""What the simulator found, each as the shortest sequence that shows it: none of it may come back."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import pytest

from tests.sim.disk import Disk
from tests.sim.files import Cpu, Gone, Process, SimFiles
from tests.support.journals import Numbers
from tori.bus.mark import MappedMark
from tori.bus.pending import Entry
from tori.bus.stream import Parcel, Receiver, Sender
from tori.bus.transport import chunks
from tori.clock import VirtualClock
from tori.errors import JournalDamaged, JournalError, JournalFenced, JournalRefused
from tori.journal.archive import Archive
from tori.journal.follower import Cursor, Follower, Run
from tori.journal.mirror import Mirror, create_mirror, start_of
from tori.journal.ownership import create_journal, read_identity
from tori.journal.reader import JournalReader
from tori.journal.segment import list_segments
from tori.journal.writer import JournalWriter
from tori.modules.host import ModuleHost
from tori.modules.open import open_host

HOME = Path("/tori")
DIRECTORY = HOME / "journals" / "clients"


def machine(seed: int = 1) -> Cpu:
    rng = random.Random(seed)
    cpu = Cpu(Disk(rng), rng)
    cpu.disk.make_directory(HOME)
    cpu.disk.sync_directory(HOME.parent)
    return cpu


def open_writer(process: Process) -> JournalWriter:
    return JournalWriter(DIRECTORY, segment_bytes=4096, fallback_s=None, files=process.files)


def committed(writer: JournalWriter, numbers: Numbers, count: int) -> None:
    writer.commit(writer.append(numbers.frames(count)).end)


@pytest.mark.parametrize("seed", range(12))
def test_the_directories_above_a_journal_survive_with_its_first_ack(seed: int) -> None:
    cpu = machine(seed)
    maker = cpu.spawn("follower")
    maker.light("crash", 8)  # it dies before what it made is durable
    with contextlib.suppress(Gone):
        create_journal(DIRECTORY, files=maker.files)
    maker.die()
    writer = open_writer(cpu.spawn("writer"))
    committed(writer, Numbers(), 3)
    cpu.cut_power()
    again = open_writer(cpu.spawn("writer"))
    assert again.journal_id == writer.journal_id
    assert again.next_sequence == 3


@pytest.mark.parametrize("operation", range(1, 12))
def test_two_makers_give_a_journal_one_id(operation: int) -> None:
    cpu = machine()
    first, second = cpu.spawn("first"), cpu.spawn("second")
    made: list[bytes] = []

    def meanwhile() -> None:
        try:
            made.append(create_journal(DIRECTORY, files=second.files))
        except JournalRefused:
            made.append(b"")

    first.light("pause", operation, meanwhile)
    own = create_journal(DIRECTORY, files=first.files)
    assert read_identity(DIRECTORY, files=second.files) == own
    assert [identity for identity in made if identity] in ([], [own])


@pytest.mark.parametrize("seed", range(12))
def test_readers_see_all_that_a_power_cut_left_before_anybody_writes(seed: int) -> None:
    cpu = machine(seed)
    numbers = Numbers()
    writer = open_writer(cpu.spawn("writer"))
    committed(writer, numbers, 2)
    cpu.disk.write_back()  # the position words of now reach the disk, those of later do not
    committed(writer, numbers, 5)
    durable = writer.durable_offset
    reader = JournalReader(DIRECTORY, files=cpu.spawn("follower").files)
    follower = Follower(reader)
    taken = follower.take([], 100)
    last = taken[-1].events[-1]
    cursor = Cursor(follower.cursor.offset, follower.cursor.sequence)
    cpu.cut_power()

    files = cpu.spawn("follower").files
    fresh = JournalReader(DIRECTORY, files=files)
    assert fresh.limit() == durable
    assert fresh.sequence() == 7
    assert not Follower(fresh, cursor).has_work
    archive = Archive(HOME / "journals", files=files)
    assert archive.read(last.id) == last
    committed(open_writer(cpu.spawn("writer")), numbers, 1)
    runs: list[Run] = []
    assert [len(frame.events) for frame in Follower(fresh, cursor).take(runs, 100)] == [1]


@pytest.mark.parametrize("operation", range(8, 30))
def test_what_a_take_over_left_half_done_since_the_power_cut_does_not_count(operation: int) -> None:
    cpu = machine()
    committed(open_writer(cpu.spawn("writer")), Numbers(), 3)
    cpu.cut_power()
    before = JournalReader(DIRECTORY, files=cpu.spawn("follower").files).limit()
    second = cpu.spawn("second")
    second.light("crash", operation)
    with contextlib.suppress(Gone):
        open_writer(second)
        return  # it lived long enough to begin
    seen = JournalReader(DIRECTORY, files=cpu.spawn("follower").files)
    if seen.epoch == 1:
        assert seen.limit() == before


@pytest.mark.parametrize("operation", range(8, 30))
def test_what_a_zombie_wrote_behind_a_take_over_that_failed_is_not_left(operation: int) -> None:
    cpu = machine()
    numbers = Numbers()
    zombie, second = cpu.spawn("zombie"), cpu.spawn("second")
    old = open_writer(zombie)
    committed(old, numbers, 2)
    zombie.files.give_up_locks()
    second.light("crash", operation)
    with contextlib.suppress(Gone):
        open_writer(second)
    with contextlib.suppress(JournalFenced):
        old.append(numbers.frames(3))
    cpu.disk.sync()
    cpu.cut_power()
    reader = JournalReader(DIRECTORY, files=cpu.spawn("follower").files)
    limit, sequence = reader.limit(), reader.sequence()
    seen = [frame.end for frame in reader.frames(0, limit)]
    assert seen[-1] == limit
    recovered = open_writer(cpu.spawn("writer")).recovered
    assert (limit, sequence) <= (recovered.offset, recovered.sequence)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("operation", range(14, 26))
def test_what_readers_were_told_is_found_after_a_power_cut(operation: int, seed: int) -> None:
    cpu = machine(seed)
    follower = JournalReader(DIRECTORY, files=made_by(cpu))
    writer = cpu.spawn("writer")
    told: list[int] = []

    def meanwhile() -> None:
        told.append(follower.limit())
        writer.light("cut", 1, cpu.cut_power)

    writer.light("pause", operation, meanwhile)
    with contextlib.suppress(Gone):
        open_writer(writer)
    cpu.cut_power()
    fresh = JournalReader(DIRECTORY, files=cpu.spawn("follower").files)
    assert max(told, default=0) <= fresh.limit()


def made_by(cpu: Cpu) -> SimFiles:
    files = cpu.spawn("maker").files
    create_journal(DIRECTORY, files=files)
    for path in (DIRECTORY, DIRECTORY.parent, HOME):
        files.sync_directory(path)
    return cpu.spawn("follower").files


def test_an_open_reader_finds_the_last_writer_behind_a_take_over_that_failed() -> None:
    cpu = machine()
    numbers = Numbers()
    files = cpu.spawn("follower").files
    first = cpu.spawn("first")
    committed(open_writer(first), numbers, 2)
    reader = JournalReader(DIRECTORY, files=files)
    assert reader.sequence() == 2
    first.die()
    second = cpu.spawn("second")
    committed(open_writer(second), numbers, 3)
    second.die()
    third = cpu.spawn("third")
    third.light("refuse", 12)
    with pytest.raises(JournalRefused):
        open_writer(third)
    third.die()
    assert reader.sequence() == 5
    assert len([e for f in reader.frames(0, reader.limit()) if f.header.count for e in f.events]) == 5


def test_a_mark_that_a_power_cut_brought_back_is_no_death() -> None:
    cpu = machine()
    files = cpu.spawn("module").files
    files.make_directory(DIRECTORY)
    mark = MappedMark(DIRECTORY, files=files)
    mark.begin([Entry("clients", 0, 100, 7, 2, "key")], 1)
    found = MappedMark(DIRECTORY, files=cpu.spawn("module").files).found()
    assert found is not None, "a death that left the mark is seen"
    files.open(DIRECTORY / "handling").fsync()  # the kernel writes the page in the middle of the work
    for path in (DIRECTORY, DIRECTORY.parent, HOME):
        files.sync_directory(path)
    mark.end()
    cpu.cut_power()
    assert MappedMark(DIRECTORY, files=cpu.spawn("module").files).found() is None


def test_a_zombie_does_not_answer_from_what_it_knew() -> None:
    cpu = machine()
    old, new = cpu.spawn("old"), cpu.spawn("new")
    zombie = open_clients(old)
    old.files.give_up_locks()
    assert open_clients(new).command("open_producer", {"origin": "thermometer"})["incarnation"] == 1
    numbers = {"origin": "thermometer", "incarnation": 1, "seq": 0}
    with pytest.raises(JournalFenced):
        zombie.command("publish", numbers | {"payloads": b""})
    with pytest.raises(JournalFenced):
        zombie.command("ingest", {"documents": b"\x90"})


def open_clients(process: Process) -> ModuleHost:
    return open_host(
        HOME,
        "clients",
        segment_bytes=4096,
        load_snapshot=lambda name: None,
        clock=VirtualClock(),
        files=process.files,
        incarnation=b"test",
    )


# -- mirrors between two nodes ---------------------------------------------------------------------------------------

MIRRORS = HOME / "mirrors"


class Pair:
    """A journal on one machine, and another machine to mirror it."""

    def __init__(self) -> None:
        self.here, self.there = machine(1), machine(2)
        self.writer = open_writer(self.here.spawn("writer"))
        self.numbers = Numbers()
        self.reader = JournalReader(DIRECTORY, files=self.here.spawn("relay").files)

    def write(self, count: int) -> None:
        committed(self.writer, self.numbers, count)

    def open(self, process: Process) -> Mirror:
        return Mirror(MIRRORS / "clients", self.writer.journal_id, segment_bytes=4096, files=process.files)

    def follow(self, process: Process) -> JournalReader:
        """Open the mirror as a follower does, perhaps before its relay."""
        create_mirror(MIRRORS / "clients", self.writer.journal_id, files=process.files)
        return JournalReader(MIRRORS / "clients", files=process.files)

    def ship(self, mirror: Mirror) -> None:
        at = start_of(self.reader, mirror.resume())
        for chunk in chunks(self.reader, at):
            mirror.take(chunk, at)
            at += len(chunk)

    def receiver(self, process: Process) -> Receiver:
        receiver = Receiver(MIRRORS, 4096, files=process.files)
        receiver.want({"clients": self.writer.journal_id})
        return receiver

    def parcels(self, receiver: Receiver) -> list[Parcel]:
        """Return what a stream brings until it is silent."""
        files = self.here.spawn("relay").files
        sender = iter(Sender(lambda name: HOME / "journals" / name, receiver.marks(), VirtualClock(), files=files))
        return list(iter(lambda: next(sender), Parcel()))


def test_a_mirror_opened_after_a_failed_sync_announces_nothing_that_the_disk_has_not() -> None:
    pair = Pair()
    pair.write(3)
    relay = pair.there.spawn("relay")
    mirror = pair.open(relay)
    pair.ship(mirror)
    synced = mirror.mark.offset
    for operation in (2, 5):  # the second relay finds what the first one's failed sync left in the cache
        pair.write(operation)
        relay.light("fail", operation)
        with pytest.raises(JournalError, match="cannot be synced"):
            pair.ship(mirror)
        relay.die()
        relay = pair.there.spawn("relay")
        mirror = pair.open(relay)
        assert mirror.mark.offset == synced
        assert JournalReader(mirror.directory, files=relay.files).limit() == synced
    pair.ship(mirror)
    reached = mirror.mark.offset
    pair.there.cut_power()
    assert pair.open(pair.there.spawn("relay")).mark.offset == reached == pair.writer.durable_offset


def test_a_mirror_whose_position_could_not_be_announced_is_asked_for_again() -> None:
    pair = Pair()
    relay = pair.there.spawn("relay")
    mirror = pair.open(relay)
    pair.write(3)
    for operation in range(1, 40):
        relay.light("refuse", operation)
        with contextlib.suppress(JournalError):
            pair.ship(mirror)
        told = JournalReader(mirror.directory, files=relay.files).limit()
        assert mirror.mark.offset == told, "it is said to be further than anybody can read"
    relay.fuse = None
    pair.ship(mirror)
    assert JournalReader(mirror.directory, files=relay.files).limit() == pair.writer.durable_offset


def test_a_mirror_does_not_begin_behind_a_lost_parcel() -> None:
    pair = Pair()
    receiver = pair.receiver(pair.there.spawn("relay"))
    for _ in range(3):
        pair.write(1500)
    first, *later = pair.parcels(receiver)
    assert later, "there is more than one parcel"
    with pytest.raises(JournalDamaged, match="do not follow"):
        receiver.take(later[0])
    assert receiver.positions() == {"clients": (0, 0)}
    for parcel in (first, *later):
        receiver.take(parcel)
    assert receiver.positions()["clients"][0] == pair.writer.durable_offset


def test_a_receiver_keeps_its_mirrors_when_the_disk_refuses_and_says_why_it_has_none() -> None:
    pair = Pair()
    pair.write(3)
    pair.there.disk.is_full = True
    relay = pair.there.spawn("relay")
    receiver = pair.receiver(relay)
    assert "No space left" in receiver.problems["clients"]
    pair.there.disk.is_full = False
    receiver.want({"clients": pair.writer.journal_id})
    for operation in range(1, 12):
        relay.light("refuse", operation)
        receiver.want({"clients": pair.writer.journal_id})
        assert set(receiver.marks()) == {"clients"}, "its mirror, and the lock of it, went lost"
    relay.fuse = None
    for parcel in pair.parcels(receiver):
        receiver.take(parcel)
    assert receiver.positions()["clients"][0] == pair.writer.durable_offset
    assert receiver.problems == {}


@pytest.mark.parametrize("operation", range(2, 40, 3))
def test_a_mirror_has_no_hole_after_a_power_cut_in_a_parcel_of_many_files(operation: int) -> None:
    pair = Pair()
    for _ in range(30):
        pair.write(20)
    relay = pair.there.spawn("relay")
    mirror = pair.open(relay)
    relay.light("cut", operation, pair.there.cut_power)
    with contextlib.suppress(Gone):
        pair.ship(mirror)
    relay = pair.there.spawn("relay")
    again = pair.open(relay)
    reader = JournalReader(again.directory, files=relay.files)
    whole = [frame.end for frame in reader.frames(0, again.mark.offset)]
    assert (whole[-1] if whole else 0) == again.mark.offset == reader.limit()


def test_a_unit_that_two_files_of_a_mirror_hold_is_read_after_a_power_cut_and_restores_its_source() -> None:
    pair = Pair()
    mirror = pair.open(pair.there.spawn("relay"))
    for _ in range(12):
        frames = [*pair.numbers.frames(9), *pair.numbers.urgent(), *pair.numbers.frames(9)]
        pair.writer.commit(pair.writer.append(frames).end)
    pair.ship(mirror)
    announced = mirror.mark
    names = list_segments(mirror.directory, pair.there.spawn("reader").files)
    assert any(not _begins_unit(mirror.directory, name.base, pair.there) for name in names), "none is in two files"
    pair.there.cut_power()
    reader = JournalReader(mirror.directory, files=pair.there.spawn("reader").files)
    assert (reader.limit(), reader.sequence()) == (announced.offset, announced.sequence)
    for name in pair.there.spawn("copy").files.names(mirror.directory):
        pair.there.disk.make_directory(DIRECTORY)
        pair.there.disk.rename(mirror.directory / name, DIRECTORY / name)
    assert open_writer(pair.there.spawn("writer")).next_sequence == announced.sequence


def _begins_unit(directory: Path, offset: int, cpu: Cpu) -> bool:
    reader = JournalReader(directory, files=cpu.spawn("reader").files)
    before = [frame for frame in reader.frames(0, reader.limit()) if frame.end <= offset]
    return not before or before[-1].header.is_last_of_unit


@pytest.mark.parametrize("operation", range(3, 12))
def test_what_a_power_cut_tore_in_a_mirror_is_no_damage_as_long_as_it_was_not_announced(operation: int) -> None:
    pair = Pair()
    for seed in range(12):  # sectors reach the disk in any order: later frames say what the source had on its disk
        pair.there.disk.rng.seed(100 * operation + seed)
        relay = pair.there.spawn("relay")
        mirror = pair.open(relay)
        announced = mirror.mark.offset
        for _ in range(12):
            pair.write(5)
        relay.light("cut", operation, pair.there.cut_power)
        with contextlib.suppress(Gone):
            pair.ship(mirror)
            pair.there.cut_power()
        reader = pair.follow(pair.there.spawn("reader"))
        assert announced <= reader.limit() <= pair.writer.durable_offset
        assert announced <= pair.open(pair.there.spawn("other relay")).mark.offset
        pair.there.cut_power()


def test_what_a_first_failed_sync_left_of_a_mirror_is_not_believed() -> None:
    pair = Pair()
    pair.write(3)
    for operation in range(1, 12):
        relay = pair.there.spawn("relay")
        mirror = pair.open(relay)
        relay.light("fail", operation)
        with contextlib.suppress(JournalError):
            pair.ship(mirror)
        relay.die()
        relay = pair.there.spawn("relay")
        announced = pair.open(relay).mark.offset
        relay.die()
        pair.there.cut_power()
        reader = pair.follow(pair.there.spawn("reader"))
        assert reader.limit() >= announced
        for name in reader._files.names(MIRRORS / "clients"):
            if name.endswith(".seg") or name.startswith("control"):
                pair.there.disk.remove(MIRRORS / "clients" / name)
        pair.there.disk.sync()


@pytest.mark.parametrize("operation", range(1, 12))
def test_an_epoch_that_a_mirror_could_not_enter_durably_is_entered_again(operation: int) -> None:
    pair = Pair()
    pair.write(3)
    relay = pair.there.spawn("relay")
    mirror = pair.open(relay)
    pair.ship(mirror)
    pair.writer = open_writer(pair.here.spawn("heir"))
    pair.write(2)
    relay.light("fail", operation)
    with contextlib.suppress(JournalError):
        pair.ship(mirror)
    relay.fuse = None
    pair.ship(mirror)
    assert pair.follow(relay).limit() == pair.writer.durable_offset
    pair.there.cut_power()
    assert pair.follow(pair.there.spawn("reader")).limit() == pair.writer.durable_offset


@pytest.mark.parametrize("is_opened_before", [False, True])
@pytest.mark.parametrize("dying", range(1, 20))
def test_a_mirror_forgets_nothing_when_its_first_opening_after_a_power_cut_dies(
    dying: int, *, is_opened_before: bool
) -> None:
    for operation in range(1, 12):
        pair = Pair()
        pair.write(3)
        relay = pair.there.spawn("relay")
        mirror = pair.open(relay)
        pair.ship(mirror)
        announced = mirror.mark.offset
        pair.writer = open_writer(pair.here.spawn("heir"))
        pair.write(2)
        relay.light("fail", operation)  # the second epoch cannot be entered durably
        with contextlib.suppress(JournalError):
            pair.ship(mirror)
        relay.die()
        if is_opened_before:
            relay = pair.there.spawn("relay")
            pair.open(relay)
            relay.die()
        pair.there.cut_power()
        relay = pair.there.spawn("relay")
        relay.light("crash", dying)
        with contextlib.suppress(Gone):
            pair.open(relay)
        relay.die()
        assert pair.open(pair.there.spawn("relay")).mark.offset >= announced
