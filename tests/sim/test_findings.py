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
from tori.clock import VirtualClock
from tori.errors import JournalFenced, JournalRefused
from tori.journal.archive import Archive
from tori.journal.follower import Cursor, Follower, Run
from tori.journal.ownership import create_journal, read_identity
from tori.journal.reader import JournalReader
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
