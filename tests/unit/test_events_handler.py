"""Typed handlers: the annotation decides, a mismatch is refused, a failure stays alone."""

from __future__ import annotations

import functools
from typing import Any, Union

import pytest

from tori.errors import BadSettings
from tori.events.catalogue import PAYLOAD_TYPES
from tori.events.envelope import Event
from tori.events.handler import MAX_HANDLERS, Failure, Registry, handles, payload_types
from tori.events.mind import ConceptAdded, ConceptRemoved, Evidence, IngestProgressed
from tori.events.payloads import Payload

ADDED = Event(bytes(15) + b"\1", ConceptAdded("c", "label"))
REMOVED = Event(bytes(15) + b"\2", ConceptRemoved("c", "label"))
PROGRESS = Event(bytes(15) + b"\3", IngestProgressed(1, 0, 10, 2))


class Diary:
    """Handlers as methods."""

    def __init__(self) -> None:
        self.pages: list[str] = []

    @handles
    def added(self, event: Event, payload: ConceptAdded) -> None:
        self.pages.append(f"+{payload.label}")

    @handles
    def either(self, event: Event, payload: ConceptAdded | ConceptRemoved) -> None:
        self.pages.append(f"{event.type}")

    def unmarked(self, event: Event, payload: IngestProgressed) -> None:
        raise AssertionError


class LoudDiary(Diary):
    """A subclass may replace a handler."""

    @handles
    def added(self, event: Event, payload: ConceptAdded) -> None:
        self.pages.append(f"+{payload.label.upper()}")


def test_handlers_get_what_their_annotation_names() -> None:
    registry = Registry()
    seen: list[tuple[str, str]] = []

    @registry.on
    def one(event: Event, payload: ConceptAdded) -> None:
        seen.append(("one", payload.label))

    @registry.on
    def both(event: Event, payload: Union[ConceptAdded, ConceptRemoved]) -> None:  # noqa: UP007
        seen.append(("both", event.type))

    assert registry.inputs == (ConceptAdded, ConceptRemoved)
    assert registry.dispatch(ADDED).called == 2
    assert registry.dispatch(REMOVED).called == 1
    assert registry.dispatch(PROGRESS).called == 0
    assert seen == [("one", "label"), ("both", "ConceptAdded"), ("both", "ConceptRemoved")]


def test_methods_are_registered_by_their_marks() -> None:
    diary, registry = LoudDiary(), Registry()
    assert registry.add(diary) == 2
    registry.dispatch(ADDED)
    assert diary.pages == ["+LABEL", "ConceptAdded"]
    assert registry.dispatch(PROGRESS).called == 0


def test_a_failing_handler_harms_only_itself() -> None:
    reported: list[Failure] = []
    registry = Registry(report=reported.append)
    seen: list[str] = []

    @registry.on
    def broken(event: Event, payload: ConceptAdded) -> None:
        raise RuntimeError("no more paper")

    @registry.on
    def sound(event: Event, payload: ConceptAdded) -> None:
        seen.append(payload.label)

    outcome = registry.dispatch(ADDED)
    assert seen == ["label"]
    assert (outcome.called, outcome.failures) == (2, tuple(reported))
    (failure,) = reported
    assert (failure.event_id, failure.type) == (ADDED.id, "ConceptAdded")
    assert "broken failed on ConceptAdded" in str(failure)
    assert "no more paper" in str(failure)


def test_the_end_of_the_process_is_no_failure_of_a_handler() -> None:
    registry = Registry()

    @registry.on
    def stop(event: Event, payload: ConceptAdded) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registry.dispatch(ADDED)


def test_the_whole_union_takes_everything() -> None:
    def everything(event: Event, payload: Payload) -> None: ...

    assert payload_types(everything) == PAYLOAD_TYPES


def test_a_wrapped_handler_keeps_its_annotation() -> None:
    def wrapped(event: Event, payload: ConceptAdded, *, loud: bool = False) -> None: ...

    @functools.wraps(wrapped)
    def wrapper(*arguments: Any) -> None:
        wrapped(*arguments)

    assert payload_types(wrapper) == (ConceptAdded,)


def no_annotation(event: Event, payload) -> None: ...  # type: ignore[no-untyped-def]  # what is refused
def a_part(event: Event, payload: Evidence) -> None: ...
def half_wrong(event: Event, payload: ConceptAdded | int) -> None: ...
def one_argument(event: Event) -> None: ...
def keyword_only(event: Event, *, payload: ConceptAdded) -> None: ...
def three_arguments(event: Event, payload: ConceptAdded, third: int) -> None: ...
def wrong_way_round(payload: ConceptAdded, event: Event) -> None: ...
def unknown_name(event: Event, payload: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821  # what is refused
async def asynchronous(event: Event, payload: ConceptAdded) -> None: ...


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (no_annotation, "its payload has no annotation"),
        (a_part, "Evidence'> is not an event type"),
        (half_wrong, "int'> is not an event type"),
        (one_argument, r"does not take \(event, payload\)"),
        (keyword_only, r"does not take \(event, payload\)"),
        (three_arguments, r"does not take \(event, payload\)"),
        (wrong_way_round, "payload is an Event"),
        (unknown_name, "name 'Missing' is not defined"),
        (asynchronous, "is asynchronous"),
    ],
)
def test_a_mismatch_is_refused(handler: Any, reason: str) -> None:
    with pytest.raises(BadSettings, match=reason):
        Registry().on(handler)


def test_registration_and_annotation_must_agree() -> None:
    def narrow(event: Event, payload: ConceptAdded) -> None: ...

    registry = Registry()
    with pytest.raises(BadSettings, match="registered for ConceptRemoved, but its annotation takes ConceptAdded"):
        registry.subscribe(ConceptRemoved, narrow)  # type: ignore[arg-type]  # mypy refuses it too
    assert registry.inputs == ()
    registry.subscribe(ConceptAdded, narrow)
    with pytest.raises(BadSettings, match="already handles ConceptAdded"):
        registry.on(narrow)


def test_a_subscription_may_be_narrower_than_the_annotation() -> None:
    seen: list[str] = []

    def wide(event: Event, payload: ConceptAdded | ConceptRemoved) -> None:
        seen.append(event.type)

    registry = Registry()
    registry.subscribe((ConceptRemoved,), wide)
    registry.dispatch(ADDED)
    registry.dispatch(REMOVED)
    assert seen == ["ConceptRemoved"]


def test_handlers_of_a_type_are_bounded() -> None:
    registry = Registry()

    def make() -> Any:
        def handler(event: Event, payload: ConceptAdded) -> None: ...

        return handler

    for _ in range(MAX_HANDLERS):
        registry.on(make())
    with pytest.raises(BadSettings, match="64 handlers already"):
        registry.on(make())


def test_a_marked_method_is_checked_where_it_is_defined() -> None:
    with pytest.raises(BadSettings, match="not an event type"):

        class _Wrong:
            @handles
            def on(self, event: Event, payload: str) -> None: ...
