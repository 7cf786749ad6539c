"""A mind that has read and settled, and the bench that cases are put on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bad_input.bench import Bench, make_template
from tests.support.local_backend import LocalBackend
from tests.support.system import small_corpus, system_settings


@pytest.fixture(scope="module")
def backend() -> LocalBackend:
    """A mind that has read and settled."""
    backend = LocalBackend()
    backend.up(system_settings(Path("home")), None)
    assert backend.client is not None
    backend.client.mind.ingest(small_corpus(16))
    backend.client.mind.quiesce()
    return backend


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_template(tmp_path_factory.mktemp("template") / "home")


@pytest.fixture
def bench(tmp_path: Path, backend: LocalBackend, template: Path) -> Bench:
    return Bench(tmp_path, backend, template)
