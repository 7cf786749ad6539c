"""The scheduler's shell without a cluster: what fails where, and who learns of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import RayActorError, RaySystemError, RayTaskError, TaskCancelledError

from actors import ending, options, scan
from actors import runs as shell
from actors.pressure import PressureWatch
from actors.runs import Runs, _outcome
from actors.scan import Work
from actors.schedule import Plan
from tests.support.system import system_settings
from tori.clock import VirtualClock
from tori.errors import BadInput, IllegalTransition, JournalError
from tori.events.system import MemoryPressure, ResourceRecovered, TaskStarted
from tori.local import LocalSystem
from tori.machine import Tick
from tori.resources.pressure import UNREAD_LOOKS, Pressure, PressureChanged, Sample
from tori.scheduler import signal as sig
from tori.scheduler.spec import Resources, TaskSpec, default_specs
from tori.scheduler.transition import RunState
from tori.scheduler.trigger import AfterTrigger, EventTrigger


class Rig:
    """The shell with a ledger that may refuse and work that counts itself."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.clock = VirtualClock()
        self.is_full = False
        self.kept: list[Any] = []
        self.checkpoints = 0
        self.failure: BaseException | None = None
        self.runs = Runs(
            home,
            system_settings(home, **settings).plain(),
            self.clock,
            dict,
            None,  # type: ignore[arg-type]  # the ledger is only asked through ``record``
            self._record,
            self._checkpoint,
            lambda: None,
        )
        self.runs.on_failure = self._fail
        self.runs._pool = _AtOnce()  # type: ignore[assignment]  # all that is asked of a pool

    def _record(self, records: Any, payloads: Any) -> None:
        if self.is_full:
            raise JournalError("no space left on device.")
        self.kept += [*records, *(payload for payload, _ in payloads)]

    def _checkpoint(self) -> None:
        self.checkpoints += 1

    def _fail(self, error: BaseException) -> None:
        self.failure = error

    def work(self) -> None:
        """Serve what waits, as the thread would, until nothing does or it failed."""
        self.runs.tell(sig.ModuleAvailable("", available=True))
        while not self.runs._stimuli.empty() and self.failure is None:
            try:
                self.runs._turn()
            except BaseException as error:
                self.failure = error


