"""A repository's history: ``tori ingest git:PATH``."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from unittest.mock import patch

from tests.bad_input.bench import Bench
from tests.bad_input.case import Door, Outcome
from tori.sources import Refusal, open_source

DOOR = Door("git history", __doc__)


def git(place: Path, *words: str) -> None:
    who = {f"GIT_{role}_{what}": "ann@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    own = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "-C", str(place), *words], env=os.environ | who | own, check=True, capture_output=True)


def repository(bench: Bench, commits: int = 0) -> Path:
    git(bench.place, "init", "--quiet", "repository")
    place = bench.place / "repository"
    for number in range(commits):
        (place / f"{number}.txt").write_text("x")
        git(place, "add", "-A")
        git(place, "commit", "--quiet", "-m", f"Commit {number}")
    return place


def refusals(place: Path) -> Outcome:
    """Return what a history said beside its documents, without taking them in: they are good."""
    return Outcome(" ".join(str(f) for f in open_source(f"git:{place}").documents() if isinstance(f, Refusal)), 0)


DOOR.add("a folder that is no repository", lambda b: b.ingest(f"git:{b.place}"), "is no git repository.", "holds .git")
DOOR.add("a folder that is not there", lambda b: b.ingest(f"git:{b.place}/no"), "there is no folder", "git:PATH.")
DOOR.add(
    "an option in place of a path", lambda b: b.ingest("git:--output=x"), "there is no folder '--output=x'", "git:PATH."
)
DOOR.add(
    "a repository without commits",
    lambda b: b.ingest(f"git:{repository(b)}"),
    "no commit at HEAD yet.",
    "Commit something",
)


@DOOR.case(
    "settings that include themselves", "git cannot read", "exceeded maximum include depth", "git fsck tells more."
)
def circular(bench: Bench) -> Outcome:
    place = repository(bench, 1)
    with (place / ".git" / "config").open("a") as file:
        file.write("[include]\n\tpath = config\n")
    return bench.ingest(f"git:{place}")


@DOOR.case("settings that name programs to run", exit_code=0)
def programs(bench: Bench) -> Outcome:
    place, trap = repository(bench, 2), bench.place / "trap"
    program = bench.place / "program"
    program.write_text(f"#!/bin/sh\ntouch {trap}\n")
    program.chmod(0o755)
    for key in ("core.fsmonitor", "core.pager", "diff.external", "gpg.program", "core.sshCommand"):
        git(place, "config", key, str(program))
    git(place, "config", "log.showSignature", "true")
    outcome = refusals(place)
    assert not trap.exists()
    return outcome


@DOOR.case(
    "a shallow clone",
    "a shallow clone: the commits before its first are not here.",
    "git fetch --unshallow.",
    exit_code=0,
)
def shallow(bench: Bench) -> Outcome:
    git(bench.place, "clone", "--quiet", "--depth", "1", f"file://{repository(bench, 3)}", "shallow")
    return refusals(bench.place / "shallow")


@DOOR.case(
    "a history with a damaged object",
    "reading stopped:",
    "Repair the repository (git fsck), run it again.",
    exit_code=0,
)
def damaged(bench: Bench) -> Outcome:
    place = repository(bench, 3)
    for path in (place / ".git" / "objects").glob("??/*"):
        if path.stat().st_mtime and path.read_bytes()[:2] == b"x\x01" and b"tree" in _unpacked(path)[:4]:
            path.chmod(0o644)
            path.write_bytes(b"garbage")
    return refusals(place)


def _unpacked(path: Path) -> bytes:
    import zlib

    return zlib.decompress(path.read_bytes())


@DOOR.case("a machine without git", "git is not installed.", "Install it", exit_code=1)
def no_git(bench: Bench) -> Outcome:
    place = repository(bench, 1)
    with patch.dict(os.environ, {"PATH": str(bench.place)}):
        return bench.ingest(f"git:{place}")
