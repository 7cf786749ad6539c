"""Tasks that users bring, on a real cluster: made due by events, seen at work, stopped for good, cheaper when they fail."""

from __future__ import annotations

import json
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray._private.ray_constants import KV_NAMESPACE_FUNCTION_TABLE
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_list

from actors import cluster
from actors.backend import RayBackend
from actors.client import RayClient
from actors.ending import end
from actors.names import NAMESPACE, ORCHESTRATOR
from actors.pressure import PressureWatch
from actors.scan import fan_out
from actors.schedule import run_user
from tests.support import background_tasks, user_tasks
from tests.support.receiver import Receiver
from tests.support.system import batches, kill, small_corpus, system_settings
from tori.errors import BadInput, BadSettings, IllegalTransition
from tori.modules.fuzzing import Fuzzing, FuzzTarget
from tori.orchestrator.signal import CheckRequested
from tori.resources.background import is_background
from tori.resources.pressure import Sample
from tori.scheduler.spec import Resources

WAIT_S = 30.0
KILL_S = 10.0
"""After which a task that does not hear its cancellation is killed."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Who is told of alerts."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[RayClient]:
    """A system that was told where its user's tasks stand, and whom to tell; started as behind a shell's ``&``, deaf to SIGINT."""
    home = tmp_path_factory.mktemp("home")
    options = {
        "user.tasks": f"{user_tasks.__name__},{background_tasks.__name__}",
        "limits.retries": 0,
        "alerts.webhook_url": receiver.url,
    }
    settings = system_settings(home, **options)
    backend = RayBackend()
    heard = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        backend.up(settings, None)
        found = backend.connect(settings, None)
        signal.signal(signal.SIGINT, heard)
        yield found
        found.close()
        ray.shutdown()
    finally:
        signal.signal(signal.SIGINT, heard)
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


def test_all_attempts_are_one_function_to_ray(client: RayClient) -> None:
    """The GCS keeps every function it was ever told of."""
    for _ in range(3):
        run_id = client.run_task("plain")["run_id"]
        story_when(client, run_id, lambda s: s["state"] == "succeeded")
    keys = _internal_kv_list(b"RemoteFunction:", namespace=KV_NAMESPACE_FUNCTION_TABLE)
    known = [pickle.loads(_internal_kv_get(key, namespace=KV_NAMESPACE_FUNCTION_TABLE)) for key in keys]
    assert [one["function_name"] for one in known].count(f"{run_user.__module__}.{run_user.__name__}") == 1


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


def test_a_run_that_failed_is_heard_of_by_others_and_never_by_itself(client: RayClient) -> None:
    seen = {run["run_id"] for run in client.tasks()["runs"] if run["task_id"] == "alarm"}
    failing = client.run_task("cheap")["run_id"]
    story_when(client, failing, lambda s: s["state"] == "succeeded")
    deadline = time.monotonic() + WAIT_S
    while not (heard := [r for r in client.tasks()["runs"] if _is_heard(r) and r["run_id"] not in seen]):
        assert time.monotonic() < deadline, client.tasks()
        time.sleep(0.05)
    cause = client.run_story(heard[-1]["run_id"])["cause"]
    assert (told := client.why(cause)[0])["type"] == "TaskFailed"
    assert told["payload"]["run_id"] == failing
    time.sleep(1.0)
    assert len([r for r in client.tasks()["runs"] if r["task_id"] == "alarm"]) == len(seen) + 1, "it hears of itself"


def _is_heard(run: dict[str, Any]) -> bool:
    return bool(run["task_id"] == "alarm" and run["state"] == "failed")


def test_its_progress_is_seen_and_cancelling_stops_it(client: RayClient) -> None:
    run_id = client.run_task("sleeper")["run_id"]
    story = story_when(client, run_id, lambda s: s["done"] > 0)
    assert story["total"] == 6000
    assert story["eta_s"] > 60
    began = time.monotonic()
    client.cancel_run(run_id)
    assert story_when(client, run_id, lambda s: s["state"] == "cancelled")["held_by"] is None
    assert time.monotonic() - began < KILL_S / 2, "it did not hear, and was killed"
    before = client.run_story(run_id)["done"]
    time.sleep(1.0)
    assert client.run_story(run_id)["done"] == before, "it goes on"


def test_what_it_prints_is_kept_by_attempt_also_of_one_that_is_killed(client: RayClient) -> None:
    run_id = client.run_task("talker")["run_id"]
    deadline = time.monotonic() + WAIT_S
    while len((found := client.run_logs(run_id))["logs"]) < 2:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert found["state"] == "running", "it is read while it goes on"
    failed, running = (one["text"].splitlines() for one in found["logs"])
    assert failed[:4] == ["printed in attempt 1", "logged", "said by a child", "Traceback (most recent call last):"]
    assert failed[-1] == "OSError: broken"
    assert running == ["printed in attempt 2", "logged", "said by a child"]
    client.cancel_run(run_id)  # it is deaf, so it is killed
    story_when(client, run_id, lambda s: s["state"] == "cancelled")
    assert [one["text"].splitlines() for one in client.run_logs(run_id)["logs"]] == [failed, running]
    quiet = client.run_task("plain")["run_id"]
    story_when(client, quiet, lambda s: s["state"] == "succeeded")
    assert client.run_logs(quiet) == {"run_id": quiet, "state": "succeeded", "attempts": 1, "logs": []}
    with pytest.raises(BadInput, match="there is no run 'nobody'"):
        client.run_logs("nobody")


def test_background_work_has_processes_of_its_own_at_idle_priority(client: RayClient) -> None:
    run_id = client.run_task("priority")["run_id"]
    mine = json.loads(story_when(client, run_id, lambda s: s["state"] == "succeeded")["result"])
    assert mine["is_idle"], "SCHED_IDLE, or nice 19"
    assert mine["is_alone"], "its session holds ordinary threads too"
    others = [ray.remote(num_cpus=0.1)(_worker) for _ in range(2)]
    for pid, is_idle in ray.get([other.remote() for other in others]):
        assert (pid != mine["pid"], is_idle) == (True, False), "a worker of background work does somebody else's"


def test_a_scan_is_spread_over_ray_tasks_that_read_one_snapshot(client: RayClient) -> None:
    client.ingest(batches(small_corpus(8), 8)[0])
    run_id = client.run_task("concept_fuzz_test")["run_id"]
    story_when(client, run_id, lambda s: s["state"] == "succeeded")
    assert client.query("fuzzing", "summary", {})["checks"] > 0
    orchestrator = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
    assert ray.get(orchestrator.__ray_call__.remote(_shards)) == 2
    plan = Fuzzing().prepare_targets([FuzzTarget("alien", "tori.modules.alien:Alien", b"", ())], 1)
    work = fan_out("fuzzing", "concept_fuzz_test", ray.put(plan), Resources(num_cpus=0.3), 3)
    assert len(work.refs) == 4, "three shards, and who puts them together"
    assert ray.get(work.result) == Fuzzing.run("concept_fuzz_test", plan)


def test_what_was_ended_computes_no_more_when_that_is_said(client: RayClient, tmp_path: Path) -> None:
    """A scan whose module died goes on by itself; another attempt begins as soon as ``end`` returns."""
    beats = [tmp_path / name for name in "ab"]
    refs = [ray.remote(num_cpus=0.1)(_beat).remote(str(path)) for path in beats]
    done = ray.remote(num_cpus=0.1)(_worker).remote()
    deadline = time.monotonic() + WAIT_S
    while not all(path.exists() for path in beats):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    end([*refs, done])
    last = [path.stat().st_mtime_ns for path in beats]
    time.sleep(0.5)
    assert [path.stat().st_mtime_ns for path in beats] == last


def _beat(path: str) -> None:
    while True:
        try:
            Path(path).write_text("alive")
            time.sleep(0.001)
        except KeyboardInterrupt:
            continue


def _shards(actor: Any) -> int:
    return int(actor._control._runs.scheduler.specs["concept_fuzz_test"].shards)


def _worker() -> tuple[int, bool]:
    return os.getpid(), is_background()


def test_an_emergency_stop_outlives_the_orchestrator_and_events_flow_on(client: RayClient, receiver: Receiver) -> None:
    run_id = client.run_task("idler")["run_id"]
    story_when(client, run_id, lambda s: s["done"] > 0)
    found = client.throttle("stopped", "smoke")
    assert (found["old"], run_id in found["runs"]) == ("off", True)
    story = story_when(client, run_id, lambda s: s["state"] == "retrying")
    assert story["held_by"] == "emergency stop (smoke): tori resume"

    kill(ray.get(ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE).pid.remote()))
    before = client.query("clients", "summary", {})["documents"]
    client.ingest(batches(small_corpus(12), 12)[0])
    assert client.query("clients", "summary", {})["documents"] == max(12, before), "events flow on"
    assert client.run_task("plain")["held_by"] == "emergency stop (smoke): tori resume"
    with pytest.raises(IllegalTransition, match="emergency stop"):
        client.quiesce()
    assert client.status()["throttle"] == "stopped"

    client.pause(None, paused=False)
    story = story_when(client, run_id, lambda s: s["state"] == "running" and s["done"] > 0)
    assert (story["attempt"], client.status()["throttle"]) == (2, "off")
    told = client.tail(10, ("WorkThrottled",))
    assert [(e["payload"]["old"], e["payload"]["level"]) for e in told][-2:] == [("off", "stopped"), ("stopped", "off")]
    client.cancel_run(run_id)
    story_when(client, run_id, lambda s: s["state"] == "cancelled")
    stop = next(e["id"] for e in told if e["payload"]["level"] == "stopped")
    assert receiver.came.acquire(timeout=WAIT_S)
    assert receiver.requests[0][1]["type"] == "tori.WorkThrottled"
    assert receiver.ids[0] == stop, "the webhook was told, under the id of the event"


def test_a_check_of_recovery_that_dies_with_its_orchestrator_leaves_no_pause(client: RayClient) -> None:
    orchestrator = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
    client.pause("scars", paused=True)
    ray.get(orchestrator.__ray_call__.remote(_begin_check, "alien"))
    assert (_state_of(client, "alien"), _state_of(client, "scars")) == ("paused", "paused")
    kill(ray.get(orchestrator.pid.remote()))
    deadline = time.monotonic() + WAIT_S
    while _state_of(client, "alien") != "running":
        assert time.monotonic() < deadline, client.status()
        time.sleep(0.1)
    assert _state_of(client, "scars") == "paused", "a person wanted that"
    client.pause("scars", paused=False)


def _begin_check(actor: Any, module: str) -> None:
    actor._control._conductor.ask(CheckRequested(module))


def _state_of(client: RayClient, module: str) -> str:
    return next(str(one["state"]) for one in client.status()["modules"] if one["name"] == module)


def test_under_memory_pressure_background_work_stops_and_resumes_by_itself(client: RayClient, tmp_path: Path) -> None:
    reading = tmp_path / "memory"
    reading.write_text("0.5")
    orchestrator = ray.get_actor(ORCHESTRATOR, namespace=NAMESPACE)
    whole = ray.put(bytes(40 << 20))  # of 128 MiB
    deadline = time.monotonic() + WAIT_S
    while not 0.25 < (found := ray.get(orchestrator.__ray_call__.remote(_scarce)))["object_store"] < 1.0:
        assert time.monotonic() < deadline, f"the object store does not show: {found}"
        time.sleep(0.1)
    del whole
    ray.get(orchestrator.__ray_call__.remote(_watch, str(reading), CHECK_S))
    run_id = client.run_task("idler")["run_id"]
    story_when(client, run_id, lambda s: s["done"] > 0)

    reading.write_text("0.93")
    begun = time.monotonic()
    story = story_when(client, run_id, lambda s: s["state"] == "retrying")
    assert time.monotonic() - begun < CHECK_S + STOP_S
    assert story["held_by"] == "low runs wait: pressure is high (memory at 93%)"
    asked = client.run_task("waiting")
    assert asked["held_by"] == "low runs wait: pressure is high (memory at 93%)", "who asks is told"
    forced = client.run_task("waiting", force=True)["run_id"]
    assert forced != asked["run_id"]
    story_when(client, asked["run_id"], lambda s: s["state"] == "succeeded")

    reading.write_text("0.5")
    assert story_when(client, run_id, lambda s: s["state"] == "running" and s["done"] > 0)["attempt"] == 2
    client.cancel_run(run_id)
    story_when(client, run_id, lambda s: s["state"] == "cancelled")
    with pytest.raises(BadInput, match="there is no throttle 'slow'"):
        client.throttle("slow")


CHECK_S = 0.5
STOP_S = 2.0
"""What killing a process and saying so may take on a busy machine."""


def _scarce(actor: Any) -> dict[str, float]:
    found: dict[str, float] = actor._control._scarce(actor._control._settings["limits"])
    return found


def _watch(actor: Any, reading: str, interval_s: float) -> None:
    """Have the orchestrator look at a file instead of at the machine."""
    control = actor._control
    limits = dict(control._settings["limits"]) | {"resource_check_s": interval_s, "memory_share": 0.9}
    watch = PressureWatch(
        control.home,
        limits,
        control._scribe.emit,
        control._runs.tell,
        lambda: Sample({"memory": float(Path(reading).read_text() or 0.5)}),
    )
    control._pressure.stop()
    control._pressure = watch
    watch.start()
