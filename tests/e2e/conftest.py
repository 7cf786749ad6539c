"""The installed ``tori`` command, as a person types it: a process of its own each time, a home of the test's own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from actors import cluster
from tori.journal.reader import JournalReader

TORI = Path(sys.executable).with_name("tori")
TIMEOUT_S = 120.0
NOTICED_S = 60.0


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Person:
    """Types ``tori ...`` in one home."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("TORI_", "RAY_"))}
        self._environment = kept | {"TORI_HOME": str(home), "TORI_RAY__CPUS": "2"}

    def __call__(self, *words: str) -> Outcome:
        done = subprocess.run(
            [TORI, *words],
            check=False,
            env=self._environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def json(self, *words: str, keys: str = "", code: int = 0) -> dict[str, Any]:
        """Return what ``--json`` printed: exactly one object, with at least these keys."""
        outcome = self(*words, "--json")
        assert outcome.code == code, (words, outcome)
        assert outcome.out.count("\n") == 1, (words, outcome.out)
        found = json.loads(outcome.out)
        assert isinstance(found, dict)
        assert found.keys() >= set(keys.split()), (words, sorted(found))
        return found

    def interrupted(self, number: int, *words: str) -> Outcome:
        """Run a command, and send it a signal once documents have arrived and before all have."""
        before = self.taken()
        with subprocess.Popen(
            # a job in the background of a shell ignores Ctrl-C, and so would every command it starts
            ["env", "--default-signal=INT", TORI, *words],
            env=self._environment,
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            stdin=subprocess.DEVNULL,
        ) as process:
            deadline = time.monotonic() + NOTICED_S
            while self.taken() == before and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.001)
            os.kill(process.pid, signal.SIGSTOP)
            assert process.poll() is None, "the command was faster than its interruption"
            os.kill(process.pid, number)
            os.kill(process.pid, signal.SIGCONT)
            out, err = process.communicate(timeout=TIMEOUT_S)
        return Outcome(process.returncode, out, err)

    def taken(self) -> int:
        """Return how many events the clients' journal holds on disk."""
        reader = JournalReader(self.home / "journals" / "clients")
        try:
            return reader.sequence()
        finally:
            reader.close()


def lines_of(name: str, rows: Sequence[dict[str, Any]], folder: Path) -> str:
    """Write JSON Lines and return the path."""
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """A person with a new home; what still runs there at the end is stopped."""
    home = tmp_path / "home"
    home.mkdir()
    yield Person(home)
    info = cluster.find(home)
    if info is not None:
        cluster.stop(info)
