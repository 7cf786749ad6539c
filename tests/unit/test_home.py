"""The home is checked and marked before anything is put into it, and what lies in it is left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tori.errors import BadInput
from tori.home import FORMAT, HomeUnusable, expanded, open_home


def test_a_new_home_is_made_and_marked(tmp_path: Path) -> None:
    home = open_home(tmp_path / "a" / "b")
    assert json.loads((home / "home.json").read_text()) == {"format": FORMAT}
    assert [path.name for path in home.iterdir()] == ["home.json"]


def test_an_older_home_without_a_mark_is_taken_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tori.toml").write_text("x")
    open_home(tmp_path)
    mark = (tmp_path / "home.json").stat()
    open_home(tmp_path)
    assert (tmp_path / "home.json").stat().st_mtime_ns == mark.st_mtime_ns
    assert (tmp_path / "tori.toml").read_text() == "x"


@pytest.mark.parametrize("mark", ['{"format": 2}', "{}", "[]", "{", "\x00"])
def test_a_home_of_another_kind_is_refused_untouched(tmp_path: Path, mark: str) -> None:
    (tmp_path / "home.json").write_text(mark)
    with pytest.raises(HomeUnusable) as caught:
        open_home(tmp_path)
    assert caught.value.exit_code == 74
    assert caught.value.remedy
    assert (tmp_path / "home.json").read_text() == mark


def test_paths_are_filled_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert expanded("~/x") == Path("/somewhere/x")
    for text in ("~nobody-is-called-this/x", "a\0b"):
        with pytest.raises(BadInput, match="is no path"):
            expanded(text)
