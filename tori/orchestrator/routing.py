"""The routing table: which events of which producers go to whom, and over which nodes. A pure machine.

    (producer, type, key pattern) ──▶ subscriptions ──▶ leases

Events never pass through here. The table is compiled into *leases* for those who move events: a follower learns which
journals to read and which types to open, a producer which nodes want what of it, a node's relay what to mirror from
elsewhere. A lease has a version and no expiry: its holder works with the last one it was granted, so the death of the
orchestrator stops no event. Cycles are allowed: modules answer one another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import msgspec

from tori.clock import Clock
from tori.errors import BadInput
from tori.events.catalogue import BY_NAME
from tori.events.envelope import Event
from tori.events.topic import Matcher, Topic
from tori.machine import Stories, StoryLine
from tori.modules.base import Module
from tori.modules.registry import FOLLOWS

MAX_SUBSCRIPTIONS = 64
"""Subscriptions of one subscriber."""
RELAY = "relay@"
"""The relay of node ``n`` holds its lease under ``relay@n``."""


class Subscription(msgspec.Struct, frozen=True, array_like=True):
    """What one subscriber wants: these types of these producers, where the event's key fits the pattern."""

    subscriber: str
    producers: tuple[str, ...]
    types: tuple[str, ...] = ("*",)
    """Names of types, globs or groups of the catalogue (``@alien``)."""
    key_pattern: str = "*"

    @property
    def topics(self) -> tuple[Topic, ...]:
        """One pattern a type; raises BadInput for one that fits no type."""
        return tuple(Topic("*", name, self.key_pattern) for name in self.types)

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the types, sorted; raises BadInput for a pattern that fits no type."""
        return tuple(sorted(BY_NAME[name].number for name in {t for topic in self.topics for t in topic.types}))


# -- stimuli -------------------------------------------------------------------------------------------------------


class Subscribe(msgspec.Struct, frozen=True):
    """These are all the subscriptions of ``subscriber`` from now on; none = it wants nothing any more."""

    subscriber: str
    subscriptions: tuple[Subscription, ...] = ()


class Place(msgspec.Struct, frozen=True):
    """A journal, with the actor that writes it or a follower without one, is on ``node``; empty = nowhere now."""

    name: str
    node: str = ""


class LeaseRequested(msgspec.Struct, frozen=True):
    """A holder that restarted asks for its lease again."""

    holder: str


RoutingStimulus: TypeAlias = Subscribe | Place | LeaseRequested

# -- leases --------------------------------------------------------------------------------------------------------


class Route(msgspec.Struct, frozen=True, array_like=True):
    """One stretch of a follower's way: which journal, where it is written, what to open of it."""

    journal: str
    node: str
    types: tuple[int, ...]
    key_pattern: str


class Demand(msgspec.Struct, frozen=True, array_like=True):
    """What one node wants of a producer, or a relay of a journal."""

    journal: str
    node: str
    """For a producer's lease the node that wants it; for a relay's the node that has it."""
    types: tuple[int, ...]


class Lease(msgspec.Struct, frozen=True, array_like=True):
    """What one holder needs to know; ``version`` is that of the table when this last changed."""

    version: int
    routes: tuple[Route, ...] = ()
    """For a follower: what to read."""
    demands: tuple[Demand, ...] = ()
    """For a producer: who reads it. For a relay: what to mirror."""


class GrantLease(msgspec.Struct, frozen=True):
    """Instruction: give ``holder`` its lease. It keeps a newer one if it has one."""

    holder: str
    lease: Lease


class RoutingSnapshot(msgspec.Struct, array_like=True):
    """State of the machine."""

    version: int
    subscriptions: dict[str, tuple[Subscription, ...]]
    places: dict[str, str]
    leases: dict[str, Lease]
    stories: list[tuple[str, list[StoryLine]]]


