"""``python -m actors.cluster_head``: start a Ray head, or one more node, that outlives this process; say how to reach it.

It stands in for ``ray start --head``, which cannot leave out the Ray Client server, and starts the dashboard before it
starts what the dashboard shows. Input: a ``HeadRequest``, ``NodeRequest`` or ``DashboardRequest`` as one JSON argument. Output: a
``HeadReport`` as JSON on stdout. Everything private to Ray that TORI needs to start a cluster is in this file.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from actors.cluster_environment import LOOPBACK
from tori.resources.process import ProcessMark, children

_SPAWN_LIMIT_S = 20.0
_DASHBOARD_SCRIPT = "dashboard.py"
NODE_LABEL = "tori-node"
"""Ray label of every node TORI starts: the name in its home, which Ray's own node id is not."""


class HeadRequest(msgspec.Struct, frozen=True, tag=True):
    """A cluster to start; ``dashboard_port`` 0 = without the dashboard."""

    temp_dir: str
    cpus: int
    object_store_bytes: int
    dashboard_port: int
    node_id: str
    node_ip: str = LOOPBACK
    port: int = 0
    """Port of the GCS, at which other nodes join; 0 = any free one."""


class NodeRequest(msgspec.Struct, frozen=True, tag=True):
    """One more node for a cluster that runs elsewhere."""

    address: str
    temp_dir: str
    cpus: int
    object_store_bytes: int
    node_id: str
    node_ip: str = LOOPBACK


class DashboardRequest(msgspec.Struct, frozen=True, tag=True):
    """A dashboard to start for a cluster that runs."""

    address: str
    session_dir: str
    port: int
    node_ip: str = LOOPBACK


class HeadReport(msgspec.Struct, frozen=True):
    """What was started."""

    address: str
    session_dir: str
    ports: dict[str, int]
    processes: tuple[ProcessMark, ...]
    gcs_command: tuple[str, ...] = ()
    """How to start the same GCS again, on the same port."""


def start_head(request: HeadRequest) -> HeadReport:
    """Start the GCS and the raylet with its agents, and then the dashboard if asked, on the loopback interface or the given one."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    class HeadNode(Node):  # type: ignore[misc]  # Ray's private modules are not typed
        """A head that leaves the dashboard to ``start_dashboard``: the raylet need not wait for it."""

        def start_api_server(self, *, include_dashboard: bool | None, raise_on_failure: bool) -> None:
            """Start nothing."""

    parameters = RayParams(
        node_ip_address=request.node_ip,
        node_name="tori",
        gcs_server_port=request.port,
        labels={NODE_LABEL: request.node_id},
        object_manager_port=0,
        dashboard_agent_listen_port=0,
        num_cpus=request.cpus,
        num_gpus=0,
        object_store_memory=request.object_store_bytes,
        temp_dir=request.temp_dir,
        no_monitor=True,
        include_log_monitor=False,
    )
    node = HeadNode(parameters, head=True, shutdown_at_exit=False, spawn_reaper=False)
    session_dir = node.get_session_dir_path()
    ports = {
        "gcs": int(node.gcs_address.rpartition(":")[2]),
        "metrics": int(node.metrics_export_port),
        "node_manager": int(node.node_manager_port),
    }
    if request.dashboard_port:
        wanted = DashboardRequest(node.address, session_dir, request.dashboard_port, request.node_ip)
        ports |= start_dashboard(wanted).ports
    started = tuple(children())
    return HeadReport(node.address, session_dir, ports, started, _gcs_command(started, ports["gcs"]))


def _gcs_command(started: tuple[ProcessMark, ...], port: int) -> tuple[str, ...]:
    """Return the command line of the GCS with the port it found in place of "any"."""
    import psutil

    pid = next(process.pid for process in started if process.name == "gcs_server")
    asked = "--gcs_server_port="
    return tuple(f"{asked}{port}" if word.startswith(asked) else word for word in psutil.Process(pid).cmdline())


def start_node(request: NodeRequest) -> HeadReport:
    """Start a raylet with its agents that joins a running cluster; it keeps its session in its own home."""
    from ray._private.node import Node
    from ray._private.parameter import RayParams

    parameters = RayParams(
        gcs_address=request.address,
        node_ip_address=request.node_ip,
        node_name=f"tori-{request.node_id[:8]}",
        object_manager_port=0,
        dashboard_agent_listen_port=0,
        labels={NODE_LABEL: request.node_id},
        num_cpus=request.cpus,
        num_gpus=0,
        object_store_memory=request.object_store_bytes,
        temp_dir=request.temp_dir,
        include_log_monitor=False,
    )
    node = Node(parameters, head=False, shutdown_at_exit=False, spawn_reaper=False)
    ports = {"metrics": int(node.metrics_export_port), "node_manager": int(node.node_manager_port)}
    return HeadReport(request.address, node.get_session_dir_path(), ports, tuple(children()))


def start_dashboard(request: DashboardRequest) -> HeadReport:
    """Start Ray's dashboard beside a running cluster; it answers a second or two later."""
    from ray._private import services
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # missing from Ray's stub

    gcs = GcsClient(address=request.address)
    log_dir = os.path.join(request.session_dir, "logs")
    arguments = {
        "include_dashboard": True,
        "raise_on_failure": False,
        "host": request.node_ip,
        "gcs_address": request.address,
        "cluster_id_hex": gcs.cluster_id.hex(),
        "node_ip_address": request.node_ip,
        "temp_dir": str(Path(request.session_dir).parent),
        "logdir": log_dir,
        "session_dir": request.session_dir,
        "port": request.port,
        "stdout_filepath": os.path.join(log_dir, "dashboard.out"),
        "stderr_filepath": os.path.join(log_dir, "dashboard.err"),
    }
    # Ray's function returns when the dashboard answers; nobody has to wait for that.
    threading.Thread(target=services.start_api_server, kwargs=arguments, daemon=True).start()
    limit = time.monotonic() + _SPAWN_LIMIT_S
    while not any(child.name == _DASHBOARD_SCRIPT for child in children()) and time.monotonic() < limit:
        time.sleep(0.02)
    gcs.internal_kv_put(b"webui:url", f"{request.node_ip}:{request.port}".encode(), True, b"dashboard")
    return HeadReport(request.address, request.session_dir, {"dashboard": request.port}, tuple(children()))


def main() -> None:
    """Start, report, and leave at once: what was started stays."""
    # Ray cancels tasks with it, and a shell's "&" has it ignored by all that follow
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    request = msgspec.json.decode(sys.argv[1], type=HeadRequest | NodeRequest | DashboardRequest)
    start: dict[type, Callable[[Any], HeadReport]] = {
        HeadRequest: start_head,
        NodeRequest: start_node,
        DashboardRequest: start_dashboard,
    }
    report = start[type(request)](request)
    sys.stdout.buffer.write(msgspec.json.encode(report))
    sys.stdout.buffer.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
