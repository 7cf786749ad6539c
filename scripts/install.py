"""Set up ``.venv`` from ``uv.lock`` with nothing but a Python 3.11-3.13: what ``make`` runs first.

uv goes into ``.venv-tools`` (by pip, or from its wheel where this Python has no pip), then ``uv sync --locked``.
Bytecode is compiled here: Ray actors start six times slower without it.
"""

from __future__ import annotations

import compileall
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".venv-tools"
UV = TOOLS / "bin" / "uv"
UV_VERSION = "0.13.9"
INDEX = "https://pypi.org/simple/uv/"
SUPPORTED = ((3, 11), (3, 12), (3, 13))
_VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"


def find_python() -> str:
    """Return a supported interpreter: the running one, else the newest on PATH; exits when there is none."""
    if sys.version_info[:2] in SUPPORTED:
        return sys.executable
    for major, minor in reversed(SUPPORTED):
        path = shutil.which(f"python{major}.{minor}")
        if path is None:
            continue
        answer = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False)
        if answer.stdout.strip() == f"{major}.{minor}":
            return path
    sys.exit(
        f"TORI needs Python 3.11, 3.12 or 3.13; {sys.executable} is {platform.python_version()} and no other is on PATH. "
        "Install one (Debian: apt install python3), or name it: make PYTHON=/path/to/python3.13"
    )


def install_uv(python: str) -> None:
    """Put uv at its pinned version into ``.venv-tools``."""
    if UV.exists():
        answer = subprocess.run([UV, "--version"], capture_output=True, text=True, check=False)
        if answer.stdout.split()[1:2] == [UV_VERSION]:
            return
    shutil.rmtree(TOOLS, ignore_errors=True)
    made = subprocess.run([python, "-m", "venv", TOOLS], capture_output=True, check=False)
    if made.returncode == 0:
        pip = [str(TOOLS / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, f"uv=={UV_VERSION}"], check=True)
    else:  # Debian's python3 comes without venv and pip
        shutil.rmtree(TOOLS, ignore_errors=True)
        _unpack_uv()


def _unpack_uv() -> None:
    """Take uv out of its wheel, named and hashed by PyPI's simple index (PEP 691)."""
    index = urllib.request.Request(INDEX, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    with urllib.request.urlopen(index, timeout=60) as answer:
        files = json.load(answer)["files"]
    system, machine = "macosx" if sys.platform == "darwin" else "manylinux", platform.machine()
    start, end = f"uv-{UV_VERSION}-py3-none-{system}", f"{machine}.whl"
    wheels = [f for f in files if f["filename"].startswith(start) and f["filename"].endswith(end)]
    if not wheels:
        sys.exit(f"uv {UV_VERSION} has no wheel for {sys.platform} on {machine}. Put uv {UV_VERSION} at {UV}.")
    with urllib.request.urlopen(urllib.parse.urljoin(INDEX, wheels[0]["url"]), timeout=300) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != wheels[0]["hashes"]["sha256"]:
        sys.exit(f"{wheels[0]['filename']} arrived damaged. Try again.")
    UV.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        UV.write_bytes(wheel.read(f"uv-{UV_VERSION}.data/scripts/uv"))
    UV.chmod(0o755)


def main() -> None:
    """Set everything up; running it again when nothing changed takes a second."""
    python = find_python()
    install_uv(python)
    environment = {
        k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT", "UV_PYTHON"}
    }
    command = [str(UV), "sync", "--locked", "--compile-bytecode", "--no-python-downloads", "--python", python]
    subprocess.run(command, check=True, cwd=ROOT, env=environment)
    for package in ("tori", "actors"):
        compileall.compile_dir(ROOT / package, quiet=1)
    (ROOT / ".venv" / ".installed").touch()


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"Set-up failed: {' '.join(map(str, error.cmd))} exited with {error.returncode}; its words are above.")
    except OSError as error:
        sys.exit(f"Set-up failed: {error}. The first set-up needs the network (PyPI).")
