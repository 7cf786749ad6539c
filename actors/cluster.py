"""The Ray cluster under one TORI home: start one, find it again, join another, stop what was started.

The head outlives the process that starts it. Unless a node's address is given, every socket of the cluster listens on the loopback
interface only; callers must always show the home's token: Ray runs any code it is sent, so nobody else may reach it. The
record is ``cluster.json`` in the home. A home on another machine joins with ``start_node``; its record is of the same kind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from actors.cluster_environment import (
    LOOPBACK,
    adopt,
    dashboard_port,
    gcs_storage,
    is_loopback,
    keeps_gcs,
    node_environment,
    node_names,
    quiet_driver,
    spawn,
)
from actors.cluster_head import NODE_LABEL, DashboardRequest, HeadReport, HeadRequest, NodeRequest
from actors.names import NAMESPACE
from tori.errors import BadInput, BadSettings, NotRunning, PermanentError, Unavailable
from tori.node import node_id
from tori.resources.process import ProcessMark, descendants, end, is_alive, mark_process, strays

_RECORD = "cluster.json"
_TOKEN = "ray_token"
_GCS = "gcs_server"
_GCS_PATIENCE_S = 0.3
"""It ends in 0.02 s, or not at all."""
_SOCKET_PATH_LIMIT = 107 - len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1")
_SESSIONS_KEPT = 3
_DASHBOARD_TIMEOUT_S = 30.0
_ASK_TIMEOUT_S = 10.0
_PROBE_S = 5.0
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
"""The client's preface and an empty SETTINGS frame (RFC 9113, section 3.4)."""
_HTTP2_SETTINGS = b"\4"


class ClusterOptions(msgspec.Struct, frozen=True):
    """How to start a cluster; the defaults and their reasons are those of the ``ray`` section of the settings."""

    cpus: int = 0
    """CPUs Ray may hand out to scans; 0 = all of the machine."""
    object_store_bytes: int = 256 << 20
    dashboard: bool = False
    """Whether Ray's own dashboard runs (290 MB, 1.4 % of a core when idle); ``add_dashboard`` starts it later."""
    auth: bool = True
    """Whether Ray asks every caller for the token kept in the home."""
    node_ip: str = LOOPBACK
    """Address at which this node is reached by the others; loopback = by this machine only."""
    port: int = 0
    """Port at which other nodes join; 0 = any free one."""
    start_timeout_s: float = 60.0
    stop_timeout_s: float = 3.0
    """How long Ray's processes may take to end before they are killed."""


class ClusterInfo(msgspec.Struct, frozen=True):
    """A cluster and how to reach it. One that was merely joined has no ``processes``."""

    address: str
    started_by_us: bool = False
    home: str = ""
    session_dir: str = ""
    dashboard_url: str | None = None
    ports: dict[str, int] = {}
    processes: tuple[ProcessMark, ...] = ()
    token_path: str = ""
    stop_timeout_s: float = 3.0
    is_head: bool = True
    node_ip: str = LOOPBACK
    gcs_command: tuple[str, ...] = ()
    """How to start its GCS again; empty when the GCS keeps its tables in memory, where they die with it."""

    @property
    def head_pids(self) -> tuple[int, ...]:
        """Pids of the GCS, the raylet and the dashboard; empty for a joined cluster."""
        return tuple(process.pid for process in self.processes)

    @property
    def is_alive(self) -> bool:
        """Whether the GCS and the raylet both run (without either the cluster is lost); of a node that joined, the raylet."""
        wanted = ("gcs_server", "raylet") if self.is_head else ("raylet",)
        vital = [process for process in self.processes if process.name in wanted]
        return len(vital) == len(wanted) and all(map(is_alive, vital))

    @property
    def misses_gcs_only(self) -> bool:
        """Whether the raylet lives on without a GCS, and the GCS can be started again."""
        return bool(self.gcs_command) and any(p.name == "raylet" and is_alive(p) for p in self.processes)


def start(home: Path, options: ClusterOptions | None = None) -> ClusterInfo:
    """Start a cluster for ``home`` and record it, or return the one that already runs there.

    What an earlier start or crash left behind is cleared away first. Raises Unavailable with the last line Ray said when
    the head does not come up.
    """
    options = options or ClusterOptions()
    if not options.auth and not is_loopback(options.node_ip):
        raise BadSettings(
            f"ray.auth is false and ray.node_ip is {options.node_ip}: whoever reaches Ray there could run any code.",
            remedy="Set ray.auth = true.",
        )
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        running = _heal(home)
        if running is not None:
            return running
        shutil.rmtree(gcs_storage(home), ignore_errors=True)
        if keeps_gcs():
            gcs_storage(home).mkdir(mode=0o700)
        token_path = _ensure_token(home) if options.auth else None
        port = dashboard_port(options.node_ip) if options.dashboard else 0
        request = HeadRequest(
            str(session_root(home)),
            options.cpus or os.cpu_count() or 1,
            options.object_store_bytes,
            port,
            node_id(home),
            options.node_ip,
            options.port,
        )
        info = _begin(home, request, token_path, options)
        if port:
            info = msgspec.structs.replace(info, dashboard_url=f"http://{options.node_ip}:{port}")
        _record(home, info)
        return info


