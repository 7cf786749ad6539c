"""The conductor's threads over fake actors: what a new orchestrator makes of what the old one left."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.exceptions import ActorUnavailableError

from actors import conductor as shell
from actors.cast import successor_name
from actors.conductor import Conductor, Past
from actors.module import ShellConfig
from actors.nodes import Nodes
from tests.actors.fake_ray import FakeActor, FakeRay, Ref
from tori.clock import SystemClock
from tori.errors import NoRoom, Unavailable
from tori.events.system import ModuleInitialized, ModuleStateChanged
from tori.machine import Tick
from tori.modules.loop import LoopView
from tori.orchestrator import signal as sig
from tori.orchestrator.lifecycle import Lifecycle
from tori.orchestrator.record import LifecycleOptions
from tori.orchestrator.state import State
from tori.orchestrator.supervision import RestartPolicy

ORDER = ("reader", "hierarchy")


def module_actor(
    incarnation: int,
    ready: Callable[[], Any] | None = None,
    replayed: Callable[[], int] = lambda: 0,
    waits_for: str = "",
) -> FakeActor:
    answer = {"incarnation": incarnation, "view": LoopView(""), "events": []}
    return FakeActor(
        ready=ready or (lambda: answer),
        view=lambda: LoopView("", replayed_units=replayed(), waits_for=waits_for),
        watch=lambda epoch, turn: Ref(),
        pause=lambda paused: None,
        stop=lambda: None,
    )


class Stage:
    """A conductor whose actors are fakes; ``create`` makes those it starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, past: Past, start_timeout_s: float = 5.0) -> None:
        self.ray = FakeRay()
        self.create: Callable[[ShellConfig], FakeActor] = lambda config: module_actor(config.incarnation)
        self.started: list[tuple[str, int]] = []
        self.told: list[Any] = []
        monkeypatch.setattr(shell, "ray", self.ray)
        monkeypatch.setattr(shell, "remote_class", lambda cls, options: SimpleNamespace(remote=self._create))
        monkeypatch.setattr(shell, "ADOPT_TIMEOUT_S", 0.05)
        options = LifecycleOptions(
            order=ORDER, start_timeout_s=start_timeout_s, starts_at_once=2, restart=RestartPolicy(limit=0)
        )
        self.lifecycle = Lifecycle(SystemClock(), options)
        self.conductor = Conductor(
            self.lifecycle,
            lambda name, incarnation: ShellConfig("", name, 1 << 20, incarnation),
            SystemClock(),
            lambda *payloads: self.told.extend(payloads),
            lambda name: None,
            lambda name: None,
            past,
            cast("Nodes", SimpleNamespace(relays=(), strategy=lambda name: None, suspect=lambda name: None)),
        )

    def _create(self, config: ShellConfig, snapshot: Any) -> FakeActor:
        self.started.append((config.name, config.incarnation))
        name = successor_name(config.name, config.incarnation) if config.succeeds else config.name
        self.ray.named[name] = self.create(config)
        return self.ray.named[name]

    def close(self) -> None:
        """End every thread while the fakes are still in place."""
        self.conductor.tell(sig.StopRequested())
        self.conductor.finished.wait(1.0)
        self.conductor.finished.set()
        self.conductor.tell(Tick())
        for actor in (*self.ray.named.values(), *self.ray.killed):
            actor.die()
        self.conductor._pool.shutdown(wait=True)
        for thread in threading.enumerate():
            if thread.name.startswith(("tori-watch", "tori-conductor")):
                thread.join(10.0)

    def up(self) -> None:
        self.conductor.start()
        self.conductor.tell(sig.StartRequested())

    def await_(self, what: Callable[[], bool], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not what():
            assert time.monotonic() < deadline, (self.lifecycle.states(), self.told)
            time.sleep(0.005)

    def await_state(self, state: State) -> None:
        self.await_(lambda: self.lifecycle.system is state)


Begin = Callable[..., Stage]


@pytest.fixture
def begin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Begin]:
    """Return a stage for a past; its threads have ended after the test."""
    loggers = [logging.getLogger(name) for name in ("tori", "actors")]
    for logger in loggers:
        monkeypatch.setattr(logger, "propagate", True)
        monkeypatch.setattr(logger, "handlers", [])
    with ExitStack() as stack:
        for logger in loggers:
            stack.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.NOTSET)

        def begin(past: Past, **options: Any) -> Stage:
            stage = Stage(monkeypatch, past, **options)
            stack.callback(stage.close)
            return stage

        yield begin


