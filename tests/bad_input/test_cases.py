"""Every case of the table, at the door it names: the message, the exit code, the digest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bad_input.bench import Bench, make_template
from tests.bad_input.case import Case
from tests.bad_input.table import CASES
from tests.support.local_backend import LocalBackend
from tests.support.system import small_corpus, system_settings

SILENT = (0, 141)
"""Ends that need no sentence: done, and a reader who has gone."""
PURE = [case for case in CASES if case.needs != "cluster"]
CLUSTERED = [case for case in CASES if case.needs == "cluster"]


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


@pytest.mark.parametrize("case", PURE, ids=lambda case: case.name)
def test_case(case: Case, bench: Bench) -> None:
    if case.needs == "root" and os.getuid() != 0:
        pytest.skip("only root can arrange this")
    before = bench.digest()
    outcome = case.run(bench)
    said = " ".join(outcome.said.split())
    for part in case.says:
        assert part in said
    assert outcome.exit_code == case.exit_code, said
    assert "Traceback" not in said
    assert bench.digest() == before


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, object]]:
    """One system on Ray for all the cases that need one."""
    from actors.backend import RayBackend

    home = tmp_path_factory.mktemp("running")
    backend, settings = RayBackend(), system_settings(home)
    backend.up(settings, None)
    try:
        client = backend.connect(settings, None)
        client.ingest(_encoded())
        client.quiesce()
        yield home, backend
    finally:
        backend.down(settings, None)


def _encoded() -> bytes:
    import msgspec

    return msgspec.msgpack.encode(small_corpus(16))


@pytest.mark.parametrize("case", CLUSTERED, ids=lambda case: case.name)
def test_case_on_a_running_system(case: Case, bench: Bench, running: tuple[Path, object]) -> None:
    from actors.backend import RayBackend

    home, backend = running
    assert isinstance(backend, RayBackend)
    bench.running = home, backend
    settings = system_settings(home)

    def digest() -> object:
        return backend.connect(settings, None).digest()["digest"]

    before = digest()
    outcome = case.run(bench)
    said = " ".join(outcome.said.split())
    for part in case.says:
        assert part in said
    assert outcome.exit_code == case.exit_code, said
    assert digest() == before


def test_the_table_is_as_large_as_promised() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(len(case.says) >= 2 for case in CASES if case.exit_code not in SILENT), (
        "a refusal names cause and remedy"
    )
