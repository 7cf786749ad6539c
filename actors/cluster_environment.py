"""What Ray's processes and its drivers need in their environment: loopback only, the token, and TORI's tuning."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LOOPBACK = "127.0.0.1"
_DASHBOARD_PORTS = range(8265, 8275)
_LOOPBACK_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_HEALTH = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
    "RAY_health_check_timeout_ms": "10000",
}
"""A raylet that was killed refuses connections and is given up after 5 s; one behind a network that swallows packets is asked
five times for 10 s, so that a partition of less than that ends no node."""
_PATIENCE = {"RAY_grpc_keepalive_timeout_ms": "60000"}
"""Servers of Ray drop a connection that left bytes unacknowledged for this long, after 20 s if left alone. A connection that is kept
carries at TCP's next try; one that was dropped is noticed only then, opened anew, and calls on it fail. Longer than a node is waited
for. Clients are left alone: a client that drops its connection (RAY_grpc_client_keepalive_*) makes health checks fail at once, and a
node behind a partition of 20 s was given up (measured)."""
# An idle worker goes after a minute instead of a second: a new one for every scan would cost a second of CPU at normal priority.
_TUNING = {
    **_HEALTH,
    **_PATIENCE,
    "RAY_process_group_cleanup_enabled": "1",  # what a worker's task started ends with the worker: the next attempt may be elsewhere
    "RAY_worker_niceness": "0",
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": "100000",
    "RAY_raylet_start_wait_time_s": "100",
}


def is_loopback(host: str) -> bool:
    """Say whether an address can be reached from this machine only."""
    return host.strip("[]") in (LOOPBACK, "localhost", "::1")


def gcs_storage(home: Path) -> Path:
    """Return where a GCS that shall survive its death keeps its tables; of one cluster only, so a start removes it."""
    return home.resolve() / "gcs"


def keeps_gcs() -> bool:
    """Return whether the environment asks for a GCS that keeps its tables on disk."""
    return os.environ.get("RAY_gcs_storage") == "rocksdb"


def node_environment(
    home: Path, token_path: Path | None, node_ip: str = LOOPBACK, *, is_head: bool = True
) -> dict[str, str]:
    """Return the environment that a node and, through it, every process of the cluster on it inherits.

    Where a head's home has a directory for them the GCS keeps its tables there, and can be started again. Compiled modules go into
    the home when the caller does not want them beside the sources and they are not there yet.
    """
    dropped = ("RAY_ADDRESS", "RAY_REDIS_ADDRESS", "RAY_JOB_ID", "RAY_RAYLET_PID", "RAY_AUTH_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    reach = _LOOPBACK_ONLY if is_loopback(node_ip) else {}
    environment = _TUNING | environment | reach | authentication(token_path) | {"TORI_HOME": str(home)}
    if is_head and gcs_storage(home).is_dir():
        environment |= {"RAY_gcs_storage": "rocksdb", "RAY_gcs_storage_path": str(gcs_storage(home))}
    environment["DASHBOARD_METRIC_PORT"] = str(_free_port())
    # Jobs say `python`, and mean this one.
    environment["PATH"] = os.pathsep.join(filter(None, (str(Path(sys.executable).parent), environment.get("PATH"))))
    if environment.get("PYTHONDONTWRITEBYTECODE") and not is_compiled():
        # Without bytecode a worker starts in 3.6 s instead of 0.6, so it is written, but where it is no litter.
        del environment["PYTHONDONTWRITEBYTECODE"]
        environment.setdefault("PYTHONPYCACHEPREFIX", str(home / "bytecode"))
    root = str(Path(__file__).resolve().parents[1])
    paths = environment.get("PYTHONPATH", "")
    if root not in paths.split(os.pathsep):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, paths)))
    return environment


def is_compiled() -> bool:
    """Return whether bytecode lies beside the sources of Ray and of this package, as ``make install`` leaves it."""
    found = (importlib.util.find_spec(name) for name in ("ray", "actors.cluster_environment"))
    sources = [spec.origin for spec in found if spec is not None and spec.origin]
    return len(sources) == 2 and all(Path(importlib.util.cache_from_source(source)).exists() for source in sources)


def authentication(token_path: Path | None) -> dict[str, str]:
    if token_path is None:
        return {"RAY_AUTH_MODE": "disabled"}
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_path)}


def adopt(address: str, token_path: Path | None, *, is_ours: bool) -> None:
    """Give this process what a driver needs: the loopback rule and the token; of a joined cluster the user has the token."""
    loopback = is_loopback(address.rpartition(":")[0])
    wanted = dict(_LOOPBACK_ONLY) if loopback else {}
    if is_ours:
        wanted |= authentication(token_path)
        if token_path is not None:
            os.environ.pop("RAY_AUTH_TOKEN", None)
    changed = any(os.environ.get(name) != value for name, value in wanted.items())
    os.environ.update(wanted)
    if changed and "ray" in sys.modules:
        refresh_ray(loopback=loopback)


def refresh_ray(*, loopback: bool) -> None:
    """Make a Ray that was imported before the environment changed read it again."""
    import ray._raylet as core
    from ray._private import ray_constants

    ray_constants.ENABLE_RAY_CLUSTER = not loopback
    core.Config.initialize("")  # type: ignore[attr-defined]  # missing from Ray's stub
    core.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]  # missing from Ray's stub


def node_names(address: str, label: str, timeout_s: float) -> set[str]:
    """Return what living nodes of a cluster carry under a label, asked of its GCS without becoming a driver."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # missing from Ray's stub

    nodes = GcsClient(address=address).get_all_node_info(timeout=timeout_s).values()
    living = [node for node in nodes if node.state == node.ALIVE]
    return {node.labels[label] for node in living if label in node.labels}


def spawn(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Start a process that outlives this one, silent, in a session of its own; return its pid."""
    null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    return os.posix_spawn(command[0], list(command), environment, file_actions=null, setsid=True)


def quiet_driver() -> None:
    """Send what the raylet tells drivers ("a worker died", ...) to the log: Ray prints it on stdout, amid the answers."""
    from ray._private import worker

    def to_log(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        logging.getLogger("ray").info("%s: %s", data.get("pid"), " ".join(data.get("lines", ())))

    worker.print_to_stdstream = to_log


def dashboard_port(host: str = LOOPBACK) -> int:
    """Return the first of Ray's usual dashboard ports that is free, or any free one."""
    return next((port for port in _DASHBOARD_PORTS if _is_free(port, host)), 0) or _free_port()


def _is_free(port: int, host: str) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
