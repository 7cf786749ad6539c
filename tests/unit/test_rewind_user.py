"""Rewinding a mind that has, or had, a module of a user: by processes that begin knowing nothing of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import kept_tables
from tests.support.system import small_corpus
from tori.checkpoint import swap
from tori.checkpoint.rewind import moment_of
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.events.cloudevents import format_time
from tori.home import REWIND_INTENT
from tori.local import LocalSystem
from tori.local.rewound import rewind
from tori.modules import registry
from tori.modules.user import load_modules

CODE = """
import msgspec
from tori.events.mind import DocumentIngested
from tori.events.system import ErrorOccurred
from tori.modules.base import Module
from tori.modules.user import module

@module(follows=("clients",))
class Counting(Module):
    name = "counting"
    inputs = (DocumentIngested,)
    def __init__(self): self.count = 0
    def decide(self, batch, context):
        return [context.event(ErrorOccurred("Counted", e.payload.document_id, "counting"), causes=(e.id,)) for e in batch]
    def apply(self, fact): self.count += type(fact.payload) is ErrorOccurred
    def snapshot(self): return msgspec.msgpack.encode(self.count)
    def restore(self, data): self.count = msgspec.msgpack.decode(data)
    def query(self, name, arguments): return {"counted": self.count}
"""
MODULES = ("clients", "counting", "orchestrator")
SETTINGS = '[user]\nmodules = "users_counted"\n'


tables = pytest.fixture(autouse=True)(kept_tables)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A mind whose module ``counting`` has counted four documents: two, a checkpoint, ``middle``, two more, and one checkpoint more."""
    place = tmp_path / "home"
    (tmp_path / "users_counted.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    load_modules({"user": {"modules": "users_counted"}})
    with LocalSystem(place, modules=MODULES) as mind:
        for documents in (small_corpus(4)[:2], small_corpus(4)[2:]):
            mind.ingest(documents)
            mind.pump()
            mind.checkpoint(CheckpointStore(place / FOLDER))
            if not (tmp_path / "middle").exists():
                (tmp_path / "middle").write_text(format_time(time.time_ns()))
    (place / "tori.toml").write_text(SETTINGS)
    yield place
    sys.modules.pop("users_counted", None)


def middle(home: Path) -> str:
    """Return the moment after two documents, of which no checkpoint is left: whoever goes back there replays the journals."""
    store = CheckpointStore(home / FOLDER)
    shutil.rmtree(store.root / store.list()[1])
    return (home.parent / "middle").read_text()


def forget() -> None:
    """Be a process that has not loaded anything."""
    registry.forget_modules("users_counted")
    sys.modules.pop("users_counted", None)


def tori(home: Path, *words: str) -> dict[str, Any]:
    """Return what a command of a fresh process answers."""
    code = "from tori.cli.main import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--home", str(home), "--json"],
        env=os.environ | {"PYTHONPATH": os.path.dirname(str(sys.modules["users_counted"].__file__))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def counted(home: Path) -> tuple[int, dict[str, int]]:
    """Return what the module has counted, and what the record has of it."""
    load_modules({"user": {"modules": "users_counted"}})
    with LocalSystem(home, modules=MODULES) as mind:
        return mind.query("counting", "summary")["counted"], mind.query("orchestrator", "counts")


def test_a_copy_knows_the_modules_of_its_mind(home: Path) -> None:
    newest, oldest = CheckpointStore(home / FOLDER).list()
    copy = tori(home, "rewind", oldest)["home"]
    rows = {row["name"]: row["summary"] for row in tori(Path(copy), "status")["modules"]}
    assert rows["counting"] == {"counted": 2}
    changes = {row["module"]: row for row in tori(home, "checkpoint", "diff", oldest, newest)["modules"]}
    assert changes["counting"]["counts"] == {"counted": [2, 4]}


def test_a_rewind_in_place_keeps_the_record_of_the_modules_of_its_mind(home: Path) -> None:
    tori(home, "rewind", middle(home), "--in-place")
    assert not (home / REWIND_INTENT).exists()
    assert counted(home) == (2, {"ErrorOccurred": 2, "MindRewound": 1})


@pytest.mark.parametrize("is_in_place", [False, True])
def test_the_journal_of_a_module_that_was_taken_out_stands_in_no_way(home: Path, is_in_place: bool) -> None:
    (home / "tori.toml").unlink()
    found = tori(home, "rewind", middle(home), *(["--in-place"] if is_in_place else []))
    assert found["cuts"]["counting"]["sequence"] == 2
    if not is_in_place:
        assert "counting" not in {row["name"] for row in tori(Path(found["home"]), "status")["modules"]}
    assert counted(Path(found["home"]))[0] == 2


def test_whoever_has_loaded_nothing_finishes_what_was_interrupted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moment = moment_of(middle(home), CheckpointStore(home / FOLDER), time.time_ns())
    with monkeypatch.context() as patch:
        patch.setattr(swap, "_record", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            swap.rewind_in_place(home, moment, 7)
    assert (home / REWIND_INTENT).exists()
    forget()
    LocalSystem(home, modules=("clients",)).close()
    assert not (home / REWIND_INTENT).exists()
    assert counted(home) == (2, {"ErrorOccurred": 2, "MindRewound": 1})


def test_a_copy_that_cannot_be_opened_is_not_left_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def restore(module: object, data: bytes) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(registry.module_class("counting"), "restore", restore)
    with pytest.raises(ZeroDivisionError):
        rewind(home, "0s")
    assert not list((home / "rewinds").iterdir())
