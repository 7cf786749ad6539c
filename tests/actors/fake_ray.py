"""Ray's calls over plain objects, for shells whose threads are under test and whose actors are not."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from ray.exceptions import GetTimeoutError, RayActorError

WAIT_S = 10.0


class Ref:
    """What a call will return."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def finish(self, value: Any = None, error: BaseException | None = None) -> Ref:
        if not self._done.is_set():
            self._value, self._error = value, error
            self._done.set()
        return self

    def wait(self, timeout: float | None) -> bool:
        return self._done.wait(WAIT_S if timeout is None else timeout)

    def result(self, timeout: float | None) -> Any:
        if not self.wait(timeout):
            raise GetTimeoutError("timed out")
        if self._error is not None:
            raise self._error
        return self._value


class FakeMethod:
    def __init__(self, actor: FakeActor, name: str) -> None:
        self._actor, self._name = actor, name

    def options(self, **_: Any) -> FakeMethod:
        return self

    def remote(self, *arguments: Any, **named: Any) -> Ref:
        return self._actor.call(self._name, arguments, named)


class FakeActor:
    """Methods as functions; one that returns a ``Ref`` answers when the test finishes it."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        self.methods = methods
        self.calls: list[tuple[Any, ...]] = []
        self._pending: list[Ref] = []
        self.is_dead = False

    def __getattr__(self, name: str) -> FakeMethod:
        return FakeMethod(self, name)

    def call(self, name: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> Ref:
        self.calls.append((name, *arguments, *named.values()))
        if self.is_dead:
            return Ref().finish(error=RayActorError(error_msg="dead"))
        try:
            answer = self.methods[name](*arguments, **named)
        except Exception as error:
            return Ref().finish(error=error)
        if isinstance(answer, Ref):
            self._pending.append(answer)
            return answer
        return Ref().finish(answer)

    def die(self) -> None:
        self.is_dead = True
        for ref in self._pending:
            ref.finish(error=RayActorError(error_msg="dead"))


class FakeRay:
    """The functions of the module ``ray`` that shells call."""

    def __init__(self) -> None:
        self.named: dict[str, FakeActor] = {}
        self.killed: list[FakeActor] = []
        self.util = SimpleNamespace(list_named_actors=self._list)

    def _list(self, all_namespaces: bool) -> list[dict[str, str]]:
        return [{"name": name, "namespace": "tori"} for name in self.named]

    def get_actor(self, name: str, namespace: str) -> FakeActor:
        found = self.named.get(name)
        if found is None or found in self.killed:
            raise ValueError(f"no actor {name}")
        return found

    def get(self, refs: Any, timeout: float | None = None) -> Any:
        if isinstance(refs, list):
            return [ref.result(timeout) for ref in refs]
        return refs.result(timeout)

    def wait(self, refs: Sequence[Ref], num_returns: int = 1, timeout: float | None = None, **_: Any) -> Any:
        done = [ref for ref in refs if ref.wait(timeout)]
        return done, [ref for ref in refs if ref not in done]

    def put(self, value: Any) -> Ref:
        return Ref().finish(value)

    def kill(self, actor: FakeActor, no_restart: bool = True) -> None:
        self.killed.append(actor)
        actor.die()
