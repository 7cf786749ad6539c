"""The Ray backend of ``tori``: up, connect, down."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import ray

from actors import cluster
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR
from actors.options import orchestrator_options, remote_class
from actors.orchestrator import OrchestratorActor, OrchestratorConfig
from tori.client import Place, home_of
from tori.errors import NotRunning
from tori.home import open_home

STOP_S = 60.0


class RayBackend:
    """Starts TORI on a Ray cluster of its own, or on one that runs already."""

    def up(self, settings: Any, address: str | None) -> Place:
        home = open_home(home_of(settings))
        info = self._info(settings, address, start=True)
        assert info is not None
        cluster.connect(info)
        config = OrchestratorConfig(str(home), settings.plain())
        remote_class(OrchestratorActor, orchestrator_options()).remote(config)
        client = RayClient()
        client.wait_ready(settings.limits.start_timeout_s + 30)
        return self._place(info, home)

    def _info(self, settings: Any, address: str | None, *, start: bool) -> cluster.ClusterInfo | None:
        chosen = address or settings.ray.address
        if chosen:
            return cluster.join(chosen)
        home = home_of(settings)
        if not start:
            return cluster.find(home)
        return cluster.start(home, cluster_options(settings))

    def _place(self, info: cluster.ClusterInfo, home: Path) -> Place:
        return Place(info.address, NAMESPACE, str(home), None, info.dashboard_url, info.started_by_us)

    def connect(self, settings: Any, address: str | None) -> RayClient:
        info = self._info(settings, address, start=False)
        if info is None:
            raise NotRunning(f"no TORI runs in {home_of(settings)}.", remedy="Start it with tori up.")
        cluster.connect(info)
        client = RayClient()
        client.check()
        return client

    def place(self, settings: Any, address: str | None) -> Place | None:
        info = self._info(settings, address, start=False)
        return None if info is None else self._place(info, home_of(settings))

    def down(self, settings: Any, address: str | None) -> bool:
        info = self._info(settings, address, start=False)
        if info is None:
            return False
        with contextlib.suppress(NotRunning):
            cluster.connect(info)
            RayClient(patience_s=5.0).stop(STOP_S)
        ray.shutdown()
        cluster.stop(info)
        return True


def cluster_options(settings: Any) -> cluster.ClusterOptions:
    """Return how the settings want a cluster started."""
    ray = settings.ray
    return cluster.ClusterOptions(
        cpus=ray.cpus,
        object_store_bytes=ray.object_store_bytes,
        dashboard=ray.dashboard,
        auth=ray.auth,
        start_timeout_s=ray.start_timeout_s,
        stop_timeout_s=ray.stop_timeout_s,
    )


__all__ = ["ORCHESTRATOR", "RayBackend"]