class Routing:
    """The machine. ``producers`` are the journals that may be named in a subscription."""

    def __init__(self, clock: Clock, producers: Iterable[str] = FOLLOWS) -> None:
        self.version = 0
        self.producers = frozenset(producers)
        self._clock = clock
        self._subscriptions: dict[str, tuple[Subscription, ...]] = {}
        self._places: dict[str, str] = {}
        self._leases: dict[str, Lease] = {}
        self._stories = Stories()
        self._handlers: dict[type, Callable[[Any], list[GrantLease]]] = {
            Subscribe: self._on_subscribe,
            Place: self._on_place,
            LeaseRequested: self._on_request,
        }

    @property
    def wake_ns(self) -> int | None:
        """Return None: time alone changes no route."""
        return None

    def handle(self, stimulus: RoutingStimulus) -> list[GrantLease]:
        """Return the leases that changed, by holder. What is already so changes none.

        Raises BadInput, with nothing changed, for an unknown producer, a pattern that fits nothing or too many subscriptions.
        """
        return self._handlers[type(stimulus)](stimulus)

    def lease(self, holder: str) -> Lease:
        """Return the present lease of a holder; an empty one when nothing concerns it."""
        return self._leases.get(holder, Lease(self.version))

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Return the whole table, sorted."""
        return tuple(s for name in sorted(self._subscriptions) for s in self._subscriptions[name])

    def subscribers(self, event: Event, producer: str) -> tuple[str, ...]:
        """Return who gets an event of this producer, sorted."""
        return tuple(
            sorted(
                {
                    s.subscriber
                    for s in self.subscriptions()
                    if producer in s.producers and Matcher(s.topics).accepts(event, producer)
                }
            )
        )

    def story(self, subject: str) -> tuple[StoryLine, ...]:
        """Return the last changes of a subscriber's subscriptions or of a place."""
        return self._stories.of(subject)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            RoutingSnapshot(self.version, self._subscriptions, self._places, self._leases, self._stories.snapshot()),
            order="sorted",
        )

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=RoutingSnapshot)
        self.version, self._subscriptions = state.version, state.subscriptions
        self._places, self._leases = state.places, state.leases
        self._stories.restore(state.stories)

    def validate(self) -> None:
        """Raise AssertionError with the facts when the leases are not what the table compiles to."""
        compiled = self._compile()
        assert set(compiled) == set(self._leases), (sorted(compiled), sorted(self._leases))
        for holder, (routes, demands) in compiled.items():
            lease = self._leases[holder]
            assert (lease.routes, lease.demands) == (routes, demands), holder
            assert lease.version <= self.version, holder

    # -- stimuli -------------------------------------------------------------------------------------------------

    def _on_subscribe(self, request: Subscribe) -> list[GrantLease]:
        name, wanted = request.subscriber, tuple(sorted(set(request.subscriptions), key=repr))
        if len(wanted) > MAX_SUBSCRIPTIONS:
            raise BadInput(f"subscriptions: {name} has {len(wanted)}, at most {MAX_SUBSCRIPTIONS} are kept.")
        for subscription in wanted:
            self._check(name, subscription)
        if wanted == self._subscriptions.get(name, ()):
            return []
        self._subscriptions[name] = wanted
        if not wanted:
            del self._subscriptions[name]
        return self._changed(name, f"{len(wanted)} subscriptions")

    def _check(self, name: str, subscription: Subscription) -> None:
        if subscription.subscriber != name:
            raise BadInput(f"subscriber: {name} cannot subscribe for {subscription.subscriber}.")
        unknown = sorted(set(subscription.producers) - self.producers)
        if unknown or not subscription.producers:
            raise BadInput(
                f"producers: there is no journal {unknown[0]!r}." if unknown else "producers: none is named.",
                remedy=f"Journals: {', '.join(sorted(self.producers))}.",
            )
        subscription.numbers()

    def _on_place(self, place: Place) -> list[GrantLease]:
        if self._places.get(place.name, "") == place.node:
            return []
        self._places[place.name] = place.node
        if not place.node:
            del self._places[place.name]
        return self._changed(place.name, f"on node {place.node}" if place.node else "nowhere")

    def _on_request(self, request: LeaseRequested) -> list[GrantLease]:
        return [GrantLease(request.holder, self.lease(request.holder))]

    # -- compile -------------------------------------------------------------------------------------------------

    def _changed(self, subject: str, text: str) -> list[GrantLease]:
        """Compile the table again; return the leases that differ, those that became empty too."""
        self.version += 1
        self._stories.tell(subject, self._clock.wall_ns(), f"version {self.version}: {text}")
        compiled, old = self._compile(), self._leases
        self._leases = {}
        grants = []
        for holder in sorted(set(compiled) | set(old)):
            routes, demands = compiled.get(holder, ((), ()))
            lease = old.get(holder, Lease(-1))
            if (lease.routes, lease.demands) != (routes, demands):
                lease = Lease(self.version, routes, demands)
                grants.append(GrantLease(holder, lease))
            if holder in compiled:
                self._leases[holder] = lease
        return grants

    def _compile(self) -> dict[str, tuple[tuple[Route, ...], tuple[Demand, ...]]]:
        """Return what each holder needs to know. A producer or subscriber without a place is left out until it has one."""
        routes: dict[str, set[Route]] = defaultdict(set)
        wanted: dict[tuple[str, str], set[int]] = defaultdict(set)
        for subscription in self.subscriptions():
            numbers = subscription.numbers()
            to = self._places.get(subscription.subscriber)
            for producer in subscription.producers:
                node = self._places.get(producer)
                if node is None or to is None:
                    continue
                routes[subscription.subscriber].add(Route(producer, node, numbers, subscription.key_pattern))
                wanted[producer, to].update(numbers)
        demands: dict[str, set[Demand]] = defaultdict(set)
        for (producer, to), types in wanted.items():
            node = self._places[producer]
            demands[producer].add(Demand(producer, to, tuple(sorted(types))))
            if node != to:
                demands[f"{RELAY}{to}"].add(Demand(producer, node, tuple(sorted(types))))
        return {
            holder: (_sorted(routes.get(holder, ())), _sorted(demands.get(holder, ())))
            for holder in sorted({*routes, *demands})
        }


def subscription_of(module: type[Module]) -> Subscription | None:
    """Return what a module's class declares: its inputs from the journals it follows; None when it follows nobody."""
    producers = FOLLOWS.get(module.name, ())
    types = tuple(sorted(payload.__name__ for payload in module.inputs))
    return Subscription(module.name, producers, types) if producers and types else None


def _sorted(items: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(sorted(items, key=msgspec.structs.astuple))
