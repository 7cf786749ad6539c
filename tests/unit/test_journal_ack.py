"""Acknowledgements: ``disk`` waits for the sync, ``os`` does not and is durable soon after."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.support.failing_files import FailingFiles
from tests.support.system import small_corpus
from tori.clock import SystemClock
from tori.events.mind import DocumentIngested
from tori.journal.ack import OsAckWriter, open_writer
from tori.journal.follower import Follower
from tori.journal.reader import JournalReader
from tori.modules.host import ModuleHost
from tori.modules.registry import create_module
from tori.settings import load_settings

PATIENCE_S = 10.0


class Gate:
    """A disk whose syncs wait until they may."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.opened.set()
        self.asked = threading.Event()
        self.files = FailingFiles()
        self.files.refusal = self._pass

    def _pass(self, operation: str) -> int:
        if operation == "fdatasync":
            self.asked.set()
            assert self.opened.wait(PATIENCE_S)
        return 0


class Rig:
    """The clients' module on a journal with ``os`` acknowledgements, and a follower of it."""

    def __init__(self, directory: Path) -> None:
        self.gate = Gate()
        self.writer = OsAckWriter(directory, segment_bytes=1 << 20, fallback_s=0.001, files=self.gate.files)
        self.host = ModuleHost(
            create_module("clients"),
            self.writer,
            JournalReader(directory),
            [],
            SystemClock(),
            lambda _: None,  # type: ignore[arg-type,return-value]  # no event is read back
        )
        self.host.recover()
        self.follower = Follower(JournalReader(directory))

    def ingest(self) -> None:
        self.host.command("ingest", {"documents": msgspec.msgpack.encode(small_corpus(4))})

    def followed(self) -> int:
        return sum(isinstance(e.payload, DocumentIngested) for f in self.follower.take([]) for e in f.events)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path / "clients")
    yield rig
    rig.gate.opened.set()
    rig.host.close()
    rig.follower.reader.close()  # type: ignore[attr-defined]  # it is a JournalReader


def test_os_acknowledges_before_the_sync_and_followers_wait_for_it(rig: Rig) -> None:
    rig.gate.opened.clear()
    rig.gate.asked.clear()
    rig.ingest()  # returns although no sync can
    assert rig.host.module.query("summary", {})["documents"] == 4
    assert rig.writer.durable_offset < rig.writer.written_offset
    assert rig.followed() == 0, "a follower that stores a cursor saw what power loss may take"
    assert rig.gate.asked.wait(PATIENCE_S), "nobody waited, and nobody synced it"
    rig.gate.opened.set()
    rig.writer.commit()
    assert rig.followed() == 4


def test_a_whole_commit_waits_for_the_disk_in_every_mode(rig: Rig) -> None:
    rig.ingest()
    rig.writer.commit()
    assert rig.writer.durable_offset == rig.writer.written_offset


@pytest.mark.parametrize(("ack", "kind"), [("disk", "JournalWriter"), ("os", "OsAckWriter")])
def test_the_setting_chooses(tmp_path: Path, ack: str, kind: str) -> None:
    settings = load_settings(tmp_path, {"journal.ack": ack, "journal.fallback_commit_s": 0.004}).plain()["journal"]
    writer = open_writer(tmp_path / "j", segment_bytes=1 << 20, settings=settings)
    try:
        assert type(writer).__name__ == kind
    finally:
        writer.close()
