"""Event types that are really emitted and really handled, read from the journals of a run in which much happens.

Nothing here writes an event: documents come in, scans and checks run, a person accepts and rejects, processes are killed,
a checkpoint is damaged, and what the product says of it is what counts.
"""

from __future__ import annotations

import os

import msgspec
import pytest
import ray

from actors.cast import actor_name
from actors.names import NAMESPACE
from tests.contract.runtime import RayRuntime
from tests.support.census import Kind, census
from tests.support.planted_years import burst
from tests.support.system import kill
from tests.support.tiny_corpus import circle
from tori.clock import VirtualClock
from tori.events.catalogue import BY_NAME
from tori.events.document import Document
from tori.events.system import ClientMessage, CustomEvent
from tori.local import LocalSystem
from tori.local.system import DEFAULT_MODULES
from tori.modules.registry import FOLLOWS

NOT_YET = {
    "AlertUndelivered": "no webhook is set",
    "BenchmarkCompleted": "benchmarks run beside the system, not in it",
    "ChaosInjected": "only the task chaos_recovery injects a fault, which tests of its own run",
    "ClientConnected": "a door with sessions opens one; the command line connects anew for every command",
    "ClientDisconnected": "as ClientConnected",
    "CPUPressure": "the machine is under no pressure in this life",
    "DeliveryDeadLettered": "a handler that fails stops its module, which is started again; nothing is set aside",
    "HotReloadFailed": "the code that is reloaded here is good",
    "MemoryPressure": "as CPUPressure",
    "MindRewound": "a rewind in place is made while nothing runs, by the command line",
    "PerformanceAlert": "a first baseline takes 20 minutes of work",
    "ResourceRecovered": "as CPUPressure",
    "ResourceThresholdExceeded": "as CPUPressure",
    "SubscriptionLagged": "no follower has a limit for its lag; the lag itself is in status and metrics",
}
"""Types that no run emits yet, and why. A type that is emitted after all has to leave this table."""
LEAST = 30


