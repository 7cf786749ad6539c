"""The orchestrator's memory: what ran, which start of a module is the last, and what any id stands for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.system import events_of, small_corpus
from tori.events import system
from tori.journal.reader import JournalReader
from tori.journal.unit import units
from tori.local import LocalSystem
from tori.modules.base import Module
from tori.modules.host import ModuleHost
from tori.modules.registry import create_module
from tori.orchestrator.ledger import KEPT_CHECKPOINTS, KEPT_FAILURES, Ledger
from tori.scheduler.signal import SchedulerRecord, TaskTriggered
from tori.scheduler.trigger import EventTrigger


@pytest.fixture
def host() -> Iterator[ModuleHost]:
    with LocalSystem(modules=("orchestrator",)) as mind:
        yield mind.hosts["orchestrator"]


def say(host: ModuleHost, *payloads: Any) -> list[str]:
    return [event.id.hex() for event in host.emit([], [(payload, "") for payload in payloads])]


def find(host: ModuleHost, identifier: str) -> Any:
    return host.module.query("find", {"id": identifier})


def test_a_run_a_problem_and_a_checkpoint_are_found_by_their_ids(host: ModuleHost) -> None:
    _, ended, problem, saved, rewound = say(
        host,
        system.TaskStarted("alien_audit", "alien_audit-1", "alien_audit", 1),
        system.TaskCompleted("alien_audit", "alien_audit-1", "alien_audit", 1, 0.5),
        system.ErrorOccurred("ModuleDied", "killed", "alien"),
        system.CheckpointCreated("checkpoint-1", ("alien",), 10),
        system.MindRewound("rewind-1", "2h", 5),
    )
    assert find(host, "rewind-1") == {"event_id": rewound}
    assert find(host, "alien_audit-1") == {"event_id": ended}
    assert find(host, problem) == {"event_id": problem}
    assert find(host, "checkpoint-1") == {"event_id": saved}
    assert find(host, "nobody") == {}
    (run,) = host.module.query("runs", {})
    assert run["event_id"] == ended
    assert host.module.query("problems", {})[0]["id"] == problem


def test_the_code_of_reloaded_modules_is_known_until_the_next_cold_start(host: ModuleHost) -> None:
    assert host.query("codes", {}) == {}
    say(
        host, system.HotReloadCompleted("alien", "aaa", "bbb", None, 2), system.HotReloadFailed("braid", "a", "b", "no")
    )
    assert host.query("codes", {}) == {"alien": "bbb.2"}
    again = Ledger()
    again.restore(host.module.snapshot())
    assert again.query("codes", {}) == {"alien": "bbb.2"}
    say(host, system.SystemStarted("adopted"))
    assert host.query("codes", {}) == {"alien": "bbb.2"}, "the processes live on"
    say(host, system.SystemStarted("cold"))
    assert host.query("codes", {}) == {}


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


def test_failures_of_a_module_are_known_until_a_person_starts_it_again(host: ModuleHost) -> None:
    failed = system.ModuleStateChanged("alien", "running", "failed", "killed", 1)
    say(host, *[failed] * 20, system.ModuleStateChanged("alien", "failed", "degraded", "", 1))
    again = Ledger()
    again.restore(host.module.snapshot())
    assert len(again.query("failures", {})["alien"]) == KEPT_FAILURES
    assert again.query("states", {}) == {"alien": "degraded"}
    say(host, system.ModuleStateChanged("alien", "degraded", "initializing", "recovery requested", 2))
    assert host.query("failures", {}) == {}


def test_what_a_task_waits_for_is_written_in_the_unit_that_consumes_it(tmp_path: Path) -> None:
    triggers = {
        "count": EventTrigger(("clients:DocumentIngested",)),
        "other": EventTrigger(("reader:DocumentIngested", "*:ConceptAdded")),
    }

    def create(name: str) -> Module:
        return Ledger(triggers) if name == "orchestrator" else create_module(name)

    heard: list[tuple[str, str]] = []
    with LocalSystem(tmp_path, modules=("clients", "orchestrator"), create=create) as mind:
        mind.hosts["orchestrator"].module.on_trigger = lambda *told: heard.append(told)  # type: ignore[attr-defined]  # a Ledger
        mind.ingest(small_corpus(3))
        mind.pump()
    ids = [event.id.hex() for event in events_of(tmp_path, "clients") if event.type == "DocumentIngested"]
    assert heard == [("count", event_id) for event_id in ids]
    assert kept(tmp_path) == heard
    with LocalSystem(tmp_path, modules=("clients", "orchestrator"), create=create) as mind:
        mind.pump()
    assert kept(tmp_path) == heard, "a restart counts no event again"


def kept(home: Path) -> list[tuple[str, str]]:
    """Return the triggers that stand in the ledger's journal, each in a unit that names what it consumed."""
    reader = JournalReader(home / "journals" / "orchestrator")
    decoder = msgspec.msgpack.Decoder(list[SchedulerRecord])
    found = []
    for unit in units(reader, reader.first_offset(), reader.limit()):
        records = unit.records(decoder)
        assert not records or unit.runs, "a trigger stands apart from the cursor that consumed its event"
        found += [(record.task_id, record.cause) for record in records if isinstance(record, TaskTriggered)]
    reader.close()
    return found
