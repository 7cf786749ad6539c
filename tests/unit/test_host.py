"""The host and its loop at their edges: what is written and not applied, snapshots of another journal, ids after a restart."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.delivery import DeliveryBench
from tests.support.system import batches, small_corpus
from tori.errors import JournalMissing
from tori.modules.clients import Clients
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.loop import ModuleLoop
from tori.modules.open import check_snapshot, journal_directory, open_host


def open_clients(home: Path, snapshot: HostSnapshot | None = None) -> ModuleHost:
    return open_host(home, "clients", segment_bytes=1 << 20, load_snapshot=lambda _: snapshot)


def test_a_command_that_cannot_be_applied_ends_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop = ModuleLoop("clients", lambda: open_clients(tmp_path), [])
    loop.start()
    loop.wait_ready(10)
    data = batches(small_corpus(2), 2)[0]

    def broken(*_: object) -> None:
        raise ZeroDivisionError("apply")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR, "tori.loop"):
        patch.setattr(Clients, "apply", broken)
        with pytest.raises(ZeroDivisionError):
            loop.call(lambda host: host.command("ingest", {"documents": data}), 10)
        with pytest.raises(ZeroDivisionError):
            loop.join()
    assert "Traceback" in caplog.text
    again = open_clients(tmp_path)
    assert again.command("ingest", {"documents": data}).duplicates == 2, "the unit was written once, and counts"
    again.close()


def test_a_command_that_is_refused_ends_nothing(tmp_path: Path) -> None:
    loop = ModuleLoop("clients", lambda: open_clients(tmp_path), [])
    loop.start()
    with pytest.raises(KeyError):
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


def test_ids_go_on_after_the_snapshots_last() -> None:
    bench = DeliveryBench()
    future = bench.clock.wall_ns() + 10**12
    bench.restart(msgspec.structs.replace(bench.host.snapshot(), last_time_ns=future))
    host: Any = bench.host
    assert host._ids.last_ns == future
    bench.send("a")
    bench.step()
    assert bench.host.snapshot().last_time_ns > future
