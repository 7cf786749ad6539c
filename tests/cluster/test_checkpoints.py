"""The checkpoints of a running system over fake actors: what is left out is told, and what fails stops no stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import checkpoints as shell
from actors.checkpoints import Checkpoints, final_checkpoint
from tests.cluster.fake_ray import FakeActor, FakeRay
from tori.errors import BadInput, JournalError, Unavailable
from tori.events.system import CheckpointCreated, ErrorOccurred
from tori.modules.host import HostSnapshot


def snapshot(name: str) -> bytes:
    return msgspec.msgpack.encode(HostSnapshot(name, 1, 10, {}, b"state", journal_id=bytes(16), epoch=1, sequence=3))


def refuse() -> bytes:
    raise Unavailable("module alien has stopped.")


class Rig:
    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, **actors: FakeActor) -> None:
        monkeypatch.setattr(shell, "ray", FakeRay())
        self.told: list[Any] = []
        self.checkpoints = Checkpoints(home, 3, lambda: actors, lambda *payloads: self.told.extend(payloads), {})


def test_a_module_without_snapshot_is_told_of_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(
        tmp_path, monkeypatch, reader=FakeActor(snapshot=lambda: snapshot("reader")), alien=FakeActor(snapshot=refuse)
    )
    row = rig.checkpoints.take()
    assert row["modules"] == ["reader"]
    assert row["missing"] == {"alien": "module alien has stopped."}
    assert rig.told[0] == ErrorOccurred("SnapshotMissing", "module alien has stopped.", "alien")
    assert isinstance(rig.told[1], CheckpointCreated)


def test_without_any_snapshot_the_error_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch, alien=FakeActor(snapshot=refuse))
    with pytest.raises(Unavailable, match="alien: module alien has stopped"):
        rig.checkpoints.take()


def test_a_checkpoint_that_failed_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class View:
        offset, consumed = 10, 0

    actor = FakeActor(snapshot=lambda: snapshot("reader"), view=View)
    rig = Rig(tmp_path, monkeypatch, reader=actor)
    seal = rig.checkpoints._store.seal

    def full(*_: Any) -> Any:
        raise JournalError("no space left on device.")

    monkeypatch.setattr(rig.checkpoints._store, "seal", full)
    with pytest.raises(JournalError):
        rig.checkpoints.take()
    monkeypatch.setattr(rig.checkpoints._store, "seal", seal)
    rig.checkpoints.save_last("reader")
    assert len(rig.checkpoints.list()) == 1, "the last state was taken for saved"


def test_the_newest_good_one_is_restored_and_what_was_passed_over_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    restored: list[bytes] = []
    actor = FakeActor(snapshot=lambda: snapshot("reader"), restore=restored.append)
    rig = Rig(tmp_path, monkeypatch, reader=actor)
    good, damaged = (rig.checkpoints.take()["checkpoint_id"] for _ in range(2))
    (tmp_path / "checkpoints" / damaged / "reader.snapshot").write_bytes(b"nonsense")
    found = rig.checkpoints.restore(None)
    assert found["checkpoint_id"] == good
    assert list(found["passed_over"]) == [damaged]
    assert "reader" in found["passed_over"][damaged]
    assert restored == [snapshot("reader")]
    with pytest.raises(BadInput, match=f"checkpoint {damaged} is damaged"):
        rig.checkpoints.restore(damaged)
    (tmp_path / "checkpoints" / good / "reader.snapshot").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match=f"{damaged} is damaged.*{good} is damaged"):
        rig.checkpoints.restore(None)
    assert len(restored) == 1


def test_a_final_checkpoint_that_fails_is_told_and_stops_no_stop() -> None:
    told: list[Any] = []

    def full() -> Any:
        raise JournalError("no space left on device.")

    assert final_checkpoint(full, told.append) == [
        "the final checkpoint failed: no space left on device.; the journals hold everything."
    ]
    assert told == [ErrorOccurred("CheckpointFailed", "no space left on device.", "orchestrator")]

    def refuse_event(_: Any) -> None:
        raise JournalError("no space left on device.")

    assert final_checkpoint(full, refuse_event)
    assert final_checkpoint(lambda: {"missing": {}}, told.append) == []
    assert "alien" in final_checkpoint(lambda: {"missing": {"alien": "busy"}}, told.append)[0]
