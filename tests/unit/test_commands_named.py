"""Every command that an error or a page names exists: a remedy that cannot be typed is none."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from tori.cli.main import application

ROOT = Path(__file__).resolve().parents[2]
GROUP = typer.main.get_command(application())
TORI = re.compile(r"(?<![\w/.-])tori ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
MAKE = re.compile(r"(?:`|\brun )make ([a-z][a-z-]*)")
PROSE = {"actors", "is", "knows", "never", "itself", "package", "packages", "imports", "and", "core"}
"""Words that follow the name of the package ``tori`` in a sentence about it."""


def _strings() -> Iterator[tuple[str, str]]:
    """Yield (where, text) of every string in the source that is shown to a person, docstrings too."""
    for folder in ("tori", "actors"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value


def _pages() -> Iterator[tuple[str, str]]:
    """Yield (where, text) of every code span and code block of the pages."""
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        if path.name in ("CHANGELOG.md", "bad-input.md"):
            continue  # what was once true; what is wrong on purpose
        text = path.read_text()
        for match in re.finditer(r"```.*?```|`[^`\n]+`", text, re.S):
            yield f"{path.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}", match.group()


def _children(command: object) -> dict[str, object]:
    found: dict[str, object] = getattr(command, "commands", {})
    return found


def _unknown(text: str) -> Iterator[str]:
    """Yield the commands of ``text`` that do not exist."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.M))
    for first, second in TORI.findall(text):
        if first in PROSE:
            continue
        command = _children(GROUP).get(first)
        if command is None:
            yield f"tori {first}"
        elif _children(command) and second and second not in _children(command):
            yield f"tori {first} {second}"
    for target in MAKE.findall(text):
        if target not in targets:
            yield f"make {target}"


def test_every_command_named_in_the_source_exists() -> None:
    assert [(where, name) for where, text in _strings() for name in _unknown(text)] == []


def test_every_command_named_in_the_pages_exists() -> None:
    assert [(where, name) for where, text in _pages() for name in _unknown(text)] == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("See tori status.", []),
        ("`tori task runs` lists them.", ["tori task runs"]),
        ("run `make setup` first", ["make setup"]),
        ("tori frobnicate, then again", ["tori frobnicate"]),
        ("the package `tori` knows nothing of Ray", []),
    ],
)
def test_the_check_finds_what_it_should(text: str, names: list[str]) -> None:
    assert list(_unknown(text)) == names
