"""``tori submit`` against jobs that a test plays: what travels, what is shown, how it exits."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tori.cli import main as entry
from tori.cli import submit
from tori.client import JobView
from tori.errors import BadInput
from tori.sources.package import Package

ADDRESS = ("--address", "http://head:8265")


class PlayedJobs:
    """Jobs that go through a script of states, saying a line at each."""

    def __init__(self, *states: tuple[str, int | None]) -> None:
        self.states = list(states) or [("succeeded", 0)]
        self.submitted: list[list[str]] = []
        self.documents: list[str] = []
        self.said = ""
        self.cancelled: list[str] = []
        self.token = ""

    def jobs(self, address: str, token: str) -> PlayedJobs:
        assert address == "http://head:8265"
        self.token = token
        return self

    def submit(self, words: Sequence[str], folder: Path | None = None) -> str:
        self.submitted.append(list(words))
        if folder is not None:
            (path,) = folder.iterdir()
            self.documents = [d.id for d in Package(path).documents() if not hasattr(d, "reason")]
        return "job-1"

    def view(self, job_id: str) -> JobView:
        if job_id != "job-1":
            raise BadInput("http://head:8265 knows no such job.", remedy="tori submit list shows its jobs.")
        state, code = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        self.said += f"now {state}\n"
        return JobView(job_id, state, "python -m actors", code, "it says why" if code else "")

    def list(self) -> list[JobView]:
        return [self.view("job-1")]

    def logs(self, job_id: str) -> str:
        return self.said

    def cancel(self, job_id: str) -> bool:
        self.cancelled.append(job_id)
        return self.states[0][1] is None


class Shell:
    def __init__(self, played: PlayedJobs, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.played, self._capsys, self._patch = played, capsys, monkeypatch
        monkeypatch.setattr(submit, "backend", lambda: self.played)
        monkeypatch.setattr(submit, "FOLLOW_S", 0.0)
        monkeypatch.setattr("tori.cli.submit.time.sleep", lambda seconds: None)
        monkeypatch.delenv("RAY_AUTH_TOKEN_PATH", raising=False)

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._patch.setattr(sys, "argv", ["tori", "submit", *words])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    return Shell(PlayedJobs(), capsys, monkeypatch)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    (tmp_path / "notes").mkdir()
    for number in range(3):
        (tmp_path / "notes" / f"{number}.md").write_text(f"Note {number} about roses.")
    (tmp_path / "notes" / "bad.txt").write_bytes(b"\x00\x01")
    return tmp_path / "notes"


def test_an_ingest_reads_here_and_shows_what_is_said_there(shell: Shell, notes: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    shell.played.states = [("pending", None), ("running", None), ("succeeded", 0)]
    code, out, err = shell("ingest", str(notes), *ADDRESS, "--wait", "--token-file", str(tmp_path / "token"))
    assert code == 0, err
    assert shell.played.submitted == [["ingest", "documents.tori.zip", "--wait"]]
    assert len(shell.played.documents) == 3
    assert shell.played.token == "secret"
    assert out == "now pending\nnow running\nnow succeeded\n"
    assert "bad.txt" in err
    assert "tori submit cancel job-1" in err


def test_the_exit_code_is_the_job_s(shell: Shell, notes: Path) -> None:
    shell.played.states = [("running", None), ("failed", 65)]
    code, _, err = shell("ingest", str(notes), *ADDRESS)
    assert code == 65
    assert "job job-1 failed: it says why" in err


def test_a_package_that_is_too_large_never_leaves(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "big.md").write_text("".join(f"{i * 7919 % 104729:x} " for i in range(400_000)))
    code, _, err = shell("ingest", str(tmp_path), *ADDRESS, "--max-mb", "1")
    assert code == BadInput.exit_code
    assert "--max-mb" in err
    assert shell.played.submitted == []


def test_detached_only_the_id_is_printed(shell: Shell, notes: Path) -> None:
    assert shell("ingest", str(notes), *ADDRESS, "--detach")[:2] == (0, "job-1\n")
    code, out, _ = shell("quiesce", *ADDRESS, "--detach", "--json")
    assert (code, json.loads(out)) == (0, {"job_id": "job-1"})


def test_with_json_one_object_tells_everything(shell: Shell, notes: Path) -> None:
    code, out, _ = shell("ingest", str(notes), *ADDRESS, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["state"] == "succeeded"
    assert "now succeeded" in found["log"]


def test_asking_is_a_job(shell: Shell) -> None:
    code, out, _ = shell("ask", "where are the roses", *ADDRESS, "--top", "2", "--json")
    assert code == 0
    assert shell.played.submitted == [["ask", "where are the roses", "--top", "2", "--json"]]
    assert "now succeeded" in out
    assert shell("ask", " ", *ADDRESS)[0] == BadInput.exit_code


def test_jobs_are_listed_looked_at_followed_and_cancelled(shell: Shell) -> None:
    shell.played.states = [("running", None)]
    assert "running" in shell("status", "job-1", *ADDRESS)[1]
    assert json.loads(shell("list", *ADDRESS, "--json")[1])["jobs"][0]["job_id"] == "job-1"
    assert "running" in shell("list", *ADDRESS)[1]
    assert json.loads(shell("status", "job-1", *ADDRESS, "--json")[1])["exit_code"] is None
    assert json.loads(shell("cancel", "job-1", *ADDRESS, "--json")[1]) == {"job_id": "job-1", "cancelled": True}
    shell.played.states = [("stopped", 130)]
    assert "had ended" in shell("cancel", "job-1", *ADDRESS)[1]
    assert shell("logs", "job-1", *ADDRESS, "--follow")[0] == 130
    assert "now stopped" in shell("logs", "job-1", *ADDRESS)[1]
    code, _, err = shell("status", "job-2", *ADDRESS)
    assert code == BadInput.exit_code
    assert "no such job" in err


def test_a_token_file_that_is_not_there_is_named(shell: Shell, tmp_path: Path) -> None:
    code, _, err = shell("list", *ADDRESS, "--token-file", str(tmp_path / "nowhere"))
    assert code == BadInput.exit_code
    assert "nowhere cannot be read" in err
