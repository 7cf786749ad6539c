"""Typed handlers: the annotation of a handler says which events it takes.

    registry = Registry()

    @registry.on
    def count(event: Event, payload: ConceptAdded | ConceptRemoved) -> None: ...

    registry.dispatch(event)

mypy refuses a payload annotation that is no event type; registration refuses it again at run time, with the remedy. A
handler that raises harms only itself: the others still run, and the failure is returned.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from tori.errors import BadSettings
from tori.events.catalogue import BY_NAME, PAYLOAD_TYPES
from tori.events.envelope import Event
from tori.events.payloads import Payload

MAX_HANDLERS = 64
"""Handlers of one type in one registry; more is refused."""

P = TypeVar("P", bound=Payload)
Handler = Callable[[Event, P], None]
_MARK = "__tori_handles__"
_M = TypeVar("_M", bound=Callable[..., None])


@dataclass(frozen=True)
class Failure:
    """One handler that raised on one event."""

    handler: str
    event_id: bytes
    type: str
    error: Exception

    def __str__(self) -> str:
        return f"{self.handler} failed on {self.type} {self.event_id.hex()}: {self.error!r}"


@dataclass(frozen=True)
class Outcome:
    """What became of one dispatch."""

    called: int
    """Handlers that fit and ran, failed ones included."""
    failures: tuple[Failure, ...] = ()


class Registry:
    """Handlers by the payload types they take, called in the order of registration."""

    def __init__(self, report: Callable[[Failure], None] | None = None) -> None:
        """``report`` is told of each failure as it happens, besides its place in the outcome."""
        self._handlers: dict[type, list[Callable[[Event, Any], None]]] = {}
        self._report = report

    def on(self, handler: Handler[P]) -> Handler[P]:
        """Register a function or bound method by its annotation; returns it unchanged, so it is also a decorator.

        Raises BadSettings when it is not ``(event: Event, payload: SomeEventType | ...)``, is asynchronous, is registered
        already, or would be one too many.
        """
        return self.subscribe(payload_types(handler), handler)

    def subscribe(self, taken: tuple[type[P], ...] | type[P], handler: Handler[P]) -> Handler[P]:
        """Register ``handler`` for the types given.

        Raises BadSettings as ``on``, and when its annotation does not take one of them.
        """
        wanted = taken if isinstance(taken, tuple) else (taken,)
        accepted = payload_types(handler)
        for payload_type in wanted:
            if payload_type not in accepted:
                raise BadSettings(
                    f"{_name(handler)} is registered for {payload_type.__name__}, but its annotation takes "
                    f"{', '.join(t.__name__ for t in accepted)}.",
                    remedy="Make the annotation and the registration agree.",
                )
            known = self._handlers.get(payload_type, [])
            if handler in known:
                raise BadSettings(f"{_name(handler)} already handles {payload_type.__name__}.")
            if len(known) >= MAX_HANDLERS:
                raise BadSettings(f"{payload_type.__name__} has {MAX_HANDLERS} handlers already.")
        for payload_type in wanted:
            self._handlers.setdefault(payload_type, []).append(handler)
        return handler

    def add(self, owner: object) -> int:
        """Register every method of ``owner`` marked with ``@handles``, in order of definition; returns how many."""
        marked: dict[str, None] = {}
        for cls in reversed(type(owner).__mro__):
            marked.update({name: None for name, member in vars(cls).items() if getattr(member, _MARK, False)})
        for name in marked:
            self.on(getattr(owner, name))
        return len(marked)

    @property
    def inputs(self) -> tuple[type, ...]:
        """Payload types with a handler, by number: what the subscription has to take."""
        return tuple(sorted(self._handlers, key=lambda t: BY_NAME[t.__name__].number))

    def dispatch(self, event: Event) -> Outcome:
        """Call every handler that takes ``event``, each on its own; exceptions become failures of the outcome."""
        handlers = tuple(self._handlers.get(type(event.payload), ()))
        failures = []
        for handler in handlers:
            try:
                handler(event, event.payload)
            except Exception as error:
                failure = Failure(_name(handler), event.id, event.type, error)
                failures.append(failure)
                if self._report is not None:
                    self._report(failure)
        return Outcome(len(handlers), tuple(failures))


def handles(method: _M) -> _M:
    """Mark a method ``(self, event: Event, payload: ...)`` for ``Registry.add``; raises BadSettings as ``Registry.on``."""
    payload_types(method, is_method=True)
    setattr(method, _MARK, True)
    return method


def payload_types(handler: Callable[..., Any], *, is_method: bool = False) -> tuple[type[Any], ...]:
    """Return the payload types a handler's annotation names; raises BadSettings when it names none or something else."""
    name = _name(handler)
    if inspect.iscoroutinefunction(handler):
        raise BadSettings(
            f"{name} is asynchronous.", remedy="Handlers are plain functions; hand longer work to a task."
        )
    parameters = list(inspect.signature(handler).parameters.values())[1 if is_method else 0 :]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if len(parameters) < 2 or any(p.kind not in positional for p in parameters[:2]) or _has_more_required(parameters):
        raise BadSettings(
            f"{name} does not take (event, payload).", remedy="Write def on(event: Event, payload: ConceptAdded)."
        )
    try:
        hints = get_type_hints(inspect.unwrap(handler))
    except NameError as error:
        raise BadSettings(f"{name}: {error}.", remedy="Import event types where they exist at run time.") from error
    if hints.get(parameters[0].name, Event) is not Event:
        raise BadSettings(
            f"{name}: {parameters[0].name} is an Event.", remedy="Annotate the first argument with Event."
        )
    return _members(hints.get(parameters[1].name), name)


def _has_more_required(parameters: list[inspect.Parameter]) -> bool:
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return any(p.default is p.empty and p.kind not in variadic for p in parameters[2:])


def _members(annotation: Any, name: str) -> tuple[type[Any], ...]:
    is_union = get_origin(annotation) in {Union, types.UnionType}
    members: tuple[Any, ...] = get_args(annotation) if is_union else (annotation,)
    for member in members:
        if member not in PAYLOAD_TYPES:
            raise BadSettings(
                f"{name}: {'its payload has no annotation' if member is None else f'{member!r} is not an event type'}.",
                remedy="Annotate the payload with classes of tori.events.mind or tori.events.system.",
            )
    return members


def _name(handler: Callable[..., Any]) -> str:
    return getattr(handler, "__qualname__", None) or repr(handler)
