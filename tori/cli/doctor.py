"""What ``tori doctor`` looks at."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tori.client import home_of

SLOW_SYNC_MS = 20.0
LITTLE_DISK_BYTES = 2 << 30
FUTURE_S = 60.0


def examine(settings: Any) -> list[dict[str, str]]:
    """Return findings: level (ok, warning, error), subject, message with the remedy."""
    home = home_of(settings)
    return [
        _python(),
        *_packages(),
        _home(home),
        _disk(home),
        _sync(home),
        _clock(home),
        _niceness(),
        _bytecode(),
        _shared_memory(),
    ]


def _finding(level: str, subject: str, message: str) -> dict[str, str]:
    return {"level": level, "subject": subject, "message": message}


def _python() -> dict[str, str]:
    text = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return _finding("ok", "python", text)
    return _finding("error", "python", f"{text} is not supported: use 3.11, 3.12 or 3.13.")


def _packages() -> list[dict[str, str]]:
    found = []
    for name in ("ray", "msgspec", "numpy", "scipy"):
        try:
            found.append(_finding("ok", name, version(name)))
        except PackageNotFoundError:
            found.append(_finding("error", name, "not installed: run `make install` or pip install tori-orchestrator."))
    return found


def _home(home: Path) -> dict[str, str]:
    probe = home if home.exists() else next(p for p in home.parents if p.exists())
    if os.access(probe, os.W_OK):
        return _finding("ok", "home", f"{home} can be written")
    return _finding("error", "home", f"{home} cannot be written: choose another with --home or TORI_HOME.")


def _disk(home: Path) -> dict[str, str]:
    probe = home if home.exists() else next(p for p in home.parents if p.exists())
    free = shutil.disk_usage(probe).free
    if free < LITTLE_DISK_BYTES:
        return _finding("warning", "disk", f"{free / 1e9:.1f} GB free: journals stop accepting when the disk is full.")
    return _finding("ok", "disk", f"{free / 1e9:.0f} GB free")


def _sync(home: Path) -> dict[str, str]:
    probe = home if home.exists() else next(p for p in home.parents if p.exists())
    try:
        with tempfile.TemporaryFile(dir=probe) as file:
            taken = []
            for _ in range(20):
                file.write(b"x" * 4096)
                file.flush()
                start = time.perf_counter()
                os.fdatasync(file.fileno())
                taken.append((time.perf_counter() - start) * 1e3)
    except OSError as error:
        return _finding("error", "fdatasync", f"fails in {probe}: {error.strerror}.")
    median = sorted(taken)[len(taken) // 2]
    level = "warning" if median > SLOW_SYNC_MS else "ok"
    return _finding(level, "fdatasync", f"{median:.2f} ms (median of 20); every `disk` acknowledgement waits for one")


def _clock(home: Path) -> dict[str, str]:
    """Compare the clock with the journals' files: they cannot have been written in the future."""
    newest = max((path.stat().st_mtime for path in (home / "journals").glob("*/*")), default=0.0)
    ahead_s = newest - time.time()
    if ahead_s <= FUTURE_S:
        return _finding("ok", "clock", "not behind the journals")
    return _finding(
        "warning",
        "clock",
        f"the clock was set back: journals were written {ahead_s / 3600:.1f} hours from now; set it right. Nothing is lost "
        "meanwhile: events go on after the last one's time.",
    )


def _niceness() -> dict[str, str]:
    if os.environ.get("RAY_worker_niceness", "0") == "0":
        return _finding("ok", "niceness", "Ray workers run at normal priority where TORI starts Ray")
    return _finding(
        "warning", "niceness", "RAY_worker_niceness is set: latencies grow from 2 to 30 ms at nice 15; unset it."
    )


def _bytecode() -> dict[str, str]:
    if sys.dont_write_bytecode or os.environ.get("PYTHONDONTWRITEBYTECODE"):
        return _finding(
            "warning",
            "bytecode",
            "PYTHONDONTWRITEBYTECODE is set: unless make install compiled everything, the first start in a home takes seconds "
            "longer; unset it.",
        )
    return _finding("ok", "bytecode", "modules are compiled once")


def _shared_memory() -> dict[str, str]:
    path = Path("/dev/shm")
    if not path.exists():
        return _finding("warning", "shared memory", "no /dev/shm: Ray's object store falls back to the disk.")
    free = shutil.disk_usage(path).free
    if free < 1 << 29:
        return _finding(
            "warning", "shared memory", f"{free / 1e6:.0f} MB free in /dev/shm: Ray's object store is slow."
        )
    return _finding("ok", "shared memory", f"{free / 1e9:.1f} GB free")
