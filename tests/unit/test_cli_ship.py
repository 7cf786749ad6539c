"""``tori task ship`` at the laptop's end: what is refused before anything leaves, and what travels."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tori.cli import main as entry
from tori.cli import ship, submit
from tori.client import JobView
from tori.errors import NotRunning

TASK = "from tori.scheduler.user import task\n"


class PlayedBackend:
    """Packs nothing of its own, and keeps what is submitted."""

    def __init__(self) -> None:
        self.packed: list[Path] = []
        self.submitted: list[tuple[list[str], list[str]]] = []
        self.token = ""

    def pack(self, path: Path) -> bytes:
        self.packed.append(path)
        return b"bundle"

    def jobs(self, address: str, token: str) -> PlayedBackend:
        if token == "wrong":
            raise NotRunning(f"the dashboard at {address} does not let us in: 401", remedy="Is the token right?")
        self.token = token
        return self

    def submit(self, words: Sequence[str], folder: Path | None = None) -> str:
        assert folder is not None
        self.submitted.append((list(words), [f.name for f in folder.iterdir() if f.read_bytes() == b"bundle"]))
        return "job-1"

    def view(self, job_id: str) -> JobView:
        return JobView(job_id, "succeeded", "python -m actors", 0)

    def logs(self, job_id: str) -> str:
        return "greet: taken in\n"


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> PlayedBackend:
    found = PlayedBackend()
    monkeypatch.setattr(ship, "backend", lambda: found)
    monkeypatch.setattr(submit, "backend", lambda: found)
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)
    return found


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tori", "task", "ship", *words])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    return int(ended.value.code or 0)


def test_a_bundle_travels_as_a_job_with_the_token(
    played: PlayedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "token").write_text("secret\n")
    words = ("jobs.py", "--address", "http://head:8265", "--token-file", str(tmp_path / "token"))
    assert run(monkeypatch, *words) == 0
    assert played.packed == [Path("jobs.py")]
    assert played.submitted == [(["ship", "jobs.tori.code"], ["jobs.tori.code"])]
    assert played.token == "secret"
    assert capsys.readouterr().out == "greet: taken in\n"
    assert run(monkeypatch, *words, "--detach", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"job_id": "job-1"}


def test_a_wrong_token_is_said_and_nothing_is_submitted(
    played: PlayedBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "token").write_text("wrong")
    code = run(monkeypatch, "jobs.py", "--address", "http://head:8265", "--token-file", str(tmp_path / "token"))
    assert code == NotRunning.exit_code
    assert "does not let us in" in capsys.readouterr().err
    assert played.submitted == []