class _AtOnce:
    """A pool that runs what it is given at once."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> None:
        work(*arguments)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_a_ledger_that_refuses_ends_the_process(rig: Rig) -> None:
    rig.is_full = True
    rig.runs.tell(sig.RunRequested("state_persistence", "x"))
    rig.work()
    assert isinstance(rig.failure, JournalError), "nobody waited, and it was dropped"
    assert rig.checkpoints == 0, "an attempt began that no fact tells of"


def test_the_thread_hands_its_failure_on(rig: Rig) -> None:
    rig.is_full = True
    rig.runs.tell(sig.RunRequested("state_persistence", "x"))
    rig.runs._run()
    assert isinstance(rig.failure, JournalError)


def test_a_request_that_is_refused_reaches_who_asked_and_nobody_else(rig: Rig) -> None:
    rig.runs.tell(sig.RunRequested("nonsense", "x"))
    rig.work()
    assert rig.failure is None
    with pytest.raises(BadInput, match="nonsense"):
        rig.runs.request("nonsense", "y")


def test_a_machine_that_takes_an_edge_it_does_not_have_ends_the_process(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handle(stimulus: Any) -> Any:
        raise IllegalTransition("run x cannot go from admitted to admitted.")

    monkeypatch.setattr(rig.runs.scheduler, "handle", handle)
    rig.runs.tell(Tick())
    rig.work()
    assert isinstance(rig.failure, IllegalTransition), "a defect, and what the turn had decided was dropped"


def test_one_task_is_paused_and_an_unknown_one_refused(rig: Rig) -> None:
    rig.runs.start()
    try:
        assert rig.runs.pause_task("alien_audit", paused=True) == {"task_id": "alien_audit", "paused": True}
        held = {row["task_id"]: row["held_by"] for row in rig.runs.tasks() if row["paused"]}
        assert held == {"alien_audit": "its task is paused: tori task resume alien_audit"}
        rig.runs.pause_task("alien_audit", paused=False)
        assert [row for row in rig.runs.tasks() if row["paused"]] == []
        for task in ("nonsense", ""):
            with pytest.raises(BadInput, match="there is no task"):
                rig.runs.pause_task(task, paused=True)
        assert not rig.runs.is_paused
    finally:
        rig.runs.stop()


def test_what_came_together_is_written_together_and_each_is_answered(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    units: list[int] = []
    monkeypatch.setattr(rig.runs, "_record", lambda records, payloads: units.append(len(records) + len(payloads)))
    errors: dict[str, list[BaseException]] = {"a": [], "nonsense": [], "b": []}
    answers = {name: threading.Event() for name in errors}
    for name, stimulus in (
        ("a", sig.RunRequested("state_persistence", "a")),
        ("nonsense", sig.RunRequested("nonsense", "c")),
        ("b", sig.RunRequested("performance_metrics", "b")),
    ):
        rig.runs._stimuli.put((stimulus, answers[name], errors[name]))
    rig.runs._turn()
    assert len(units) == 1
    assert units[0] > 1
    assert all(answer.is_set() for answer in answers.values())
    assert {name: [type(error) for error in found] for name, found in errors.items()} == {
        "a": [],
        "nonsense": [BadInput],
        "b": [],
    }


def test_an_attempt_that_no_process_here_began_is_lost_also_when_it_timed_out(rig: Rig) -> None:
    scheduler = rig.runs.scheduler
    scheduler.handle(sig.RunRequested("alien_audit", "x"))  # admitted; the process died before it began
    rig.clock.advance(scheduler.specs["alien_audit"].timeout_s + 1)
    (order,) = [i for i in scheduler.handle(Tick()) if isinstance(i, sig.CancelRun)]
    assert scheduler.run("x").ending == "timed out"
    rig.runs._cancel(order)
    rig.work()
    assert scheduler.run("x").state is RunState.RETRYING


def test_attempts_follow_the_setting(tmp_path: Path) -> None:
    rig = Rig(tmp_path, **{"limits.retries": 1})
    assert {spec.retry.retries for spec in rig.runs.scheduler.specs.values()} == {1}


def test_under_pressure_background_work_waits_and_says_so(rig: Rig, tmp_path: Path) -> None:
    readings = [0.5, 0.9, 0.7]
    limits = system_settings(tmp_path, **{"limits.memory_share": 0.8}).plain()["limits"]
    told: list[Any] = []
    watch = PressureWatch(tmp_path, limits, told.append, rig.runs.tell, lambda: Sample({"memory": readings.pop(0)}))
    watch.look()
    assert told == []
    watch.look()
    rig.runs.tell(sig.RunRequested("concept_fuzz_test", "x"))
    rig.runs.scheduler.handle(sig.ModuleAvailable("fuzzing", available=True))
    rig.work()
    assert [type(p) for p in told] == [MemoryPressure]
    assert (told[0].threshold, told[0].level) == (0.8, "warning")
    assert rig.runs.scheduler.run("x").state is RunState.DUE
    held = next(row for row in rig.runs.tasks() if row["task_id"] == "concept_fuzz_test")["held_by"]
    assert held == "background runs wait: pressure is high (memory at 90%)"
    watch.look()
    rig.work()
    assert isinstance(told[1], ResourceRecovered)
    assert rig.runs.scheduler.run("x").state is not RunState.DUE


def test_a_machine_that_is_short_of_something_is_known_before_the_first_run(rig: Rig, tmp_path: Path) -> None:
    limits = system_settings(tmp_path).plain()["limits"]
    watch = PressureWatch(tmp_path, limits, lambda p: None, lambda p: None, lambda: Sample({"memory": 0.99}))
    rig.runs.scheduler.handle(sig.Recovered((), watch.look()))
    rig.runs.scheduler.handle(sig.RunRequested("concept_fuzz_test", "x"))
    assert rig.runs.scheduler.pressure[1] == "memory at 99%"


def test_resources_that_cannot_be_read_are_no_reason_to_die(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    readings = [0.99]

    def look() -> Sample:
        if not readings:
            raise FileNotFoundError("no home")
        return Sample({"memory": readings.pop()})

    told: list[Any] = []
    watch = PressureWatch(tmp_path, system_settings(tmp_path).plain()["limits"], told.append, told.append, look)
    watch.look()
    assert watch.machine.pressure is Pressure.SEVERE
    for _ in range(UNREAD_LOOKS):
        watch.look()
    assert "resources cannot be read" in caplog.text
    assert told[-1] == PressureChanged(Pressure.NONE, reason="memory gives no reading any more"), "nor to wait for ever"


def test_a_ledger_that_refuses_an_event_of_pressure_is_a_failure(tmp_path: Path) -> None:
    limits = system_settings(tmp_path, **{"limits.resource_check_s": 0.001}).plain()["limits"]
    failures: list[BaseException] = []

    def full(*_: Any) -> None:
        raise JournalError("no space left on device.")

    watch = PressureWatch(tmp_path, limits, full, lambda p: None, lambda: Sample({"disk": 0.99}))
    watch.on_failure = failures.append
    watch._run()
    assert isinstance(failures[0], JournalError)


def test_a_pause_outlives_the_orchestrator_and_says_what_it_holds(tmp_path: Path) -> None:
    with LocalSystem(tmp_path, modules=("orchestrator",)) as past:
        past.hosts["orchestrator"].emit([sig.TaskPaused("", True)], [])
    rig = Rig(tmp_path)
    rig.runs.remember()
    assert rig.runs.is_paused
    assert rig.runs.scheduler.wake_ns is None
    assert {row["held_by"] for row in rig.runs.tasks()} == {"the system is paused: tori resume"}
    rig.runs.scheduler.handle(sig.ResumeRequested())
    assert not rig.runs.is_paused
    held = {row["task_id"]: row["held_by"] for row in rig.runs.tasks()}
    assert held["alien_audit"] == "module alien is not running"
    assert held["state_persistence"] is None


def test_an_attempt_that_began_is_never_called_lost(rig: Rig) -> None:
    seen: list[bool] = []

    def look() -> None:
        rig.runs._cancel(sig.CancelRun("x", 1))
        seen.append(rig.runs._stimuli.qsize() == 1)  # RunStarted, and no RunLost

    rig.runs._house["state_persistence"] = look
    rig.runs.tell(sig.RunRequested("state_persistence", "x"))
    rig.runs._turn()
    assert seen == [True]
    rig.work()
    assert rig.runs.scheduler.run("x").state is RunState.SUCCEEDED


def test_an_attempt_that_ends_is_known_before_anybody_may_call_it_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[type] = []

    def tell(stimulus: Any) -> None:
        told.append(type(stimulus))
        if isinstance(stimulus, sig.RunFinished):
            rig.runs._cancel(sig.CancelRun("x", 1))

    monkeypatch.setattr(rig.runs, "tell", tell)
    rig.runs._begun.add(("x", 1))
    rig.runs._attempt(sig.StartRun("x", 1, rig.runs.scheduler.specs["state_persistence"]))
    assert told == [sig.RunStarted, sig.RunFinished]
    rig.runs._cancel(sig.CancelRun("x", 1))
    assert told[2:] == [sig.RunLost]


def test_what_is_due_does_not_wait_for_a_pause_in_what_is_asked(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.work()
    looks: list[int] = []
    monkeypatch.setattr(rig.runs, "_look", lambda: looks.append(1) or [])
    rig.runs.tell(sig.ModuleAvailable("", available=True))
    rig.runs._turn()
    assert looks == [], "nothing is due"
    wake_ns = rig.runs.scheduler.wake_ns
    assert wake_ns is not None
    rig.clock.advance((wake_ns - rig.clock.monotonic_ns()) / 1e9)
    rig.runs.tell(sig.ModuleAvailable("", available=True))
    rig.runs._turn()
    assert looks == [1], "whether modules have moved was not looked at"


def test_a_function_whose_export_failed_is_exported_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[Any] = []

    class Remote:
        def __init__(self, function: Any) -> None:
            exported.append(function)
            self.number = len(exported)

        def options(self, **_: Any) -> Remote:
            return self

        def remote(self) -> int:
            if self.number == 1:
                raise ConnectionError("the GCS is away")
            return self.number

    monkeypatch.setattr(options.ray, "remote", Remote)
    options._exported.cache_clear()
    with pytest.raises(ConnectionError):
        options.start_task(_AtOnce, {})
    assert [options.start_task(_AtOnce, {}) for _ in range(2)] == [2, 2], "one export serves every attempt"
    options._exported.cache_clear()


def test_a_cancellation_while_an_attempt_is_prepared_reaches_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots are taken before there is a Ray task: whoever cancels in that time must not be overheard, nor taken for less urgent."""
    cancelled: list[tuple[Any, bool]] = []
    monkeypatch.setattr(shell.ray, "cancel", lambda ref, force, **_: cancelled.append((ref, force)))
    monkeypatch.setattr(shell.ray, "wait", lambda refs, **_: (refs, []))
    order = sig.StartRun("x", 1, rig.runs.scheduler.specs["state_persistence"])
    rig.runs._begun.add(("x", 1))
    rig.runs._cancel(sig.CancelRun("x", 1))
    assert cancelled == [], "there is nothing yet"
    rig.runs._follow(order, "a ref")
    assert cancelled == [("a ref", False)]
    rig.runs._cancel(sig.CancelRun("x", 1, force=True))
    assert cancelled[1:] == [("a ref", True)]
    rig.runs._follow(order, "another")
    assert cancelled[2:] == [("another", True)]


