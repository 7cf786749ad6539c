"""Tasks that users bring, on a real cluster: made due by events, seen at work, stopped for good, cheaper when they fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from actors import cluster
from actors.backend import RayBackend
from actors.client import RayClient
from tests.support import user_tasks
from tests.support.system import batches, small_corpus, system_settings
from tori.errors import BadSettings

WAIT_S = 30.0


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayClient]:
    """A system that was told where its user's tasks stand."""
    home = tmp_path_factory.mktemp("home")
    settings = system_settings(home, **{"user.tasks": user_tasks.__name__, "limits.retries": 0})
    backend = RayBackend()
    try:
        backend.up(settings, None)
        found = backend.connect(settings, None)
        yield found
        found.close()
        ray.shutdown()
    finally:
        info = cluster.find(home)
        if info is not None:
            cluster.stop(info)


def test_a_module_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    settings = system_settings(tmp_path, **{"user.tasks": "no_such_module"})
    try:
        with pytest.raises(BadSettings, match="no_such_module cannot be imported"):
            RayBackend().up(settings, None)
    finally:
        ray.shutdown()
        info = cluster.find(tmp_path)
        if info is not None:
            cluster.stop(info)


def story_when(client: RayClient, run_id: str, is_it: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return the story of a run as soon as it fits."""
    deadline = time.monotonic() + WAIT_S
    while not is_it(story := client.run_story(run_id)):
        assert time.monotonic() < deadline, story
        time.sleep(0.05)
    return story


def test_a_function_runs_and_its_result_is_kept(client: RayClient) -> None:
    run_id = client.run_task("plain")["run_id"]
    story = story_when(client, run_id, lambda s: s["state"] == "succeeded")
    assert json.loads(story["result"]) == [1, 2, 3]


def test_the_fallback_runs_when_the_last_attempt_failed(client: RayClient) -> None:
    run_id = client.run_task("cheap")["run_id"]
    story = story_when(client, run_id, lambda s: s["state"] == "succeeded")
    assert (story["variant"], story["attempt"], story["result"]) == ("small", 2, '"small"')
    assert any("too dear" in line["text"] for line in story["story"])


def test_an_event_makes_it_due(client: RayClient) -> None:
    for batch in batches(small_corpus(8), 4):
        client.ingest(batch)
    deadline = time.monotonic() + WAIT_S
    while not (runs := [r for r in client.tasks()["runs"] if r["task_id"] == "count" and r["state"] == "succeeded"]):
        assert time.monotonic() < deadline, client.tasks()
        time.sleep(0.05)
    story = client.run_story(runs[0]["run_id"])
    cause = json.loads(story["result"])["cause"]
    assert client.why(cause)[0]["type"] == "DocumentIngested"


def test_its_progress_is_seen_and_cancelling_stops_it(client: RayClient) -> None:
    run_id = client.run_task("sleeper")["run_id"]
    story = story_when(client, run_id, lambda s: s["done"] > 0)
    assert story["total"] == 6000
    assert story["eta_s"] > 60
    client.cancel_run(run_id)
    assert story_when(client, run_id, lambda s: s["state"] == "cancelled")["held_by"] is None
    before = client.run_story(run_id)["done"]
    time.sleep(1.0)
    assert client.run_story(run_id)["done"] == before, "it goes on"
