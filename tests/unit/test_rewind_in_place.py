"""Rewinding in place: the past goes on in a new epoch, the present is kept whole, and no interruption leaves anything between."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.support.rewinding import FIRST, SECOND, THIRD, given, made, middle_of, opened
from tori.checkpoint import swap
from tori.checkpoint.rewind import moment_of
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.checkpoint.swap import rewind_in_place
from tori.errors import BadInput, JournalError
from tori.events.system import MindRewound
from tori.home import REWIND_INTENT
from tori.local.rewound import rewind
from tori.orchestrator.placement import recorded_berths


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    """A copy of ``template``, in which anything may be done."""
    return shutil.copytree(template.parent, tmp_path / "all") / template.name


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("rewind"))


def test_the_past_goes_on_and_the_present_is_kept(home: Path) -> None:
    kept = CheckpointStore(home / FOLDER).list()
    with opened(home) as mind:
        epochs = {name: host.journal.epoch for name, host in mind.hosts.items()}
    done = rewind_in_place(home, middle_of(home), 7)
    assert not (home / REWIND_INTENT).exists()
    assert CheckpointStore(home / FOLDER).list() == kept[1:]
    for with_checkpoints in (True, False):
        with opened(home, with_checkpoints=with_checkpoints) as mind:
            assert mind.digests() == given(FIRST)
            assert all(host.journal.epoch > epochs[name] for name, host in mind.hosts.items())
            told = [found.event.payload for found in mind.archive.newest("orchestrator", 10)]
            (record,) = [payload for payload in told if isinstance(payload, MindRewound)]
            assert record.sequences == {name: cut.sequence for name, cut in done.cuts.items()}
    with opened(home) as mind:
        mind.ingest(THIRD)
        mind.pump()
        assert mind.digests() == given(FIRST, THIRD)
        mind.checkpoint(CheckpointStore(home / FOLDER))
    for with_checkpoints in (True, False):
        with opened(home, with_checkpoints=with_checkpoints) as mind:
            assert mind.digests() == given(FIRST, THIRD), "what is not part of the state came back"
    assert rewind(home / record.path, "0s")["sections"] == given(FIRST, SECOND)
    reached = recorded_berths(home / "journals/orchestrator").all()
    assert all(berth.sequence <= done.cuts[name].sequence for name, berth in reached.items())


def test_a_checkpoint_may_be_named_and_a_rewind_rewound(home: Path) -> None:
    store = CheckpointStore(home / FOLDER)
    first = store.list()[1]
    done = rewind_in_place(home, moment_of(first, store, time.time_ns()), 7)
    assert done.moment.checkpoint_id == first
    with opened(home) as mind:
        assert mind.digests() == given(FIRST)
        mind.ingest(THIRD)
        mind.pump()
    rewind_in_place(home, moment_of(first, store, time.time_ns()), 8)
    with opened(home) as mind:
        assert mind.digests() == given(FIRST)


def test_a_mind_that_runs_or_is_spread_is_refused_and_untouched(home: Path) -> None:
    with opened(home), pytest.raises(BadInput, match=r"is running.*tori down"):
        rewind_in_place(home, middle_of(home), 7)
    (home / "mirrors/far").mkdir(parents=True)
    (home / "mirrors/far/journal.json").write_text("{}")
    with pytest.raises(BadInput, match="other nodes"):
        rewind_in_place(home, middle_of(home), 7)
    with opened(home) as mind:
        assert mind.digests() == given(FIRST, SECOND)


class PowerCut(Exception):
    """The process ends here."""


@pytest.mark.parametrize("step", range(14))
def test_an_interruption_leaves_the_present_or_the_past(home: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    moment, left = middle_of(home), [step]

    def counted(function: object) -> object:
        def call(*arguments: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise PowerCut
            return function(*arguments)  # type: ignore[operator]  # any of those below

        return call

    with monkeypatch.context() as patch:
        for name in ("build", "_replace", "_swap", "_move_checkpoints", "_record", "sync_directory"):
            patch.setattr(swap, name, counted(getattr(swap, name)))
        try:
            rewind_in_place(home, moment, 7)
            was_cut = False
        except PowerCut:
            was_cut = True
    is_done = (home / "rewinds/rewind-0000000000000007/note.json").exists()
    is_meant = is_done or (home / REWIND_INTENT).exists()
    assert is_done or was_cut
    with opened(home) as mind:
        assert mind.digests() == (given(FIRST) if is_meant else given(FIRST, SECOND))
        told = [found.event.payload for found in mind.archive.newest("orchestrator", 10)]
        assert sum(isinstance(payload, MindRewound) for payload in told) == is_meant
    assert not (home / REWIND_INTENT).exists()
    if not is_meant:
        rewind_in_place(home, moment, 8)
    assert not list((home / "rewinds").glob(".new-*"))


def test_a_home_that_somebody_made_anew_in_between_is_left_alone(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(swap, "_swap", lambda *_: (_ for _ in ()).throw(PowerCut))
        with pytest.raises(PowerCut):
            rewind_in_place(home, middle_of(home), 7)
    past = home / "rewinds/rewind-0000000000000007/past/journals"
    (home / "journals").rename(past)
    (home / "journals").mkdir()
    with pytest.raises(JournalError, match="made anew"):
        opened(home)
    (home / "journals").rmdir()
    with opened(home) as mind:
        assert mind.digests() == given(FIRST)
    (home / REWIND_INTENT).write_bytes(b"{")
    with pytest.raises(JournalError, match="does not decode"):
        opened(home)