def test_a_cancellation_does_not_overtake_the_submission(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray ends the process that cancels a task while it is being taken in."""
    steps: list[str] = []
    order = sig.StartRun("x", 1, rig.runs.scheduler.specs["state_persistence"])
    rig.runs._begun.add(("x", 1))

    def wait(refs: Any, **_: Any) -> Any:
        rig.runs._cancel(sig.CancelRun("x", 1))  # it comes while Ray takes the task in
        steps.append("taken in")
        return refs, []

    monkeypatch.setattr(shell.ray, "wait", wait)
    monkeypatch.setattr(shell.ray, "cancel", lambda ref, **_: steps.append(f"cancel {ref}"))
    rig.runs._follow(order, "a ref")
    assert steps == ["taken in", "cancel a ref"]


def test_what_was_triggered_counts_once_whether_it_is_read_or_told(tmp_path: Path) -> None:
    with LocalSystem(tmp_path, modules=("orchestrator",)) as past:
        host = past.hosts["orchestrator"]
        host.emit([sig.TaskTriggered("count", "read")], [])
        border = host.journal.written_offset
        host.emit([sig.TaskTriggered("count", "told")], [])
    rig = Rig(tmp_path, **{"user.tasks": "tests.support.user_tasks"})
    rig.runs.remember(border)
    assert rig.runs.scheduler.task("count").triggers == ["read"]
    again = Rig(tmp_path, **{"user.tasks": "tests.support.user_tasks"})
    again.runs.remember()
    assert again.runs.scheduler.task("count").triggers == ["read", "told"]


def test_the_cluster_is_the_budget(tmp_path: Path) -> None:
    plan = Plan(system_settings(tmp_path).plain())
    here = {"CPU": 2.0, "memory": 1e9, "object_store_memory": 1e8, "node:10.0.0.1": 1.0, "gpu": 0.0}
    plan.measure([here, {"CPU": 4.0, "GPU": 1.0}])
    assert plan.admission.budget == {"CPU": 6.0, "memory": 1e9, "GPU": 1.0}
    assert plan.admission.nodes == [{"CPU": 2.0, "memory": 1e9}, {"CPU": 4.0, "GPU": 1.0}]
    assert plan.admission.groups == {"scans": 4}
    more = Plan(system_settings(tmp_path, **{"limits.groups": "disk=2, mail server=1"}).plain())
    assert more.admission.groups == {"scans": 4, "disk": 2, "mail server": 1}
    plan.measure([{"CPU": 8.0}])
    assert plan.admission.budget == {"CPU": 8.0}, "nodes come and go"
    assert plan.admission.ageing_s == 300


def test_a_cancellation_is_one_however_ray_wraps_it() -> None:
    order = sig.StartRun("r", 2, default_specs()[0])
    wrapped = RayTaskError("run_scan", "trace", TaskCancelledError())
    assert _outcome(order, wrapped) == _outcome(order, TaskCancelledError()) == sig.RunCancelled("r", 2)
    assert _outcome(order, BadInput("no.")) == sig.RunFailed("r", 2, "BadInput: no.", temporary=False)
    assert _outcome(order, OSError("gone")) == sig.RunFailed("r", 2, "OSError: gone", temporary=True)


def test_a_run_that_waited_for_a_module_is_tried_when_that_is_there(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.runs.scheduler.apply(sig.RunQueued("wormhole_scan", "a"), 0)
    monkeypatch.setattr(rig.runs._thread, "start", lambda: None)
    rig.runs.set_available("relay", is_up=True)
    rig.runs.start()
    assert rig.runs.scheduler.run("a").attempt == 0
    rig.runs.set_available("wormhole", is_up=True)
    rig.work()
    started = [fact for fact in rig.kept if isinstance(fact, TaskStarted)]
    assert [(fact.run_id, fact.attempt) for fact in started] == [("a", 1)], "none that was never executed"


def test_a_module_that_was_there_before_the_schedule_begins_is_worked_with(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.runs.scheduler.apply(sig.RunQueued("wormhole_scan", "a"), 0)
    monkeypatch.setattr(rig.runs._thread, "start", lambda: None)
    rig.runs.set_available("wormhole", is_up=True)
    rig.runs.start()
    assert [fact.run_id for fact in rig.kept if isinstance(fact, TaskStarted)] == ["a"]


def test_a_task_is_known_before_anybody_hears_of_events_for_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    on = TaskSpec(task_id="on", task_type="user", trigger=EventTrigger(("*",)))
    order: list[str] = []
    monkeypatch.setattr(rig.runs, "_ask", lambda stimulus: order.append(type(stimulus).__name__))
    monkeypatch.setattr(rig.runs, "_ledger", SimpleNamespace(call=lambda work: order.append(work.__name__)))
    rig.runs.learn((on,))
    assert order == ["SpecsAdded", "listen"]


def test_what_ended_before_a_task_came_is_written_before_it(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    units: list[list[str]] = []
    monkeypatch.setattr(
        rig.runs,
        "_record",
        lambda records, payloads: units.append([type(fact).__name__ for fact in (*records, *(p for p, _ in payloads))]),
    )
    then = TaskSpec(task_id="then", task_type="user", trigger=AfterTrigger(("state_persistence",)))
    for stimulus in (sig.RunRequested("state_persistence", "x"), sig.SpecsAdded((then,))):
        rig.runs.tell(stimulus)
    rig.work()
    assert units[:2] == [["RunQueued", "TaskStarted"], ["TasksKnown"]]


class _Tasks:
    """Ray tasks that run until they are killed, which the first kill may miss; ``steps`` tells what happened in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, missed: int = 0) -> None:
        self.steps: list[str] = []
        self.alive: set[Any] = set()
        self._missed = missed
        monkeypatch.setattr(ending.ray, "wait", self._wait)
        monkeypatch.setattr(ending.ray, "cancel", self._cancel)

    def _wait(self, refs: Any, **_: Any) -> Any:
        return [ref for ref in refs if ref not in self.alive], [ref for ref in refs if ref in self.alive]

    def _cancel(self, ref: Any, force: bool) -> None:
        self.steps.append(f"kill {ref}" if force else f"ask {ref}")
        if self._missed:
            self._missed -= 1
        else:
            self.alive.discard(ref)