def start_node(home: Path, address: str, options: ClusterOptions | None = None) -> ClusterInfo:
    """Join the cluster at ``address`` as one more node with a home of its own, or return the node that already runs there.

    The cluster's token is the user's (RAY_AUTH_TOKEN_PATH or RAY_AUTH_TOKEN) or lies in the home as ``ray_token``.
    """
    options = options or ClusterOptions()
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home):
        running = _heal(home)
        if running is not None:
            if running.is_head or running.address != address:
                raise Unavailable(
                    f"{home} belongs to the cluster at {running.address}.", remedy="Stop it first: tori down."
                )
            return running
        _probe(address)
        request = NodeRequest(
            address,
            str(session_root(home)),
            options.cpus or os.cpu_count() or 1,
            options.object_store_bytes,
            node_id(home),
            options.node_ip,
        )
        info = _begin(home, request, _given_token(home), options)
        _record(home, info)
        return info


def _begin(
    home: Path, request: HeadRequest | NodeRequest, token_path: Path | None, options: ClusterOptions
) -> ClusterInfo:
    """Clear away what an earlier start or crash left, start Ray's processes, and say what runs now."""
    temp_dir = Path(request.temp_dir)
    _end_all(strays("ray", temp_dir), options.stop_timeout_s)
    _prune_sessions(temp_dir)
    try:
        report = _launch(home, request, token_path, options.start_timeout_s, request.node_ip)
    except Unavailable:
        _end_all(strays("ray", temp_dir), options.stop_timeout_s)
        raise
    return ClusterInfo(
        address=report.address,
        home=str(home.resolve()),
        started_by_us=True,
        session_dir=report.session_dir,
        ports=report.ports,
        processes=report.processes,
        token_path=str(token_path or ""),
        stop_timeout_s=options.stop_timeout_s,
        is_head=isinstance(request, HeadRequest),
        node_ip=request.node_ip,
        gcs_command=report.gcs_command if keeps_gcs() else (),
    )


def add_dashboard(info: ClusterInfo) -> ClusterInfo:
    """Start Ray's dashboard for a cluster that ``start`` made, unless it runs; return the cluster as it is now.

    Raises PermanentError for a joined cluster: its dashboard is its owner's matter.
    """
    if not info.started_by_us:
        raise PermanentError(f"The cluster at {info.address} was not started by TORI.", remedy="Ask its owner.")
    if not info.is_head:
        raise PermanentError(f"{info.home} is not the head's home.", remedy="Start the dashboard there.")
    if any(process.name == "dashboard.py" and is_alive(process) for process in info.processes):
        return info
    home = Path(info.home)
    with _locked(home):
        request = DashboardRequest(info.address, info.session_dir, dashboard_port(info.node_ip), info.node_ip)
        report = _launch(home, request, _token_path(info), _DASHBOARD_TIMEOUT_S, info.node_ip)
        now = msgspec.structs.replace(
            info,
            dashboard_url=f"http://{info.node_ip}:{request.port}",
            ports=info.ports | report.ports,
            processes=(*(p for p in info.processes if p.name != "dashboard.py"), *report.processes),
        )
        _record(home, now)
        return now


def find(home: Path) -> ClusterInfo | None:
    """Return the cluster recorded in ``home`` if its GCS and raylet live; a stale or unreadable record is removed.

    A GCS that died and keeps its tables on disk is started again.
    """
    info = _recorded(home)
    if info is not None and info.is_alive:
        return info
    if not (home / _RECORD).exists():
        return None
    with _locked(home):
        return _heal(home)


def _heal(home: Path) -> ClusterInfo | None:
    """Return the living cluster of ``home``, its GCS started again if need be; clear away what cannot live. Needs the lock."""
    info = _recorded(home)
    if info is not None and info.is_alive:
        return info
    if info is not None and info.misses_gcs_only:
        return restart_gcs(info)
    if info is not None:
        stop(info)
    (home / _RECORD).unlink(missing_ok=True)
    return None


