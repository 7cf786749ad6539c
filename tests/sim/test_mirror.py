"""A mirror whose machine loses power at any operation: whoever reads it then sees all that it had announced, and nothing else."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.sim.disk import Disk
from tests.sim.files import Cpu, PowerCut
from tests.support.journals import Numbers, number_of, open_writer
from tori.bus.transport import chunks
from tori.journal.frame import EVENTS
from tori.journal.mirror import Mirror
from tori.journal.reader import JournalReader

COPY = Path("/node/mirrors/numbers")
CUTS = 120


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[tuple[bytes, int]]]:
    """Return a journal's id and what its source sends, unit by unit, over two epochs."""
    directory = tmp_path_factory.mktemp("source") / "numbers"
    numbers = Numbers()
    for _ in range(2):
        writer = open_writer(directory)
        for count in (3, 20, 1, 9):
            writer.append(numbers.frames(count))
            writer.commit()
        writer.close()
    reader = JournalReader(directory)
    at, found = reader.first_offset(), []
    for chunk in chunks(reader, at, 1):
        found.append((bytes(chunk), at))
        at += len(chunk)
    reader.close()
    return writer.journal_id, found


def test_a_power_cut_takes_nothing_that_was_announced(sent: tuple[bytes, list[tuple[bytes, int]]]) -> None:
    journal_id, parcels = sent
    cuts = 0
    for seed in range(CUTS):
        cpu = Cpu(Disk(random.Random(seed)), random.Random(seed))
        process = cpu.spawn("relay")
        announced = 0
        process.light("cut", 1 + seed, cpu.cut_power)
        try:
            mirror = Mirror(COPY, journal_id, segment_bytes=1024, files=process.files)
            for chunk, offset in parcels:
                announced = mirror.take(chunk, offset).offset
        except PowerCut:
            cuts += 1
        if not announced:
            continue
        if cpu.living:
            cpu.cut_power()
        reader = JournalReader(COPY, files=cpu.spawn("reader").files)
        assert reader.limit() >= announced, f"seed {seed}: {announced} bytes were announced"
        read = [f for f in reader.frames(reader.first_offset(), reader.limit()) if f.header.kind == EVENTS]
        seen = [number_of(e) for f in read for e in f.events]
        assert seen == list(range(len(seen))), f"seed {seed}"
        reader.close()
        again = Mirror(COPY, journal_id, segment_bytes=1024, files=cpu.spawn("relay").files)
        assert again.mark.offset >= announced, f"seed {seed}"
        again.close()
    assert cuts > CUTS // 3
