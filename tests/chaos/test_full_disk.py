"""A disk that stays full: who died on it waits for room and says so, and comes back by itself, however long it took."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.names import ORCHESTRATOR
from tests.chaos.arena import Arena
from tests.chaos.campaign import small_disk
from tests.chaos.worker_fault import SPACE_S, full_disk
from tests.support.system import batches, kill, small_corpus
from tori.errors import NoRoom, NotRunning, Unavailable

MODULE = "scars"
SMALL_BYTES = 64 << 20


def test_who_died_on_a_full_disk_waits_for_room(folder: Path, can_mount: bool) -> None:
    if not can_mount:
        pytest.skip("mounting a small disk needs root")
    arena = Arena(folder / "home", folder / "history")
    journals = arena.home / "journals"
    journals.mkdir(parents=True)
    with small_disk(journals, SMALL_BYTES):
        try:
            _survive(arena, journals)
        finally:
            arena.down()


def _survive(arena: Arena, journals: Path) -> None:
    arena.up()
    client = arena.client()
    client.ingest(batches(small_corpus(12), 12)[0])
    before = client.quiesce()["digest"]
    module, orchestrator = arena.owner(MODULE), arena.owner(ORCHESTRATOR)
    with full_disk(journals):
        kill(module.pid)
        arena.await_true("a start that waits", lambda: _waits(arena))
        kill(orchestrator.pid)
        arena.await_true("an orchestrator that waits", lambda: _says(arena, NoRoom))
        with pytest.raises(NoRoom, match="No space left on device"):
            client.status()
        with pytest.raises(Unavailable, match="No space left on device"):
            arena.client(patience_s=1.0).tasks()
    began = time.monotonic_ns()
    back = max(arena.await_owner(MODULE, module), arena.await_owner(ORCHESTRATOR, orchestrator))
    assert (back - began) / 1e9 < SPACE_S
    rows = {row["name"]: row for row in arena.client().status()["modules"]}
    assert {name: row["restarts"] for name, row in rows.items() if row["restarts"]} == {MODULE: 1}
    assert rows[MODULE]["waits_for"] == ""
    assert arena.client().quiesce()["digest"] == before


def _waits(arena: Arena) -> bool:
    (row,) = [row for row in arena.client().status()["modules"] if row["name"] == MODULE]
    return row["state"] == "initializing" and "No space left on device" in row["waits_for"]


def _says(arena: Arena, kind: type[Exception]) -> bool:
    try:
        arena.client(patience_s=1.0).status()
    except kind:
        return True
    except (NotRunning, Unavailable):
        return False
    return False
