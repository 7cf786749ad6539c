"""Journals that are not what was written. Whatever is refused is put back from a copy, and the digest is the old one."""

from __future__ import annotations

import fcntl
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

from tests.bad_input.bench import SMALL_MIND, Bench, caught, home_digest
from tests.bad_input.case import AFTER_REMEDY, Door, Outcome
from tests.support.system import small_corpus
from tori.clock import VirtualClock
from tori.journal import ownership
from tori.journal.reader import JournalReader
from tori.local import LocalSystem

DOOR = Door("journal", __doc__)
COPY = "Restore it from a copy."
NEWER = "Use the version of tori-orchestrator that wrote it, or a newer one."
Damage = Callable[[Path], object]


def clients(damage: Damage) -> Callable[[Bench], Outcome]:
    """Return what damages the journal of the clients and opens the home."""

    def run(bench: Bench) -> Outcome:
        home = bench.home()
        return bench.damaged(home, lambda: damage(home / "journals" / "clients") and None)

    return run


def refused(given: str, damage: Damage, *says: str) -> None:
    DOOR.add(given, clients(damage), *says, exit_code=74, digest=AFTER_REMEDY)


def taken(given: str, damage: Damage) -> None:
    DOOR.add(given, clients(damage), exit_code=0)


def identity(**changes: object) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "journal.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return damage


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.seg"))


def flip(folder: Path) -> None:
    """Change one byte of the first body of events."""
    path = segments(folder)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b"rose pruning")] ^= 1
    path.write_bytes(data)


def newer_frame(folder: Path) -> None:
    """Give the first frame the format of a later version, its checksum made right."""
    path = segments(folder)[0]
    data = bytearray(path.read_bytes())
    data[39] = 2
    data[4:8] = struct.pack("<I", zlib.crc32(data[8:128]))
    path.write_bytes(data)


def fill(name: str, content: bytes) -> Damage:
    return lambda folder: (folder / name).write_bytes(content)


refused("a journal of a newer version", identity(format=2), "has journal format 2, this version reads 1.", NEWER)
refused(
    "an unknown journal format", identity(format="parquet"), "has journal format parquet, this version reads 1.", NEWER
)
refused(
    "a frame of a newer version", newer_frame, "a frame of format 2 stands in the journal; this version reads 1.", NEWER
)
refused("journal.json that is a list", fill("journal.json", b"[]"), "journal.json is not JSON of a journal", COPY)
refused("journal.json that is garbage", fill("journal.json", b"\x80\0"), "journal.json is not JSON of a journal", COPY)
refused("journal.json of 0 bytes", fill("journal.json", b""), "journal.json is not JSON of a journal", COPY)
refused("a journal id that is none", identity(journal_id="x"), "journal.json names no journal id.", COPY)
refused("a journal id that is too short", identity(journal_id="ab"), "names a journal id of 1 bytes.", COPY)
refused(
    "the segments of another journal",
    identity(journal_id="0" * 32),
    "belongs to journal",
    "from one copy.",
)
refused(
    "a missing journal.json",
    lambda folder: (folder / "journal.json").unlink(),
    "holds segments and no journal.json.",
    "Restore journal.json from a copy of the directory.",
)
refused("one flipped bit", flip, "journal clients is damaged at offset", "as it is and restore it from a copy.")
refused(
    "a segment of 0 bytes",
    lambda folder: segments(folder)[0].write_bytes(b""),
    "is damaged at offset 0",
    "restore it from a copy.",
)
refused(
    "an epoch nobody has written",
    fill("epoch", b"\xff" * 8),
    "names epoch 18446744073709551615, which nobody has written.",
    "Remove that file",
)
taken("an epoch file of the wrong size", fill("epoch", b"\1\0\0"))
taken("a missing epoch file", lambda folder: (folder / "epoch").unlink())
refused(
    "a control file of garbage",
    lambda folder: [p.write_bytes(b"\xff" * 576) for p in folder.glob("control-*")],
    "were promised and cannot be read.",
    "The promise stands in a control file: if that alone is damaged, remove it.",
)
taken("a control file that is cut", lambda folder: [p.write_bytes(b"\1\2") for p in folder.glob("control-*")])
taken("a table of sleepers of garbage", fill("waiters", b"\xff" * 1_024))
taken("owner.json that is garbage", fill("owner.json", b'{"pid": "me"'))
taken("owner.json that is a list", fill("owner.json", b"[]"))
taken("a foreign file among the segments", fill("notes.txt", b"mine"))
taken("a foreign file named like a segment", fill("backup.seg", b"mine"))
taken("a foreign file named like a control file", fill("control-copy", b"mine"))
taken("a foreign folder among the journals", lambda folder: (folder.parent / "notes").mkdir())


