"""docs/events.md and docs/schema/events.json are what the catalogue says now."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def generate(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "scripts" / "generate_docs.py"), *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_generated_pages_are_current() -> None:
    checked = generate(ROOT, "--check")
    assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout + checked.stderr


def test_a_stale_page_is_found_and_written_again(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "generate_docs.py", tmp_path / "scripts")
    stale = generate(tmp_path, "--check")
    assert stale.returncode == 1
    assert "docs/events.md is stale: run make docs" in stale.stdout
    assert generate(tmp_path).stdout == "".join(
        f"wrote docs/{name}\n" for name in ("events.md", "schema/events.json", "cascade.md")
    )
    page = (tmp_path / "docs" / "events.md").read_text(encoding="utf-8")
    assert "README announces 24 event types; its code declares 48" in page
