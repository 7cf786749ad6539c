"""Code that changes while a system runs: modules of one's own reloaded under load, refused, killed, and tasks that come from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors import cluster
from actors.backend import RayBackend
from actors.client import RayClient
from actors.names import NAMESPACE, ORCHESTRATOR
from actors.reload import ReloadFailed
from scripts.bench import reload as bench
from tests.support.system import events_of, kill, system_settings
from tori.errors import BadInput, NotRunning
from tori.events.system import ChaosInjected, HotReloadCompleted, HotReloadFailed, HotReloadTriggered
from tori.scheduler.transition import ENDED

WAIT_S = 30.0
RATE = 20_000.0
MAIN = "from tori.cli.main import main; main()"
JOBS = Path(__file__).parents[1] / "support" / "shipped_jobs.py"


class Stage:
    """A system with two modules of its user's own, and the file they stand in."""

    def __init__(self, folder: Path) -> None:
        self.home, self.file, chosen = bench.prepared(folder)
        os.environ["PYTHONPATH"] = bench.search_path(self.file)
        self.settings = system_settings(self.home, **(chosen | {"ray.dashboard": True}))
        self.backend = RayBackend()
        self.place = self.backend.up(self.settings, None)
        self.client: RayClient = self.backend.connect(self.settings, None)

    def tally(self) -> dict[str, int]:
        found: dict[str, int] = self.client.query("bench_tally", "all", {})
        return found

    def run(self, task: str) -> dict[str, Any]:
        """Run a task to its end; return its story."""
        run_id = self.client.run_task(task)["run_id"]
        return await_(lambda: self.client.run_story(run_id), lambda story: story["state"] in ENDED)

    def told(self, kind: type) -> list[Any]:
        return [e.payload for e in events_of(self.home, "orchestrator") if isinstance(e.payload, kind)]


def await_(look: Callable[[], Any], is_it: Callable[[Any], bool]) -> Any:
    """Return what ``look`` sees as soon as it fits."""
    deadline = time.monotonic() + WAIT_S
    while not is_it(found := look()):
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder, before = tmp_path_factory.mktemp("reload"), os.environ.get("PYTHONPATH")
    try:
        found = Stage(folder)
        yield found
        found.client.close()
    finally:
        ray.shutdown()
        info = cluster.find(folder / "home")
        if info is not None:
            cluster.stop(info)
        if before is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = before


def test_new_code_takes_over_under_load_and_bad_code_is_rolled_back(stage: Stage) -> None:
    load, pauses, refused = bench.reload_under_load(stage.client, stage.file, RATE, seconds=2.0, reloads=1)
    assert "ZeroDivisionError" in refused
    assert "the old goes on" in refused
    seen, _, revisions = bench.handled(stage.home)
    assert set(seen) == set(range(load.published)), "an event was lost or invented"
    assert set(seen.values()) == {1}, "an event was handled twice"
    assert revisions == {0, 1}
    assert max(pauses) <= 2.0
    assert stage.tally()["revision"] == 1
    (done,) = stage.told(HotReloadCompleted)
    (failed,) = stage.told(HotReloadFailed)
    assert (done.module, done.incarnation) == ("bench_tally", 2)
    assert done.from_version != done.to_version
    assert failed.error
    assert "ZeroDivisionError" in failed.error
    assert len(stage.told(HotReloadTriggered)) == 2


def test_code_that_says_something_else_is_refused_after_it_took_the_journal(stage: Stage) -> None:
    before = stage.tally()
    stage.file.write_text(bench.revision(1).replace('"total": self.total', '"total": -self.total'))
    with pytest.raises(ReloadFailed, match="the new code says its section is"):
        stage.client.reload("bench_tally")
    assert stage.tally() == before, "the old process has the journal back"
    bench_more(stage, 1000)
    stage.file.write_text(bench.revision(1))


def bench_more(stage: Stage, count: int) -> None:
    """Have more events emitted, and wait until they are handled."""
    first = stage.tally()["count"]
    stage.client.command("bench_source", "emit", {"first": first, "count": count})
    bench.await_all(stage.client, first + count)


def test_the_task_reloads_what_changed_and_nothing_else(stage: Stage) -> None:
    stage.file.write_text(bench.revision(2))
    story = stage.run("hot_reload")
    assert story["state"] == "succeeded", story
    assert {one["module"] for one in json.loads(story["result"])["reloads"]} == {"bench_source", "bench_tally"}
    assert stage.tally()["revision"] == 2
    assert json.loads(stage.run("hot_reload")["result"]) == {"reloads": []}


def test_a_module_of_the_mind_is_reloaded_and_what_is_none_is_refused(stage: Stage) -> None:
    before = stage.client.digest()["sections"]["alien"]
    found = stage.client.reload("alien")
    assert (found["module"], found["changed"]) == ("alien", False)
    assert stage.client.digest()["sections"]["alien"] == before
    for name, says in (("nobody", "there is no module 'nobody'"), ("orchestrator", "cannot be reloaded")):
        with pytest.raises(BadInput, match=says):
            stage.client.reload(name)


def test_a_module_that_is_killed_on_purpose_comes_back_as_it_was(stage: Stage) -> None:
    story = stage.run("chaos_recovery")
    assert story["state"] == "succeeded", story
    found = json.loads(story["result"])
    assert found["is_same"]
    assert found["recovered_s"] <= 6.0
    (told,) = stage.told(ChaosInjected)
    assert (told.target, told.result) == (found["module"], "killed")
    await_(lambda: {m["state"] for m in stage.client.status()["modules"]}, lambda states: states == {"running"})


def test_a_task_comes_from_a_laptop_and_outlives_the_orchestrator(stage: Stage, tmp_path: Path) -> None:
    assert stage.place.dashboard_url is not None
    (tmp_path / "wrong").write_text("0" * 64)
    words = ("task", "ship", str(JOBS), "--address", stage.place.dashboard_url)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")} | {"TORI_HOME": str(tmp_path)}

    def begin(token: Path) -> subprocess.Popen[str]:
        called = [sys.executable, "-c", MAIN, *words, "--token-file", str(token)]
        pipe = subprocess.PIPE
        return subprocess.Popen(called, env=environment, stdout=pipe, stderr=pipe, text=True)

    good, bad = begin(stage.home / "ray_token"), begin(tmp_path / "wrong")
    said, complaint = bad.communicate(timeout=60)
    assert bad.returncode == NotRunning.exit_code, said + complaint
    assert "does not let us in" in complaint
    said, complaint = good.communicate(timeout=60)
    assert good.returncode == 0, said + complaint
    assert "shipped.greet: taken in" in said
    kill(ray.get(ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE).pid.remote()))
    story = stage.run("shipped.greet")
    assert story["state"] == "succeeded", story
    assert json.loads(story["result"]) == {"said": "hello world", "attempt": 1}
    assert stage.tally()["revision"] == 2, "the reloaded code was adopted"


def test_a_new_orchestrator_still_knows_how_to_reload(stage: Stage) -> None:
    stage.file.write_text(bench.revision(3))
    assert stage.client.reload("bench_tally")["changed"]
    bench_more(stage, 500)
    assert stage.tally()["revision"] == 3
