"""What may stand in the repository's text: no machine's paths, no unfinished work, no unexplained exception."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import tori
from tests.architecture.source import FOLDERS, ROOT, place, python_files

MACHINE_PATH = re.compile(r"(?<![\w./~$}-])/(?:home/(?!ann\b)[\w.-]+/|(?:root|Users|work|mnt|opt)/)[\w.-]+")
"""Ann is the person in our examples."""
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|HACK)\b|NotImplementedError")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[[\w, -]+\]\s+#?\s*\S)|#\s*noqa(?!:\s*[A-Z]+[0-9]+)")


def tracked_text() -> list[Path]:
    """Return the text files git knows, or all of the four folders outside a checkout."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.splitlines() if listed.returncode == 0 else []
    paths = [ROOT / name for name in names] or python_files(*FOLDERS)
    return [p for p in paths if p.is_file() and p.name != "uv.lock" and b"\0" not in p.read_bytes()[:4096]]


def lines_with(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    """Return where ``pattern`` stands, with the line."""
    return [
        f"{place(path, number)}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]


def test_no_machine_paths() -> None:
    assert lines_with(MACHINE_PATH, [p for p in tracked_text() if p != Path(__file__)]) == []


def test_nothing_is_left_unfinished() -> None:
    assert lines_with(UNFINISHED, [p for p in python_files(*FOLDERS) if p != Path(__file__)]) == []


def test_every_ignore_names_its_code_and_reason() -> None:
    assert lines_with(BARE_IGNORE, [p for p in python_files(*FOLDERS) if p != Path(__file__)]) == []


@pytest.mark.parametrize(
    ("text", "is_bad"),
    [
        ("x = 1  # type: ignore", True),
        ("x = 1  # type: ignore[attr-defined]", True),
        ("x = 1  # type: ignore[attr-defined]  # ray has no stubs", False),
        ("x = 1  # noqa", True),
        ("x = 1  # noqa: E501", False),
    ],
)
def test_the_rule_for_ignores(text: str, is_bad: bool) -> None:
    assert bool(BARE_IGNORE.search(text)) is is_bad


def test_the_lock_file_names_one_index() -> None:
    hosts = set(re.findall(r"(?:https?|file)://[^/\"]*", (ROOT / "uv.lock").read_text(encoding="utf-8")))
    assert hosts == {"https://pypi.org", "https://files.pythonhosted.org"}


def test_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == tori.__version__


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    names = [re.split(r"[<>=;\[ ]", requirement)[0].lower() for requirement in wanted]
    assert [name for name in names if f"| {name}" not in page] == []


def test_the_gate_is_make_test() -> None:
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test </dev/null"]
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_wheel_holds_the_two_packages() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    assert tool["hatch"]["build"]["targets"]["wheel"] == {"packages": ["tori", "actors"]}
