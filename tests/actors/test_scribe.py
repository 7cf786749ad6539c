"""What the orchestrator writes while its disk is full: it waits, in order, and says for what; who can be told is told."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors import scribe as scribes
from actors.scribe import Scribe
from tests.support.failing_files import FailingFiles
from tests.support.system import events_of
from tori.errors import JournalRefused
from tori.events.system import ErrorOccurred
from tori.modules.loop import ModuleLoop
from tori.modules.open import open_host
from tori.orchestrator.ledger import Ledger

NOTE = "Note"
FILL = 200
"""Facts that fill more than the segments at hand: after so many a full disk is met."""


class Desk:
    """A scribe over a real journal, on a disk that can be full."""

    def __init__(self, home: Path, *, is_reborn: bool = True) -> None:
        self.home = home
        self.files = FailingFiles()
        self.ledger = ModuleLoop("orchestrator", self._open, [])
        self.ledger.start()
        self.ledger.wait_ready(10)
        self.waits: list[str] = []
        self.scribe = Scribe(self.ledger, self.waits.append if is_reborn else None)
        self.told: list[Any] = []
        self.scribe.on_written = self.told.append

    def _open(self) -> Any:
        return open_host(
            self.home,
            "orchestrator",
            segment_bytes=1 << 13,
            load_snapshot=lambda _: None,
            files=self.files,
            create=lambda name, settings: Ledger(()),
        )

    def fill(self) -> None:
        self.files.refusal = lambda operation: errno.ENOSPC if operation == "create" else 0

    def free(self) -> None:
        self.files.refusal = lambda operation: 0

    def write(self, *, now: bool = False) -> None:
        """Write facts one by one."""
        record = self.scribe.record_now if now else self.scribe.record
        for number in range(FILL):
            record([], [(ErrorOccurred(NOTE, f"number {number}", "reader"), "")])

    def written(self) -> list[str]:
        payloads = [event.payload for event in events_of(self.home, "orchestrator")]
        return [p.message for p in payloads if isinstance(p, ErrorOccurred) and p.error_type == NOTE]


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(scribes, "ROOM_RETRY_S", 0.005)
    desk = Desk(tmp_path)
    yield desk
    desk.free()
    desk.ledger.stop()


def test_facts_wait_for_room_and_keep_their_order(desk: Desk) -> None:
    desk.fill()
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(desk.write)
        wait_until(lambda: "No space left on device" in desk.scribe.waits_for)
        assert len(desk.told) < FILL
        assert not writing.done()
        desk.free()
        writing.result(10)
    assert [p.message for p in desk.told] == desk.written() == [f"number {n}" for n in range(FILL)]
    assert desk.scribe.waits_for == ""
    assert "No space left on device" in desk.waits[0]


def test_who_can_be_told_is_told(desk: Desk) -> None:
    desk.fill()
    with pytest.raises(JournalRefused, match="free disk space"):
        desk.write(now=True)
    assert [p.message for p in desk.told] == desk.written()


def test_a_system_that_stops_waits_for_no_room(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    lost: list[str] = []
    log = SimpleNamespace(
        info=lambda *_: None, warning=lambda *_: None, error=lambda text, what: lost.append(text % what)
    )
    monkeypatch.setattr(scribes, "event_logger", lambda *_: log)
    desk.fill()
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(desk.write)
        wait_until(lambda: desk.scribe.waits_for)
        desk.scribe.stop()
        writing.result(10)
    assert all(text.startswith("not written, the system stops") for text in lost)
    assert len(desk.told) + len(lost) == FILL
    assert f"number {FILL - 1}" in lost[-1]


def test_who_starts_a_system_is_told_until_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scribes, "ROOM_RETRY_S", 0.005)
    desk = Desk(tmp_path, is_reborn=False)
    desk.fill()
    with pytest.raises(JournalRefused, match="No space left"):
        desk.write()
    desk.scribe.settle()
    with ThreadPoolExecutor() as pool:
        writing = pool.submit(desk.write)
        wait_until(lambda: desk.scribe.waits_for)
        desk.free()
        writing.result(10)
    desk.ledger.stop()


def test_a_disk_that_is_broken_is_not_waited_for(desk: Desk) -> None:
    desk.files.refusal = lambda operation: errno.EIO if operation == "create" else 0
    with pytest.raises(JournalRefused, match="Input/output error"):
        desk.write()
