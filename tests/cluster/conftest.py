"""A Ray cluster for the tests of one file that share it; tests about starting and stopping make their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors import cluster
from actors.cluster import ClusterInfo


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterInfo]:
    """A running cluster, this process being connected to it."""
    import ray

    info = cluster.start(tmp_path_factory.mktemp("home"))
    try:
        cluster.connect(info)
        yield info
    finally:
        ray.shutdown()
        cluster.stop(info)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A home whose cluster, if the test starts one, is stopped at the end."""
    yield tmp_path
    info = cluster.find(tmp_path)
    if info is not None:
        cluster.stop(info)
