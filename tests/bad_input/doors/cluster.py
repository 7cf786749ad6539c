"""A running system on Ray: requests that name nothing, a second start, a checkpoint damaged on its disk."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.bad_input.bench import Bench
from tests.bad_input.case import Case, Door, Outcome

DOOR = Door("running system", __doc__)


def tori(bench: Bench, *words: str) -> Outcome:
    assert bench.running is not None
    home, backend = bench.running
    return bench.tori(*words, backend=backend, home=home)


def add(words: str, *says: str, exit_code: int = 65) -> None:
    DOOR.cases.append(
        Case(DOOR.name, f"`tori {words}`", says, exit_code, "unchanged", lambda b: tori(b, *words.split()), "cluster")
    )


add("pause oracle", "there is no module 'oracle'.", "Modules: clients,")
add("reload oracle", "there is no module 'oracle'.", "Modules: clients,")
add("reload orchestrator", "orchestrator cannot be reloaded.", "Its code comes with a restart")
add("task run dreaming", "there is no task 'dreaming'.", "Tasks: ")
add("task cancel run-999", "there is no run 'run-999'.", "`tori task list` shows the last ones.")
add("task logs run-999", "there is no run 'run-999'.", "`tori task list` shows the last ones.")
add("restore checkpoint-0", "there is no checkpoint 'checkpoint-0'.", "Newest: ")
add("restore ../../etc", "there is no checkpoint '../../etc'.", "Newest: ")
add(f"why {'0' * 32}", f"no journal here holds the event {'0' * 32}.", "Check the id with `tori tail`")


@DOOR.case("a second `tori up`", "TORI runs at", exit_code=0, needs="cluster")
def second_up(bench: Bench) -> Outcome:
    assert bench.running is not None
    record = bench.running[0] / "cluster.json"
    before = record.read_bytes()
    outcome = tori(bench, "up")
    assert record.read_bytes() == before
    return outcome


@DOOR.case("a run that has finished, cancelled", exit_code=0, needs="cluster")
def finished_run(bench: Bench) -> Outcome:
    run_id = json.loads(tori(bench, "task", "run", "performance_metrics", "--json").said)["run_id"]
    deadline = time.monotonic() + 30
    while not any((run["run_id"], run["state"]) == (run_id, "succeeded") for run in _runs(bench)):
        assert time.monotonic() < deadline, "the run did not end"
        time.sleep(0.1)
    outcome = tori(bench, "task", "cancel", run_id)
    assert "succeeded" in outcome.said
    return outcome


def _runs(bench: Bench) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(tori(bench, "task", "list", "--json").said)["runs"]
    return found


@DOOR.case(
    "`tori restore` of a checkpoint with one byte flipped",
    "is damaged (reader: the sha256",
    "tori checkpoint --list shows the others.",
    needs="cluster",
)
def flipped(bench: Bench) -> Outcome:
    taken = json.loads(tori(bench, "checkpoint", "--json").said)
    path = Path(taken["path"]) / "reader.snapshot"
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    return tori(bench, "restore", taken["checkpoint_id"])


@DOOR.case(
    "another home of this version beside it", "no TORI runs in", "Start it with tori up.", exit_code=69, needs="cluster"
)
def other_home(bench: Bench) -> Outcome:
    assert bench.running is not None
    return bench.tori("status", backend=bench.running[1], home=bench.place / "other")
