"""A system on each runtime for every file of the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.runtime import LocalRuntime, RayRuntime, Runtime


@pytest.fixture(scope="module", params=["local", "ray"])
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A running system without documents, on each runtime in turn."""
    home = tmp_path_factory.mktemp(request.param)
    running = LocalRuntime(home) if request.param == "local" else RayRuntime(home)
    yield running
    running.stop()
