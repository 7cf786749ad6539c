"""One Ray cluster for the whole contract, and a system on each runtime for every file of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors import cluster
from actors.cluster import ClusterInfo, ClusterOptions
from tests.contract.runtime import LocalRuntime, RayRuntime, Runtime


@pytest.fixture(scope="package")
def ray_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterInfo]:
    """A running Ray cluster on loopback without a system."""
    import ray

    info = cluster.start(tmp_path_factory.mktemp("cluster"), ClusterOptions(object_store_bytes=128 << 20, cpus=2))
    try:
        cluster.connect(info)
        yield info
    finally:
        ray.shutdown()
        cluster.stop(info)


@pytest.fixture(scope="module", params=["local", "ray"])
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A running system without documents, on each runtime in turn."""
    home = tmp_path_factory.mktemp(request.param)
    running = (
        LocalRuntime(home) if request.param == "local" else RayRuntime(home, request.getfixturevalue("ray_cluster"))
    )
    yield running
    running.stop()
