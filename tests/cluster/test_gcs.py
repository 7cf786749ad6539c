"""A GCS that dies is started again under a cluster that lives on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from actors import cluster
from actors.cluster import ClusterOptions, restart_gcs
from actors.names import NAMESPACE
from tests.cluster.probe import Probe
from tori.errors import PermanentError
from tori.resources.process import await_end

GCS = "gcs_server"
LEAN = ClusterOptions(object_store_bytes=80 << 20, stop_timeout_s=1.0)


def _kill_gcs(info: cluster.ClusterInfo) -> None:
    victims = [process for process in info.processes if process.name == GCS]
    os.kill(victims[0].pid, signal.SIGKILL)
    assert await_end(victims, 10) == []


def test_actors_are_found_again_by_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_gcs_storage", "rocksdb")
    import ray

    info = cluster.start(home, LEAN)
    cluster.connect(info)
    try:
        options = {"name": "probe", "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0}
        probe = ray.remote(**options)(Probe).remote()
        pid = ray.get(probe.facts.remote())["pid"]
        _kill_gcs(info)
        assert ray.get(probe.facts.remote())["pid"] == pid, "calls go on without it"

        now = cluster.find(home)
        assert now is not None, "a look at the home starts it again"
        assert ray.get(ray.get_actor("probe", namespace=NAMESPACE).facts.remote())["pid"] == pid
        other = ray.remote(num_cpus=0)(Probe).remote()
        assert ray.get(other.facts.remote())["pid"] != pid
        assert cluster.find(home) == now
        assert restart_gcs(now) == now
    finally:
        ray.shutdown()
        cluster.stop(cluster.find(home) or info)


def test_tables_in_memory_cannot_come_back(home: Path) -> None:
    info = cluster.start(home, LEAN)
    _kill_gcs(info)
    with pytest.raises(PermanentError, match="its tables died with it"):
        restart_gcs(info)
