"""What cases work with: a mind behind the command line, homes that may be damaged, a process without rights."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.bad_input.case import Outcome
from tests.support.local_backend import LocalBackend
from tests.support.system import small_corpus
from tori.cli import main as entry
from tori.client import Backend
from tori.clock import VirtualClock
from tori.errors import ToriError
from tori.local import LocalSystem

NOBODY = 65534
SMALL_MIND = ("clients", "reader")


class Bench:
    """One a test, over what the whole run shares."""

    def __init__(self, place: Path, backend: LocalBackend, template: Path) -> None:
        self.place = place
        """An empty directory for the case."""
        self._backend = backend
        self._template = template
        self.running: tuple[Path, Backend] | None = None
        """Home and backend of the shared cluster, for cases that need it."""

    # -- the command line ----------------------------------------------------------------------------------------

    def tori(self, *words: str, backend: Backend | None = None, home: Path | None = None) -> Outcome:
        """Run ``tori ...`` in this process, over the in-process mind unless told otherwise."""
        said = io.StringIO()
        environment = {"TORI_HOME": str(home or self.place / "home")}
        with (
            patch.object(sys, "argv", ["tori", *words]),
            patch.dict(os.environ, environment),
            patch("tori.cli.session.load_backend", lambda: backend or self._backend),
            redirect_stdout(said),
            redirect_stderr(said),
            pytest.raises(SystemExit) as ended,
        ):
            entry.main()
        return Outcome(said.getvalue(), int(ended.value.code or 0))

    def ingest(self, source: object) -> Outcome:
        """Run ``tori ingest SOURCE``."""
        return self.tori("ingest", str(source))

    def digest(self) -> str:
        """Return the digest of the in-process mind as it is now."""
        client = self._backend.client
        assert client is not None
        return str(client.digest()["digest"])

    # -- homes ---------------------------------------------------------------------------------------------------

    def home(self) -> Path:
        """Return a copy of a home that holds a small mind, nobody running in it."""
        home = self.place / "mind"
        shutil.copytree(self._template, home)
        return home

    def damaged(self, home: Path, damage: Callable[[], None], *, repair: Path | None = None) -> Outcome:
        """Damage a home and open it; what was damaged is then put back from a copy and the digest must be the old one."""
        before = home_digest(home)
        copy = self.place / "copy"
        shutil.copytree(home, copy)
        damage()
        outcome = caught(lambda: home_digest(home))
        if outcome.exit_code:
            shutil.rmtree(home)
            shutil.copytree(copy, home)
        assert home_digest(home) == before, "the digest has changed"
        return outcome


def home_digest(home: Path) -> str:
    """Open a home, let its mind catch up, return the digest."""
    with LocalSystem(home, modules=SMALL_MIND, clock=VirtualClock()) as mind:
        mind.pump()
        return mind.digest()


def caught(work: Callable[[], object]) -> Outcome:
    """Run ``work``; return its error as the command line would end with it."""
    try:
        work()
    except ToriError as error:
        return Outcome(str(error), error.exit_code)
    return Outcome("", 0)


def make_template(place: Path) -> Path:
    """Make the home that ``Bench.home`` copies."""
    with LocalSystem(place, modules=SMALL_MIND, clock=VirtualClock()) as mind:
        mind.ingest(small_corpus(16), batch=4)
        mind.pump()
    return place


def as_nobody(work: Callable[[], Outcome]) -> Outcome:
    """Run ``work`` in a child without root's rights (here, when there are none to give up)."""
    if os.getuid() != 0:
        return work()
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # forking beside idle threads: the child only reads and answers
        child = os.fork()
    if child == 0:
        answer: Outcome | str = "died"
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer = work()
        except BaseException as error:
            answer = repr(error)
        finally:
            os.write(writing, pickle.dumps(answer))
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        found = pickle.loads(pipe.read())
    os.waitpid(child, 0)
    assert isinstance(found, Outcome), found
    return found


@contextmanager
def open_to_all() -> Iterator[Path]:
    """Yield an empty directory that other users may look into."""
    with tempfile.TemporaryDirectory(prefix="tori-bad-input-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
