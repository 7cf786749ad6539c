"""What ``scripts/chaos.py`` and a campaign's plan promise before anything runs."""

from __future__ import annotations

import pytest

from scripts import chaos
from tests.chaos.campaign import BOUNDS_S, plan_of
from tests.chaos.nemesis import KINDS


def test_an_unknown_fault_is_named_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        chaos.main(["--faults", "kill_module,unplug"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "unknown faults unplug" in said
    assert "kill_raylet" in said


def test_the_order_of_faults_follows_from_the_seed() -> None:
    faults = {"kill_module": 5, "kill_relay": 5, "kill_gcs": 1}
    assert plan_of(faults, 3) == plan_of(dict(reversed(faults.items())), 3)
    assert plan_of(faults, 3) != plan_of(faults, 4)
    assert sorted(plan_of(faults, 3)) == sorted(["kill_module"] * 5 + ["kill_relay"] * 5 + ["kill_gcs"])


def test_every_fault_has_a_bound() -> None:
    assert KINDS.keys() <= BOUNDS_S.keys()
    assert all(bound > 0 for bound in BOUNDS_S.values())
