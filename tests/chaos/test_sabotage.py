"""Each sabotaged build is caught, in the sets where it must show; the same story on the clean build ends well."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.sabotage import CLEAN, REDUNDANT, ROOT, SABOTAGES, Patch, target
from tests.chaos.scenario import SCENARIOS, Play, wake_a_zombie

ASKED = {"ack_before_fsync", "skip_crc", "no_fence", "no_dedupe", "cursor_before_effect", "read_undurable"}


def test_every_sabotage_asked_for_has_its_story() -> None:
    assert SABOTAGES.keys() == SCENARIOS.keys() == ASKED


@pytest.mark.parametrize(
    "patch", [p for patches in (SABOTAGES | REDUNDANT).values() for p in patches], ids=lambda p: p.module
)
def test_the_target_of_a_patch_still_stands(patch: Patch) -> None:
    source = target(patch)
    changed = patch.apply(source)
    assert changed != source
    compile(changed, patch.module, "exec")


def test_a_patch_without_its_target_fails_loudly() -> None:
    code = (
        "from tests.chaos import sabotage; from tests.chaos.sabotage import Patch;"
        "sabotage.SABOTAGES['gone'] = (Patch('tori.ids', 'no such line', ''),);"
        "sabotage.install('gone'); import tori.ids"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "must be written anew" in done.stderr


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_checker_catches_it(name: str, tmp_path: Path) -> None:
    verdict = SCENARIOS[name].play(Play(name, tmp_path))
    assert verdict.verdict == "violated", verdict.story()
    assert SCENARIOS[name].sets <= verdict.violated, verdict.story()


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_the_clean_build_ends_well(name: str, tmp_path: Path) -> None:
    verdict = SCENARIOS[name].play(Play(CLEAN, tmp_path))
    assert verdict.is_valid, verdict.story()


def test_the_epoch_alone_refuses_a_zombie(tmp_path: Path) -> None:
    """Without lock and kill a zombie goes on writing; the epoch word is what keeps it from acknowledging."""
    verdict = wake_a_zombie(Play("no_lock", tmp_path))
    assert verdict.is_valid, verdict.story()
    assert verdict.counts["indeterminate"] == 1, "its first write after the take-over ended in an error"
