"""The cases of the table that need a system on Ray: the message, the exit code, the digest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.backend import RayBackend
from tests.bad_input.bench import Bench
from tests.bad_input.case import Case
from tests.bad_input.table import CASES
from tests.support.system import small_corpus, system_settings


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, RayBackend]]:
    """One system for all the cases."""
    home = tmp_path_factory.mktemp("running")
    backend, settings = RayBackend(), system_settings(home)
    backend.up(settings, None)
    try:
        client = backend.connect(settings, None)
        client.ingest(msgspec.msgpack.encode(small_corpus(16)))
        client.quiesce()
        yield home, backend
    finally:
        backend.down(settings, None)


@pytest.mark.parametrize("case", [c for c in CASES if c.needs == "cluster"], ids=lambda case: case.name)
def test_case(case: Case, bench: Bench, running: tuple[Path, RayBackend]) -> None:
    home, backend = running
    bench.running = home, backend
    settings = system_settings(home)
    before = backend.connect(settings, None).digest()["digest"]
    outcome = case.run(bench)
    said = " ".join(outcome.said.split())
    for part in case.says:
        assert part in said
    assert outcome.exit_code == case.exit_code, said
    assert backend.connect(settings, None).digest()["digest"] == before
