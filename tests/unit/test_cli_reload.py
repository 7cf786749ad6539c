"""``tori reload`` and the report's word on recovery, over a client that a test plays."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tori import report
from tori.cli import main as entry
from tori.cli import reload
from tori.errors import BadInput, PermanentError, Unavailable

DONE = {"module": "alien", "from_version": "aaa", "to_version": "bbb", "pause_s": 0.125, "changed": True}


class PlayedClient:
    """Answers what the test gives; ``story`` is taken from the front."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.stories: list[Any] = []

    def reload(self, module: str) -> dict[str, Any]:
        self.asked.append(module)
        if self.error is not None:
            raise self.error
        return DONE | {"module": module}

    def run_task(self, task: str) -> dict[str, Any]:
        self.asked.append(task)
        if isinstance(self.stories[0], Exception):
            raise self.stories.pop(0)
        return {"run_id": "run-1"}

    def run_story(self, run_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.stories.pop(0)
        return found


class Shell:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: Any, home: Path) -> None:
        self.client = PlayedClient()
        self._patch, self._capsys, self._home = monkeypatch, capsys, home
        monkeypatch.setattr(reload, "connected", self._connected)
        self.looks = 0
        monkeypatch.setattr("tori.cli.reload.time.sleep", self._sleep)

    @contextmanager
    def _connected(self, home: Any, address: Any) -> Iterator[PlayedClient]:
        yield self.client

    def _sleep(self, seconds: float) -> None:
        self.looks += 1
        if not self.client.stories:
            raise KeyboardInterrupt

    def __call__(self, *words: str) -> tuple[int, str, str]:
        self._patch.setattr(sys, "argv", ["tori", "reload", *words, "--home", str(self._home)])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        printed = self._capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> Shell:
    return Shell(monkeypatch, capsys, tmp_path)


def test_what_was_reloaded_is_said(shell: Shell) -> None:
    assert shell("alien", "braid") == (
        0,
        "alien: aaa -> bbb, nothing handled for 125 ms.\nbraid: aaa -> bbb, nothing handled for 125 ms.\n",
        "",
    )
    code, out, _ = shell("alien", "--json")
    assert code == 0
    assert json.loads(out) == {"reloads": [DONE]}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BadInput("there is no module 'nobody'.", remedy="Modules: reader."), 65),
        (PermanentError("the new code of alien was refused, the old goes on: ZeroDivisionError"), 1),
    ],
)
def test_a_refusal_is_a_sentence_and_a_code(shell: Shell, error: Exception, code: int) -> None:
    shell.client.error = error
    found, out, err = shell("nobody")
    assert (found, out) == (code, "")
    assert str(error) in err
    assert json.loads(shell("nobody", "--json")[1])["error"] == type(error).__name__


def test_nothing_named_is_refused(shell: Shell) -> None:
    assert shell()[0] == BadInput.exit_code
    assert shell.client.asked == []


def story(state: str, **fields: Any) -> dict[str, Any]:
    return {"state": state, "result": "", "story": [{"time_ns": 0, "text": "failed: ZeroDivisionError"}], **fields}


def test_the_watcher_has_the_task_run_when_files_change(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    class Changing:
        def __init__(self, names: tuple[str, ...]) -> None:
            assert names == ("alien",)
            self.looks = iter([(), ("alien",), (), ("alien",), ("alien",)])

        def changed(self) -> tuple[str, ...]:
            return next(self.looks, ())

    monkeypatch.setattr(reload, "SourceWatch", Changing)
    shell.client.stories = [
        story("running"),
        story("succeeded", result=json.dumps({"reloads": [DONE]})),
        Unavailable("the scheduler did not answer."),
        story("failed"),
    ]
    code, out, err = shell("alien", "--watch")
    assert code == 130, "Ctrl-C ends it"
    assert shell.client.asked == ["alien", "hot_reload", "hot_reload", "hot_reload"]
    assert out.count("aaa -> bbb") == 2
    assert "did not answer" in err
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (None, ""),
        ({"state": "failed", "error": "alien came back in 9 s"}, "A recovery check failed: alien came back in 9 s"),
        ({"state": "succeeded", "error": None}, "Killed on purpose: alien came back in 1.2 s as it was."),
    ],
)
def test_the_report_tells_of_the_last_recovery(run: dict[str, Any] | None, says: str) -> None:
    class Answering:
        def status(self) -> dict[str, Any]:
            return {"modules": [], "events": 0, "events_per_s": 0.0, "refs_routed": 0}

        def query(self, module: str, name: str, arguments: Any) -> dict[str, Any]:
            return {"nodes": [], "alerts": [], "series": [], "items": [], "tested": 0}

        def tasks(self) -> dict[str, Any]:
            runs = [] if run is None else [{"task_type": "chaos_recovery", "run_id": "r"} | run]
            return {"runs": [*runs, {"task_type": "alien_audit", "state": "succeeded"}]}

        def run_story(self, run_id: str) -> dict[str, Any]:
            return {"result": json.dumps({"module": "alien", "recovered_s": 1.2, "is_same": True})}

    out = Console(file=io.StringIO(), width=200)
    report.render(report.compose(Answering()), out)  # type: ignore[arg-type]  # as much of a client as it asks for
    printed = out.file.getvalue()  # type: ignore[attr-defined]  # the StringIO above
    assert says in printed
    assert ("recovery" in printed or "Killed" in printed) == (run is not None)