def test_who_is_not_adopted_counts_on_and_who_is_adopted_is_told_of(begin: Begin) -> None:
    stage = begin(Past(7, {"reader": 3, "hierarchy": 4}, is_reborn=True))
    stage.ray.named["hierarchy"] = module_actor(4)
    stage.up()
    stage.await_state(State.RUNNING)
    assert stage.started == [("reader", 4)]
    assert stage.conductor.restarts == {"reader": 3, "hierarchy": 3}
    assert [p.module for p in stage.told if isinstance(p, ModuleInitialized) and p.status == "adopted"] == ["hierarchy"]
    assert [p.incarnation for p in stage.told if isinstance(p, ModuleStateChanged) and p.module == "reader"] == [4, 4]
    assert ("watch", 7, 0) in stage.ray.named["hierarchy"].calls


def test_who_was_given_up_is_not_started_by_the_next_orchestrator(begin: Begin) -> None:
    states = {"reader": "degraded", "hierarchy": "running"}
    stage = begin(Past(7, {"reader": 3, "hierarchy": 4}, is_reborn=True, states=states, failures={"reader": [1]}))
    stage.ray.named["hierarchy"] = module_actor(4)
    stage.up()
    stage.await_state(State.DEGRADED)
    assert stage.started == []


def test_a_system_started_anew_counts_from_one(begin: Begin) -> None:
    stage = begin(Past(7, {"reader": 3}, is_reborn=False, states={"reader": "degraded"}))
    stage.up()
    stage.await_state(State.RUNNING)
    assert stage.conductor.restarts == {"reader": 0, "hierarchy": 0}


def test_a_busy_module_is_waited_for_and_not_killed(begin: Begin) -> None:
    stage = begin(Past(2, {"reader": 1, "hierarchy": 2}, is_reborn=True))
    pending = Ref()
    busy = stage.ray.named["reader"] = module_actor(1, ready=lambda: pending)
    stage.ray.named["hierarchy"] = module_actor(2)
    stage.up()
    stage.await_(lambda: stage.lifecycle.modules["reader"].state is State.INITIALIZING)
    stage.await_state(State.INITIALIZING)
    pending.finish({"incarnation": 1, "view": LoopView(""), "events": []})
    stage.await_state(State.RUNNING)
    assert stage.started == []
    assert stage.ray.killed == []
    assert stage.conductor.restarts == {"reader": 0, "hierarchy": 1}
    assert stage.conductor.handles["reader"] is busy
    assert {p.module for p in stage.told if isinstance(p, ModuleInitialized) and p.status == "adopted"} == set(ORDER)


def test_a_module_that_never_answers_is_started_again(begin: Begin) -> None:
    stage = begin(Past(2, {"reader": 1, "hierarchy": 1}, is_reborn=True), start_timeout_s=0.2)
    stage.lifecycle.options = LifecycleOptions(order=ORDER, start_timeout_s=0.2, starts_at_once=2)
    stage.lifecycle._supervision.policy = RestartPolicy()
    hung = stage.ray.named["reader"] = module_actor(1, ready=Ref)
    stage.ray.named["hierarchy"] = module_actor(1)
    stage.up()
    stage.await_state(State.RUNNING)
    assert hung in stage.ray.killed
    assert stage.started == [("reader", 2)]


def test_a_replay_longer_than_the_time_to_start_comes_up(begin: Begin) -> None:
    stage = begin(Past(1), start_timeout_s=1.5)
    begun, pending = time.monotonic(), Ref()

    def slow(config: ShellConfig) -> FakeActor:
        if config.name != "reader":
            return module_actor(config.incarnation)
        threading.Timer(4.0, pending.finish, ({"incarnation": 1, "view": LoopView(""), "events": []},)).start()
        return module_actor(1, ready=lambda: pending, replayed=lambda: int((time.monotonic() - begun) * 1000))

    stage.create = slow
    stage.up()
    stage.await_state(State.RUNNING)
    assert stage.started == [("reader", 1), ("hierarchy", 1)]
    assert stage.ray.killed == []