def restart_gcs(info: ClusterInfo) -> ClusterInfo:
    """Start the GCS of a cluster that ``start`` made again, unless it lives; return the cluster as it is now.

    A new GCS on the old port knows every actor, for its tables are on disk (``RAY_gcs_storage=rocksdb`` at the start of the
    cluster). Meanwhile calls between actors went on; only names and starts of actors waited. Raises PermanentError when the
    tables died with the old one.
    """
    if any(process.name == _GCS and is_alive(process) for process in info.processes):
        return info
    if not info.gcs_command:
        raise PermanentError(
            f"The GCS of the cluster at {info.address} cannot be started again: its tables died with it.",
            remedy="Start clusters with RAY_gcs_storage=rocksdb, or run tori up for a new one.",
        )
    environment = node_environment(Path(info.home).resolve(), _token_path(info), info.node_ip)
    pid = spawn(info.gcs_command, environment)
    others = tuple(process for process in info.processes if process.name != _GCS)
    now = msgspec.structs.replace(info, processes=(*others, mark_process(_GCS, pid)))
    _record(Path(info.home), now)
    return now


def _recorded(home: Path) -> ClusterInfo | None:
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        return msgspec.json.decode((home / _RECORD).read_bytes(), type=ClusterInfo)
    return None


def stop(info: ClusterInfo) -> None:
    """End every process of a cluster that ``start`` made, and only those; a joined cluster is left alone.

    First the raylet with its workers and agents, then the GCS and the dashboard: a raylet that loses its GCS first waits
    for it. Stopping twice is harmless. Raises PermanentError if a process survives even a kill.
    """
    if not info.started_by_us:
        return
    remaining = _end_all([*info.processes, *strays("ray", Path(info.session_dir))], info.stop_timeout_s)
    if remaining:
        pids = ", ".join(str(process.pid) for process in remaining)
        raise PermanentError(
            f"Ray processes {pids} survive a kill.", remedy="Look at them with ps; the kernel holds them."
        )
    _forget(info)


def _end_all(processes: Sequence[ProcessMark], patience_s: float) -> list[ProcessMark]:
    """End Ray processes with all they started: raylets, then GCS, then the rest; return what survives.

    Raylet and GCS close down in order, in 0.1 s; every third GCS (Ray 2.60) waits for ever to hand on its last events, which nobody
    takes, and is killed: its tables are of this cluster only. The dashboard would take over 5 s, with nothing to save: no patience.
    """
    below = descendants(processes)
    end([process for process in processes if process.name == "raylet"], patience_s)
    end([process for process in processes if process.name == _GCS], min(patience_s, _GCS_PATIENCE_S))
    return end([*processes, *below], patience_s=0.0)


def _record(home: Path, info: ClusterInfo) -> None:
    _write(home / _RECORD, msgspec.json.format(msgspec.json.encode(info)))


def _forget(info: ClusterInfo) -> None:
    """Remove the record of ``info``, unless another cluster has been recorded since."""
    path = Path(info.home) / _RECORD
    with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
        if msgspec.json.decode(path.read_bytes(), type=ClusterInfo).processes == info.processes:
            path.unlink(missing_ok=True)


def join(address: str) -> ClusterInfo:
    """Return a cluster that others run at ``address``; ``stop`` will never touch it."""
    return ClusterInfo(address=address)


def is_ours(home: Path, address: str) -> bool:
    """Say whether the cluster at ``address`` is one that TORI started, which other machines may join as nodes.

    Raises NotRunning when no cluster answers, or it does not take the token.
    """
    _probe(address)
    path = _known_token(home)
    adopt(address, path, is_ours=path is not None)
    try:
        return bool(node_names(address, NODE_LABEL, _ASK_TIMEOUT_S))
    except Exception as error:
        raise NotRunning(
            f"No Ray cluster lets us in at {address}: {error}.",
            remedy="Is it a Ray head's GCS port, and RAY_AUTH_TOKEN_PATH its token?",
        ) from error


def connect(info: ClusterInfo, namespace: str = NAMESPACE) -> None:
    """Make this process a driver of the cluster, quietly. Connecting again to the same cluster does nothing.

    Raises NotRunning when no cluster answers (or it refuses the token), Unavailable when this process is connected to
    another one.
    """
    _probe(info.address)
    adopt(info.address, _token_path(info), is_ours=info.started_by_us)
    import ray

    if ray.is_initialized():
        current = ray.get_runtime_context().gcs_address
        if current != info.address:
            raise Unavailable(
                f"This process is connected to the Ray cluster at {current}.", remedy="Call ray.shutdown()."
            )
        return
    quiet_driver()
    # A machine may have several nodes, at least in tests: a home's driver goes to the home's own.
    own = {} if info.is_head else {"_temp_dir": str(session_root(Path(info.home)))}
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(address=info.address, namespace=namespace, log_to_driver=False, logging_level="warning", **own)
    except (ConnectionError, ray.exceptions.AuthenticationError) as error:
        remedy = "Is it a Ray head's GCS port, and RAY_AUTH_TOKEN_PATH its token?"
        raise NotRunning(f"No Ray cluster lets us in at {info.address}: {error}.", remedy=remedy) from error
    if threading.current_thread() is threading.main_thread():
        # Ray has taken SIGTERM over to print a stack of C++ frames; whoever connects decides what it means.
        signal.signal(signal.SIGTERM, on_terminate or signal.SIG_DFL)


