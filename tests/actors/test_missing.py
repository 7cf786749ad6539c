"""A journal that was recorded and is not there, or is shorter: said by ``tori up`` before anything starts, and never replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from actors.backend import check_home
from tests.support.journals import Numbers, open_writer
from tori.errors import JournalMissing
from tori.journal.unit import records_frame
from tori.node import node_id
from tori.orchestrator.placement import JournalPlaced, JournalsReached, make_journals


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose orchestrator recorded two modules here, one of them with 5 entries, and one on another node."""
    ids = make_journals(tmp_path / "journals", ["reader", "braid"])
    writer = open_writer(tmp_path / "journals" / "reader")
    writer.append(Numbers().frames(5))
    writer.close()
    here = node_id(tmp_path)
    placed = [JournalPlaced(name, here, journal_id) for name, journal_id in ids.items()]
    ledger = open_writer(tmp_path / "journals" / "orchestrator")
    ledger.append([records_frame([*placed, JournalPlaced("alien", "elsewhere", b"x" * 16)])])
    ledger.append([records_frame([JournalsReached({"reader": 5, "braid": 0, "alien": 7})])])
    ledger.close()
    return tmp_path


def test_a_whole_home_is_well_and_so_is_a_new_one(home: Path, tmp_path: Path) -> None:
    check_home(home)
    check_home(tmp_path / "new")


def test_a_journal_that_is_gone(home: Path) -> None:
    shutil.rmtree(home / "journals" / "braid")
    with pytest.raises(JournalMissing, match=r"journal braid .* is not on its node any more") as raised:
        check_home(home)
    assert raised.value.exit_code == 74
    assert not (home / "journals" / "braid").exists()


def test_a_journal_that_was_replaced_by_a_fresh_one(home: Path) -> None:
    shutil.rmtree(home / "journals" / "reader")
    make_journals(home / "journals", ["reader"])
    with pytest.raises(JournalMissing, match="was recorded"):
        check_home(home)


def test_a_journal_that_is_shorter_than_it_was(home: Path) -> None:
    identity = (home / "journals" / "reader" / "journal.json").read_bytes()
    shutil.rmtree(home / "journals" / "reader")
    (home / "journals" / "reader").mkdir()
    (home / "journals" / "reader" / "journal.json").write_bytes(identity)
    writer = open_writer(home / "journals" / "reader")
    writer.append(Numbers().frames(2))
    writer.close()
    with pytest.raises(JournalMissing, match="ends at entry 2, and 5 were recorded as durable"):
        check_home(home)


def test_another_node_s_journals_are_not_looked_for_here(home: Path) -> None:
    assert not (home / "journals" / "alien").exists()
    check_home(home)
