"""The checkpoints of a running system over fake actors: what is left out is told, and what fails stops no stop."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors import checkpoints as shell
from actors.checkpoints import Checkpoints, final_checkpoint
from actors.fold import Outcome
from actors.snapshot import load_exactly
from tests.actors.fake_ray import FakeActor, FakeRay
from tests.support.system import small_corpus
from tori.checkpoint.rewind import moment_of
from tori.checkpoint.store import Problem, write_snapshot
from tori.checkpoint.swap import rewind_in_place
from tori.errors import BadInput, JournalError, Unavailable
from tori.events.system import CheckpointCreated, ErrorOccurred
from tori.local import LocalSystem
from tori.modules.host import HostSnapshot
from tori.modules.host_state import snapshot_pieces
from tori.modules.need import module_snapshot


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


class FakeFolding:
    """Folds as told: writes a part here, hands a snapshot back from elsewhere, or fails."""

    def __init__(self, rig: Rig, outcomes: dict[str, str]) -> None:
        self._store = rig.checkpoints.store
        self._outcomes = outcomes
        self.positions: dict[str, HostSnapshot] = {}

    def is_here(self, name: str) -> bool:
        return name != "far"

    def run(
        self, folder: Path, positions: dict[str, HostSnapshot], keep: Callable[[str, Any], None]
    ) -> tuple[dict[str, Outcome], dict[str, bytes]]:
        self.positions = positions
        outcomes, away = {}, {}
        for name, position in positions.items():
            found = msgspec.structs.replace(position, state=b"folded")
            if self._outcomes[name] == "here":
                part = write_snapshot(folder, module_snapshot(found, b""), snapshot_pieces(found))
                outcomes[name] = Outcome(part, "", (Problem("checkpoint-1", name, "one bit", "quarantine"),))
                keep(name, f"hot {name}")
            elif self._outcomes[name] == "away":
                away[name] = msgspec.msgpack.encode(found)
            else:
                outcomes[name] = Outcome(error=self._outcomes[name])
        return outcomes, away


def position(name: str) -> HostSnapshot:
    return msgspec.structs.replace(msgspec.msgpack.decode(snapshot(name), type=HostSnapshot), state=b"")


def test_living_modules_give_positions_and_only_one_that_cannot_be_folded_gives_its_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"reader": "here", "braid": "away", "alien": "out of memory", "scars": "here"}
    actors = {
        name: FakeActor(position=lambda name=name: position(name), snapshot=lambda name=name: snapshot(name))
        for name in names
    }
    actors["scars"].methods["position"] = refuse
    rig = Rig(tmp_path, monkeypatch, **actors)
    rig.checkpoints.folding = fake = FakeFolding(rig, names)  # type: ignore[assignment]  # the one method that is called
    row = rig.checkpoints.take()
    assert (row["modules"], list(row["missing"])) == (["alien", "braid", "reader"], ["scars"])
    manifest = rig.checkpoints.store.manifest(row["checkpoint_id"])
    states = {
        name: msgspec.msgpack.decode(rig.checkpoints.store.load(manifest, name).data, type=HostSnapshot).state
        for name in manifest.modules
    }
    assert states == {"reader": b"folded", "braid": b"folded", "alien": b"state"}
    assert [name for name, actor in actors.items() if ("snapshot",) in actor.calls] == ["alien"]
    assert list(fake.positions) == ["reader", "braid", "alien"]
    told = [type(event).__name__ for event in rig.told]
    assert told == ["StateCorrupted", "StateRecovered", "ErrorOccurred", "ErrorOccurred", "CheckpointCreated"]
    assert rig.told[2] == ErrorOccurred("FoldFailed", "out of memory", "alien")
    assert rig.checkpoints._hot["reader"] == "hot reader"
    rig.checkpoints.take(is_last=True)
    assert ("snapshot",) in actors["reader"].calls, "who stops anyway gives its state"
    assert not list((tmp_path / "checkpoints").glob(".new-*"))


def test_a_fold_that_raises_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch, reader=FakeActor(position=lambda: position("reader")))
    rig.checkpoints.folding = FakeFolding(rig, {})  # type: ignore[assignment]  # raises KeyError for the reader
    with pytest.raises(KeyError):
        rig.checkpoints.take()
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_large_state_is_read_by_the_module_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "HOT_BYTES", 10)
    asked: list[Any] = []
    actors = {
        name: FakeActor(snapshot=lambda name=name: snapshot(name), restore=asked.append, restore_from=asked.append)
        for name in ("near", "far")
    }
    rig = Rig(tmp_path, monkeypatch, **actors)
    taken = rig.checkpoints.take(is_last=True)["checkpoint_id"]
    rig.checkpoints.folding = FakeFolding(rig, {})  # type: ignore[assignment]  # the one method that is called
    rig.checkpoints.restore(taken)
    assert sorted(asked, key=str) == sorted([taken, snapshot("far")], key=str)
    assert load_exactly(tmp_path, taken, "near") == snapshot("near")


def test_what_a_rewind_in_place_put_away_is_not_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    restored: list[bytes] = []
    home = tmp_path / "home"
    rig = Rig(home, monkeypatch, clients=FakeActor(restore=restored.append))
    for start in (0, 2):
        with LocalSystem(home, modules=("clients",)) as mind:
            mind.ingest(small_corpus(4)[start : start + 2])
            mind.checkpoint(rig.checkpoints.store)
    later, earlier = rig.checkpoints.store.list()
    done = rewind_in_place(home, moment_of(earlier, rig.checkpoints.store, time.time_ns()), 7)
    with LocalSystem(home, modules=("clients",)) as mind:
        mind.ingest(small_corpus(8)[4:])
    shutil.copytree(home / "rewinds" / done.rewind_id / "past/checkpoints" / later, home / "checkpoints" / later)
    with pytest.raises(BadInput, match="knows of entries of clients"):
        rig.checkpoints.restore(later)
    assert restored == []
    found = rig.checkpoints.restore(None)
    assert (found["checkpoint_id"], "knows of entries" in found["passed_over"][later]) == (earlier, True)
    assert restored == [load_exactly(home, earlier, "clients")]