@DOOR.case(
    "a segment that is cut in the middle",
    "is damaged at offset",
    "restore it from a copy.",
    exit_code=74,
    digest=AFTER_REMEDY,
)
def cut(bench: Bench) -> Outcome:
    home = bench.home()

    def damage() -> None:
        path = segments(home / "journals" / "clients")[0]
        data = path.read_bytes()
        path.write_bytes(data[: data.index(b"rose pruning")])

    return bench.damaged(home, damage)


@DOOR.case(
    "first segments that are gone",
    "its first segments are gone",
    "Restore them from a copy",
    exit_code=74,
    digest=AFTER_REMEDY,
)
def first_gone(bench: Bench) -> Outcome:
    home = bench.place / "long"
    with LocalSystem(home, modules=SMALL_MIND, clock=VirtualClock(), segment_bytes=4096) as mind:
        mind.ingest(small_corpus(32), batch=2)
        mind.pump()
    assert len(segments(home / "journals" / "clients")) > 3

    def damage() -> None:
        segments(home / "journals" / "clients")[0].unlink()

    return bench.damaged(home, damage)


refused(
    "every segment gone",
    lambda folder: [path.unlink() for path in segments(folder)],
    "journal clients is damaged at offset 0: entries 0..15 were promised",
    "restore it from a copy.",
)


@DOOR.case("a file in place of a journal", "there can be no journal at", "Remove what is in its place", exit_code=74)
def file_in_place(bench: Bench) -> Outcome:
    home = bench.place / "new"
    (home / "journals").mkdir(parents=True)
    (home / "journals" / "clients").write_text("x")
    return caught(lambda: home_digest(home))


@DOOR.case("a journal that is not there", "there is no journal at", "Check the home directory.", exit_code=74)
def missing(bench: Bench) -> Outcome:
    return caught(lambda: JournalReader(bench.place / "nothing"))


@DOOR.case("an epoch file that is cut, for a reader", "epoch is cut", "Start the system", exit_code=74)
def cut_epoch(bench: Bench) -> Outcome:
    folder = bench.home() / "journals" / "clients"
    (folder / "epoch").write_bytes(b"\1")
    return caught(lambda: JournalReader(folder))


@DOOR.case(
    "a lock that somebody unknown holds", "is still held by another process", "Find it with `fuser", exit_code=74
)
def held_lock(bench: Bench) -> Outcome:
    home = bench.home()
    folder = home / "journals" / "clients"
    (folder / "owner.json").unlink()
    with (folder / "lock").open("r+") as file, patch.object(ownership, "TAKE_OVER_S", 0.05):
        fcntl.flock(file, fcntl.LOCK_EX)
        return caught(lambda: home_digest(home))


@DOOR.case(
    "a journal that this process has open", "is already open in this process.", "Close the first writer", exit_code=74
)
def open_twice(bench: Bench) -> Outcome:
    home = bench.home()
    with LocalSystem(home, modules=SMALL_MIND):
        return caught(lambda: LocalSystem(home, modules=SMALL_MIND))


@DOOR.case("a clock that jumps a day, there and back", exit_code=0)
def clock_jumps(bench: Bench) -> Outcome:
    clock = VirtualClock()
    documents = small_corpus(16)
    with LocalSystem(bench.place / "jumpy", modules=SMALL_MIND, clock=clock) as mind:
        for number, hours in enumerate((0, 24, -48, 24)):
            clock.jump_wall(hours * 3600.0)
            mind.ingest(documents[4 * number : 4 * number + 4], batch=4)
            mind.pump()
        times = [e.event.time_ns for e in mind.archive.envelopes("clients")]
        assert times == sorted(set(times))
        digest = mind.digest()
    assert digest == home_digest(bench.home())
    return Outcome("", 0)


@DOOR.case(
    "`tori up` on a journal of a newer version",
    "has journal format 2, this version reads 1.",
    NEWER,
    exit_code=74,
    digest=AFTER_REMEDY,
)
def up_on_newer(bench: Bench) -> Outcome:
    from actors.backend import RayBackend

    home = bench.home()
    before = home_digest(home)
    path = home / "journals" / "reader" / "journal.json"
    written = path.read_text()
    path.write_text(written.replace('"format": 1', '"format": 2'))
    outcome = bench.tori("up", backend=RayBackend(), home=home)
    assert not (home / "cluster.json").exists(), "nothing is started for a home that cannot be opened"
    path.write_text(written)
    assert home_digest(home) == before
    return outcome
