"""The Ray backend of ``tori``: up, connect, down."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from actors import cluster
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR
from actors.options import orchestrator_options, remote_class
from actors.orchestrator import OrchestratorActor, OrchestratorConfig
from tori import errors
from tori.client import Place, Stopped, home_of
from tori.errors import NotRunning, ToriError, Unavailable
from tori.home import open_home
from tori.modules.open import check_journals

STOP_S = 60.0


class RayBackend:
    """Starts TORI on a Ray cluster of its own, or on one that runs already."""

    def up(self, settings: Any, address: str | None) -> Place:
        home = open_home(home_of(settings))
        check_journals(home)
        info = self._info(settings, address, start=True)
        assert info is not None
        cluster.connect(info)
        config = OrchestratorConfig(str(home), settings.plain())
        orchestrator = remote_class(OrchestratorActor, orchestrator_options()).remote(config)
        client = RayClient()
        try:
            client.wait_ready(settings.limits.start_timeout_s + 30)
        except (NotRunning, Unavailable) as error:
            raise start_failure(orchestrator) or error from None
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

    def down(self, settings: Any, address: str | None) -> Stopped:
        info = self._info(settings, address, start=False)
        if info is None:
            return Stopped(was_running=False)
        problems: tuple[str, ...] = ()
        try:
            with contextlib.suppress(NotRunning):
                cluster.connect(info)
                problems = RayClient(patience_s=5.0).stop(STOP_S)
        finally:
            ray.shutdown()
            cluster.stop(info)
        return Stopped(was_running=True, problems=problems)


def start_failure(orchestrator: Any) -> ToriError | None:
    """Return why an orchestrator could not be made, as an error of ours; None when it could, or when Ray does not say."""
    try:
        ray.get(orchestrator.__ray_ready__.remote(), timeout=5.0)
    except RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if ": " in line]
        for name, _, said in reversed([line.partition(": ") for line in lines]):
            found = getattr(errors, name.removeprefix("tori.errors."), None)
            if isinstance(found, type) and issubclass(found, ToriError):
                return found(f"the system in this home cannot start: {said}")
    return None


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
