"""Deaths of real processes over an event, without Ray: they end, in fewer deaths than supervision grants, in dead letters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.poisoned_scars import DEADLY, HANGING, MENDED
from tests.support.system import batches, small_corpus
from tori.modules.open import input_directories, open_host

ROOT = Path(__file__).parents[2]
TIMEOUT_S, WINDOW_S, RESTARTS = 1.0, 8.0, 5


def fill(home: Path, words: dict[int, str]) -> list[str]:
    """Write documents into the clients' journal, some with words; return the ids of those, in order."""
    documents = small_corpus(24)
    for number, word in words.items():
        documents[number] = msgspec.structs.replace(
            documents[number], text=f"{documents[number].text} It holds {word}."
        )
    input_directories(home, "scars")
    for name in ("reader", "hierarchy", "clients"):
        host = open_host(home, name, segment_bytes=1 << 20, load_snapshot=lambda _: None)
        if name == "clients":
            for batch in batches(documents, 8):
                host.command("ingest", {"documents": batch})
        host.close()
    return [documents[number].id for number in sorted(words)]


def live(home: Path) -> tuple[dict[str, Any], list[int], list[float]]:
    """Start the process again after each death; return what the last one printed, the exit codes and times of the others."""
    codes: list[int] = []
    times: list[float] = []
    command = [sys.executable, "-m", "tests.support.poisoned_process", str(home), str(TIMEOUT_S), str(WINDOW_S)]
    environment = os.environ | {MENDED: str(home / "mended"), "PYTHONPATH": str(ROOT)}
    while len(codes) < 20:
        ended = subprocess.run(
            command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
        )
        if ended.returncode == 0:
            found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
            return found, codes, times
        codes.append(ended.returncode)
        times.append(time.monotonic())
    raise AssertionError(f"it goes on dying: {codes}")


@pytest.mark.parametrize(
    ("word", "error_type", "code"), [(DEADLY, "HandlerDied", 13), (HANGING, "HandlerTimeout", -signal.SIGALRM)]
)
def test_one_poison_event_costs_four_deaths(tmp_path: Path, word: str, error_type: str, code: int) -> None:
    (document,) = fill(tmp_path, {7: word})
    found, codes, _ = live(tmp_path)
    assert codes == [code] * 4
    (letter,) = found["letters"]
    assert (letter["key"], letter["error_type"], letter["attempts"]) == (document, error_type, 3)
    assert found["lag"] == 0
    if word == HANGING:
        assert any("in read" in line for line in letter["story"]), "it says where the handler stood"


def test_several_poison_events_stay_below_what_supervision_grants(tmp_path: Path) -> None:
    poison = fill(tmp_path, {3: DEADLY, 7: HANGING, 15: DEADLY})
    found, _, times = live(tmp_path)
    assert [letter["key"] for letter in sorted(found["letters"], key=lambda x: x["sequence"])] == poison
    for index in range(len(times) - RESTARTS):
        assert times[index + RESTARTS] - times[index] > WINDOW_S, "one more within the window would degrade the module"
    assert found["lag"] == 0
