"""What a command costs before it does anything: only what it needs is imported, and a process of its own ends with its answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main

from tori.cli import main as entry
from tori.errors import JournalError, NotRunning

ROOT = Path(__file__).resolve().parents[2]
RUN = "from tori.cli.main import run; run()"
MODULES = """
import json, sys
from tori.cli.main import main
try:
    main()
except SystemExit as ended:
    packages = sorted({name.partition(".")[0] for name in sys.modules})
    print(json.dumps({"code": ended.code, "packages": packages}), file=sys.stderr)
"""


def typed(code: str, home: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run ``tori WORDS`` as a process of its own, entered by ``code``."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("TORI_", "RAY_", "PYTHONUNBUFFERED"))
    }
    environment = kept | {"TORI_HOME": str(home), "PYTHONPATH": str(ROOT)}
    settled: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.run([sys.executable, "-c", code, *words], env=environment, text=True, check=False, **settled)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("--help", 0),
        ("version", 0),
        ("config show", 0),
        ("doctor --json", 0),
        ("journal list", 0),
        ("checkpoint diff older newer", 65),
        ("status", 69),
        ("down", 0),
    ],
)
def test_what_needs_no_cluster_imports_no_ray(line: str, code: int, tmp_path: Path) -> None:
    done = typed(MODULES, tmp_path, *line.split())
    found = json.loads(done.stderr.splitlines()[-1])
    assert (found["code"], done.stderr) == (code, done.stderr)
    assert {"typer", "tori"} <= set(found["packages"])
    assert {"ray", "numpy", "scipy"} & set(found["packages"]) == set()


def commands_of(app: typer.Typer) -> set[str]:
    command: Any = typer.main.get_command(app)
    return set(command.commands)


def test_the_table_names_the_commands_that_each_module_has() -> None:
    for module, commands in entry.COMMANDS.items():
        for name in commands:
            assert commands_of(entry.application(name)) == {*commands, "version"}, (module, name)
    everything = {name for commands in entry.COMMANDS.values() for name in commands}
    assert sum(map(len, entry.COMMANDS.values())) == len(everything)
    assert commands_of(entry.application()) == commands_of(entry.application("--help")) == {*everything, "version"}


def test_a_command_of_its_own_process_says_what_it_would_say_and_ends_as_it_would(tmp_path: Path) -> None:
    for line in ("config check --json", "status --json", "frobnicate"):
        own = typed(RUN, tmp_path, *line.split())
        other = typed("from tori.cli.main import main; main()", tmp_path, *line.split())
        assert (own.returncode, own.stdout, own.stderr) == (other.returncode, other.stdout, other.stderr)
        assert own.stdout or own.stderr


def test_a_reader_who_is_gone_before_the_last_words_is_no_defect(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = typed(RUN, tmp_path, "version", stdout=writing)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (entry.EXIT_CLOSED, "")


def test_words_that_find_no_room_are_told_of(tmp_path: Path) -> None:
    code = (
        "import sys; from tori.cli import main; main.main = lambda: (sys.stdout.write('late'), sys.exit(0)); main.run()"
    )
    with open("/dev/full", "w") as full:
        done = typed(code, tmp_path, stdout=full)
    assert done.returncode == JournalError.exit_code
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("version 2>&-", 0),
        ("version >&-", 0),
        ("config check --json 2>&-", 0),
        ("status 2>&-", NotRunning.exit_code),
        ("version >/dev/full 2>&1", JournalError.exit_code),
    ],
)
def test_streams_that_are_closed_or_full_do_not_change_how_it_ended(tmp_path: Path, line: str, code: int) -> None:
    command = f'"{sys.executable}" -c "{RUN}" {line}'
    done = subprocess.run(["bash", "-c", command], env=os.environ | {"TORI_HOME": str(tmp_path)}, check=False)
    assert done.returncode == code
