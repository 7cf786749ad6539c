"""The checker's own reading of journals agrees with what the product wrote, and sees what it must see."""

from __future__ import annotations

import os
from pathlib import Path

from tests.chaos.history import HistoryWriter, Invoke, Item, read_history
from tests.chaos.identity import document_item
from tests.chaos.journal import read_journal, read_journals
from tests.support.journals import CONTEXT, Numbers, numbers_in, open_writer, segment_files
from tests.support.system import small_corpus
from tori.events.system import DeliveryDeadLettered
from tori.journal.frame import LAST_OF_UNIT, Frame
from tori.journal.unit import event_frames
from tori.local import LocalSystem


def _numbers(directory: Path) -> list[int]:
    return [entry.payload[2]["n"] for entry in read_journal(directory).entries]


def test_rolls_and_take_overs_are_followed(tmp_path: Path) -> None:
    directory = tmp_path / "journals" / "one"
    numbers = Numbers()
    for _ in range(3):
        writer = open_writer(directory)
        for _ in range(9):
            writer.append(numbers.frames(21))
        writer.close()
    assert len(segment_files(directory)) > 4
    reading = read_journal(directory)
    assert _numbers(directory) == numbers_in(directory) == list(range(567))
    assert [entry.sequence for entry in reading.entries] == list(range(567))
    assert (reading.gaps, reading.damage, reading.next_sequence) == ([], [], 567)


def test_a_torn_tail_is_cut_by_the_next_epoch(tmp_path: Path) -> None:
    directory = tmp_path / "journals" / "one"
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(3))
    writer.commit()
    end = writer.written_offset
    writer.append(numbers.frames(2))
    writer.close()
    segment = segment_files(directory)[-1]
    fd = os.open(segment, os.O_RDWR)
    os.pwrite(fd, b"\xff" * 64, end + 140)
    os.close(fd)
    for control in directory.glob("control-*"):  # after a power loss its last words are gone
        control.unlink()
    assert _numbers(directory) == [0, 1, 2]
    assert read_journal(directory).damage == []
    numbers.next = 3
    writer = open_writer(directory)
    writer.append(numbers.frames(2))
    writer.close()
    reading = read_journal(directory)
    assert _numbers(directory) == numbers_in(directory) == [0, 1, 2, 3, 4]
    assert (reading.gaps, reading.damage) == ([], [])


def test_damage_below_the_durable_position_is_seen(tmp_path: Path) -> None:
    directory = tmp_path / "journals" / "one"
    numbers = Numbers()
    writer = open_writer(directory)
    for _ in range(4):
        writer.append(numbers.frames(3))
        writer.commit()
    writer.close()
    segment = segment_files(directory)[0]
    fd = os.open(segment, os.O_RDWR)
    os.pwrite(fd, b"\x00", 128 + 131)
    os.close(fd)
    (damage,) = read_journal(directory).damage
    assert damage.sequence == 0


def test_a_segment_that_is_missing_is_a_gap(tmp_path: Path) -> None:
    directory = tmp_path / "journals" / "one"
    numbers = Numbers()
    writer = open_writer(directory)
    for _ in range(12):
        writer.append(numbers.frames(20))
    writer.close()
    files = segment_files(directory)
    assert len(files) >= 3
    files[1].unlink()
    reading = read_journal(directory)
    (gap,) = reading.gaps
    assert 0 < gap.sequence < 240


def test_an_incomplete_unit_does_not_count(tmp_path: Path) -> None:
    assert LAST_OF_UNIT == 1
    directory = tmp_path / "journals" / "one"
    numbers = Numbers()
    writer = open_writer(directory)
    writer.append(numbers.frames(3))
    before = writer.written_offset
    writer.append([*numbers.frames(2), Frame(2, b"\x90", 0)])
    writer.close()
    segment = segment_files(directory)[0]
    data = segment.read_bytes()
    second = data.index(b"TRF1", before + 4)
    segment.write_bytes(data[:second] + bytes(len(data) - second))
    assert _numbers(directory) == [0, 1, 2]


def test_documents_and_cursors_of_a_real_home(tmp_path: Path) -> None:
    documents = small_corpus(12)
    with LocalSystem(tmp_path) as mind:
        mind.ingest(documents)
        mind.pump()
    readings = read_journals(tmp_path)
    found = {entry.item for entry in readings["clients"].entries}
    assert found == {document_item(d.id, d.title, d.text, d.time_ns, d.thread, d.links, d.sections) for d in documents}
    assert all(
        entry.item == f"{entry.key}@{d.content_hash().hex()[:24]}"
        for entry, d in zip(readings["clients"].entries, documents, strict=True)
    )
    spans = [(run.start, run.end) for run in readings["reader"].consumed if run.journal == "clients"]
    assert all(any(s <= e.offset < t for s, t in spans) for e in readings["clients"].entries)
    assert sum(len(r.gaps) + len(r.damage) for r in readings.values()) == 0


def test_dead_letters_are_read(tmp_path: Path) -> None:
    directory = tmp_path / "journals" / "one"
    numbers = Numbers()
    event = numbers.events(1)[0]
    letter = type(event)(event.id, DeliveryDeadLettered("reader", "clients", 7, 4, "boom"))
    writer = open_writer(directory)
    writer.append(event_frames(CONTEXT, [letter]))
    writer.close()
    assert list(read_journal(directory).dead_letters) == [("reader", "clients", 7)]


def test_a_line_that_a_kill_cut_is_dropped(tmp_path: Path) -> None:
    with HistoryWriter(tmp_path, "one") as history:
        call = history.invoke("publish", [Item("a/1/1")])
        history.ok(call)
    path = tmp_path / "one.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    (line,) = read_history(tmp_path)
    assert isinstance(line, Invoke)
    assert line.items == (Item("a/1/1"),)
