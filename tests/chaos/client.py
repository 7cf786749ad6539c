"""A client process: puts its slot's documents in through the orchestrator, as object refs, over and over until told to stop.

``python -m tests.chaos.client HOME HISTORY PROCESS SLOT COUNT PACE_S``. What it cannot know it notes as unknown and does again.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.chaos.corpus import document_items, encode, refused_items, slot_batches
from tests.chaos.history import HistoryWriter
from tori.events.document import Document

RECONNECT_S = 0.3
PATIENCE_S = 8.0


class IngestClient:
    """One process's view of the system: a connection, made anew when it breaks."""

    def __init__(self, home: Path, history: HistoryWriter) -> None:
        self._home = home
        self._history = history
        self._client: Any = None

    def ingest(self, batch: Sequence[Document]) -> bool:
        """Make one call; return whether it was answered."""
        client = self._connected()
        call = self._history.invoke("ingest", document_items(batch))
        try:
            receipt = client.ingest(encode(batch))
        except Exception as error:
            self._history.unknown(call, error)
            self._client = None
            return False
        self._history.ok(call, refused_items(batch, receipt.refused))
        return True

    def _connected(self) -> Any:
        from actors.client import RayClient
        from tori.errors import NotRunning, Unavailable

        while self._client is None:
            try:
                self._connect()
                self._client = RayClient(PATIENCE_S)
                self._client.check()
            except (NotRunning, Unavailable):
                self._client = None
                time.sleep(RECONNECT_S)
        return self._client

    def _connect(self) -> None:
        import ray

        from actors import cluster
        from tori.errors import NotRunning

        info = recorded(self._home)
        if info is None or not info.is_alive:
            raise NotRunning("no cluster yet.")
        if ray.is_initialized() and ray.get_runtime_context().gcs_address != info.address:
            ray.shutdown()
        cluster.connect(info)


def recorded(home: Path) -> Any:
    """Return the cluster recorded in ``home``, dead or alive, and leave it alone: ``cluster.find`` clears half a cluster away."""
    from actors.cluster import ClusterInfo

    try:
        return msgspec.json.decode((home / "cluster.json").read_bytes(), type=ClusterInfo)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def main(home: str, history: str, process: str, slot: str, count: str, pace_s: str) -> None:
    """Ingest until killed."""
    batches = slot_batches(int(slot), int(count))
    at = random.Random(process).randrange(len(batches))
    client = IngestClient(Path(home), HistoryWriter(Path(history), process))
    while True:
        for batch in batches[at:] + batches[:at]:
            while not client.ingest(batch):
                time.sleep(RECONNECT_S)
            time.sleep(float(pace_s))


if __name__ == "__main__":
    main(*sys.argv[1:])
