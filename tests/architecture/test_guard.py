"""The guards of ``tests/conftest.py`` hold: a pure test can neither sleep nor import Ray."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest


def test_sleeping_fails() -> None:
    with pytest.raises(pytest.fail.Exception, match="VirtualClock"):
        time.sleep(0.01)


def test_the_standard_library_may_wait() -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=60)


def test_importing_ray_fails() -> None:
    with pytest.raises(ImportError):
        __import__("ray")