def test_a_start_that_waits_for_room_is_left_to_wait(begin: Begin) -> None:
    stage = begin(Past(1), start_timeout_s=0.5)
    pending, asked = Ref(), list[int]()

    def ready() -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise NoRoom("it waits, and frees the thread of this call.")
        return pending

    def full(config: ShellConfig) -> FakeActor:
        if config.name != "reader":
            return module_actor(config.incarnation)
        return module_actor(1, ready=ready, waits_for="no space left")

    stage.create = full
    stage.up()
    stage.await_(lambda: stage.conductor.waits == {"reader": "no space left"})
    time.sleep(1.5)  # three times what it would have had
    assert stage.lifecycle.modules["reader"].state is State.INITIALIZING
    pending.finish({"incarnation": 1, "view": LoopView(""), "events": []})
    stage.await_state(State.RUNNING)
    assert stage.started == [("reader", 1), ("hierarchy", 1)]
    assert stage.conductor.waits == {}
    assert stage.ray.killed == []


def test_a_stop_ends_a_start_that_waits(begin: Begin) -> None:
    stage = begin(Past(1))
    stage.create = lambda config: module_actor(config.incarnation, ready=Ref, waits_for="no space left")
    stage.up()
    stage.await_(lambda: len(stage.conductor.waits) == len(ORDER))
    begun = time.monotonic()
    stage.conductor.tell(sig.StopRequested())
    assert stage.conductor.finished.wait(10)
    assert time.monotonic() - begun < stage.lifecycle.options.drain_timeout_s / 2
    assert stage.lifecycle.system is State.STOPPED


def test_a_request_is_not_given_up_while_everything_waits_for_room(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = begin(Past(1))
    stage.up()
    stage.await_state(State.RUNNING)
    room, waited = threading.Event(), list[bool]()

    def is_held_up() -> bool:
        waited.append(True)
        if len(waited) == 3:
            room.set()
        return True

    monkeypatch.setattr(stage.conductor, "_emit", lambda *payloads: room.wait(10))
    stage.conductor.is_held_up = is_held_up
    stage.conductor.ask(sig.PauseRequested("reader"), timeout_s=0.02)
    assert stage.lifecycle.modules["reader"].state is State.PAUSED
    assert len(waited) >= 3


def test_a_start_that_fails_leaves_its_traceback_in_the_log(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    def refuse() -> Any:
        raise Unavailable("no room.")

    stage = begin(Past(1))
    stage.create = lambda config: module_actor(config.incarnation, ready=refuse)
    stage.up()
    stage.await_state(State.FAILED)
    found = [r for r in caplog.records if r.getMessage() == "start 1 failed: no room."]
    assert len(found) == len(ORDER)
    for record in found:
        assert record.exc_info is not None
        assert record.exc_info[0] is Unavailable


def test_a_newer_orchestrator_s_watch_ends_no_module(begin: Begin) -> None:
    stage = begin(Past(1))
    replaced = Ref()

    def create(config: ShellConfig) -> FakeActor:
        actor = module_actor(config.incarnation)
        actor.methods["watch"] = lambda epoch, turn: replaced
        return actor

    stage.create = create
    stage.up()
    stage.await_state(State.RUNNING)
    replaced.finish(value=False)
    stage.conductor.ask(sig.ResumeRequested())
    assert stage.ray.killed == []
    assert stage.lifecycle.system is State.RUNNING


def test_a_lost_call_is_no_death(begin: Begin) -> None:
    """Ray fails a pending call when a message gets lost; the actor lives on, so its end is waited for again, under the next number."""
    stage = begin(Past(3))
    turns: list[int] = []

    def create(config: ShellConfig) -> FakeActor:
        readies = iter([ActorUnavailableError("lost", None), None])
        actor = module_actor(config.incarnation)
        answer = actor.methods["ready"]

        def ready() -> Any:
            lost = next(readies, None)
            if lost is not None:
                raise lost
            return answer()

        def watch(epoch: int, turn: int) -> Any:
            turns.append(turn)
            if turn == 0:
                raise ActorUnavailableError("lost", None)
            return Ref()

        actor.methods |= {"ready": ready, "watch": watch}
        return actor

    stage.create = create
    stage.up()
    stage.await_state(State.RUNNING)
    stage.await_(lambda: sorted(turns) == [0, 0, 1, 1])
    assert stage.started == [("reader", 1), ("hierarchy", 1)], "nobody was started again"
    assert stage.lifecycle.system is State.RUNNING
