"""Cutting journals at a moment: what is left is a mind that could have been, whatever the clocks of its modules said."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.forgetful import NAMES, Home, follow
from tests.support.system import small_corpus
from tori.checkpoint.cut import LATEST_NS, copy_journal, cut_at
from tori.checkpoint.rewind import Moment, is_before, rewind_copy
from tori.checkpoint.store import CheckpointStore
from tori.errors import BadInput
from tori.events.document import Document
from tori.journal.reader import JournalReader
from tori.journal.unit import units
from tori.journal.writer import JournalWriter
from tori.local import LocalSystem
from tori.local.rewound import rewind
from tori.modules.host import HostSnapshot

LONG = [msgspec.structs.replace(d, text=d.text * 16) for d in small_corpus(48)]
"""Some segments' worth of documents."""
STEPS = st.lists(
    st.tuples(st.sampled_from(["ingest", "first", "second", "wait"]), st.integers(1, 5)), min_size=1, max_size=25
)


@given(steps=STEPS, moment=st.integers(0, 30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_before_a_cut_knows_of_anything_beyond_another(steps: list[tuple[str, int]], moment: int) -> None:
    """The virtual clock stands still while events are made, so times run ahead of it, in each journal by another amount."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="tori-cut-") as place:
        follow(patch)
        home = Home(Path(place), keep_bytes=1 << 30)
        start_ns = home.clock.wall_ns()
        for what, count in steps:
            if what == "ingest":
                home.ingest(count)
            elif what == "wait":
                home.clock.advance(count * 1e-9)
            else:
                home.mind.hosts[what].step(max_events=count)
        readers = {name: JournalReader(Path(place) / "journals" / name) for name in NAMES}
        cuts = cut_at(readers, start_ns + moment)
        for name, reader in readers.items():
            assert cuts[name].offset <= reader.limit()
            for unit in units(reader, 0, cuts[name].offset):
                assert all(run.end <= cuts[run.journal].offset for run in unit.runs)
                assert all(event.time_ns <= start_ns + moment for event in unit.events)
        whole = cut_at(readers, LATEST_NS)
        assert {name: cut.offset for name, cut in whole.items()} == {n: r.limit() for n, r in readers.items()}
        assert {n: c.sequence for n, c in whole.items()} == {n: r.sequence() for n, r in readers.items()}
        for reader in readers.values():
            reader.close()
        home.mind.close()


def test_a_copied_journal_goes_on_in_a_new_epoch_and_its_source_is_untouched(tmp_path: Path) -> None:
    with LocalSystem(tmp_path / "home", segment_bytes=1 << 15) as mind:
        mind.ingest(LONG)
        mind.pump()
        source = tmp_path / "home/journals/clients"
        reader = JournalReader(source)
        before = {path.name: path.read_bytes() for path in source.glob("*.seg")}
        assert len(before) > 2
        at = [unit.end for unit in units(reader, 0, reader.limit())]
        cut = cut_at({"clients": reader}, LATEST_NS, {"clients": at[len(at) // 2]})["clients"]
        copy_journal(source, tmp_path / "copy/clients", cut)
        epoch = reader.epoch
        writer = JournalWriter(tmp_path / "copy/clients", fallback_s=None)
        assert writer.recovered.offset == cut.offset
        assert writer.next_sequence == cut.sequence
        assert writer.epoch > epoch
        writer.close()
        assert {path.name: path.read_bytes() for path in source.glob("*.seg")} == before
        reader.close()


def test_linked_segments_outlive_the_retention_of_the_mind(tmp_path: Path) -> None:
    with LocalSystem(tmp_path / "home", segment_bytes=1 << 15) as mind:
        mind.ingest(LONG)
        mind.pump()
        copy, rewound, _ = rewind_copy(tmp_path / "home", Moment("now", LATEST_NS), 7)
        for path in sorted((tmp_path / "home/journals/clients").glob("*.seg"))[:-1]:
            path.unlink()
        reader = JournalWriter(copy / "journals/clients", fallback_s=None)
        assert reader.recovered.offset == rewound.cuts["clients"].offset
        reader.close()


def test_a_copy_starts_from_the_newest_checkpoint_that_knows_nothing_later(tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = CheckpointStore(home / "checkpoints")
    documents = small_corpus(24)
    with LocalSystem(home) as mind:
        ids = []
        for start in range(0, 24, 8):
            mind.ingest(documents[start : start + 8])
            mind.pump()
            mind.checkpoint(store)
            ids.append(store.list()[0])
        found = rewind(home, ids[1])
        assert found["starts"]["reader"] == found["starts"]["clients"] == ids[1]
        assert found["starts"]["fuzzing"] == ids[2], "nothing happened to it since: its newest snapshot is no later"
        early = rewind(home, ids[0])
        assert early["starts"]["reader"] == early["starts"]["clients"] == ids[0]
        shutil.rmtree(home / "checkpoints" / ids[0])
        shutil.rmtree(home / "checkpoints" / ids[1])
        assert rewind(home, store.list()[0])["digest"] == mind.digest()
    with LocalSystem() as other:
        other.ingest(documents[:16])
        other.pump()
        assert found["digest"] == other.digest()


def test_a_module_without_a_way_back_is_named(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with LocalSystem(home, segment_bytes=1 << 15) as mind:
        mind.ingest(LONG)
        mind.pump()
    for path in sorted((home / "journals/clients").glob("*.seg"))[:1]:
        path.unlink()
    with pytest.raises(BadInput, match="journal of clients does not reach back"):
        rewind(home, "0s")


def test_a_snapshot_that_passed_beyond_a_cut_is_later() -> None:
    with LocalSystem() as mind:
        mind.ingest([Document("a", "A", "text of a note about soil")])
        mind.pump()
        snapshot = mind.hosts["reader"].snapshot()
        cuts = cut_at(mind.archive.readers, LATEST_NS)
        assert is_before(snapshot, cuts)
        ahead: HostSnapshot = msgspec.convert(msgspec.to_builtins(snapshot), HostSnapshot)
        ahead.cursors["clients"].overtaken = {cuts["clients"].offset: cuts["clients"].offset + 8}
        assert not is_before(ahead, cuts)
