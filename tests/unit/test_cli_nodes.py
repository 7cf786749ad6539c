"""What ``tori status`` says of several nodes, and how it exits while one is away."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.local_backend import LocalBackend, LocalClient
from tori.cli import main as entry
from tori.local import LocalSystem


class AwayClient(LocalClient):
    """A system whose second node is away."""

    def status(self) -> dict[str, Any]:
        found = super().status()
        modules = [m | {"state": "offline" if m["name"] == "braid" else m["state"]} for m in found["modules"]]
        row = {"address": "10.0.0.1", "refs_routed": 1234, "problems": {}}
        nodes = [
            row | {"node": "a" * 32, "alive": True, "modules": ["clients"]},
            row | {"node": "b" * 32, "alive": False, "modules": ["braid"], "problems": {"braid": "nothing came"}},
            row | {"node": "c" * 32, "alive": True, "modules": []},
            row | {"node": "d" * 32, "alive": True, "answers": False, "modules": ["alien"]},
        ]
        return found | {"modules": modules, "nodes": nodes, "problems": []}


def test_a_module_that_is_offline_is_seen_and_is_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = LocalBackend()
    backend.client = AwayClient(LocalSystem())
    monkeypatch.setenv("TORI_HOME", str(tmp_path))
    monkeypatch.setattr("tori.cli.session.load_backend", lambda: backend)
    for words in (["tori", "status"], ["tori", "status", "--json"]):
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            entry.main()
        assert ended.value.code == 75
        out = capsys.readouterr().out
        if "--json" in words:
            assert len(json.loads(out)["nodes"]) == 4
            continue
        assert "offline" in out
        assert "node aaaaaaaa 10.0.0.1  ·  1,234 refs routed  ·  clients" in out
        assert "node bbbbbbbb 10.0.0.1  away  ·" in out
        assert "braid: nothing came" in out
        assert "no modules" in out
        assert "node dddddddd 10.0.0.1  does not answer  ·" in out
