"""What Ray's processes inherit: where bytecode may be written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from actors import cluster_environment
from actors.cluster_environment import node_environment


@pytest.fixture(autouse=True)
def unwanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.delenv("PYTHONPYCACHEPREFIX", raising=False)


def test_bytecode_nobody_wants_beside_the_sources_goes_into_the_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_environment, "is_compiled", lambda: False)
    environment = node_environment(tmp_path, None)
    assert environment["PYTHONPYCACHEPREFIX"] == str(tmp_path / "bytecode")
    assert "PYTHONDONTWRITEBYTECODE" not in environment
    assert not [value for value in environment.values() if value.endswith(".cache/tori/bytecode")]


def test_where_it_lies_beside_the_sources_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_environment, "is_compiled", lambda: True)
    environment = node_environment(tmp_path, None)
    assert "PYTHONPYCACHEPREFIX" not in environment
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_a_place_the_caller_chose_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_environment, "is_compiled", lambda: False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "mine"))
    assert node_environment(tmp_path, None)["PYTHONPYCACHEPREFIX"] == str(tmp_path / "mine")


def test_connections_are_kept_for_longer_than_a_node_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    environment = node_environment(tmp_path, None)
    period, checks, patience = (
        int(environment[f"RAY_health_check_{name}"]) for name in ("period_ms", "failure_threshold", "timeout_ms")
    )
    assert int(environment["RAY_grpc_keepalive_timeout_ms"]) > checks * (period + patience)
    assert not [name for name in environment if name.startswith("RAY_grpc_client_keepalive")]
