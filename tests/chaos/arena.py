"""A real system on Ray under load, and the connection of the nemesis to it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from actors.backend import RayBackend
from actors.cast import actor_name
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR
from tests.chaos.client import recorded
from tests.chaos.corpus import document_items, encode, refused_items, slot_batches, slot_documents
from tests.chaos.yard import Owner, Yard
from tests.support.system import kill, system_settings
from tori.errors import NotRunning, TemporaryError
from tori.modules.registry import START_ORDER
from tori.resources.process import descendants

MODULES = START_ORDER


class Arena(Yard):
    """One home, one cluster, a workload that is kept alive, and the connection of the nemesis."""

    def __init__(self, home: Path, history: Path, *, slots: int = 2, documents: int = 90, pace_s: float = 0.05) -> None:
        super().__init__(home, history)
        self.slots = slots
        self.documents = documents
        self.backend = RayBackend()
        self.settings = system_settings(
            home,
            **{"limits.restart_window_s": 3.0, "limits.start_timeout_s": 30.0},
        )
        self._pace_s = pace_s

    # -- life ------------------------------------------------------------------------------------------------------

    def up(self) -> None:
        """Start the system, or start it again."""
        self.backend.up(self.settings, None)

    def down(self) -> None:
        self.disconnect()
        self.backend.down(self.settings, None)

    def disconnect(self) -> None:
        """Leave Ray: a driver does not survive its raylet."""
        import ray

        ray.shutdown()

    def client(self, patience_s: float = 30.0) -> RayClient:
        """Return a connected client."""
        from actors import cluster

        info = recorded(self.home)
        if info is None:
            raise NotRunning("no cluster is recorded.")
        cluster.connect(info)
        return RayClient(patience_s)

    def cluster_info(self) -> Any:
        return recorded(self.home)

    # -- workload --------------------------------------------------------------------------------------------------

    def workers(self) -> list[str]:
        return [*self.drivers(), "producer", "observer"]

    def drivers(self) -> list[str]:
        """Return the workers that are connected to Ray."""
        return [f"client-{slot}" for slot in range(self.slots)]

    def arguments(self, worker: str, number: int) -> list[str]:
        if worker.startswith("client-"):
            return [worker.partition("-")[2], str(self.documents), str(self._pace_s)]
        return super().arguments(worker, number)

    def confirm(self) -> None:
        """Put every document in once more, so that the accepted input is known whatever was left open."""
        client = self.client()
        for slot in range(self.slots):
            for batch in slot_batches(slot, self.documents, size=16):
                call = self.history.invoke("ingest", document_items(batch))
                receipt = client.ingest(encode(batch))
                self.history.ok(call, refused_items(batch, receipt.refused))

    def corpus(self) -> list[Any]:
        """Return every document that will have been accepted."""
        return [d for slot in range(self.slots) for d in slot_documents(slot, self.documents)]

    # -- who is who ------------------------------------------------------------------------------------------------

    def orchestrator_pid(self) -> int:
        return self.owner(ORCHESTRATOR).pid

    def head_pid(self, program: str) -> int:
        return next(p.pid for p in self.cluster_info().processes if p.name == program)

    def kill_cluster(self) -> None:
        """kill -9 everything Ray, at once."""
        info = self.cluster_info()
        self.disconnect()
        for process in (*descendants(info.processes), *info.processes):
            with contextlib.suppress(ProcessLookupError):
                kill(process.pid)

    # -- how long it took ------------------------------------------------------------------------------------------

    def await_owner(self, journal: str, old: Owner) -> int:
        """Return when a new process has taken a journal over and its module answers."""

        def is_back() -> bool:
            now = self.owner(journal)
            return now.lives and (now.pid, now.started) != (old.pid, old.started) and self.is_ready(journal)

        return self.await_true(f"a new {journal}", is_back)

    def is_ready(self, module: str) -> bool:
        import ray
        from ray.exceptions import RayError

        try:
            self.client()
            handle = ray.get_actor(actor_name(module), namespace=NAMESPACE)
            method = handle.pid if module == ORCHESTRATOR else handle.ready
            ray.get(method.remote(), timeout=5.0)
        except (ValueError, RayError, TemporaryError):
            return False
        return True
