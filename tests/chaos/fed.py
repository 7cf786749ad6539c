"""A system on Ray that is fed while its parts are killed, and judged at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import ray

from actors.backend import RayBackend
from actors.cast import actor_name
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR, RELAY
from tests.chaos.corpus import encode, slot_documents
from tests.chaos.repeat import Repeater
from tests.support.system import audit, system_settings
from tori.events.document import Document
from tori.local import LocalSystem

MOST_DOCUMENTS = 10_000
"""A client's documents; at one batch a second hours of them."""
ANSWER_S = 5.0
BACK_S = 15.0
"""How long the orchestrator, or everything after a death, may take until all runs again; its own bound is the campaign's."""
POLL_S = 0.05


class Feeder(Repeater):
    """Puts a few documents in, again and again, and notes how long the slowest answer took."""

    def __init__(self, slot: int, every_s: float, put: Callable[[bytes], Any], batch: int = 2) -> None:
        super().__init__(f"feeder-{slot}", every_s)
        self.taken: list[Document] = []
        """What was acknowledged."""
        self.longest_s = 0.0
        self._corpus = slot_documents(slot, MOST_DOCUMENTS)
        self._put, self._batch = put, batch

    def work(self) -> None:
        batch = self._corpus[len(self.taken) : len(self.taken) + self._batch]
        begun = time.monotonic()
        self._put(encode(batch))
        self.longest_s = max(self.longest_s, time.monotonic() - begun)
        self.taken += batch


def _past_orchestrator(documents: bytes) -> None:
    """Hand documents to the relay itself: what flows needs no orchestrator."""
    relay = ray.get_actor(RELAY, namespace=NAMESPACE)
    ray.get(relay.ingest.remote(ray.put(documents)), timeout=60.0)


class FedSystem:
    """A system of its own, fed through the orchestrator's door, and with ``is_fed_past`` past the orchestrator too."""

    def __init__(
        self, home: Path, options: Mapping[str, Any], *, every_s: float = 1.0, is_fed_past: bool = False
    ) -> None:
        self.home = home
        self.settings = system_settings(home, **options)
        self.backend = RayBackend()
        self.first: list[Document] = []
        """What is put in besides, before the feeders begin; the caller's to fill."""
        self.door = Feeder(0, every_s, lambda documents: RayClient().ingest(documents))
        self.past = Feeder(1, every_s, _past_orchestrator) if is_fed_past else None
        self.client: RayClient

    def __enter__(self) -> FedSystem:
        try:
            self.backend.up(self.settings, None)
            self.client = self.backend.connect(self.settings, None)
        except BaseException:
            self.backend.down(self.settings, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.stop_feeding()
        self.backend.down(self.settings, None)

    @property
    def feeders(self) -> list[Feeder]:
        return [self.door] if self.past is None else [self.door, self.past]

    def start_feeding(self) -> None:
        for feeder in self.feeders:
            feeder.start()

    def stop_feeding(self) -> None:
        for feeder in self.feeders:
            feeder.stop()

    # -- who is who ------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """Return whatever the lifecycle governs, the relay first."""
        return [module["name"] for module in self.client.status()["modules"]]

    def pids(self, names: list[str]) -> dict[str, int]:
        return {name: pid_of(name) for name in names}

    def orchestrator_pid(self) -> int:
        handle = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
        return int(ray.get(handle.pid.remote(), timeout=ANSWER_S))

    def await_running(self, limit_s: float = BACK_S) -> dict[str, Any]:
        """Return the status once everything runs; raises TimeoutError."""
        limit = time.monotonic() + limit_s
        while True:
            status = self.client.status()
            if status["state"] == "running" and all(m["state"] == "running" for m in status["modules"]):
                return status
            if time.monotonic() > limit:
                raise TimeoutError(f"not everything runs after {limit_s:.0f} s: {status}")
            time.sleep(POLL_S)

    # -- the end ---------------------------------------------------------------------------------------------------

    def documents(self) -> list[Document]:
        return [*self.first, *(document for feeder in self.feeders for document in feeder.taken)]

    def settle(self) -> list[str]:
        """Stop feeding, then the system; return what is wrong with what it has become."""
        self.stop_feeding()
        failures = [feeder.failure for feeder in self.feeders if feeder.failure]
        self.await_running()
        documents = self.documents()
        held = self.client.query("clients", "summary", {})["documents"]
        if held != len(documents):
            failures.append(f"{len(documents)} documents were acknowledged, {held} are held")
        settled = self.client.quiesce()["sections"]
        stopped = self.backend.down(self.settings, None)
        failures += stopped.problems
        with LocalSystem() as mind:
            mind.ingest(documents)
            mind.quiesce()
            undisturbed = mind.digests()
        if settled != undisturbed:
            failures.append(f"the digest is not that of an undisturbed mind: {settled}, {undisturbed}")
        try:
            audit(self.home, documents)
        except AssertionError as error:
            failures.append(f"audit: {error}")
        return failures


def pid_of(module: str) -> int:
    """Return the process of a module's actor; raises ValueError when there is none, RayError when it does not answer."""
    handle = ray.get_actor(actor_name(module), namespace=NAMESPACE)
    return int(ray.get(handle.ready.remote(), timeout=ANSWER_S)["pid"])
