"""The host and its loop at their edges: what is written and not applied, snapshots of another journal, ids after a restart."""

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from tests.support.delivery import GOOD, TEMPORARY, DeliveryBench
from tests.support.failing_files import FailingFiles, failing
from tests.support.system import batches, small_corpus
from tori.errors import BadInput, JournalMissing, JournalRefused, NoRoom, Unavailable
from tori.events.system import ErrorOccurred
from tori.journal.frame import EVENTS
from tori.journal.reader import JournalReader
from tori.modules import loop as loops
from tori.modules.clients import Clients
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.loop import ModuleLoop
from tori.modules.open import check_snapshot, journal_directory, open_host


def open_clients(
    home: Path, snapshot: HostSnapshot | None = None, progress: Callable[[int], None] = lambda _: None
) -> ModuleHost:
    return open_host(home, "clients", segment_bytes=1 << 20, load_snapshot=lambda _: snapshot, progress=progress)


def test_a_command_that_cannot_be_applied_ends_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = ModuleLoop("clients", lambda: open_clients(tmp_path), [])
    loop.start()
    loop.wait_ready(10)
    data = batches(small_corpus(2), 2)[0]

    def broken(*_: object) -> None:
        raise ZeroDivisionError("apply")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "tori.loop"):
        patch.setattr(Clients, "apply", broken)
        with pytest.raises(ZeroDivisionError):
            loop.call(lambda host: host.command("ingest", {"documents": data}), 10)
        with pytest.raises(ZeroDivisionError):
            loop.join()
    assert "Traceback" in caplog.text
    again = open_clients(tmp_path)
    assert again.command("ingest", {"documents": data}).duplicates == 2, "the unit was written once, and counts"
    again.close()
    again.close()  # the loop closes it, and so may who opened it


def test_a_command_that_is_refused_ends_nothing(tmp_path: Path) -> None:
    loop = ModuleLoop("clients", lambda: open_clients(tmp_path), [])
    loop.start()
    with pytest.raises(BadInput, match="documents"):
        loop.call(lambda host: host.command("ingest", {}), 10)
    assert loop.call(lambda host: host.counters.units, 10) == 0
    loop.stop()


def test_a_snapshot_of_another_journal_is_refused(tmp_path: Path) -> None:
    host = open_clients(tmp_path)
    host.command("ingest", {"documents": batches(small_corpus(3), 3)[0]})
    snapshot = host.snapshot()
    host.close()
    open_clients(tmp_path, snapshot).close()
    with pytest.raises(JournalMissing, match="its journal ends at"):
        open_clients(tmp_path, msgspec.structs.replace(snapshot, offset=1 << 40))
    shutil.rmtree(journal_directory(tmp_path, "clients"))
    with pytest.raises(JournalMissing, match="from a copy"):
        open_clients(tmp_path, snapshot)
    fresh = open_clients(tmp_path)
    check_snapshot(msgspec.structs.replace(snapshot, journal_id=b"", offset=0), fresh.journal)
    fresh.close()


@pytest.mark.parametrize("is_held", [False, True])
def test_what_the_disk_refuses_waits_and_has_its_effect_once(is_held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = DeliveryBench()
    bench.send("a", "b")
    if is_held:
        bench.send("c", mood=[TEMPORARY, GOOD])
        bench.host.step()
    with monkeypatch.context() as patch:
        patch.setattr(bench.own, "append", _refuse)
        bench.send("d", "a")
        for _ in range(3):
            bench.clock.advance(5)
            with pytest.raises(JournalRefused):
                bench.host.step()
        assert not bench.host.is_torn
    bench.settle()
    numbers = list(range(len(bench.sent)))
    assert sorted(bench.numbers()) == sorted(bench.module.inputs_applied) == numbers
    before = bench.module.section()
    bench.restart()
    bench.settle()
    assert bench.module.section() == before


def test_what_the_journal_survived_is_told_as_an_event(tmp_path: Path) -> None:
    host = open_clients(tmp_path)
    host.command("ingest", {"documents": batches(small_corpus(2), 2)[0]})
    journal: Any = host.journal
    journal.warnings.add(
        "sync_failed", "a sync failed; 90 bytes were written again", OSError(5, "Input/output error"), 17
    )
    host.step()
    host.step()
    host.close()
    reader = JournalReader(journal_directory(tmp_path, "clients"))
    events = [e.payload for f in reader.frames(0, reader.limit()) if f.header.kind == EVENTS for e in f.events]
    told = [p for p in events if isinstance(p, ErrorOccurred)]
    assert [(p.error_type, p.module) for p in told] == [("journal_sync_failed", "clients")]
    assert "90 bytes were written again: Input/output error" in told[0].message
    reader.close()
    open_clients(tmp_path).close()


def _refuse(frames: object) -> None:
    raise JournalRefused("the disk is full.", errno=28)


def test_a_loop_on_a_full_disk_goes_on_serving_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "DISK_RETRY_S", 0.01)
    loop = ModuleLoop("clients", lambda: open_clients(tmp_path), [])
    refused = threading.Event()
    calls: list[int] = []

    def step(host: ModuleHost) -> int:
        calls.append(1)
        if len(calls) < 4:
            raise JournalRefused("the disk is full.", errno=28)
        refused.set()
        return 0

    monkeypatch.setattr(ModuleHost, "step", step)
    loop.start()
    loop.wait_ready(10)
    assert loop.call(lambda host: host.counters.units, 10) == 0
    assert refused.wait(10), "it asked again"
    loop.stop()