class Life:
    """One life of a system on Ray, told as what a person, or bad luck, does to it."""

    def __init__(self, system: RayRuntime) -> None:
        self.system = system
        self.client = system.client

    def think(self) -> None:
        """Read a circle of documents, fill the hole in its middle, and have bridges judged in between."""
        ring, _ = circle()
        self.system.ingest(ring)
        self.client.quiesce()
        bridges = self.client.query("wormhole", "bridges", {"limit": 2})["items"]
        for verdict, bridge in zip(("accept", "reject"), bridges, strict=True):
            self.client.command("wormhole", verdict, {"id": bridge["wormhole_id"], "by": "test"})
        self.system.ingest([_filled(ring, i) for i in range(0, len(ring), 3)])
        self.client.quiesce()
        self.client.command("clients", "say", {"payload": ClientMessage("test", "question", "what is in the middle?")})
        self.client.command("clients", "say", {"payload": CustomEvent("noted", {"by": "test"})})

    def work(self) -> None:
        """Run tasks, throttled and not; one is cancelled, one loses its module on the way and is done by the next attempt."""
        self.client.throttle("high", "for the census")
        self.client.throttle("off")
        self.client.reload("scars")
        for task in ("performance_metrics", "state_persistence"):
            self._await(self.client.run_task(task)["run_id"], "succeeded")
        for level in ("high", "off"):
            self.client.throttle(level, "census")
        run = self.client.run_task("concept_fuzz_test")["run_id"]
        self._await(run, "running")
        kill(self._pid("fuzzing"))
        self._await(run, "succeeded")
        run = self.client.run_task("concept_fuzz_test")["run_id"]
        self._await(run, "running")
        self.client.cancel_run(run)
        self._await(run, "cancelled")

    def fail(self) -> None:
        """Kill one module until it is given up, then bring it back by hand."""
        for attempt in range(self.system.settings.limits.restarts):
            kill(self._pid("alien"))
            self._await_state("alien", "running", restarts=attempt + 1)
        kill(self._pid("alien"))
        self._await_state("alien", "degraded", restarts=self.system.settings.limits.restarts)
        self.client.pause("alien", paused=False)
        self.system.await_("alien coming back", lambda: self._module("alien")["state"] == "running")

    def lose_a_checkpoint(self) -> None:
        """Stop, damage the newest snapshot of a module, start again."""
        self.system.stop()
        newest = max(self.system.home.glob("checkpoints/checkpoint-*/braid.snapshot"))
        data = bytearray(newest.read_bytes())
        data[len(data) // 2] ^= 1
        newest.write_bytes(data)
        self.system.start()
        self.client = self.system.client

    def _pid(self, module: str) -> int:
        handle = ray.get_actor(actor_name(module), namespace=NAMESPACE)
        pid = int(ray.get(handle.ready.remote())["pid"])
        assert pid != os.getpid()
        return pid

    def _module(self, name: str) -> dict[str, object]:
        return next(m for m in self.client.status()["modules"] if m["name"] == name)

    def _await_state(self, module: str, state: str, *, restarts: int) -> None:
        def is_so() -> bool:
            found = self._module(module)
            return (found["state"], found["restarts"]) == (state, restarts)

        self.system.await_(f"{module} being {state} after {restarts} restarts", is_so)

    def _await(self, run_id: str, state: str) -> None:
        def is_so() -> bool:
            return any((r["run_id"], r["state"]) == (run_id, state) for r in self.client.tasks()["runs"])

        self.system.await_(f"run {run_id} being {state}", is_so)


def _filled(ring: list[Document], i: int) -> Document:
    """Return document ``i`` of a circle, now speaking of what lies far across as well."""
    across = ring[(i + 13) % len(ring)]
    return msgspec.structs.replace(ring[i], text=f"{across.text} and {ring[i].text}")


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """The census of a life on Ray and of an undisturbed local mind over years with a burst in them."""
    home, quiet = tmp_path_factory.mktemp("life"), tmp_path_factory.mktemp("quiet")
    system = RayRuntime(home, **{"limits.restarts": 1})
    life = Life(system)
    try:
        life.think()
        life.work()
        life.fail()
        life.lose_a_checkpoint()
    finally:
        system.stop()
    with LocalSystem(quiet, modules=(*DEFAULT_MODULES, "orchestrator"), clock=VirtualClock()) as mind:
        mind.ingest(burst())
        mind.quiesce()
    return census(home, quiet)


def test_every_emitted_type_is_handled(lived: dict[str, Kind]) -> None:
    unheard = {name: kind for name, kind in lived.items() if not kind.is_handled}
    assert unheard == {}
    assert len(lived) >= LEAST


def test_every_type_is_emitted_or_listed_with_its_reason(lived: dict[str, Kind]) -> None:
    assert NOT_YET.keys() <= BY_NAME.keys()
    assert sorted(lived.keys() & NOT_YET.keys()) == [], "emitted after all: take them off the list"
    assert sorted(BY_NAME.keys() - lived.keys() - NOT_YET.keys()) == [], "neither emitted nor listed"


def test_the_ledger_shows_everything_it_is_sent(lived: dict[str, Kind]) -> None:
    """A ledger that stops may leave the last events to its next start; it never counts one twice."""
    for name, kind in lived.items():
        if "orchestrator" in BY_NAME[name].consumers:
            assert 0 < kind.shown <= sum(kind.emitted.values()), name


def test_the_catalogue_names_who_emits_and_who_takes(lived: dict[str, Kind]) -> None:
    wrong = []
    for name, kind in sorted(lived.items()):
        entry, emitters, takers = BY_NAME[name], set(kind.emitted), set(kind.taken)
        if not emitters <= set(entry.emitters):
            wrong.append(f"{name} is emitted by {sorted(emitters)}, not only by {entry.emitters}")
        near = {module for module, journals in FOLLOWS.items() if emitters & set(journals)}
        if takers != set(entry.consumers) & near:
            wrong.append(f"{name} is taken by {sorted(takers)}, not by {entry.consumers}")
    assert wrong == []
