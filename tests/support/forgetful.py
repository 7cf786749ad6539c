"""Modules that keep the last few of what they saw, so that old segments can really go; and a home they live in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from tori.checkpoint.codec import SnapshotDamaged
from tori.checkpoint.retention import KeepNewestPolicy
from tori.checkpoint.store import CheckpointStore
from tori.clock import VirtualClock
from tori.errors import PermanentError
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.events.system import CustomEvent
from tori.journal.retention import Trimmed, WindowPolicy
from tori.local import LocalSystem
from tori.modules.base import Context, Fact, Module
from tori.modules.host import HostSnapshot
from tori.modules.registry import FOLLOWS, create_module

KEPT = 3
NAMES = ("clients", "first", "second")


class Forgetful(Module):
    """Answers each input with an event that names it, and at times an older event it still knows; keeps the last few of both."""

    inputs = (DocumentIngested, CustomEvent)
    is_mended = False

    def __init__(self) -> None:
        self.known: list[bytes] = []
        self.taken = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        facts = []
        for number, event in enumerate(batch, self.taken):
            if isinstance(event.payload, DocumentIngested) and "poison" in event.payload.text and not self.is_mended:
                raise PermanentError("this cannot be swallowed.")
            older = self.known[:1] if number % 4 == 0 else []
            facts.append(context.event(CustomEvent(self.name, {"text": "x" * 200}), causes=[event.id, *older]))
        return facts

    def apply(self, fact: Fact) -> None:
        if isinstance(fact, Event):
            is_own = isinstance(fact.payload, CustomEvent) and fact.payload.name == self.name
            self.taken += not is_own
            self.known = [*self.known, fact.id][-KEPT:]

    def standing(self) -> Iterator[bytes]:
        yield from self.known

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode((self.known, self.taken))

    def restore(self, data: bytes) -> None:
        self.known, self.taken = msgspec.msgpack.decode(data, type=tuple[list[bytes], int])


class First(Forgetful):
    name = "first"


class Second(Forgetful):
    name = "second"
    inputs = (CustomEvent,)


def create(name: str) -> Module:
    return {"first": First, "second": Second}[name]() if name in ("first", "second") else create_module(name)


def follow(patch: pytest.MonkeyPatch) -> None:
    """Make the two modules known."""
    patch.setitem(FOLLOWS, "first", ("clients",))
    patch.setitem(FOLLOWS, "second", ("first",))


class Home:
    """One home with a system on it that is started again and again; even the documents may go."""

    def __init__(self, path: Path, keep: int = 2, keep_bytes: int = 1) -> None:
        self.path = path
        self.clock = VirtualClock()
        self.store = CheckpointStore(path / "checkpoints", clock=self.clock, retention=KeepNewestPolicy(keep))
        self.policy = WindowPolicy(keep_bytes=keep_bytes, kept_journals=())
        self.count = 0
        self.mind = self._open({})

    def _open(self, snapshots: dict[str, HostSnapshot]) -> LocalSystem:
        return LocalSystem(
            self.path,
            modules=NAMES,
            create=create,
            clock=self.clock,
            wait=self.clock.advance,
            segment_bytes=4096,
            snapshots=snapshots,
            retention=self.policy,
        )

    def ingest(self, count: int, text: str = "fine") -> None:
        """Put documents in that nobody has taken yet."""
        documents = [Document(f"d{self.count + i}", "t", f"{text} {self.count + i} " + "y" * 300) for i in range(count)]
        self.count += count
        self.mind.submit(msgspec.msgpack.encode(documents))

    def checkpoint(self) -> list[Trimmed]:
        self.clock.advance(1.0)
        return self.mind.checkpoint(self.store)

    def restart(self, checkpoint_id: str | None) -> None:
        """Start again from a kept checkpoint; None: from the newest of each module, or from nothing."""
        self.mind.close()
        found = {}
        for name in NAMES:
            stored = self._stored(checkpoint_id, name)
            if stored is not None:
                found[name] = msgspec.msgpack.decode(stored, type=HostSnapshot)
        self.mind = self._open(found)

    def _stored(self, checkpoint_id: str | None, name: str) -> bytes | None:
        if checkpoint_id is None:
            snapshot = self.store.newest(name)[0]
            return None if snapshot is None else snapshot.data
        manifest = self.store.manifest(checkpoint_id)
        try:
            return self.store.load(manifest, name).data
        except SnapshotDamaged:
            return None

    def states(self) -> dict[str, bytes]:
        """Return every state, with its deliveries, as bytes."""
        return {
            name: host.module.snapshot()
            + msgspec.msgpack.encode([host.courier.pending.entries(), host.courier.book.letters()])
            for name, host in self.mind.hosts.items()
        }

    def check_why(self) -> None:
        """Every standing event is there, and all it follows from, down to documents."""
        for host in self.mind.hosts.values():
            if host.module.name != "clients":
                for one in host.module.standing():
                    story = [event for event, _ in self.mind.archive.story(one)]
                    assert any(isinstance(event.payload, DocumentIngested) for event in story)
                    assert all(event.causes or isinstance(event.payload, DocumentIngested) for event in story)

    def first_offsets(self) -> dict[str, int]:
        return {name: reader.first_offset() for name, reader in self.mind.archive.readers.items()}
