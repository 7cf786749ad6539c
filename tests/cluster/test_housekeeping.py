"""Housekeeping of a running system: the guards come together, damage is told with its place, and everybody goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from actors.backend import RayBackend
from tests.support.system import batches, small_corpus, system_settings
from tori.checkpoint.store import CheckpointStore

SOON_S = 30.0


def persist(client: Any) -> None:
    """Run the periodic checkpoint with all that belongs to it."""
    run_id = client.run_task("state_persistence")["run_id"]
    deadline = time.monotonic() + SOON_S
    while True:
        runs = {r["run_id"]: r for r in client.tasks()["runs"]}
        state = runs.get(run_id, {}).get("state")
        if state == "succeeded":
            return
        assert state in (None, "running"), runs[run_id]
        assert time.monotonic() < deadline, "the checkpoint does not end"
        time.sleep(0.1)


def problems(client: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.status()["problems"]
    return found


def test_trim_and_scrub_on_a_living_system(home: Path) -> None:
    settings = system_settings(home, **{"journal.keep_size_bytes": 1, "journal.scrub_again_s": 0.001})
    backend = RayBackend()
    backend.up(settings, None)
    client = backend.connect(settings, None)
    for batch in batches(small_corpus(), 16):
        client.ingest(batch)
    client.quiesce()
    for _ in range(3):
        persist(client)
    assert [p for p in problems(client) if p["type"] in ("ErrorOccurred", "StateCorrupted")] == []
    store = CheckpointStore(home / "checkpoints")
    assert {"orchestrator", "reader"} <= store.manifest(store.list()[0]).modules.keys()

    segment = sorted((home / "journals" / "reader").glob("*.seg"))[0]
    with segment.open("r+b") as file:
        file.seek(300)
        byte = file.read(1)
        file.seek(300)
        file.write(bytes([byte[0] ^ 1]))
    persist(client)
    (told,) = [p for p in problems(client) if p["type"] == "StateCorrupted"]
    assert told["subject"] == "reader"
    assert "journal reader, offset" in told["message"]
    assert "entries" in told["message"]
    persist(client)
    assert len([p for p in problems(client) if p["type"] == "StateCorrupted"]) == 1, "damage is told once"
    assert all(m["state"] == "running" and m["restarts"] == 0 for m in client.status()["modules"])
    assert backend.down(settings, None)
