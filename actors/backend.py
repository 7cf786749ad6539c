"""The Ray backend of ``tori``: up, connect, down.

Ray takes half a second to import, so it is imported where it is needed: a door that finds no system says so at once.
"""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors import cluster
from actors.jobs import RayJobs
from actors.names import NAMESPACE, ORCHESTRATOR
from tori import errors
from tori.client import Place, Stopped, home_of
from tori.errors import NotRunning, ToriError, Unavailable
from tori.home import open_home
from tori.node import node_id

if TYPE_CHECKING:
    from actors.client import RayClient

STOP_S = 60.0
DOWN_PATIENCE_S = 5.0
NODE_LOOK_S = 0.2


class RayBackend:
    """Starts TORI on a Ray cluster of its own, or on one that runs already; or joins a TORI elsewhere as one more node."""

    def up(self, settings: Any, address: str | None) -> Place:
        from tori.modules.open import check_journals

        home = open_home(home_of(settings))
        check_journals(home)
        info = self._info(settings, address, start=True)
        assert info is not None
        client = self._client(info)
        if not info.is_head:
            self._arrive(client, settings)
            return self._place(info, home)
        if not client.is_there():
            check_home(home)
            await_nodes(settings.ray.nodes, settings.ray.start_timeout_s)
        orchestrator = make_orchestrator(home, settings)
        try:
            client.wait_ready(settings.limits.start_timeout_s + 30)
        except (NotRunning, Unavailable) as error:
            raise start_failure(orchestrator) or error from None
        return self._place(info, home)

    def _client(self, info: cluster.ClusterInfo, **options: Any) -> RayClient:
        """Make this process a driver of the cluster, and return a client of the system that runs there or will."""
        cluster.connect(info)
        from actors.client import RayClient

        return RayClient(**options)

    def _arrive(self, client: RayClient, settings: Any) -> None:
        """Say that this node has come; its modules, if it has any, run when this returns. A system may also start later."""
        if client.is_there():
            client.joined(node_id(home_of(settings)))
            client.wait_ready(settings.limits.start_timeout_s + 30)

    def _info(self, settings: Any, address: str | None, *, start: bool) -> cluster.ClusterInfo | None:
        chosen = address or settings.ray.address
        home = home_of(settings)
        own = cluster.find(home)
        if chosen and not (own is not None and own.address == chosen):
            if start and cluster.is_ours(home, chosen):
                return cluster.start_node(home, chosen, cluster_options(settings))
            return cluster.join(chosen)
        if own is not None or not start:
            return own
        return cluster.start(home, cluster_options(settings))

    def _place(self, info: cluster.ClusterInfo, home: Path) -> Place:
        return Place(info.address, NAMESPACE, str(home), None, info.dashboard_url, info.started_by_us)

    def connect(self, settings: Any, address: str | None) -> RayClient:
        info = self._info(settings, address, start=False)
        if info is None:
            raise NotRunning(f"no TORI runs in {home_of(settings)}.", remedy="Start it with tori up.")
        client = self._client(info)
        client.check()
        return client

    def place(self, settings: Any, address: str | None) -> Place | None:
        info = self._info(settings, address, start=False)
        return None if info is None else self._place(info, home_of(settings))

    def pack(self, path: Path) -> bytes:
        from actors.ship import pack_file

        return pack_file(path)

    def jobs(self, address: str, token: str) -> RayJobs:
        return RayJobs(address, token)

    def down(self, settings: Any, address: str | None) -> Stopped:
        info = self._info(settings, address, start=False)
        if info is None:
            return Stopped(was_running=False)
        problems: tuple[str, ...] = ()
        try:
            with contextlib.suppress(NotRunning):
                client = self._client(info, patience_s=DOWN_PATIENCE_S)
                if info.is_head:
                    problems = client.stop(STOP_S)
                else:
                    client.leave(node_id(home_of(settings)))
        finally:
            cluster.disconnect()
            cluster.stop(info)
        return Stopped(was_running=True, problems=problems)


def make_orchestrator(home: Path, settings: Any) -> Any:
    """Make the orchestrator, unless it is there; return its handle at once, before it is ready."""
    from actors.options import orchestrator_options, remote_class
    from actors.orchestrator import OrchestratorActor, OrchestratorConfig

    config = OrchestratorConfig(str(home), settings.plain())
    return remote_class(OrchestratorActor, orchestrator_options()).remote(config)


def start_failure(orchestrator: Any) -> ToriError | None:
    """Return why an orchestrator could not be made, as an error of ours; None when it could, or when Ray does not say."""
    import ray
    from ray.exceptions import RayError

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
        node_ip=ray.node_ip,
        port=ray.port,
    )


def check_home(home: Path) -> None:
    """Raise JournalMissing when a journal that is recorded as this node's is not there, or is shorter than it was."""
    from tori.orchestrator.berth import check_journal
    from tori.orchestrator.placement import recorded_berths

    journals = home / "journals"
    here = node_id(home)
    for name, berth in recorded_berths(journals / ORCHESTRATOR).all().items():
        if berth.node == here:
            check_journal(journals / name, berth)


def await_nodes(count: int, timeout_s: float) -> None:
    """Return once this many nodes live; raises Unavailable when they do not come."""
    import ray

    deadline = time.monotonic() + timeout_s
    while True:
        living = sum(1 for node in ray.nodes() if node["Alive"])
        if living >= count:
            return
        if time.monotonic() > deadline:
            raise Unavailable(
                f"{living} of {count} nodes are there after {timeout_s:.0f} s.",
                remedy="Start the others with tori up --address, or set ray.nodes lower.",
            )
        time.sleep(NODE_LOOK_S)


__all__ = ["ORCHESTRATOR", "RayBackend"]
