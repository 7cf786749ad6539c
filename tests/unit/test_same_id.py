"""Two texts under one id: nothing replaces another silently, and reading a source twice changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.local_backend import LocalClient
from tori.errors import BadInput
from tori.events.document import Document
from tori.feed import FeedReport, feed
from tori.local import LocalSystem
from tori.sources import open_source


@pytest.fixture
def mind() -> LocalSystem:
    return LocalSystem(modules=("clients",))


def fed(mind: LocalSystem, source: Path, *, name: str = "", replace: bool = False) -> FeedReport:
    return feed(LocalClient(mind), open_source(source, name=name), replace=replace)


def folder(place: Path, **files: str) -> Path:
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / f"{name}.md").write_text(text)
    return place


def test_a_file_of_another_folder_is_refused_with_both_paths_and_two_ways_out(
    tmp_path: Path, mind: LocalSystem
) -> None:
    first, second = (
        folder(tmp_path / "a", README="The first."),
        folder(tmp_path / "b", README="The second.", notes="Its own."),
    )
    assert fed(mind, first).accepted == 1
    report = fed(mind, second)
    assert (report.accepted, report.refused) == (1, 1)
    for part in (f"{second}/README.md", f"{first}/README.md", "--as NAME", "--replace"):
        assert part in report.refusals[0]
    assert fed(mind, first).duplicates == 1, "nothing was replaced"
    assert fed(mind, second, name="b").accepted == 2
    ids = [d for d, _ in mind.hosts["clients"].module.section()["documents"]]
    assert ids == ["README", "b/README", "b/notes", "notes"]


def test_links_keep_leading_to_the_folders_own_files(tmp_path: Path) -> None:
    place = folder(tmp_path / "a", one="See [two](two.md).", two="Here.")
    found = {d.id: d.links for d in open_source(place, name="n").documents() if isinstance(d, Document)}
    assert found == {"n/one": ("n/two",), "n/two": ()}


def test_files_that_moved_may_replace_themselves(tmp_path: Path, mind: LocalSystem) -> None:
    fed(mind, folder(tmp_path / "old", README="The first."))
    moved = folder(tmp_path / "new", README="The first, corrected.")
    assert fed(mind, moved).refused == 1
    assert fed(mind, moved, replace=True).accepted == 1
    (moved / "README.md").write_text("Corrected again.")
    assert fed(mind, moved).accepted == 1, "from now on its place is the new one"


def test_the_same_text_at_another_place_is_a_duplicate(tmp_path: Path, mind: LocalSystem) -> None:
    fed(mind, folder(tmp_path / "a", README="The same."))
    assert fed(mind, folder(tmp_path / "b", README="The same.")).duplicates == 1


def test_of_lines_with_one_id_the_last_counts_every_time(tmp_path: Path, mind: LocalSystem) -> None:
    path = tmp_path / "feed.jsonl"
    rows = ['{"id": 1, "text": "old"}', "{broken", '{"id": "2", "text": "x"}', '{"id": "1", "text": "new"}']
    path.write_text("\n".join([*rows, '{"id": "1", "text": " "}']))
    report = fed(mind, path)
    assert (report.accepted, report.refused) == (2, 3)
    assert "line 1: line 4 has the same id '1' and replaces it" in report.refusals[0]
    again = fed(mind, path)
    assert (again.accepted, again.duplicates) == (0, 2), "reading it twice changes nothing"
    assert mind.query("clients", "summary")["replaced"] == 0


@pytest.mark.parametrize(("source", "name", "says"), [("x.jsonl", "n", "ids of its own"), (".", "../n", "leads out")])
def test_names_that_cannot_stand_before_ids(tmp_path: Path, source: str, name: str, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        open_source(tmp_path / source, name=name)
