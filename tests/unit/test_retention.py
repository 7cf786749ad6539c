"""Retention on facts: what goes, what stays and why, and that everything kept still works afterwards."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.forgetful import First, Home, follow
from tests.support.system import small_corpus
from tori.errors import BadInput, JournalTruncated
from tori.journal.ownership import create_journal
from tori.journal.reader import JournalReader
from tori.journal.writer import JournalWriter
from tori.local import LocalSystem
from tori.modules.need import Need, guards_of, kept_needs
from tori.modules.open import archive_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    follow(monkeypatch)
    monkeypatch.setattr("tori.modules.clients.Clients.standing", lambda self: ())
    place = Home(tmp_path, keep=4)
    yield place
    place.mind.close()


def work(home: Home, rounds: int = 8) -> int:
    """Ingest and checkpoint a few times; return how many bytes went."""
    gone = 0
    for _ in range(rounds):
        home.ingest(20)
        home.mind.pump()
        gone += sum(t.size_bytes for t in home.checkpoint())
    return gone


def test_segments_go_and_every_kept_checkpoint_still_restores(home: Home) -> None:
    assert work(home) > 20_000
    assert all(home.first_offsets()[name] > 0 for name in ("clients", "first", "second"))
    before = home.states()
    for checkpoint_id in reversed(home.store.list()):
        home.restart(checkpoint_id)
        assert home.states() == before
        home.check_why()
    assert work(home) > 20_000


def test_one_checkpoint_is_too_few(home: Home) -> None:
    for _ in range(6):
        home.ingest(10)
        home.mind.pump()
    home.mind.pump()
    trimmed = home.checkpoint()
    assert [t.segments for t in trimmed] == [0, 0, 0]
    assert "first has not said how far it is" in trimmed[1].kept_because


def test_without_any_snapshot_a_trimmed_journal_says_what_to_do(home: Home) -> None:
    work(home)
    home.mind.close()
    with pytest.raises(JournalTruncated, match="no snapshot holds them"):
        home._open({})
    home.restart(None)


def test_a_dead_letter_keeps_its_event_until_it_is_redriven(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ingest(1, "poison")
    home.mind.pump()
    work(home)
    assert home.first_offsets()["clients"] == 0
    (letter,) = home.mind.query("first", "dead_letters")["letters"]
    home.restart(home.store.list()[-1])
    monkeypatch.setattr(First, "is_mended", True)
    before = home.mind.hosts["first"].module.taken  # type: ignore[attr-defined]  # it is Forgetful
    assert home.mind.command("first", "redrive", {"ids": [letter["id"]]})["letters"] == [letter["id"]]
    home.mind.pump()
    assert home.mind.hosts["first"].module.taken == before + 1  # type: ignore[attr-defined]  # it is Forgetful
    work(home)
    assert home.first_offsets()["clients"] > 0


def test_what_stands_keeps_all_it_follows_from(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.ingest(1)
    home.mind.pump()
    module = home.mind.hosts["second"].module
    finding = list(module.standing())[-1]
    monkeypatch.setattr(module, "standing", lambda: [finding])
    work(home)
    assert len(home.mind.archive.story(finding)) == 3
    trimmed = {t.journal: t for t in home.checkpoint()}
    assert "the why of" in trimmed["first"].kept_because
    monkeypatch.undo()


def test_what_a_follower_has_yet_to_take_keeps_its_causes(home: Home) -> None:
    for _ in range(10):
        home.ingest(20)
        while home.mind.hosts["first"].step():
            pass
        home.checkpoint()
    assert home.mind.hosts["first"].offsets()["clients"] > 50_000
    home.mind.pump()
    home.check_why()
    for event in home.mind.archive.envelopes("first"):
        home.mind.archive.story(event.event.id)
    work(home)
    assert home.first_offsets()["clients"] > 0


def test_too_much_to_look_at_waits(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    work(home)
    monkeypatch.setattr("tori.modules.need.MAX_BEHIND_BYTES", 1000)
    home.ingest(20)
    assert "bytes behind" in home.checkpoint()[0].kept_because


def test_damaged_checkpoints_count_for_nothing(home: Home) -> None:
    work(home, 3)
    for checkpoint_id in home.store.list()[1:]:
        path = home.store.root / checkpoint_id / "first.snapshot"
        path.write_bytes(path.read_bytes()[:-1])
    newest, *others = home.store.list()
    needs = kept_needs(home.store, ["first"])
    assert len(needs["first"]) == 1
    assert others
    known = {("checkpoint-gone", "first"): {"first": 0}}
    assert kept_needs(home.store, ["first"], known) == needs
    assert list(known) == [(newest, "first")]


def _ids(value: Any) -> Iterator[bytes]:
    if isinstance(value, bytes) and len(value) == 16:
        yield value
    elif isinstance(value, bytes):
        try:
            yield from _ids(msgspec.msgpack.decode(value))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _ids(one)
    elif isinstance(value, dict):
        yield from _ids([*value, *value.values()])


def test_every_event_that_a_state_names_is_kept() -> None:
    with LocalSystem() as mind:
        mind.ingest(small_corpus())
        mind.quiesce()
        for name, host in mind.hosts.items():
            kept = {event.id for one in host.module.standing() for event, _ in mind.archive.story(one)}
            named = set()
            for one in set(_ids(host.module.snapshot())):
                with contextlib.suppress(BadInput):  # sixteen bytes of something else
                    named.add(mind.archive.read(one).id)
            assert named <= kept, name
            assert named or name == "fuzzing", name


def test_a_module_that_does_not_run_keeps_everything(home: Home) -> None:
    create_journal(home.path / "journals" / "elsewhere")
    assert work(home) == 0
    assert "elsewhere does not run" in home.checkpoint()[0].kept_because


def test_readers_meet_the_end_of_what_is_kept_loudly(home: Home) -> None:
    early = JournalReader(home.path / "journals" / "first")
    home.mind.events()
    work(home)
    with pytest.raises(JournalTruncated, match="has been removed"):
        early.frame(0)
    early.close()
    assert home.mind.events(limit=10_000)["events"]
    assert list(home.mind.archive.newest("first", 10_000))
    home.mind.dead_letters()


def test_a_mirror_on_another_node_holds_what_it_has_not_read(tmp_path: Path) -> None:
    create_journal(tmp_path / "journals" / "reader")
    JournalWriter(tmp_path / "journals" / "reader", segment_bytes=4096, fallback_s=None).close()
    archive = archive_of(tmp_path)
    needs = [Need("reader", {}, {"reader": 5000}, [])]
    snapshots = {"reader": [{"reader": 4000}] * 2}

    def lowest(marks: dict[str, dict[str, int | None]]) -> tuple[int | None, str]:
        return guards_of(("reader",), needs, snapshots, archive, marks)["reader"].lowest()

    assert lowest({}) == (4000, "reader stands at 4000")
    assert lowest({"reader": {"b": 9000}}) == (4000, "reader stands at 4000")
    assert lowest({"reader": {"b": 700}}) == (700, "the mirror on b stands at 700")
    assert lowest({"reader": {"b": 700, "c": None}}) == (0, "the mirror on c has not said how far it is")
    archive.close()
