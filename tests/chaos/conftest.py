"""What campaigns need: a folder, and a small disk where the machine allows one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.campaign import small_disk


@pytest.fixture(scope="module")
def can_mount(tmp_path_factory: pytest.TempPathFactory) -> bool:
    try:
        with small_disk(tmp_path_factory.mktemp("disk")):
            return True
    except (PermissionError, FileNotFoundError):
        return False


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for one run; what was mounted in it is gone at the end."""
    yield tmp_path
    assert not os.path.ismount(tmp_path / "home" / "journals")