def disconnect() -> None:
    """Make this process a driver no longer, if it is one; the cluster runs on."""
    if "ray" in sys.modules:
        import ray

        ray.shutdown()


def session_root(home: Path) -> Path:
    """Return Ray's temporary directory for ``home``: inside it when a Unix socket's path fits, else private under /tmp."""
    inside = home.resolve() / "ray"
    if len(str(inside)) <= _SOCKET_PATH_LIMIT:
        return inside
    name = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:10]
    root = Path(tempfile.gettempdir()).resolve() / f"tori-{os.getuid()}-{name}"
    root.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.getuid():
        raise PermanentError(
            f"{root} belongs to another user.", remedy="Choose a shorter TORI home, so that it is not needed."
        )
    return root


def _launch(
    home: Path,
    request: HeadRequest | NodeRequest | DashboardRequest,
    token_path: Path | None,
    timeout_s: float,
    node_ip: str,
) -> HeadReport:
    """Run ``actors.cluster_head`` on ``request``; raises Unavailable with the last line it said."""
    log = home / "ray_head.log"
    with log.open("wb") as stderr:
        try:
            done = subprocess.run(
                [sys.executable, "-m", "actors.cluster_head", msgspec.json.encode(request).decode()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=node_environment(home.resolve(), token_path, node_ip, is_head=isinstance(request, HeadRequest)),
                cwd=home,
                start_new_session=True,
                timeout=timeout_s,
                check=True,
            )
            return msgspec.json.decode(done.stdout, type=HeadReport)
        except (subprocess.SubprocessError, msgspec.DecodeError) as error:
            said = log.read_text(errors="replace").strip().splitlines()[-1:] or [str(error)]
            raise Unavailable(f"Ray did not start: {said[0]}", remedy=f"The whole story is in {log}.") from error


def _probe(address: str) -> None:
    """Raise unless something that speaks HTTP/2, as every gRPC server does, answers: Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise BadInput(f"{address!r} is no address.", remedy="Write it as host:port, like 127.0.0.1:6379.")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=2.0) as connection:
            if os.environ.get("RAY_USE_TLS", "0") != "0":
                return
            connection.settimeout(_PROBE_S)
            connection.sendall(_HTTP2_HELLO)
            answer = connection.recv(9)
    except OSError as error:
        raise NotRunning(
            f"No Ray cluster answers at {address}: {error}.", remedy="Start one with `tori up`."
        ) from error
    if answer[3:4] != _HTTP2_SETTINGS:
        raise NotRunning(
            f"What answers at {address} is no Ray cluster.", remedy="Give the port of the head's GCS (ray start: 6379)."
        )


def _ensure_token(home: Path) -> Path:
    """Return the file with this home's Ray token, readable by its owner only; it is made once."""
    path = home.resolve() / _TOKEN
    if not path.exists():
        _write(path, secrets.token_hex(32).encode())
    return path


def _given_token(home: Path) -> Path:
    """Return the file with the token of a cluster that others run; raises BadSettings when nobody gave one."""
    path = _known_token(home)
    if path is None:
        raise BadSettings(
            "the cluster's token is not known here.",
            remedy=f"Copy ray_token from the head's home to {home / _TOKEN}, or set RAY_AUTH_TOKEN_PATH.",
        )
    return path


def _known_token(home: Path) -> Path | None:
    """Return the file with the token that the environment gives or the home has; what is given is kept in the home."""
    path = home.resolve() / _TOKEN
    given = os.environ.get("RAY_AUTH_TOKEN", "").strip()
    file = os.environ.get("RAY_AUTH_TOKEN_PATH", "")
    if not given and file:
        try:
            given = Path(file).read_text().strip()
        except OSError as error:
            raise BadSettings(f"RAY_AUTH_TOKEN_PATH: {file} cannot be read: {error.strerror}.") from error
    if given and not (path.exists() and path.read_text() == given):
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, given.encode())
    return path if path.exists() else None


def _token_path(info: ClusterInfo) -> Path | None:
    return Path(info.token_path) if info.token_path else None


def _prune_sessions(temp_dir: Path) -> None:
    """Keep the newest session directories (their logs explain the last crashes), remove older ones."""
    sessions = sorted(path for path in temp_dir.glob("session_2*") if path.is_dir() and not path.is_symlink())
    for path in sessions[: max(0, len(sessions) - _SESSIONS_KEPT + 1)]:
        shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    """Replace ``path`` by ``content`` in one step, durably, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold the home's start lock, so that two ``tori up`` at once make one cluster."""
    with (home / "cluster.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
