"""The set-up script: which Python it takes, and uv without pip."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "install.py"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "TOOLS", tmp_path / "tools")
    monkeypatch.setattr(module, "UV", tmp_path / "tools" / "bin" / "uv")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(module.sys, "platform", "linux")
    return module


def wheel(install: ModuleType, content: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(f"uv-{install.UV_VERSION}.data/scripts/uv", content)
    return data.getvalue()


def serve(monkeypatch: pytest.MonkeyPatch, install: ModuleType, data: bytes, sha256: str, tag: str = "x86_64") -> None:
    """Put a package index behind urlopen that knows one uv wheel."""
    name = f"uv-{install.UV_VERSION}-py3-none-manylinux_2_17_{tag}.manylinux2014_{tag}.whl"
    older = {"filename": f"uv-0.1.0-py3-none-manylinux_2_17_{tag}.whl", "url": "old", "hashes": {"sha256": ""}}
    files = [older, {"filename": name, "url": f"../../files/{name}", "hashes": {"sha256": sha256}}]

    def urlopen(request: Any, timeout: float) -> io.BytesIO:
        if isinstance(request, urllib.request.Request):
            assert request.get_header("Accept") == "application/vnd.pypi.simple.v1+json"
            return io.BytesIO(json.dumps({"files": files}).encode())
        assert request == f"https://pypi.org/files/{name}"
        return io.BytesIO(data)

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)


def without_venv(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[Any], **_: Any) -> subprocess.CompletedProcess[str]:
        assert "venv" in command
        return subprocess.CompletedProcess(command, 1, "", "")

    monkeypatch.setattr(subprocess, "run", run)


def test_uv_comes_out_of_its_wheel_where_there_is_no_pip(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wheel(install, b"#!uv")
    serve(monkeypatch, install, data, hashlib.sha256(data).hexdigest())
    without_venv(monkeypatch)
    install.install_uv(sys.executable)
    assert install.UV.read_bytes() == b"#!uv"
    assert install.UV.stat().st_mode & 0o111


def test_a_damaged_wheel_is_not_unpacked(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, install, wheel(install, b"#!uv"), "0" * 64)
    without_venv(monkeypatch)
    with pytest.raises(SystemExit, match="arrived damaged"):
        install.install_uv(sys.executable)
    assert not install.UV.exists()


def test_a_machine_without_a_wheel_is_told_what_to_do(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, install, b"", "", tag="riscv64")
    without_venv(monkeypatch)
    with pytest.raises(SystemExit, match=r"no wheel for linux on x86_64. Put uv .* at "):
        install.install_uv(sys.executable)


def test_the_pinned_uv_is_kept(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    install.UV.parent.mkdir(parents=True)
    install.UV.write_text(f"#!/bin/sh\necho uv {install.UV_VERSION}\n", encoding="utf-8")
    install.UV.chmod(0o755)
    monkeypatch.setattr(install.shutil, "rmtree", None)
    install.install_uv(sys.executable)


def test_the_running_python_is_taken_when_it_fits(install: ModuleType) -> None:
    assert install.find_python() == sys.executable


def test_another_python_is_tried_before_it_is_taken(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, answer in (("python3.13", "exit 127"), ("python3.12", "echo 3.12"), ("python3.11", "echo 3.11")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{answer}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install.sys, "version_info", (3, 10, 13))
    assert install.find_python() == str(tmp_path / "python3.12")


def test_no_python_is_said_plainly(install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(install.sys, "version_info", (3, 10, 13))
    with pytest.raises(SystemExit, match="TORI needs Python"):
        install.find_python()
