"""The cluster a home owns: reachable by its owner only, found again, stopped without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from actors import cluster
from actors.cluster import ClusterInfo, ClusterOptions
from tests.cluster.probe import Probe
from tori.errors import NotRunning, PermanentError, Unavailable
from tori.resources.process import ProcessMark, await_end, descendants, is_alive, strays

LEAN = ClusterOptions(object_store_bytes=80 << 20, stop_timeout_s=1.0)
ROOT = Path(__file__).parents[2]


def everything(info: ClusterInfo) -> list[ProcessMark]:
    return [*info.processes, *descendants(info.processes)]


def open_doors(pid: int) -> set[str]:
    """Return the addresses other than loopback at which a process can be reached."""
    connections = psutil.Process(pid).net_connections(kind="inet")
    doors = [
        c.laddr.ip for c in connections if c.laddr and (c.status == psutil.CONN_LISTEN or c.type.name == "SOCK_DGRAM")
    ]
    return {ip for ip in doors if ip.removeprefix("::ffff:") not in ("127.0.0.1", "::1")}


@pytest.fixture(scope="module")
def shared_cluster(shared_cluster: ClusterInfo) -> ClusterInfo:
    """The shared cluster with Ray's dashboard."""
    return cluster.add_dashboard(shared_cluster)


class TestReach:
    def test_every_socket_of_every_process_listens_on_loopback_only(self, shared_cluster: ClusterInfo) -> None:
        import ray

        probes = [ray.remote(num_cpus=0)(Probe).remote() for _ in range(3)]
        workers = ray.get([probe.facts.remote() for probe in probes])
        deadline = time.monotonic() + 20
        pids = {mark.pid for mark in everything(shared_cluster)} | {os.getpid()}
        while not _listens(shared_cluster.ports["dashboard"]) and time.monotonic() < deadline:
            time.sleep(0.1)

        assert {worker["pid"] for worker in workers} <= pids
        assert len(pids) >= 9  # GCS, raylet, dashboard, two agents, three workers, this driver
        assert {pid: open_doors(pid) for pid in pids if open_doors(pid)} == {}
        assert shared_cluster.address.startswith("127.0.0.1:")

    def test_the_dashboard_answers_on_its_url(self, shared_cluster: ClusterInfo) -> None:
        assert shared_cluster.dashboard_url == f"http://127.0.0.1:{shared_cluster.ports['dashboard']}"
        assert _listens(shared_cluster.ports["dashboard"])

    def test_a_stranger_without_the_token_is_refused(self, shared_cluster: ClusterInfo) -> None:
        script = f"from actors import cluster; cluster.connect(cluster.join({shared_cluster.address!r}))"
        strange = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_NUM_REDIS_GET_RETRIES": "1"}
        environment = {k: v for k, v in os.environ.items() if k != "RAY_AUTH_TOKEN_PATH"} | strange
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=90,
        )

        assert done.returncode != 0
        assert f"NotRunning: No Ray cluster lets us in at {shared_cluster.address}" in done.stderr
        assert Path(shared_cluster.token_path).stat().st_mode & 0o077 == 0

    def test_workers_are_not_nice_and_import_the_packages_wherever_they_run(self, shared_cluster: ClusterInfo) -> None:
        import ray

        probe = ray.remote(num_cpus=0)(Probe).remote()
        facts = ray.get(probe.facts.remote())

        assert facts["nice"] == os.nice(0)
        assert Path(facts["tori"]).parent.name == "tori"
        assert Path(facts["actors"]).parent == Path(cluster.__file__).parent

    def test_a_killed_worker_is_noticed_at_once_and_not_told_on_stdout(
        self, shared_cluster: ClusterInfo, capsys: pytest.CaptureFixture[str]
    ) -> None:
        import ray

        probe = ray.remote(num_cpus=0, max_concurrency=2)(Probe).remote()
        pid = ray.get(probe.facts.remote())["pid"]
        pending = probe.sleep.remote(60)
        os.kill(pid, signal.SIGKILL)
        began = time.monotonic()
        with pytest.raises(ray.exceptions.ActorDiedError):
            ray.get(pending, timeout=10)
        assert time.monotonic() - began < 2
        time.sleep(0.5)
        assert capsys.readouterr().out == ""

    def test_connecting_twice_is_connecting_once(self, shared_cluster: ClusterInfo) -> None:
        cluster.connect(shared_cluster)

    def test_a_process_has_one_cluster_at_a_time(self, shared_cluster: ClusterInfo) -> None:
        other = ClusterInfo(address=f"127.0.0.1:{shared_cluster.ports['node_manager']}")
        with pytest.raises(Unavailable, match="connected to the Ray cluster at"):
            cluster.connect(other)

    def test_nobody_at_the_address_is_said_at_once(self) -> None:
        began = time.monotonic()
        with pytest.raises(NotRunning, match=r"127\.0\.0\.1:9"):
            cluster.connect(cluster.join("127.0.0.1:9"))
        assert time.monotonic() - began < 3