def test_a_scan_whose_module_died_has_ended_before_another_attempt_may_begin(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = _Tasks(monkeypatch, missed=1)
    tasks.alive = {"shard 1", "merge"}
    died = SimpleNamespace(remote=lambda *_: "never")
    monkeypatch.setattr(rig.runs, "_handles", lambda: {"wormhole": SimpleNamespace(conclude=died)})
    work = Work("merge", ("shard 0", "shard 1", "merge"))
    monkeypatch.setattr(rig.runs, "_start_work", lambda *_: work)

    def get(ref: Any, **_: Any) -> Any:
        raise RayActorError(error_msg="the module died")

    monkeypatch.setattr(shell.ray, "get", get)
    monkeypatch.setattr(rig.runs, "tell", lambda stimulus: tasks.steps.append(type(stimulus).__name__))
    rig.runs._attempt(sig.StartRun("x", 1, rig.runs.scheduler.specs["wormhole_scan"]))
    assert tasks.steps == ["kill shard 1", "kill merge", "kill shard 1", "RunFailed"]
    assert not tasks.alive


def test_a_scan_outside_the_schedule_ends_with_its_module(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = _Tasks(monkeypatch)
    tasks.alive = {"scan"}

    def conclude(*_: Any) -> Any:
        raise RayActorError(error_msg="the module died")

    handle = SimpleNamespace(conclude=SimpleNamespace(remote=conclude))
    monkeypatch.setattr(rig.runs, "_handles", lambda: {"wormhole": handle})
    monkeypatch.setattr(rig.runs, "_start_scan", lambda *_: "scan")
    with pytest.raises(RayActorError):
        rig.runs.scan_now("wormhole", "wormhole_scan")
    assert tasks.steps == ["kill scan"]


def test_shards_that_were_begun_end_when_the_next_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = _Tasks(monkeypatch)

    def start(function: Any, options: Any, *arguments: Any) -> str:
        if len(tasks.alive) == 2:
            raise ConnectionError("the GCS is away")
        tasks.alive.add(f"shard {len(tasks.alive)}")
        return f"shard {len(tasks.alive) - 1}"

    monkeypatch.setattr(scan, "start_task", start)
    with pytest.raises(ConnectionError):
        scan.fan_out("fuzzing", "concept_fuzz_test", "a plan", Resources(), 3)
    assert tasks.steps == ["kill shard 0", "kill shard 1"]


def test_who_stops_does_not_wait_for_what_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def wait(refs: Any, **_: Any) -> Any:
        asked.append(refs)
        raise RaySystemError("the raylet does not answer")

    monkeypatch.setattr(ending.ray, "wait", wait)
    monkeypatch.setattr(ending, "KILL_AGAIN_S", 0.0)
    ending.end(["a"], lambda: len(asked) == 3)
    assert asked == [["a"]] * 3


def test_a_cluster_that_cannot_be_looked_at_has_what_it_had(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.runs._plan.measure([{"CPU": 2.0}])

    def away() -> Any:
        raise RaySystemError("the GCS is away")

    monkeypatch.setattr(rig.runs, "_resources", away)
    rig.work()
    rig.clock.advance(3600)
    rig.runs.tell(Tick())
    rig.work()
    assert rig.failure is None, "the thread died of a look"
    assert rig.checkpoints, "and it did what was due"
    assert rig.runs._plan.admission.budget == {"CPU": 2.0}
