"""kill -9 of the orchestrator, again and again: everything goes on answering, and no module is started again."""

from __future__ import annotations

import time
from pathlib import Path

import ray

from actors.backend import RayBackend
from actors.cast import actor_name
from actors.names import NAMESPACE, ORCHESTRATOR
from tests.support.system import batches, kill, small_corpus, system_settings

DEATHS = 8
BACK_S = 15.0
ANSWER_S = 5.0


def test_eight_deaths_in_a_row(home: Path) -> None:
    settings = system_settings(home)
    backend = RayBackend()
    backend.up(settings, None)
    client = backend.connect(settings, None)
    client.ingest(batches(small_corpus(), 48)[0])
    names = [m["name"] for m in client.status()["modules"]]
    actors = {name: ray.get_actor(actor_name(name), namespace=NAMESPACE) for name in names}
    pids = {name: ray.get(actor.ready.remote(), timeout=ANSWER_S)["pid"] for name, actor in actors.items()}
    for death in range(DEATHS):
        kill(ray.get(ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE).pid.remote(), timeout=ANSWER_S))
        deadline = time.monotonic() + BACK_S
        while True:
            status = client.status()
            if status["state"] == "running" and all(m["state"] == "running" for m in status["modules"]):
                break
            assert time.monotonic() < deadline, (death, status)
            time.sleep(0.1)
        assert [m["restarts"] for m in status["modules"]] == [0] * len(names)
        found = {n: ray.get(a.ready.remote(), timeout=ANSWER_S)["pid"] for n, a in actors.items()}
        assert found == pids, "a module was started again"
    adopted = [r for r in client.tail(500, ("ModuleInitialized",)) if r["payload"]["status"] == "adopted"]
    assert len(adopted) == DEATHS * len(names)
    assert client.query("clients", "summary", {})["documents"] == 48
    assert backend.down(settings, None)
