"""Rewinding a mind whose modules live on two nodes: a copy holds all of them, or says which it cannot hold."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.system import small_corpus
from tori.bus.transport import chunks
from tori.checkpoint.rewind import Moment
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.checkpoint.swap import rewind_in_place
from tori.errors import BadInput
from tori.journal.mirror import Mirror
from tori.journal.reader import JournalReader
from tori.local import LocalSystem
from tori.local.rewound import RewoundClient, rewind
from tori.local.system import DEFAULT_MODULES
from tori.orchestrator.placement import JournalPlaced

MODULES = (*DEFAULT_MODULES, "orchestrator")
AWAY = ("alien", "braid", "hierarchy")


def mirror(home: Path, name: str, end: int | None = None) -> None:
    """Have the journal of a module lie on another node, with a mirror of it in the home, up to ``end``."""
    far = home.parent / "far" / name
    far.parent.mkdir(exist_ok=True)
    (home / "journals" / name).rename(far)
    reader = JournalReader(far)
    copy = Mirror(home / "mirrors" / name, reader.journal_id, segment_bytes=2048)
    offset = 0
    for chunk in chunks(reader, 0, max_bytes=1024, limit=end):
        copy.take(chunk, offset)
        offset += len(chunk)
    assert copy.mark.offset == (end or reader.limit())
    copy.close()
    reader.close()


def spread(home: Path, away: Iterable[str] = AWAY) -> None:
    for name in away:
        mirror(home, name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The head of a mind on two nodes, still with every journal; ``digest`` beside it says what the mind holds."""
    place = tmp_path / "home"
    with LocalSystem(place, modules=MODULES) as mind:
        placed = [
            JournalPlaced(name, "far" if name in AWAY else "near", host.journal.journal_id)
            for name, host in mind.hosts.items()
            if name != "orchestrator"
        ]
        mind.hosts["orchestrator"].emit(placed, [])
        mind.ingest(small_corpus(12))
        mind.quiesce()
        (tmp_path / "digest").write_text(mind.digest())
        mind.checkpoint(CheckpointStore(place / FOLDER))
    return place


def digest_of(home: Path) -> str:
    return (home.parent / "digest").read_text()


@pytest.mark.parametrize("is_replayed", [False, True])
def test_a_copy_holds_the_modules_of_other_nodes_too(home: Path, is_replayed: bool) -> None:
    spread(home)
    if is_replayed:
        shutil.rmtree(home / FOLDER)
    found = rewind(home, "0s")
    assert found["digest"] == digest_of(home)
    assert found["mirrored"] == list(AWAY)
    shutil.rmtree(home / "mirrors")
    client = RewoundClient(Path(found["home"]))
    assert {row["name"] for row in client.status()["modules"]} == set(DEFAULT_MODULES)
    client.close()
    assert rewind(Path(found["home"]), "0s")["mirrored"] == [], "a copy has journals of its own"


def test_a_mirror_that_lags_is_cut_where_it_ends(home: Path) -> None:
    reader = JournalReader(home / "journals/braid")
    borders = [frame.end for frame in reader.frames(0, reader.limit()) if frame.header.is_last_of_unit]
    reader.close()
    spread(home, ("alien", "hierarchy"))
    mirror(home, "braid", borders[len(borders) // 2])
    newest = CheckpointStore(home / FOLDER).list()[0]
    for moment in ("0s", newest):
        found = rewind(home, moment, is_settled=True)
        assert found["cuts"]["braid"]["offset"] <= borders[len(borders) // 2]
        assert "braid" not in found["starts"], "its snapshot knows of more"
        assert found["digest"] == digest_of(home), "what it had not done by then it does now"


def test_a_part_of_a_mind_is_no_mind(home: Path) -> None:
    spread(home)
    shutil.rmtree(home / "mirrors/braid")
    with pytest.raises(BadInput, match=r"journals of braid lie on other nodes.*tori up"):
        rewind(home, "0s")
    (home / "journals/orchestrator").rename(home / "orchestrator")
    with pytest.raises(BadInput, match=r"orchestrator lives on another node.*on that node"):
        rewind(home, "0s")
    assert not (home / "rewinds").exists()


def test_in_place_names_who_lives_elsewhere(home: Path) -> None:
    spread(home)
    with pytest.raises(BadInput, match=r"alien, braid, hierarchy live on other nodes.*mirrors here hold"):
        rewind_in_place(home, Moment("now", 1 << 62), 7)