def _open_on(files: FailingFiles, home: Path, name: str) -> ModuleHost:
    return open_host(home, name, segment_bytes=1 << 20, load_snapshot=lambda _: None, files=files)


def _home_with_documents(home: Path, count: int) -> None:
    host = open_clients(home)
    host.command("ingest", {"documents": batches(small_corpus(count), count)[0]})
    host.close()


def _start_on_a_bad_disk(home: Path, number: int) -> tuple[FailingFiles, ModuleLoop]:
    """Start the loop of the clients where no file can be made."""
    files = FailingFiles()
    files.refusal = failing("create", number, 1_000_000)
    loop = ModuleLoop("clients", lambda: _open_on(files, home, "clients"), [])
    loop.start()
    return files, loop


def test_a_start_on_a_full_disk_waits_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "ROOM_RETRY_S", 0.005)
    told: list[str] = []
    monkeypatch.setattr(loops, "_log", SimpleNamespace(warning=lambda text, *what: told.append(text % what)))
    _home_with_documents(tmp_path, 3)
    files, loop = _start_on_a_bad_disk(tmp_path, errno.ENOSPC)
    while not loop.view.waits_for:
        pass
    assert "No space left on device" in loop.view.waits_for
    with pytest.raises(NoRoom, match="clients waits for room"):
        loop.wait_ready(0.001)
    files.refusal = failing("", 0, 0)
    view = loop.wait_ready(10)
    assert (view.events, view.waits_for) == (3, "")
    assert [line.split(":")[0] for line in told] == ["clients waits for room on its disk"]
    loop.stop()


def test_a_start_that_waits_for_room_can_be_stopped(tmp_path: Path) -> None:
    _, loop = _start_on_a_bad_disk(tmp_path, errno.ENOSPC)
    while not loop.view.waits_for:
        pass
    loop.stop()
    with pytest.raises(JournalRefused, match="No space left"):
        loop.join()


def test_a_start_on_a_broken_disk_does_not_wait(tmp_path: Path) -> None:
    _, loop = _start_on_a_bad_disk(tmp_path, errno.EIO)
    with pytest.raises(JournalRefused, match="Input/output error"):
        loop.wait_ready(10)
    loop.stop()


@pytest.mark.parametrize("operation", ["create", "reserve", "pwrite", "rename", "fdatasync", "sync_directory"])
def test_a_start_that_fails_anywhere_leaves_nothing_open(tmp_path: Path, operation: str) -> None:
    """Whichever call meets the full disk: the next start in the same process has what the last one had, and no descriptor more."""
    _home_with_documents(tmp_path, 3)
    _open_on(FailingFiles(), tmp_path, "reader").close()
    descriptors = Path("/proc/self/fd")
    for number in range(1_000):
        files = FailingFiles()
        files.refusal = failing(operation, errno.ENOSPC, 1_000_000, after=number)
        before = len(list(descriptors.iterdir()))
        host = None
        with suppress(JournalRefused, OSError):
            host = _open_on(files, tmp_path, "reader")
        if host is not None:
            files.refusal = failing("", 0, 0)
            host.close()
            assert number > 0, f"no start needs {operation}"
            break
        assert len(list(descriptors.iterdir())) == before
    again = _open_on(FailingFiles(), tmp_path, "reader")
    while again.step():
        pass
    assert again.counters.consumed == 3
    again.close()


def test_ids_go_on_after_the_snapshots_last() -> None:
    bench = DeliveryBench()
    future = bench.clock.wall_ns() + 10**12
    bench.restart(msgspec.structs.replace(bench.host.snapshot(), last_time_ns=future))
    host: Any = bench.host
    assert host._ids.last_ns == future
    bench.send("a")
    bench.step()
    assert bench.host.snapshot().last_time_ns > future


def test_a_long_replay_tells_how_far_it_is(tmp_path: Path) -> None:
    host = open_clients(tmp_path)
    for batch in batches(small_corpus(200), 1):
        host.command("ingest", {"documents": batch})
    host.close()
    told: list[int] = []
    loop = ModuleLoop("clients", lambda: open_clients(tmp_path, progress=told.append), [])
    loop.start()
    assert loop.wait_ready(10).replayed_units >= 200
    assert told == [0, 64, 128, 192]
    loop.stop()


def test_a_start_without_progress_times_out() -> None:
    gate = threading.Event()

    def never() -> ModuleHost:
        gate.wait(10)
        raise JournalMissing("given up")

    loop = ModuleLoop("clients", never, [])
    loop.start()
    loop.replayed(64)
    with pytest.raises(Unavailable, match="did not start"):
        loop.wait_ready(0.02)
    gate.set()
    with pytest.raises(JournalMissing):
        loop.join()
