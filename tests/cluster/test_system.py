"""A whole system on Ray: what a person is told of pauses, ids, failures and stops."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from actors import cluster
from actors.backend import RayBackend
from actors.cast import actor_name
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR
from tests.support.system import batches, kill, small_corpus, system_settings
from tori.errors import IllegalTransition
from tori.resources.process import descendants

SOON_S = 20.0


class Running:
    """A started system and a client of it."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self.settings = system_settings(home, **settings)
        self.backend = RayBackend()
        self.up()

    def up(self) -> None:
        self.backend.up(self.settings, None)
        self.client: RayClient = self.backend.connect(self.settings, None)

    def down(self) -> Any:
        return self.backend.down(self.settings, None)

    def tasks(self) -> dict[str, dict[str, Any]]:
        return {row["task_id"]: row for row in self.client.tasks()["tasks"]}

    def await_(self, what: Any) -> None:
        deadline = time.monotonic() + SOON_S
        while not what():
            assert time.monotonic() < deadline, self.client.status()
            time.sleep(0.1)


@pytest.fixture
def running(home: Path) -> Running:
    return Running(home, **{"tasks.wormhole_scan_s": 1.0, "tasks.performance_metrics_s": 1.0, "limits.restarts": 0})


def open_doors(pid: int) -> set[str]:
    try:
        connections = psutil.Process(pid).net_connections(kind="inet")
    except psutil.NoSuchProcess:
        return set()
    doors = {
        c.laddr.ip for c in connections if c.laddr and (c.status == psutil.CONN_LISTEN or c.type.name == "SOCK_DGRAM")
    }
    return {ip for ip in doors if ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")}


def pid_of(name: str) -> int:
    handle = ray.get_actor(actor_name(name), namespace=NAMESPACE)
    return int(ray.get(handle.pid.remote()) if name == ORCHESTRATOR else ray.get(handle.ready.remote())["pid"])


def test_pauses_ids_deaths_and_the_last_stop(running: Running) -> None:
    client = running.client
    names = [m["name"] for m in client.status()["modules"]]

    # every socket of every actor listens on loopback only
    info = cluster.find(running.home)
    assert info is not None
    actors = {pid_of(name) for name in (ORCHESTRATOR, *names)}
    pids = {p.pid for p in (*info.processes, *descendants(info.processes))} | {os.getpid()}
    assert actors <= pids
    assert len(actors) == len(names) + 1
    assert {pid: open_doors(pid) for pid in pids if open_doors(pid)} == {}

    # ids of runs and problems, and the count of refs, outlive the orchestrator
    client.ingest(batches(small_corpus(), 48)[0])
    run_id = client.run_task("concept_selection")["run_id"]
    running.await_(lambda: client.find(run_id) is not None)
    rows = client.why(str(client.find(run_id)))
    assert rows[0]["payload"]["run_id"] == run_id
    running.await_(lambda: client.query("orchestrator", "metrics", {}).get("tori_refs_routed") == 1)
    kill(pid_of(ORCHESTRATOR))
    running.await_(lambda: client.status()["state"] == "running")
    assert client.status()["refs_routed"] == 1
    assert client.find("nobody-is-called-so") is None

    # one module paused: quiesce says so at once
    client.pause("alien", paused=True)
    begun = time.monotonic()
    with pytest.raises(IllegalTransition, match="module alien is paused. tori resume alien"):
        client.quiesce()
    assert time.monotonic() - begun < 5
    client.pause("alien", paused=False)

    # the system paused: also after a stop and a start, for modules and schedule together, until it is resumed
    client.pause(None, paused=True)
    assert running.down().problems == ()
    running.up()
    client = running.client
    status = client.status()
    assert status["state"] == "paused"
    assert {m["state"] for m in status["modules"]} == {"paused"}
    assert {row["held_by"] for row in running.tasks().values()} == {"the system is paused: tori resume"}
    with pytest.raises(IllegalTransition, match="the system is paused"):
        client.quiesce()
    client.pause(None, paused=False)
    running.await_(lambda: client.status()["state"] == "running")
    assert {row["held_by"] for row in running.tasks().values()} <= {None}
    assert client.quiesce()["digest"]

    # without any module left the stop still stops
    for name in names:
        kill(pid_of(name))
    running.await_(lambda: client.status()["state"] == "failed")
    assert running.down()
    assert cluster.find(running.home) is None
    assert not (running.home / "cluster.json").exists()
