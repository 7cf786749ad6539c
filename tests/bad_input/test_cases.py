"""Every case of the table, at the door it names: the message, the exit code, the digest."""

from __future__ import annotations

import os

import pytest

from tests.bad_input.bench import Bench
from tests.bad_input.case import Case
from tests.bad_input.table import CASES

SILENT = (0, 141)
"""Ends that need no sentence: done, and a reader who has gone."""
PURE = [case for case in CASES if case.needs != "cluster"]


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


def test_the_table_is_as_large_as_promised() -> None:
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(len(case.says) >= 2 for case in CASES if case.exit_code not in SILENT), (
        "a refusal names cause and remedy"
    )
