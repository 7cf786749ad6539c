"""Housekeeping over fake actors: who does not answer is told of, and costs nobody anything."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from actors import housekeeping as shell
from actors.housekeeping import Housekeeping
from tests.actors.fake_ray import FakeActor, FakeRay
from tori.checkpoint.store import CheckpointStore
from tori.errors import Unavailable
from tori.events.system import ErrorOccurred, StateCorrupted
from tori.journal.mirror import Mirror
from tori.journal.ownership import create_journal
from tori.journal.retention import Guards, Trimmed
from tori.journal.scrub import Damage
from tori.journal.writer import JournalWriter
from tori.modules.need import Need
from tori.modules.open import mirrors_of


class Ledger:
    """Stands for the loop of the ledger."""

    def call(self, work: Any) -> Need:
        return Need("orchestrator", {}, {}, [])


class Rig:
    marks: Mapping[str, Mapping[str, int | None]] = {}
    """How far the mirrors on other nodes are."""

    def __init__(self, home: Path, patch: pytest.MonkeyPatch, journal: dict[str, Any], **actors: FakeActor) -> None:
        patch.setattr(shell, "ray", FakeRay())
        self.told: list[Any] = []
        for name in {*actors, "orchestrator"} - {p.name for p in mirrors_of(home).glob("*")}:
            create_journal(home / "journals" / name)
            JournalWriter(home / "journals" / name, segment_bytes=4096, fallback_s=None).close()
        settings = {"journal": {"scrub_size_bytes": 0, **journal}}
        store = CheckpointStore(home / "checkpoints")
        ledger: Any = Ledger()
        self.housekeeping = Housekeeping(home, settings, store, lambda: actors, ledger, self.tell, lambda: self.marks)

    def tell(self, *payloads: Any) -> None:
        self.told += payloads


def refuse() -> Need:
    raise Unavailable("module alien has stopped.")


def test_with_one_silent_module_nobody_may_remove_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Guards] = []

    def trim(guards: Guards) -> Trimmed:
        given.append(guards)
        return Trimmed("reader")

    reader = FakeActor(need=lambda: Need("reader", {}, {}, []), trim=trim)
    rig = Rig(tmp_path, monkeypatch, {"keep_size_bytes": 1}, reader=reader, alien=FakeActor(need=refuse, trim=trim))
    rig.housekeeping.run()
    assert rig.told[0] == ErrorOccurred("JournalNotKept", "trim: module alien has stopped.", "alien")
    assert [one.lowest()[0] for one in given] == [0, 0]
    assert "alien does not run" in given[0].lowest()[1]


def test_journals_and_mirrors_of_other_nodes_are_guarded_like_those_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Guards] = {}

    def actor(name: str, cursors: dict[str, int]) -> FakeActor:
        def trim(guards: Guards) -> Trimmed:
            given[name] = guards
            return Trimmed(name)

        return FakeActor(need=lambda: Need(name, cursors, cursors, []), trim=trim)

    Mirror(mirrors_of(tmp_path) / "alien", b"a" * 16, segment_bytes=4096).close()
    rig = Rig(
        tmp_path,
        monkeypatch,
        {"keep_size_bytes": 1},
        reader=actor("reader", {"alien": 0}),
        alien=actor("alien", {"reader": 128}),
    )
    rig.marks = {"reader": {"the-other-node": 64}, "alien": {"here": None}}
    rig.housekeeping.run()
    assert rig.told == []
    assert given["reader"].offsets == {"the mirror on the-other-node": 64}
    assert "the mirror on here" in given["alien"].needed_by - given["alien"].offsets.keys()


def test_damage_becomes_an_event_and_the_others_are_read_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dead() -> list[Damage]:
        raise Unavailable("busy.")

    damage = Damage("reader", "a.seg", 64, 128, 7, 3, "a body fails its checksum")
    rig = Rig(
        tmp_path,
        monkeypatch,
        {"scrub_size_bytes": 1},
        alien=FakeActor(scrub=dead),
        reader=FakeActor(scrub=lambda: [damage]),
    )
    rig.housekeeping.run()
    assert isinstance(rig.told[0], ErrorOccurred)
    assert isinstance(rig.told[1], StateCorrupted)
    assert "offset 64: a body fails its checksum; 3 entries from sequence 7 on" in rig.told[1].digest


def test_nothing_is_asked_of_anybody_when_nothing_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    actor = FakeActor()
    rig = Rig(tmp_path, monkeypatch, {}, reader=actor)
    rig.housekeeping.run()
    assert (rig.told, actor.calls) == ([], [])
