"""What every test lives under: unit tests know neither Ray nor sleep, warnings are errors, data is where it says."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
_ORDER = ("architecture", "unit", "properties", "sim", "crash", "bad_input", "actors", "contract", "cluster", "e2e")
_PURE = ("unit", "properties", "architecture", "sim", "crash")
_UNCOVERED = ("architecture", "properties", "sim", "crash")
"""What runs the same lines a thousand times: counting them takes twice the time and finds few that unit tests leave out."""
_OURS = ("tori", "actors", "tests", "scripts", "test_")
_real_sleep = time.sleep

settings.register_profile("tori", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("ci", settings.get_profile("tori"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "tori")


def _folder(path: Path) -> str:
    """Return the folder of ``tests/`` that ``path`` lies in."""
    return path.relative_to(ROOT / "tests").parts[0]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fast and pure tests first: Ray starts after the last of them. Coverage is that of the small tests."""
    for item in items:
        if _folder(item.path) in _UNCOVERED:
            item.add_marker("no_cover")
    items.sort(key=lambda item: _ORDER.index(name) if (name := _folder(item.path)) in _ORDER else len(_ORDER))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Stop the first of two counters that pytest-cov 7 starts in a process of xdist: beneath the second it never pauses."""
    plugin = session.config.pluginmanager.getplugin("_cov")
    if hasattr(session.config, "workerinput") and plugin is not None and plugin.cov_controller is not None:
        plugin.cov_controller.pause()


def _no_sleep(seconds: float) -> None:
    caller = sys._getframe(1).f_globals.get("__name__", "")
    if caller.startswith(_OURS):
        pytest.fail(f"{caller} called time.sleep({seconds}) in a unit test: advance a VirtualClock instead.")
    _real_sleep(seconds)


@pytest.fixture(autouse=True)
def _pure(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail unit and property tests that import Ray or sleep."""
    if _folder(request.node.path) in _PURE:
        monkeypatch.setitem(sys.modules, "ray", None)
        monkeypatch.setattr(time, "sleep", _no_sleep)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of development data beside the checkout; skips where it is absent, fails there in CI."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"development data is not at {folder.parent.name}/{folder.name} beside the checkout"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(autouse=True)
def _own_logs() -> Iterator[None]:
    """Let no test hear, or miss, what another one's process logging was set to."""
    loggers = [logging.getLogger(name) for name in ("tori", "actors")]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = handlers, propagate
        logger.setLevel(level)
