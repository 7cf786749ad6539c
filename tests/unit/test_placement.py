"""Where modules live: spread once, pinned for good, missing when they are not there."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from tests.support.journals import Numbers, open_writer
from tori.errors import JournalError, JournalMissing
from tori.journal.frame import RECORDS, Frame
from tori.journal.ownership import read_identity
from tori.journal.unit import records_frame
from tori.modules.registry import START_ORDER
from tori.node import node_id
from tori.orchestrator.berth import Berth, check_journal
from tori.orchestrator.placement import (
    Berths,
    JournalPlaced,
    JournalsReached,
    SpreadPolicy,
    held_journals,
    make_journals,
    recorded_berths,
)
from tori.scheduler.signal import RunQueued

MODULES = ("clients", *START_ORDER)


@pytest.mark.parametrize("count", [1, 2, 3, 8, 20])
def test_modules_are_spread_evenly_and_documents_come_in_at_the_head(count: int) -> None:
    nodes = [f"n{i}" for i in range(count)]
    found = SpreadPolicy().decide(MODULES, nodes, {})
    assert set(found) == set(MODULES)
    assert found["clients"] == "n0"
    loads = [list(found.values()).count(node) for node in nodes]
    assert max(loads) - min(loads) <= 1
    assert found == SpreadPolicy().decide(MODULES, nodes, {})


def test_a_new_module_goes_where_there_is_least() -> None:
    settled = {"clients": "n0", "reader": "n0", "braid": "n1", "gone": "n9"}
    assert SpreadPolicy().decide(["fresh"], ["n0", "n1"], settled) == {"fresh": "n1"}


def test_records_say_where_everybody_lives_and_sequences_never_go_back() -> None:
    berths = Berths()
    berths.apply(JournalPlaced("reader", "n0", b"a"))
    berths.apply(JournalsReached({"reader": 7, "unknown": 3}))
    berths.apply(JournalsReached({"reader": 5}))
    berths.apply(JournalPlaced("reader", "n0", b"a"))
    assert berths.all() == {"reader": Berth("n0", b"a", 7)}
    berths.apply(JournalPlaced("reader", "n1", b"b"))
    assert berths.all() == {"reader": Berth("n1", b"b", 0)}


def test_records_are_read_from_the_orchestrator_s_journal_without_its_position_words(tmp_path: Path) -> None:
    directory = tmp_path / "orchestrator"
    assert recorded_berths(directory).all() == {}
    writer = open_writer(directory)
    writer.append([records_frame([RunQueued("t", "r"), JournalPlaced("reader", "n1", b"x" * 16)])])
    writer.append(Numbers().frames(3))
    writer.append([records_frame([JournalsReached({"reader": 9})])])
    writer.close()
    for control in directory.glob("control-*"):
        control.unlink()
    assert recorded_berths(directory).all() == {"reader": Berth("n1", b"x" * 16, 9)}
    (directory / "journal.json").unlink()
    with pytest.raises(JournalMissing, match=r"no journal"):
        recorded_berths(directory)


def test_old_records_and_new_ones_share_a_journal() -> None:
    data = msgspec.msgpack.encode([RunQueued("t", "r"), JournalsReached({"a": 1})])
    assert Frame(RECORDS, data, 2).count == 2


def test_a_journal_that_was_recorded_must_be_there_whole(tmp_path: Path) -> None:
    ids = make_journals(tmp_path, ["reader", "braid"])
    assert ids == make_journals(tmp_path, ["braid", "reader"])
    assert held_journals(tmp_path, ["reader", "alien"]) == {"reader": ids["reader"]}
    directory = tmp_path / "reader"
    check_journal(directory, Berth("n", ids["reader"]))
    writer = open_writer(directory)
    writer.append(Numbers().frames(5))
    writer.close()
    assert read_identity(directory) == ids["reader"]
    check_journal(directory, Berth("n", ids["reader"], 5))
    with pytest.raises(JournalMissing, match="ends at entry 5, and 6 were recorded"):
        check_journal(directory, Berth("n", ids["reader"], 6))
    with pytest.raises(JournalMissing, match="was recorded"):
        check_journal(directory, Berth("n", b"z" * 16))
    shutil.rmtree(directory)
    with pytest.raises(JournalMissing, match="not on its node any more"):
        check_journal(directory, Berth("n", ids["reader"]))
    assert not directory.exists(), "never a fresh journal"


def test_a_node_keeps_its_name(tmp_path: Path) -> None:
    name = node_id(tmp_path / "home")
    assert len(name) == 32
    assert node_id(tmp_path / "home") == name
    assert node_id(tmp_path / "other") != name
    (tmp_path / "home" / "node.json").write_text("{")
    with pytest.raises(JournalError, match="which node"):
        node_id(tmp_path / "home")
