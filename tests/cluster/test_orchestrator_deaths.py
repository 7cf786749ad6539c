"""kill -9 again and again: of the orchestrator while runs are in flight, then of every module; see ``scripts/deaths.py``."""

from __future__ import annotations

import os
import random
from pathlib import Path
from unittest.mock import patch

import pytest

from actors.recovery import BOUND_S
from tests.chaos.deaths import end_runs, kill_modules, kill_orchestrator
from tests.chaos.fed import BACK_S, FedSystem
from tests.chaos.load import Load, judge
from tests.support.system import batches, events_of, small_corpus

DEATHS = 5
RUNS = 12
EXECUTING = 2


def test_deaths_in_a_row(home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    load = Load(tmp_path_factory.mktemp("work"), RUNS, 1.0, 4.0)
    system = FedSystem(home, load.settings, is_fed_past=True)
    with patch.dict(os.environ, load.environment), system:
        system.first = small_corpus()
        system.client.ingest(batches(system.first, 48)[0])
        names = system.names()
        pids = system.pids(names)
        system.start_feeding()
        load.start()

        done, failures = kill_orchestrator(system, load, DEATHS, EXECUTING, random.Random(4))
        assert failures == []
        assert [death.back_s < BACK_S and death.executing >= EXECUTING for death in done] == [True] * DEATHS
        assert system.pids(names) == pids, "a module was started again"
        adopted = [r for r in system.client.tail(500, ("ModuleInitialized",)) if r["payload"]["status"] == "adopted"]
        assert len(adopted) == DEATHS * len(names)
        assert end_runs(system, load) == []

        assert system.past is not None
        system.past.stop()  # it talks to one of those who die now
        times, failures = kill_modules(system, 1, random.Random(4))
        assert failures == []
        assert {name: len(found) for name, found in times.items()} == dict.fromkeys(names, 1)
        assert max(max(found) for found in times.values()) <= BOUND_S
        assert system.settle() == [], "all documents, their digest, the journals"
    assert len(load.asked) >= RUNS
    assert len(load.cancelled) == DEATHS
    assert judge(load.asked, events_of(home, "orchestrator"), load.lines(), load.twice(), load.cancelled) == []
