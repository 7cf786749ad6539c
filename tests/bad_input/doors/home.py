"""The home a system is to start in."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.bad_input.bench import Bench, as_nobody, caught, home_digest, open_to_all
from tests.bad_input.case import AFTER_REMEDY, Door, Outcome
from tori.cli.doctor import examine
from tori.home import open_home
from tori.settings import load_settings

DOOR = Door("home", __doc__)
ELSEWHERE = "Choose another with --home or TORI_HOME."
NEWER = "Use the version of tori-orchestrator that wrote it, or a newer one."


def marked(content: str) -> Callable[[Bench], Outcome]:
    def run(bench: Bench) -> Outcome:
        home = bench.home()
        return bench.damaged(home, lambda: (home / "home.json").write_text(content))

    return run


def add(given: str, run: Callable[[Bench], Outcome], *says: str) -> None:
    DOOR.add(given, run, *says, exit_code=74, digest=AFTER_REMEDY)


add("a home of a newer version", marked('{"format": 2}'), "is a home of format 2; this version reads 1.", NEWER)
add("a home whose mark is garbage", marked("{"), "does not say which format the home has.", "Restore it from a copy")
add("a home whose mark is a list", marked("[1]"), "does not say which format the home has.", "Restore it from a copy")


@DOOR.case("a home that is a file", "cannot be a home: a file is in its place.", ELSEWHERE, exit_code=74)
def is_a_file(bench: Bench) -> Outcome:
    (bench.place / "home").write_text("x")
    return caught(lambda: open_home(bench.place / "home"))


@DOOR.case("a home below a file", "cannot be a home: a file is in its place.", ELSEWHERE, exit_code=74)
def below_a_file(bench: Bench) -> Outcome:
    (bench.place / "file").write_text("x")
    return caught(lambda: open_home(bench.place / "file" / "home"))


@DOOR.case("a home that others own", "cannot be written: Permission denied.", ELSEWHERE, exit_code=74)
def not_ours(bench: Bench) -> Outcome:
    with open_to_all() as place:
        if os.getuid() != 0:
            place.chmod(0o555)
        return as_nobody(lambda: caught(lambda: open_home(place)))


def fill(file: io.FileIO) -> None:
    """Write until there is no room left."""
    with contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


@contextlib.contextmanager
def file_system(place: Path, options: str) -> Iterator[Path]:
    """Yield a small file system of its own; skips where it cannot be mounted."""
    folder = place / "mounted"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("this machine does not let us mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@DOOR.case(
    "a disk that is full at the start",
    "cannot be written: No space left on device.",
    "Free disk space.",
    exit_code=74,
    needs="root",
)
def full(bench: Bench) -> Outcome:
    with file_system(bench.place, "size=64k") as folder:
        with (folder / "filler").open("wb", buffering=0) as file:
            fill(file)
        return caught(lambda: open_home(folder / "home"))


@DOOR.case(
    "a disk with room for nothing but the home",
    "cannot be opened: No space left on device.",
    "free disk space or check the disk",
    exit_code=75,
    needs="root",
)
def nearly_full(bench: Bench) -> Outcome:
    with file_system(bench.place, "size=100k") as folder:
        return caught(lambda: home_digest(folder / "home"))


@DOOR.case("a read-only directory", "cannot be written: Read-only file system.", ELSEWHERE, exit_code=74, needs="root")
def read_only(bench: Bench) -> Outcome:
    with file_system(bench.place, "size=1m,ro") as folder:
        return caught(lambda: open_home(folder))


@DOOR.case("a stale lock: files of a process that is gone", exit_code=0)
def stale_lock(bench: Bench) -> Outcome:
    home = bench.home()
    gone = '{"pid": 1, "started": 5, "epoch": 1}'

    def damage() -> None:
        (home / "cluster.lock").touch()
        for journal in (home / "journals").iterdir():
            (journal / "owner.json").write_text(gone)

    return bench.damaged(home, damage)


@DOOR.case(
    "a clock that was set back a day",
    "the clock was set back",
    "set it right",
    "events go on after the last",
    exit_code=0,
)
def clock_back(bench: Bench) -> Outcome:
    home = bench.home()
    for path in (home / "journals").glob("*/*"):
        state = path.stat()
        os.utime(path, ns=(state.st_atime_ns + 86_400 * 10**9, state.st_mtime_ns + 86_400 * 10**9))
    findings = examine(load_settings(home))
    return Outcome(" ".join(f["message"] for f in findings if f["subject"] == "clock"), 0)
