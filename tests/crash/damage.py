"""Damage: tails torn at every offset, flipped bits below the durable position, changed bytes of checkpoints."""

from __future__ import annotations

import random
from functools import partial

from tests.crash.campaign import Outcome, quiet
from tests.crash.checkpoint_trace import CheckpointWorkload, check_changed_byte
from tests.crash.journal_trace import DIRECTORY, Workload, open_journal, read_back
from tests.crash.model import Tree
from tests.crash.recorder import MemoryFiles, Recorder
from tori.errors import JournalDamaged
from tori.journal.frame import HEADER_BYTES, Header, decode_header
from tori.journal.scrub import Scrub
from tori.journal.segment import list_segments
from tori.journal.writer import Ticket

NOISE = b"\xa5"


def torn_tails(every: int = 1) -> Outcome:
    """Cut what follows the durable position at every offset, with zeros or noise beyond: every whole unit before the cut, no other."""
    quiet()
    outcome = Outcome("torn tails", traces=1)
    recorder = Recorder()
    workload = Workload(recorder, 3)
    workload.run("acbcc")
    assert workload.writer is not None
    durable, numbers = workload.writer.durable_offset, workload.numbers
    promised = read_back(recorder.process())
    tails = [numbers.frames(2), [*numbers.frames(1), *numbers.urgent()], numbers.frames(3)]
    writer = open_journal(recorder.process())
    tickets = [writer.append(frames) for frames in tails]
    tree = recorder.model.after_death()
    name = list_segments(DIRECTORY, recorder.process())[-1]
    content = _journal(tree)[name.file_name]
    for torn in range(writer.durable_offset - name.base, tickets[-1].end - name.base + 1, every):
        for filler in (b"\0", NOISE):
            changed = content[:torn] + filler * (len(content) - torn)
            whole = _whole_units(content, changed, tickets, name.base)
            expected = [*promised, *range(tickets[0].first_sequence, whole)]
            check = partial(_recovers, _with(tree, name.file_name, changed), expected)
            outcome.look(f"torn at {torn} of {name.file_name}, {filler!r} beyond", check)
    assert durable < writer.durable_offset
    return outcome


def _whole_units(before: bytes, after: bytes, tickets: list[Ticket], base: int) -> int:
    """Return the sequence up to which the units have every byte that a checksum covers."""
    sequence = tickets[0].first_sequence
    for at, header in _frames(before, 0, len(before)):
        if header.first_sequence < tickets[0].first_sequence or not header.count:
            continue
        end = at + HEADER_BYTES + header.body_bytes
        if before[at:end] != after[at:end]:
            break
        if header.is_last_of_unit:
            sequence = header.first_sequence + header.count
    return sequence


def _recovers(tree: Tree, expected: list[int]) -> None:
    files = Recorder(tree).process()
    open_journal(files)
    assert read_back(files) == expected


def flipped_bits(flips: int, seed: int = 0) -> Outcome:
    """Flip one bit of a segment: a reader, the scrub and a recovery say so, unless no frame holds the bit and nothing changes."""
    quiet()
    outcome = Outcome("flipped bits", traces=1)
    rng = random.Random(seed)
    recorder = Recorder()
    Workload(recorder, 5).run("acbmockosubocbcmsooc")
    files = recorder.process()
    promised = read_back(files)
    tree = recorder.model.after_death()
    used = _used_places(tree, files)
    names = sorted(used)
    for _ in range(flips):
        name = rng.choice(names)
        content = bytearray(_journal(tree)[name])
        at, bit = rng.randrange(len(content)), rng.randrange(8)
        content[at] ^= 1 << bit
        check = partial(_notices, _with(tree, name, bytes(content)), promised, is_used=at in used[name])
        outcome.look(f"{name} byte {at} bit {bit}", check)
    return outcome


def _used_places(tree: Tree, files: MemoryFiles) -> dict[str, set[int]]:
    """Return, by segment, the places that lie in a header or body of a live frame."""
    live = list_segments(DIRECTORY, files)
    used = {}
    for index, name in enumerate(live):
        content = _journal(tree)[name.file_name]
        limit = live[index + 1].base - name.base if index + 1 < len(live) else len(content)
        frames = _frames(content, 0, limit)
        used[name.file_name] = {p for at, h in frames for p in range(at, at + HEADER_BYTES + h.body_bytes)}
    return used


def _frames(content: bytes, at: int, limit: int) -> list[tuple[int, Header]]:
    found = []
    while at < limit and (header := decode_header(content, at)) is not None:
        found.append((at, header))
        at += header.size
    return found


def _notices(tree: Tree, promised: list[int], *, is_used: bool) -> None:
    files = Recorder(tree).process()
    assert _reader_notices(files, promised) == is_used, "the reader was wrong about it"
    assert _scrub_notices(files) == is_used, "the scrub was wrong about it"
    try:
        open_journal(files)
    except JournalDamaged:
        assert is_used
        return
    assert _reader_notices(files, promised) == is_used, "a recovery made it vanish"


def _reader_notices(files: MemoryFiles, promised: list[int]) -> bool:
    try:
        found = read_back(files)
    except JournalDamaged:
        return True
    assert found == promised, "it changed what is read, and nobody said so"
    return False


def _scrub_notices(files: MemoryFiles) -> bool:
    scrub = Scrub(DIRECTORY, files=files)
    try:
        return bool(scrub.run_whole())
    finally:
        scrub.close()


def changed_checkpoints(changes: int, seed: int = 0) -> Outcome:
    """Change one byte of a checkpoint: it is named, moved away, and the one before it is used."""
    outcome = Outcome("changed bytes of checkpoints", traces=1)
    rng = random.Random(seed)
    recorder = Recorder()
    CheckpointWorkload(recorder, seed).run("sss")
    tree = recorder.model.after_death()
    for _ in range(changes):
        outcome.look(*check_changed_byte(tree, rng))
    return outcome


def _journal(tree: Tree) -> Tree:
    journal: Tree = tree["home"]["journal"]
    return journal


def _with(tree: Tree, file: str, content: bytes) -> Tree:
    return {"home": {**tree["home"], "journal": {**_journal(tree), file: content}}}