class TestLife:
    def test_a_head_outlives_its_starter_writes_only_at_home_and_ends_without_a_trace(self, home: Path) -> None:
        script = (
            f"from pathlib import Path; from actors import cluster;print(cluster.start(Path({str(home)!r})).address)"
        )
        foreign = Path("/tmp/ray")
        before = sorted(foreign.iterdir()) if foreign.exists() else []
        starter = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True, timeout=90
        )
        info = cluster.find(home)

        assert info is not None, starter.stderr
        assert info.address == starter.stdout.strip()
        assert info.is_alive
        assert cluster.start(home, LEAN) == info

        names = {path.name for path in home.iterdir()}
        assert names <= {"cluster.json", "cluster.lock", "node.json", "ray", "ray_head.log", "ray_token"}
        assert Path(info.session_dir).parent == cluster.session_root(home)
        assert (sorted(foreign.iterdir()) if foreign.exists() else []) == before

        processes = everything(info)
        began = time.monotonic()
        cluster.stop(info)
        assert time.monotonic() - began < 4
        assert [p for p in processes if is_alive(p)] == []
        assert strays("ray", cluster.session_root(home)) == []
        assert cluster.find(home) is None
        assert not (home / "cluster.json").exists()
        cluster.stop(info)

        again = cluster.start(home, LEAN)
        assert again.is_alive
        assert again.session_dir != info.session_dir

    def test_after_a_kill_of_everything_a_start_works(self, home: Path) -> None:
        info = cluster.start(home, LEAN)
        processes = everything(info)
        for process in processes:
            os.kill(process.pid, signal.SIGKILL)
        assert await_end(processes, 10) == []

        assert cluster.find(home) is None
        assert not (home / "cluster.json").exists()
        assert cluster.start(home, LEAN).is_alive

    @pytest.mark.parametrize("victim", ["gcs_server", "raylet"])
    def test_half_a_cluster_is_none_and_is_cleared_away(self, home: Path, victim: str) -> None:
        info = cluster.start(home, LEAN)
        processes = everything(info)
        os.kill(next(p.pid for p in info.processes if p.name == victim), signal.SIGKILL)
        assert await_end([p for p in info.processes if p.name == victim], 10) == []

        assert cluster.find(home) is None
        assert await_end(processes, 10) == []

    def test_a_cluster_whose_record_is_lost_is_cleared_away_by_the_next_start(self, home: Path) -> None:
        lost = cluster.start(home, LEAN)
        (home / "cluster.json").unlink()
        found = cluster.start(home, LEAN)

        assert found.address != lost.address
        assert [p for p in lost.processes if is_alive(p)] == []
        assert found.is_alive

    def test_stopping_one_home_s_cluster_leaves_the_other_s(self, home: Path, shared_cluster: ClusterInfo) -> None:
        info = cluster.start(home, LEAN)
        cluster.stop(info)
        assert not info.is_alive
        assert shared_cluster.is_alive

    def test_a_joined_cluster_is_never_stopped(self, shared_cluster: ClusterInfo) -> None:
        joined = cluster.join(shared_cluster.address)
        cluster.stop(joined)
        assert shared_cluster.is_alive
        with pytest.raises(PermanentError, match="not started by TORI"):
            cluster.add_dashboard(joined)

    def test_a_start_that_fails_says_why_and_leaves_nothing(self, home: Path) -> None:
        with pytest.raises(Unavailable, match="Ray did not start"):
            cluster.start(home, ClusterOptions(start_timeout_s=0.8))
        assert strays("ray", cluster.session_root(home)) == []
        assert cluster.find(home) is None


def _listens(port: int) -> bool:
    import socket

    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
