"""The orchestrator's memory: what ran, which start of a module is the last, and what any id stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tori.events import system
from tori.local import LocalSystem
from tori.modules.host import ModuleHost
from tori.orchestrator.ledger import KEPT_CHECKPOINTS, Ledger


@pytest.fixture
def host() -> Iterator[ModuleHost]:
    with LocalSystem(modules=("orchestrator",)) as mind:
        yield mind.hosts["orchestrator"]


def say(host: ModuleHost, *payloads: Any) -> list[str]:
    return [event.id.hex() for event in host.emit([], [(payload, "") for payload in payloads])]


def find(host: ModuleHost, identifier: str) -> Any:
    return host.module.query("find", {"id": identifier})


def test_a_run_a_problem_and_a_checkpoint_are_found_by_their_ids(host: ModuleHost) -> None:
    _, ended, problem, saved = say(
        host,
        system.TaskStarted("alien_audit", "alien_audit-1", "alien_audit", 1),
        system.TaskCompleted("alien_audit", "alien_audit-1", "alien_audit", 1, 0.5),
        system.ErrorOccurred("ModuleDied", "killed", "alien"),
        system.CheckpointCreated("checkpoint-1", ("alien",), 10),
    )
    assert find(host, "alien_audit-1") == {"event_id": ended}
    assert find(host, problem) == {"event_id": problem}
    assert find(host, "checkpoint-1") == {"event_id": saved}
    assert find(host, "nobody") == {}
    (run,) = host.module.query("runs", {})
    assert run["event_id"] == ended
    assert host.module.query("problems", {})[0]["id"] == problem


def test_the_memory_of_checkpoints_is_bounded_and_survives_a_snapshot(host: ModuleHost) -> None:
    say(host, *(system.CheckpointCreated(f"c-{n}", (), 1) for n in range(KEPT_CHECKPOINTS + 1)))
    again = Ledger()
    again.restore(host.module.snapshot())
    assert again.query("find", {"id": "c-0"}) == {}
    assert again.query("find", {"id": "c-1"}) == find(host, "c-1") != {}
    assert again.snapshot() == host.module.snapshot()


def test_the_last_start_of_a_module_is_known_until_it_stops(host: ModuleHost) -> None:
    say(
        host,
        system.ModuleStateChanged("alien", "stopped", "initializing", "", 1),
        system.ModuleStateChanged("alien", "failed", "initializing", "", 2),
        system.ModuleStateChanged("reader", "stopped", "initializing", "", 1),
        system.ModuleStateChanged("system", "stopped", "initializing"),
    )
    assert host.module.query("starts", {}) == {"alien": 2, "reader": 1}
    say(host, system.ModuleStateChanged("reader", "draining", "stopped", "", 1))
    assert host.module.query("starts", {}) == {"alien": 2}
