"""Which tasks events make due: those of modules, of users' modules, of the orchestrator itself; once each, and never for ever."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.modules import kept_tables
from tori.errors import BadSettings
from tori.events import system
from tori.events.envelope import Event
from tori.events.topic import Matcher
from tori.ids import IdSource, source_suffix
from tori.journal.reader import JournalReader
from tori.journal.unit import units
from tori.local import LocalSystem
from tori.modules import registry
from tori.modules.host import ModuleHost
from tori.orchestrator.ledger import Ledger, source_of
from tori.scheduler.hearing import Hearing, check_sources
from tori.scheduler.signal import RunRetrying, SchedulerRecord, TaskTriggered
from tori.scheduler.trigger import AfterTrigger, EventTrigger, Trigger

HOUSE = ("wormhole_scan", "state_persistence")


def event(payload: Any, journal: str = "orchestrator") -> Event:
    """Return an event of a journal, with the key that the scheduler gives those of runs."""
    made = IdSource(source_suffix(journal, b""), lambda: 1).next()
    return Event(made, payload, getattr(payload, "task_id", ""))


def failed(task_id: str) -> Event:
    return event(system.TaskFailed(task_id, f"{task_id}-1", "user", 1, 0.1, "broken"))


def due(triggers: Mapping[str, Trigger], one: Event) -> list[str]:
    return Hearing(triggers).due(one, source_of(one))


tables = pytest.fixture(kept_tables)


def test_the_orchestrator_s_own_events_make_tasks_due() -> None:
    triggers = {
        "alarm": EventTrigger(("*:TaskFailed",)),
        "slow": EventTrigger(("orchestrator:PerformanceAlert",)),
        "copy": EventTrigger(("orchestrator:CheckpointCreated",)),
        "none": EventTrigger(("reader:CheckpointCreated",)),
    }
    assert due(triggers, failed("wormhole_scan")) == ["alarm"]
    assert due(triggers, event(system.CheckpointCreated("c-1", ("alien",), 10))) == ["copy"]


def test_no_event_of_a_run_is_news_to_a_task_that_leads_back_to_it() -> None:
    all_runs = EventTrigger(("*:Task*",))
    assert due({"a": all_runs}, failed("a")) == [], "its own"
    assert due({"a": all_runs, "b": all_runs}, failed("b")) == [], "in turns"
    after = {"a": all_runs, "b": AfterTrigger(("a",)), "c": AfterTrigger(("b",))}
    assert due(after, failed("c")) == [], "by way of those that follow"
    assert due(after, failed("wormhole_scan")) == ["a"]
    chain = {
        "x": EventTrigger(("orchestrator:TaskFailed:wormhole_scan",)),
        "y": EventTrigger(("orchestrator:TaskFailed:x",)),
        "z": EventTrigger(("orchestrator:TaskFailed:y", "orchestrator:TaskFailed:w")),
        "w": AfterTrigger(("z",)),
    }
    steps = [due(chain, failed(name)) for name in ("wormhole_scan", "x", "y", "w")]
    assert steps == [["x"], ["y"], ["z"], []], "what ends is heard, what would go round is not"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what matchers are asked."""
    counts: Counter[str] = Counter()

    def counting(name: str) -> Callable[..., bool]:
        ask = getattr(Matcher, name)

        def counted(self: Matcher, *args: Any) -> bool:
            counts[name] += 1
            return bool(ask(self, *args))

        return counted

    for name in ("accepts", "may_accept"):
        monkeypatch.setattr(Matcher, name, counting(name))
    return counts


@pytest.mark.parametrize("topic", ["*:TaskFailed", "orchestrator:TaskFailed:u*", "*:TaskFailed:u{before}"])
def test_a_thousand_triggers_are_asked_once_each(topic: str, asked: Counter[str]) -> None:
    n = 1000
    triggers = {f"u{i}": EventTrigger((topic.format(before=(i - 1) % n),)) for i in range(n)}
    hearing = Hearing(triggers)
    for task_id in ("u1", "u2", "u3", "wormhole_scan"):
        due = hearing.due(failed(task_id), "orchestrator")
        assert due == (list(triggers) if (task_id, topic) == ("wormhole_scan", "*:TaskFailed") else []), task_id
    assert asked["accepts"] == 4 * n, "once an event"
    assert asked["may_accept"] <= 3 * n, "once for all: does it hear of runs, by which topic, of whose"


