"""What the tasks of folding do, called in this process: every module of a home, here and elsewhere, and what fails alone."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from actors import fold as shell
from actors.fold import Order, fold_away, fold_here
from tests.support.system import small_corpus
from tori.checkpoint.store import CheckpointStore
from tori.local import LocalSystem
from tori.modules.host import HostSnapshot
from tori.settings import load_settings


@pytest.fixture(autouse=True)
def _stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process goes on afterwards, as urgent as it was."""
    monkeypatch.setattr(shell, "make_way", lambda: None)


def positions(mind: LocalSystem) -> dict[str, HostSnapshot]:
    for host in mind.hosts.values():
        host.journal.commit()
    return {name: host.position() for name, host in mind.hosts.items()}


def test_every_module_is_folded_here_and_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORI_HOME", str(tmp_path))
    settings, store = load_settings(tmp_path).plain(), CheckpointStore(tmp_path / "checkpoints")
    with LocalSystem(tmp_path) as mind:
        for part in (small_corpus(12)[:6], small_corpus(12)[6:]):
            mind.ingest(part)
            mind.pump()
            orders = [Order(position, {}) for position in positions(mind).values()]
            checkpoint_id = store.begin()
            outcomes, *hot = fold_here(str(tmp_path), str(store.staging(checkpoint_id)), orders, settings)
            living = {name: msgspec.msgpack.encode(snapshot) for name, snapshot in mind.snapshots().items()}
            assert [outcome.error for outcome in outcomes] == [""] * len(orders)
            assert dict(zip(mind.hosts, hot, strict=True)) == living
            manifest = store.seal(checkpoint_id, dict(zip(mind.hosts, (o.part for o in outcomes), strict=True)))
            assert {name: store.load(manifest, name).data for name in manifest.modules} == living
            for order in orders:
                name = order.position.module
                assert fold_away(order, living[name], settings) == fold_away(order, None, settings) == living[name]


def test_a_module_that_cannot_be_folded_harms_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    with LocalSystem(tmp_path) as mind:
        mind.ingest(small_corpus(4))
        mind.pump()
        found = positions(mind)
        beyond = msgspec.structs.replace(found["reader"], offset=found["reader"].offset + 800)
        checkpoint_id = store.begin()
        monkeypatch.setattr(shell, "HOT_BYTES", 10)
        outcomes, *hot = fold_here(
            str(tmp_path),
            str(store.staging(checkpoint_id)),
            [Order(beyond, {}), Order(found["clients"], {})],
            load_settings(tmp_path).plain(),
        )
        assert outcomes[0].part is None and "journal reader" in outcomes[0].error
        assert outcomes[1].part is not None and not outcomes[1].error
        assert hot == [None, None], "what is larger than the limit stays on the disk"
