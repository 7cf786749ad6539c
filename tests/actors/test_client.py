"""The client over a fake orchestrator: bounded by patience, safe to repeat; and a stop that always ends the cluster."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import RayActorError

from actors import backend as backend_module
from actors import client as shell
from actors import cluster
from actors.backend import RayBackend
from actors.client import RayClient
from actors.cluster import ClusterInfo
from tests.actors.fake_ray import FakeActor, FakeRay, Ref
from tests.support.system import system_settings
from tori.errors import NoRoom, Unavailable


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    ray = FakeRay()
    monkeypatch.setattr(shell, "ray", ray)
    monkeypatch.setattr(shell, "RETRY_S", 0.01)
    return ray


def client_of(fake: FakeRay, **methods: Callable[..., Any]) -> RayClient:
    fake.named["orchestrator"] = FakeActor(**methods)
    return RayClient(patience_s=0.3)


def test_an_orchestrator_that_hangs_is_unavailable_and_says_what_to_do(fake: FakeRay) -> None:
    client = client_of(fake, status=Ref, publish=lambda refs: [Ref()])
    with pytest.raises(Unavailable, match=r"did not answer in 0 s.*tori doctor"):
        client.status()
    with pytest.raises(Unavailable, match="did not answer"):
        client.ingest(b"")


def test_an_orchestrator_that_waits_for_room_says_so(fake: FakeRay) -> None:
    asked: list[str] = []

    def wait(*_: Any) -> Any:
        asked.append("again")
        raise NoRoom("the orchestrator waits for room on its disk:", remedy="free disk space.")

    client = client_of(fake, status=wait, tasks=lambda: wait() if len(asked) < 2 else Ref())
    with pytest.raises(NoRoom, match="free disk space"):
        client.status()
    assert len(asked) == 1, "who asks how it stands is told at once"
    with pytest.raises(NoRoom, match="free disk space"):
        client.tasks()
    assert len(asked) == 2, "others wait as long as they have patience, and are told then"


def test_a_call_made_again_asks_for_the_same_run(fake: FakeRay) -> None:
    asked: list[str] = []

    def run_task(task: str, run_id: str) -> Any:
        asked.append(run_id)
        if len(asked) == 1:
            raise RayActorError(error_msg="it died after it had begun the run")
        return {"run_id": run_id}

    client = client_of(fake, run_task=run_task)
    first = client.run_task("alien_audit")
    assert asked == [first["run_id"]] * 2
    assert first["run_id"].startswith("alien_audit-")
    assert client.run_task("alien_audit") != first, "another request is another run"


def test_a_long_call_is_waited_for_and_said(
    fake: FakeRay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(shell, "LOOK_S", 0.05)
    pending = Ref()
    looks: list[int] = []

    def doing() -> str:
        looks.append(1)
        if len(looks) == 10:  # longer than the patience for a short call
            pending.finish({"digest": "d"})
        return "settling after scar_scan"

    client = client_of(fake, quiesce=lambda: pending, doing=doing)
    with caplog.at_level(logging.WARNING, "tori.client"):
        assert client.quiesce() == {"digest": "d"}
    assert "(settling after scar_scan)" in caplog.text


def test_a_long_call_to_an_orchestrator_that_hangs_ends(fake: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "LOOK_S", 0.05)
    client = client_of(fake, quiesce=Ref, doing=Ref)
    with pytest.raises(Unavailable, match="did not answer"):
        client.quiesce()


def test_a_stop_that_fails_is_told_and_kills_the_orchestrator(fake: FakeRay) -> None:
    def refuse(timeout_s: float) -> Any:
        raise RayActorError(error_msg="it died over the stop")

    client = client_of(fake, stop=refuse)
    (problem,) = client.stop(1.0)
    assert "it died over the stop" in problem
    assert fake.killed == [fake.named["orchestrator"]]


class Stopping:
    """A backend whose cluster is only noted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stop: Callable[[float], Any]) -> None:
        self.ended: list[str] = []
        info = ClusterInfo("127.0.0.1:1", started_by_us=True)
        monkeypatch.setattr(backend_module.cluster, "find", lambda home: info)
        monkeypatch.setattr(backend_module.cluster, "connect", lambda found: None)
        monkeypatch.setattr(backend_module.cluster, "stop", lambda found: self.ended.append("cluster"))
        monkeypatch.setattr(backend_module.cluster, "disconnect", lambda: self.ended.append("driver"))
        monkeypatch.setattr(RayClient, "stop", lambda client, timeout_s: stop(timeout_s))


def test_the_cluster_ends_whatever_the_stop_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopping = Stopping(monkeypatch, lambda timeout_s: ("the final checkpoint failed: disk full",))
    found = RayBackend().down(system_settings(tmp_path), None)
    assert found
    assert found.problems == ("the final checkpoint failed: disk full",)
    assert stopping.ended == ["driver", "cluster"]


def test_the_cluster_ends_also_when_the_stop_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: float) -> Any:
        raise KeyboardInterrupt

    stopping = Stopping(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        RayBackend().down(system_settings(tmp_path), None)
    assert stopping.ended == ["driver", "cluster"]


def test_connecting_leaves_the_meaning_of_a_termination_to_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def init(**_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    monkeypatch.setattr(cluster, "_probe", lambda address: None)
    monkeypatch.setattr(cluster, "adopt", lambda address, token, is_ours: None)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    before = signal.getsignal(signal.SIGTERM)
    cluster.connect(cluster.join("127.0.0.1:1"))
    assert signal.getsignal(signal.SIGTERM) is before
