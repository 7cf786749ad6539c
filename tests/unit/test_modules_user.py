"""Modules of users, and the sources of modules: registered, refused, told apart, watched."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.modules import kept_tables
from tori.errors import BadInput, BadSettings
from tori.events.system import ErrorOccurred
from tori.modules import registry
from tori.modules.alien import Alien
from tori.modules.host import ModuleHost
from tori.modules.open import open_host
from tori.modules.source import SourceWatch, source_files, source_version
from tori.modules.user import load_modules, module

CODE = """
from tori.modules.base import Module
from tori.modules.user import module

@module(follows=("clients", "alien"))
class Counting(Module):
    name = "counting"
    def decide(self, batch, context): return []
    def apply(self, fact): pass
    def snapshot(self): return b""
    def restore(self, data): pass
"""


tables = pytest.fixture(autouse=True)(kept_tables)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "users_counting.py"
    file.write_text(CODE)
    yield file
    sys.modules.pop(file.stem, None)


def plain(modules: str) -> dict[str, Any]:
    return {"user": {"modules": modules}}


def test_a_class_under_the_decorator_is_a_module_like_any_other(package: Path) -> None:
    assert load_modules(plain(package.stem)) == ("counting",)
    assert load_modules(plain(package.stem)) == ("counting",), "again is the same"
    assert registry.user_modules() == ("counting",)
    assert registry.FOLLOWS["counting"] == ("clients", "alien")
    assert registry.FOLLOWS["orchestrator"][-1] == "counting"
    assert registry.create_module("counting", {}).name == "counting"
    assert source_files("counting") == (package,)


def test_no_module_named_is_none() -> None:
    assert load_modules(None) == load_modules(plain("")) == ()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "no module in"),
        (CODE.replace('"counting"', '"Count ing"'), "no name that a journal can have"),
        (
            CODE.replace('"counting"', '"alien"').replace(', "alien")', ",)"),
            "module alien is tori.modules.alien:Alien already",
        ),
        (CODE.replace('"alien")', '"nobody")'), "follows 'nobody'"),
        (CODE.replace('"alien")', '"orchestrator")'), "follows 'orchestrator'"),
        (CODE.replace("(Module)", ""), "is no Module"),
    ],
)
def test_what_cannot_be_one_is_refused_where_it_is_named(package: Path, code: str, says: str) -> None:
    package.write_text(code)
    with pytest.raises(BadSettings, match=says):
        load_modules(plain(package.stem))


def test_a_class_inside_a_function_is_refused() -> None:
    with pytest.raises(BadSettings, match="stands where no other process could find it"):

        @module(follows=("clients",))
        class Inside(Alien):
            name = "inside"


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(BadSettings, match="no_such_thing cannot be imported"):
        load_modules(plain("no_such_thing"))
    with pytest.raises(BadInput, match="no module 'nobody'"):
        source_version("nobody")


def test_versions_follow_the_content_and_the_watch_sees_changes(package: Path) -> None:
    load_modules(plain(package.stem))
    first, watch = source_version("counting"), SourceWatch(("counting", "alien"))
    assert watch.changed() == ()
    package.write_text(CODE + "# more")
    assert watch.changed() == ("counting",)
    assert watch.changed() == ()
    assert source_version("counting") != first
    os.utime(package, ns=(1, 1))
    assert watch.changed() == ("counting",), "times count too"
    package.write_text(CODE)
    assert source_version("counting") == first


def test_a_package_is_all_of_its_files() -> None:
    names = {file.name for file in source_files("alien")}
    assert {"__init__.py", "module.py", "audit.py"} <= names
    assert len(source_version("alien")) == 12


def test_the_record_outlives_a_module_that_is_gone(package: Path, tmp_path: Path) -> None:
    home, before = tmp_path / "home", dict(registry.FOLLOWS)
    load_modules(plain(package.stem))

    def opened(name: str) -> ModuleHost:
        return open_host(home, name, segment_bytes=1 << 20, load_snapshot=lambda _: None)

    users, ledger = opened("counting"), opened("orchestrator")
    users.emit([], [(ErrorOccurred("Odd", "an odd thing", "counting"), "")])
    while ledger.step():
        pass
    assert ledger.query("counts", {}) == {"ErrorOccurred": 1}
    users.close()
    ledger.close()
    registry.PATHS.pop("counting")
    registry.FOLLOWS.clear()
    registry.FOLLOWS.update(before)
    registry.remember_journal("counting")
    again = opened("orchestrator")
    assert again.query("counts", {}) == {"ErrorOccurred": 1}
    again.close()
