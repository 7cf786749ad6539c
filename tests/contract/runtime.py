"""One system under contract, on either runtime: the same port, the same home on disk, the same ways to end and begin again."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.backend import RayBackend
from tests.support.local_runtime import DurableClient
from tests.support.system import small_corpus, system_settings
from tori.client import SystemClient
from tori.events.document import Document, Receipt
from tori.local import LocalSystem

PATIENCE_S = 60.0
"""How long a running system is looked at before a wait is given up; a look is a call, so nobody sleeps."""


class Runtime(ABC):
    """A running system and what it was given; ``name`` is ``local`` or ``ray``."""

    name: str
    client: SystemClient

    def __init__(self, home: Path) -> None:
        self.home = home
        self.documents: dict[str, Document] = {}
        """Every document that was accepted, as it is now."""
        self._made = 0

    @abstractmethod
    def restart(self) -> None:
        """Stop the system and start it again on the same home."""

    @abstractmethod
    def stop(self) -> None:
        """Stop the system for good."""

    def fresh(self, count: int) -> list[Document]:
        """Return documents that this system has not seen, linked among themselves."""
        self._made += count
        return small_corpus(self._made)[-count:]

    def ingest(self, documents: Sequence[Document]) -> Receipt:
        """Send one batch and remember what must have been taken."""
        receipt = self.client.ingest(msgspec.msgpack.encode(list(documents)))
        refused = {document_id for document_id, _ in receipt.refused}
        self.documents |= {d.id: d for d in documents if d.id not in refused}
        return receipt

    def undisturbed(self) -> dict[str, str]:
        """Return the digests of the same documents, dealt one by one in an order of their own, in one undisturbed process."""
        documents = sorted(self.documents.values(), key=lambda d: d.id)
        random.Random(len(documents)).shuffle(documents)
        with LocalSystem() as mind:
            mind.ingest(documents, batch=1)
            mind.quiesce()
            return mind.digests()

    def await_(self, what: str, is_so: Callable[[], Any]) -> None:
        """Return once ``is_so`` holds; raises AssertionError naming ``what`` when it never does."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline, f"{self.name}: {what} did not happen in {PATIENCE_S:.0f} s"


class LocalRuntime(Runtime):
    """Everything in this process."""

    name = "local"
    client: DurableClient

    def __init__(self, home: Path) -> None:
        super().__init__(home)
        self.client = DurableClient(home)

    def restart(self) -> None:
        self.client.close()
        self.client = DurableClient(self.home)

    def stop(self) -> None:
        self.client.close()


class RayRuntime(Runtime):
    """Actors on a Ray cluster of the home's own."""

    name = "ray"

    def __init__(self, home: Path, **settings: Any) -> None:
        super().__init__(home)
        self.settings = system_settings(home, **settings)
        self.backend = RayBackend()
        self.start()

    def start(self) -> None:
        """Start the system on its home."""
        self.backend.up(self.settings, None)
        self.client = self.backend.connect(self.settings, None)

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        assert self.backend.down(self.settings, None)
