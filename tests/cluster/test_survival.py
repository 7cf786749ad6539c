"""kill -9 of every part while documents come in, then of everything: nothing lost, nothing doubled, the same digest."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import ray

from actors import cluster
from actors.backend import RayBackend
from actors.cast import actor_name
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR
from tests.support.system import audit, batches, kill, small_corpus, system_settings
from tori.events.mind import DocumentIngested
from tori.events.system import RecoverySucceeded
from tori.local import LocalSystem
from tori.modules.registry import START_ORDER
from tori.resources.process import descendants

VICTIMS = ("clients", *START_ORDER)


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str]:
    """The digests of the same documents read in one process that nobody disturbed."""
    with LocalSystem() as mind:
        mind.ingest(small_corpus())
        mind.quiesce()
        return mind.digests()


def _pid(name: str) -> int:
    handle = ray.get_actor(actor_name(name), namespace=NAMESPACE)
    if name == ORCHESTRATOR:
        return int(ray.get(handle.pid.remote()))
    return int(ray.get(handle.ready.remote())["pid"])


def _wait_running(client: RayClient, restarts: dict[str, int], timeout_s: float = 15.0) -> dict[str, Any]:
    """Return the status once everything runs and exactly these restarts have happened."""
    deadline = time.monotonic() + timeout_s
    while True:
        status = client.status()
        found = {m["name"]: m["restarts"] for m in status["modules"]}
        if status["state"] == "running" and found == restarts:
            return status
        assert all(found[name] <= restarts[name] for name in found), f"somebody else was started again: {found}"
        assert time.monotonic() < deadline, f"{status['state']}, restarts {found}, not {restarts} in {timeout_s} s"
        time.sleep(0.05)


def _kill_cluster(home: Path) -> None:
    info = cluster.find(home)
    assert info is not None
    ray.shutdown()
    for process in (*descendants(info.processes), *info.processes):
        try:
            kill(process.pid)
        except ProcessLookupError:
            continue


def test_kill_everything_in_turn(home: Path, undisturbed: dict[str, str]) -> None:
    documents = small_corpus()
    settings = system_settings(home)
    backend = RayBackend()
    backend.up(settings, None)
    client = backend.connect(settings, None)
    waiting = batches(documents, 4)
    restarts = dict.fromkeys(VICTIMS, 0)
    for victim in VICTIMS:
        client.ingest(waiting.pop(0))
        kill(_pid(victim))
        restarts[victim] += 1
        client.ingest(waiting[0])
        _wait_running(client, restarts)
    kill(_pid(ORCHESTRATOR))
    client.ingest(waiting[0])
    status = _wait_running(client, restarts)
    assert all(m["state"] == "running" for m in status["modules"])
    first = client.quiesce()
    assert first["sections"]["clients"] != undisturbed["clients"], "not everything was ingested yet"
    for batch in waiting:
        client.ingest(batch)
    _kill_cluster(home)

    backend.up(settings, None)
    client = backend.connect(settings, None)
    for batch in batches(documents, 4):
        client.ingest(batch)
    settled = client.quiesce()
    assert settled["sections"] == undisturbed
    status = client.status()
    assert all(m["late_wakes"] == 0 for m in status["modules"]), "a wake-up was lost"
    recoveries = client.tail(500, (RecoverySucceeded.__name__,))
    assert {r["payload"]["module"] for r in recoveries} == set(VICTIMS)
    assert backend.down(settings, None)
    counts = audit(home, documents)
    assert counts["clients"] >= len(documents)


def test_a_stop_and_a_start_keep_everything(home: Path, undisturbed: dict[str, str]) -> None:
    settings = system_settings(home)
    backend = RayBackend()
    backend.up(settings, None)
    client = backend.connect(settings, None)
    for batch in batches(small_corpus(), 16):
        client.ingest(batch)
    before = client.quiesce()
    assert before["sections"] == undisturbed
    events = client.status()["events"]
    assert backend.down(settings, None)
    assert not backend.down(settings, None)

    backend.up(settings, None)
    client = backend.connect(settings, None)
    assert client.digest()["sections"] == undisturbed, "the state came back without a new pass"
    assert client.status()["events"] > events
    loaded = client.tail(200, ("CheckpointLoaded",))
    assert {r["payload"]["modules"][0] for r in loaded} >= set(VICTIMS)
    _damage_newest_checkpoint(home)
    assert backend.down(settings, None)

    backend.up(settings, None)
    client = backend.connect(settings, None)
    assert client.quiesce()["sections"] == undisturbed
    restored = client.restore(None)
    assert restored["sections"] == undisturbed
    answers = client.query("braid", "ask", {"question": "what about the sourdough starter?"})["answers"]
    rows = client.why(answers[0]["why"])
    assert rows[0]["type"] == DocumentIngested.__name__
    assert answers[0]["quote"] in rows[0]["payload"]["text"]
    assert backend.down(settings, None)


def _damage_newest_checkpoint(home: Path) -> None:
    newest = max(p for p in (home / "checkpoints").iterdir() if p.name.startswith("checkpoint-"))
    victim = newest / "braid.snapshot"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
