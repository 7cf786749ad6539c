"""A reload through the conductor's threads over fake actors: taken over, refused before and after the handover, cut short."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from actors import recovery as check
from actors import reload as exchange
from actors.conductor import Past
from actors.module import ShellConfig
from actors.recovery import RecoveryCheck, RecoveryFailed
from actors.reload import ReloadFailed, Reloads
from tests.actors.fake_ray import FakeActor, Ref
from tests.actors.test_conductor import Begin, Stage, begin, module_actor
from tori.errors import BadInput, Unavailable
from tori.events.system import ChaosInjected, HotReloadCompleted, HotReloadFailed
from tori.modules.base import SelfCheckFailed
from tori.modules.successor import Handover
from tori.orchestrator import signal as sig
from tori.orchestrator.state import State

__all__ = ["begin"]

HANDOVER = Handover(10, 3, 1, is_paused=False)


def able(actor: FakeActor, **methods: Callable[..., Any]) -> FakeActor:
    """Give an actor what a reload calls, and the rest that a test wants of it."""
    actor.methods |= {
        "rehearse": lambda: "bbb",
        "rehearsed": lambda: 0,
        "hand_over": lambda: HANDOVER,
        "last_section": lambda: "digest",
        "take_over": lambda handover, before: None,
        "take_back": lambda: None,
    } | methods
    return actor


class Scene:
    """A running stage whose actors can be reloaded."""

    def __init__(self, begin: Begin, monkeypatch: pytest.MonkeyPatch, **methods: Callable[..., Any]) -> None:
        self.stage: Stage = begin(Past(1))
        monkeypatch.setattr(exchange, "ray", self.stage.ray)
        monkeypatch.setattr(check, "ray", self.stage.ray)
        self.configs: list[ShellConfig] = []
        self.methods = methods
        self.stage.create = self.create
        self.stage.up()
        self.stage.await_state(State.RUNNING)
        self.old = self.stage.conductor.handles["reader"]

    def create(self, config: ShellConfig) -> FakeActor:
        self.configs.append(config)
        return able(module_actor(config.incarnation), **self.methods)

    def calls(self, actor: FakeActor) -> list[str]:
        return [call[0] for call in actor.calls]

    def reload(self) -> Any:
        return self.stage.conductor.reload("reader", "aaa", "bbb")


def test_the_new_actor_has_the_module_and_the_old_one_ends(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(begin, monkeypatch)
    ups: list[tuple[str, bool]] = []
    scene.stage.conductor.on_change = lambda name, is_up: ups.append((name, is_up))
    found = scene.reload()
    assert found.version == "bbb"
    assert (scene.configs[-1].succeeds, scene.configs[-1].code, scene.configs[-1].incarnation) == (True, "bbb.2", 2)
    new = scene.stage.conductor.handles["reader"]
    assert new is not scene.old
    assert scene.old in scene.stage.ray.killed
    assert ups == [("reader", False), ("reader", True)], "nothing is begun with it over the switch"
    (done,) = [p for p in scene.stage.told if isinstance(p, HotReloadCompleted)]
    assert (done.from_version, done.to_version, done.incarnation) == ("aaa", "bbb", 2)
    scene.old.die()
    scene.stage.conductor.ask(sig.PauseRequested("reader"))
    assert scene.stage.lifecycle.modules["reader"].state is State.PAUSED, "the old one's end harms nobody"
    assert scene.stage.conductor.restarts == {"reader": 0, "hierarchy": 0}


def fail(error: Exception) -> Callable[..., Any]:
    def raise_it(*_: Any) -> Any:
        raise error

    return raise_it


@pytest.mark.parametrize(
    ("methods", "back"),
    [
        ({"rehearse": fail(ZeroDivisionError("new code"))}, False),
        ({"hand_over": fail(Unavailable("module reader was busy."))}, True),
        ({"take_over": fail(SelfCheckFailed("the new code says no"))}, True),
    ],
)
def test_what_fails_leaves_the_old_actor_at_work(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, methods: dict[str, Any], back: bool
) -> None:
    scene = Scene(begin, monkeypatch, **methods)
    with pytest.raises(ReloadFailed, match="the old goes on: ") as raised:
        scene.reload()
    assert raised.value.fields == {"module": "reader", "from_version": "aaa", "to_version": "bbb"}
    assert scene.stage.conductor.handles["reader"] is scene.old
    assert scene.old not in scene.stage.ray.killed
    assert ("take_back" in scene.calls(scene.old)) == back
    (told,) = [p for p in scene.stage.told if isinstance(p, HotReloadFailed)]
    assert told.module == "reader"
    assert str(told.error).rstrip(".") in str(raised.value), "the fact says what the caller is told"
    assert scene.stage.lifecycle.states()["reader"] == State.RUNNING
    assert len(scene.stage.ray.killed) >= 1, "the successor"


def test_a_rehearsal_that_stands_still_is_given_up(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(begin, monkeypatch, rehearse=Ref, rehearsed=lambda: 7)
    scene.stage.lifecycle.options = scene.stage.lifecycle.options.__class__(
        order=("reader", "hierarchy"), start_timeout_s=0.05, starts_at_once=2
    )
    with pytest.raises(ReloadFailed, match="made no progress"):
        scene.reload()
    assert scene.stage.conductor.handles["reader"] is scene.old


def test_a_new_orchestrator_keeps_the_one_that_has_the_module(begin: Begin) -> None:
    stage = begin(Past(7, {"reader": 2, "hierarchy": 1}, is_reborn=True))
    gone = Unavailable("another actor has the module reader.")
    old = stage.ray.named["reader"] = module_actor(1, ready=fail(gone))
    new = stage.ray.named["reader~2"] = module_actor(2)
    stage.ray.named["hierarchy"] = module_actor(1)
    trial = stage.ray.named["hierarchy~2"] = module_actor(2, ready=fail(gone))
    stage.up()
    stage.await_state(State.RUNNING)
    assert stage.started == []
    assert stage.conductor.handles["reader"] is new
    assert old in stage.ray.killed
    assert trial in stage.ray.killed
    assert stage.lifecycle.modules["reader"].incarnation == 2


def test_who_asks_is_told_what_cannot_be_reloaded(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(begin, monkeypatch)
    reloads = Reloads(scene.stage.conductor, scene.stage.conductor.handles.__getitem__, lambda: True)
    for name in ("orchestrator", "relay@node", "clients"):
        with pytest.raises(BadInput, match="cannot be reloaded"):
            reloads.one(name)


def test_the_task_reloads_what_runs_other_code_than_its_files(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(begin, monkeypatch)
    conductor = scene.stage.conductor
    monkeypatch.setattr(exchange, "source_version", lambda name: "bbb" if name == "reader" else "same")
    for name, code in (("reader", "aaa"), ("hierarchy", "same")):
        ready = conductor.handles[name].methods["ready"]
        conductor.handles[name].methods["ready"] = lambda ready=ready, code=code: ready() | {"code": code}
    reloads = Reloads(conductor, conductor.handles.__getitem__, lambda: False)
    assert '"module": "reader"' in reloads.changed()
    assert conductor.handles["reader"] is not scene.old
    scene.methods["rehearse"] = fail(ZeroDivisionError("new code"))
    ready = conductor.handles["reader"].methods["ready"]
    conductor.handles["reader"].methods["ready"] = lambda: ready() | {"code": "older"}
    with pytest.raises(ReloadFailed, match="the new code of reader was refused"):
        reloads.changed()


class Recoveries:
    """A check over a scene; the killed actor's death is told as Ray would."""

    def __init__(self, scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
        self.scene, self.digest = scene, "d"
        for actor in scene.stage.conductor.handles.values():
            self.answer(actor)
        create = scene.stage.create

        def recreate(config: ShellConfig) -> FakeActor:
            return self.answer(create(config))

        scene.stage.create = recreate
        scene.stage.lifecycle._supervision.policy = scene.stage.lifecycle._supervision.policy.__class__()
        kill = scene.stage.ray.kill

        def kill_and_tell(actor: FakeActor, no_restart: bool = True) -> None:
            kill(actor, no_restart=no_restart)
            actor.die()

        monkeypatch.setattr(scene.stage.ray, "kill", kill_and_tell)
        conductor = scene.stage.conductor
        self.check = RecoveryCheck(conductor, ("reader", "hierarchy"), scene.stage.told.append, lambda: 0)

    def answer(self, actor: FakeActor) -> FakeActor:
        actor.methods |= {"settle": lambda: SimpleNamespace(events=5), "section": lambda: self.digest}
        return actor


def test_a_recovery_is_checked_and_the_module_goes_on(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(begin, monkeypatch)
    found = Recoveries(scene, monkeypatch).check.run()
    assert '"module": "reader"' in found
    assert '"is_same": true' in found
    assert [p.target for p in scene.stage.told if isinstance(p, ChaosInjected)] == ["reader"]
    assert scene.configs[-1].is_paused, "it came back paused, so that nothing moves before it is looked at"
    new = scene.stage.conductor.handles["reader"]
    scene.stage.await_(lambda: "pause" in scene.calls(new))  # and was resumed
    scene.stage.await_state(State.RUNNING)


def test_a_module_that_is_not_what_it_was_fails_the_check(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(begin, monkeypatch)
    recoveries = Recoveries(scene, monkeypatch)
    digests = iter(["before", "after"])
    scene.old.methods["section"] = lambda: next(digests)
    recoveries.digest = "after"
    with pytest.raises(RecoveryFailed, match="is not what it was"):
        recoveries.check.run()
    scene.stage.await_state(State.RUNNING)


def test_no_recovery_is_checked_while_something_is_amiss(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(begin, monkeypatch)
    recoveries = Recoveries(scene, monkeypatch)
    scene.stage.conductor.ask(sig.PauseRequested())
    with pytest.raises(Unavailable, match="the system is paused"):
        recoveries.check.run()
