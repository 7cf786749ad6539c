"""Simulated worlds of two nodes: mirrors are what their sources are, the mind is that of one node, and a broken promise is noticed.

``TORI_SIMULATION_STEPS`` sets the length of the campaign (a third of it); longer ones: ``scripts/simulate.py --world nodes``.
"""

from __future__ import annotations

import json
import os

import pytest

from scripts import simulate as script
from tests.sim import world
from tests.sim.campaign import simulate, system
from tests.sim.nodes import NodesWorld
from tests.sim.sabotage import SABOTAGES_OF_MIRRORS
from tests.sim.world import World

STEPS = int(os.environ.get("TORI_SIMULATION_STEPS", "12000")) // 3
HAPPENS = """ack|answer|broken|cut wire|damaged parcel|kill|parcel|power cut|relay|resubscribe|rot|settle|standstill|step|stream|
take-over""".replace("\n", "").split("|")
MOST_SEEDS = 150
FIRST_SEED = {"believe_the_cache": 48, "resume_from_written": 108}
"""Where the search for a world that notices begins: a little before the first that did, to be quick."""


def test_no_promise_is_broken() -> None:
    report = simulate(STEPS, seed=6, worlds=max(16, STEPS // 500), kind="nodes")
    assert [f"{v.what}; again: {v.replay}" for v in report.violations] == []
    assert report.steps == STEPS
    assert [kind for kind in HAPPENS if not report.counts.get(kind)] == [], "these never happened"


def test_the_same_seed_is_the_same_world(capsys: pytest.CaptureFixture[str]) -> None:
    assert script.main(["--world", "nodes", "--steps", "400", "--seed", "7", "--seeds", "2", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    again = simulate(400, 7, worlds=2, kind="nodes")
    assert (report["digest"], report["story"]) == (again.digest, again.story)


def test_some_worlds_of_a_campaign_have_two_nodes() -> None:
    kinds = [type(system(seed)) for seed in range(20)]
    assert set(kinds) == {World, NodesWorld}


@pytest.mark.parametrize("name", sorted(SABOTAGES_OF_MIRRORS))
def test_a_missing_protection_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "MAX_SETTLING", 1000)
    begin = FIRST_SEED.get(name, 0)
    with monkeypatch.context() as patch:
        SABOTAGES_OF_MIRRORS[name](patch)
        runs = (NodesWorld(seed, real_share=0.0).run(300) for seed in range(begin, begin + MOST_SEEDS))
        noticed = next((run for run in runs if run.violation), None)
    assert noticed is not None, f"{MOST_SEEDS} worlds did not miss {name}"
    assert NodesWorld(noticed.seed, real_share=0.0).run(300).violation == "", "the world is broken without it too"