def test_nobody_is_asked_about_a_type_that_nobody_waits_for(asked: Counter[str]) -> None:
    triggers = {f"u{i}": EventTrigger(("orchestrator:CheckpointCreated",)) for i in range(1000)}
    hearing = Hearing({**triggers, "alarm": EventTrigger(("*:TaskFailed",))})
    assert hearing.due(event(system.MetricsCollected("m", 1.0)), "orchestrator") == []
    assert not asked
    assert hearing.due(failed("wormhole_scan"), "orchestrator") == ["alarm"]
    assert asked == {"accepts": 1}


def test_the_loop_rule_goes_back_by_patterns_and_by_those_that_follow() -> None:
    triggers = {
        "a": EventTrigger(("orchestrator:TaskFailed:c-*", "reader:AlienDetected")),
        "b": AfterTrigger(("a",)),
        "c-1": EventTrigger(("*:TaskFailed:b",)),
        "d": EventTrigger(("reader:*",)),
        "e": EventTrigger(("*:TaskFailed:c-?",)),
    }
    assert due(triggers, failed("c-1")) == ["e"], "it leads to no other; a leads back"
    assert due(triggers, failed("b")) == []
    assert due(triggers, failed("c-2")) == ["a", "e"], "nobody hears of runs that are no task's"
    assert due({**triggers, "f": EventTrigger(("*:Task*",))}, failed("f")) == []
    assert due({**triggers, "f": EventTrigger(("*:Task*",))}, failed("e")) == ["f"]


def test_events_of_a_user_s_module_make_tasks_due(tables: None) -> None:
    one = event(system.CustomEvent("counted", {}), "counting")
    assert (source_of(one), due({"t": EventTrigger(("counting:*",))}, one)) == ("", [])
    registry.register_module("counting", "users.counting:Counting", ("clients",))
    assert (source_of(one), due({"t": EventTrigger(("counting:*",))}, one)) == ("counting", ["t"])


def test_a_source_that_nobody_is_is_refused() -> None:
    known = ("clients", "reader", "counting", "orchestrator")
    for topic in ("*", "*:TaskFailed", "count?ng:*", "clients:DocumentIngested:pep-*", "orchestrator"):
        check_sources("t", EventTrigger((topic,)), known)
    with pytest.raises(
        BadSettings, match="task t waits for 'nobody:AlienDetected', but nobody is called 'nobody'"
    ) as refused:
        check_sources("t", EventTrigger(("reader:*", "nobody:AlienDetected")), known)
    assert refused.value.remedy == "Sources: clients, reader, counting, orchestrator."


def records(home: Path) -> list[tuple[list[str], list[str]]]:
    """Return by unit of the orchestrator's journal its records and events."""
    reader = JournalReader(home / "journals" / "orchestrator")
    decoder = msgspec.msgpack.Decoder(list[SchedulerRecord])
    found = [
        ([type(r).__name__ for r in unit.records(decoder)], [e.type for e in unit.events])
        for unit in units(reader, reader.first_offset(), reader.limit())
    ]
    reader.close()
    return [unit for unit in found if unit != ([], [])]


def test_a_trigger_stands_in_the_unit_of_its_event_and_is_told_once(tmp_path: Path) -> None:
    heard: list[tuple[str, str]] = []

    def ledger(name: str) -> Ledger:
        made = Ledger({"alarm": EventTrigger(("*:TaskFailed",))})
        made.on_trigger = lambda *told: heard.append(told)
        return made

    payload = system.TaskFailed("wormhole_scan", "w-1", "wormhole_scan", 1, 0.1, "broken")
    with LocalSystem(tmp_path, modules=("orchestrator",), create=ledger) as mind:
        host: ModuleHost = mind.hosts["orchestrator"]
        (written,) = host.emit([RunRetrying("w-1", 1)], [(payload, "wormhole_scan")])
        assert heard == [("alarm", written.id.hex())]
    heard.clear()
    assert records(tmp_path) == [(["RunRetrying", TaskTriggered.__name__], ["TaskFailed"])]
    with LocalSystem(tmp_path, modules=("orchestrator",), create=ledger) as mind:
        mind.pump()
    assert len(records(tmp_path)) == 1, "a restart counts no event again"
