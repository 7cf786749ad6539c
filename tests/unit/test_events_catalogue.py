"""The catalogue covers every payload, once; lanes obey the rule; the original's 48 types all exist."""

from __future__ import annotations

import ast
import inspect
from typing import get_args

import msgspec
import pytest

from tests.architecture.source import python_files, tree_of
from tori.errors import BadInput
from tori.events import mind, system
from tori.events.catalogue import BY_NAME, BY_NUMBER, ENTRIES, Lane, entry_of, lane_of
from tori.events.codec import tag_of
from tori.events.payloads import Payload
from tori.modules.registry import FOLLOWS, PATHS, START_ORDER, module_class

ORIGINAL = """
ConceptAdded ConceptModified ConceptRemoved ThreadCreated ThreadAppended ThreadClosed BraidFormed BraidDissolved
WormholeSuggested WormholeCreated WormholeRemoved AlienDetected AlienResolved ScarDetected ScarHealed
SystemStarted SystemShutdown ModuleInitialized ModuleShutdown
ResourceThresholdExceeded ResourceRecovered MemoryPressure CPUPressure
TaskStarted TaskCompleted TaskFailed TaskCancelled FuzzTestStarted FuzzTestCompleted ChaosInjected CoverageUpdated
PerformanceAlert MetricsCollected BenchmarkCompleted HotReloadTriggered HotReloadCompleted HotReloadFailed
ClientConnected ClientDisconnected ClientMessage ErrorOccurred RecoveryAttempted RecoverySucceeded RecoveryFailed
CheckpointCreated CheckpointLoaded StateCorrupted StateRecovered
""".split()

CAUSE_AND_EFFECT = [
    ("DocumentIngested", "ConceptAdded"),
    ("DocumentIngested", "IngestProgressed"),
    ("ConceptAdded", "AlienDetected"),
    ("AlienDetected", "WormholeSuggested"),
    ("WormholeSuggested", "SuggestionAccepted"),
    ("SuggestionAccepted", "WormholeCreated"),
    ("WormholeCreated", "BraidFormed"),
    ("ScarDetected", "ScarHealed"),
    ("SystemStarted", "ModuleInitialized"),
    ("SystemShutdown", "ModuleShutdown"),
    ("ResourceThresholdExceeded", "ModuleStateChanged"),
    ("ResourceThresholdExceeded", "ResourceRecovered"),
    ("MemoryPressure", "ResourceRecovered"),
    ("TaskStarted", "TaskFailed"),
    ("TaskFailed", "ErrorOccurred"),
    ("ChaosInjected", "ErrorOccurred"),
    ("ErrorOccurred", "RecoveryAttempted"),
    ("RecoveryAttempted", "RecoveryFailed"),
    ("RecoveryFailed", "ModuleStateChanged"),
    ("HotReloadTriggered", "ModuleStateChanged"),
    ("ModuleStateChanged", "HotReloadCompleted"),
    ("StateCorrupted", "ErrorOccurred"),
    ("CheckpointLoaded", "StateRecovered"),
    ("MetricsCollected", "PerformanceAlert"),
    ("FuzzTestStarted", "FuzzTestCompleted"),
    ("FuzzTestCompleted", "CoverageUpdated"),
    ("ClientConnected", "ClientMessage"),
]


def public_structs(module: object) -> set[type]:
    return {
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, msgspec.Struct)
        and isinstance(value.__struct_config__.tag, int)
        and not name.startswith("_")
    }


def test_every_payload_is_in_the_catalogue_and_the_codec() -> None:
    declared = public_structs(mind) | public_structs(system)
    assert declared == {entry.payload for entry in ENTRIES}
    assert declared == set(get_args(Payload))
    assert len(ENTRIES) == len(BY_NAME) == len(BY_NUMBER) == len(declared)


def test_numbers_are_unique_and_fit_the_type_set() -> None:
    assert all(1 <= entry.number <= 255 and tag_of(entry.payload) == entry.number for entry in ENTRIES)


def test_all_48_original_types_exist() -> None:
    assert len(ORIGINAL) == 48
    assert set(ORIGINAL) == {entry.type for entry in ENTRIES if entry.is_original}


def test_every_type_says_what_it_means_who_emits_and_who_takes_it() -> None:
    names = {*PATHS, "relay"}
    for entry in ENTRIES:
        assert entry.meaning.endswith("."), entry
        assert entry.emitters, entry
        assert entry.consumers, entry
        assert {*entry.emitters, *entry.consumers} <= names, entry


def test_the_mind_is_normal() -> None:
    groups = {"document", "concept", "memory", "wormhole", "alien", "scar"}
    lanes = {entry.priority for entry in ENTRIES if entry.group in groups and entry.type != "IngestProgressed"}
    assert lanes == {Lane.NORMAL}
    urgent = {entry.group for entry in ENTRIES if entry.priority <= Lane.HIGH}
    assert not urgent & groups


@pytest.mark.parametrize(("cause", "effect"), CAUSE_AND_EFFECT)
def test_no_effect_is_more_urgent_than_its_cause(cause: str, effect: str) -> None:
    assert entry_of(cause).priority <= entry_of(effect).priority


def test_lane_of_a_payload_class() -> None:
    assert lane_of(mind.ConceptAdded) == 2
    assert lane_of(system.SystemShutdown) == 0
    with pytest.raises(BadInput, match="not an event type"):
        lane_of(mind.Evidence)


def test_an_unknown_name_gets_a_suggestion() -> None:
    assert entry_of("ConceptAdded").payload is mind.ConceptAdded
    with pytest.raises(BadInput, match="Did you mean ConceptAdded"):
        entry_of("ConceptAded")
    with pytest.raises(BadInput, match=r"docs/events\.md"):
        entry_of("Zzz")


@pytest.mark.parametrize("name", [name for name in PATHS if name != "clients"])
def test_consumers_are_what_the_modules_take(name: str) -> None:
    taken = {payload.__name__ for payload in module_class(name).inputs}
    assert taken == {entry.type for entry in ENTRIES if name in entry.consumers}


@pytest.mark.parametrize("name", [name for name in PATHS if name != "clients"])
def test_every_consumer_follows_an_emitter(name: str) -> None:
    journals = {*FOLLOWS[name], name}
    assert [e.type for e in ENTRIES if name in e.consumers and not journals & set(e.emitters)] == []


@pytest.mark.parametrize("name", list(START_ORDER))
def test_what_a_module_builds_it_emits(name: str) -> None:
    calls = (
        node.func
        for path in python_files(f"tori/modules/{name}")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
    )
    built = {call.id for call in calls if isinstance(call, ast.Name) and call.id in BY_NAME}
    assert built
    assert built <= {entry.type for entry in ENTRIES if name in entry.emitters}
