"""The routing table and the cascade: who gets what, over which nodes, and whether the modules agree."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tori.modules
from tori.clock import VirtualClock
from tori.errors import BadInput
from tori.events import mind
from tori.events.catalogue import BY_NAME
from tori.events.codec import tag_of
from tori.events.envelope import Event
from tori.modules.cascade import CASCADE, markdown, reach, rules_of
from tori.modules.registry import FOLLOWS, START_ORDER, module_class
from tori.orchestrator.routing import (
    MAX_SUBSCRIPTIONS,
    Demand,
    GrantLease,
    LeaseRequested,
    Place,
    Route,
    Routing,
    Subscribe,
    Subscription,
    subscription_of,
)

ALARM = tag_of(mind.AlienDetected)


@pytest.fixture
def routing() -> Routing:
    return Routing(VirtualClock())


def give(routing: Routing, *stimuli: Any) -> dict[str, Any]:
    """Handle stimuli; return the last lease granted to each holder."""
    granted: dict[str, Any] = {}
    for stimulus in stimuli:
        for grant in routing.handle(stimulus):
            assert isinstance(grant, GrantLease)
            granted[grant.holder] = grant.lease
        routing.validate()
        other = Routing(VirtualClock())
        other.restore(routing.snapshot())
        other.validate()
        assert other.snapshot() == routing.snapshot()
    return granted


def alarms(subscriber: str = "wormhole", key: str = "*") -> Subscribe:
    return Subscribe(subscriber, (Subscription(subscriber, ("alien",), ("AlienDetected",), key),))


def test_a_follower_learns_what_to_read_and_a_producer_who_reads(routing: Routing) -> None:
    granted = give(routing, alarms(), Place("alien", "a"), Place("wormhole", "a"))
    assert granted["wormhole"].routes == (Route("alien", "a", (ALARM,), "*"),)
    assert granted["alien"].demands == (Demand("alien", "a", (ALARM,)),)
    assert set(granted) == {"wormhole", "alien"}, "on one node nobody relays"


def test_across_nodes_a_relay_learns_what_to_mirror(routing: Routing) -> None:
    granted = give(routing, alarms(), Place("alien", "a"), Place("wormhole", "b"))
    assert granted["relay@b"].demands == (Demand("alien", "a", (ALARM,)),)
    moved = give(routing, Place("wormhole", "a"))
    assert moved["relay@b"].demands == (), "it has nothing to mirror any more and is told so"
    assert moved["alien"].demands == (Demand("alien", "a", (ALARM,)),)


def test_only_what_changed_is_granted(routing: Routing) -> None:
    give(routing, alarms(), *(Place(name, "a") for name in ("alien", "wormhole", "hierarchy")))
    before = routing.version
    assert give(routing, alarms(), Place("alien", "a")) == {}
    assert routing.version == before
    granted = give(routing, alarms("hierarchy"))
    assert set(granted) == {"hierarchy"}, "the producer's demand is the same: one node, one type"
    assert granted["hierarchy"].version == routing.version > before
    assert routing.lease("wormhole").version < routing.version


def test_a_holder_that_restarted_asks_again(routing: Routing) -> None:
    give(routing, alarms(), Place("alien", "a"), Place("wormhole", "a"))
    assert give(routing, LeaseRequested("wormhole"))["wormhole"] == routing.lease("wormhole")
    assert give(routing, LeaseRequested("nobody"))["nobody"].routes == ()


def test_what_has_no_place_waits_for_one(routing: Routing) -> None:
    assert give(routing, alarms(), Place("wormhole", "a")) == {}
    assert give(routing, Place("alien", "a"))["wormhole"].routes
    assert give(routing, Place("alien"))["wormhole"].routes == ()


def test_subscriptions_are_declared_whole(routing: Routing) -> None:
    give(routing, Place("alien", "a"), Place("scars", "a"), Place("view", "a"))
    both = (Subscription("view", ("alien",), ("@alien",)), Subscription("view", ("scars",), ("Scar*",), "s-1*"))
    lease = give(routing, Subscribe("view", both))["view"]
    assert {(r.journal, r.key_pattern) for r in lease.routes} == {("alien", "*"), ("scars", "s-1*")}
    assert give(routing, Subscribe("view", both[::-1])) == {}, "their order means nothing"
    assert give(routing, Subscribe("view"))["view"].routes == ()
    assert routing.subscriptions() == ()
    assert [line.text for line in routing.story("view")][-1].endswith("0 subscriptions")


def test_who_gets_an_event(routing: Routing) -> None:
    give(routing, alarms("wormhole", "c-*"), alarms("hierarchy"))
    event = Event(b"\0" * 16, mind.AlienDetected("a1", "d-1", "x", 0.01, 3.0, "2024"), "d-1")
    assert routing.subscribers(event, "alien") == ("hierarchy",)
    assert routing.subscribers(event, "scars") == ()


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Subscribe("x", (Subscription("x", ("aliens",)),)), "no journal 'aliens'"),
        (Subscribe("x", (Subscription("x", ()),)), "none is named"),
        (Subscribe("x", (Subscription("y", ("alien",)),)), "x cannot subscribe for y"),
        (Subscribe("x", (Subscription("x", ("alien",), ("Alein*",)),)), "no event type fits"),
        (Subscribe("x", (Subscription("x", ("alien",), ("*",), ""),)), "key: an empty pattern"),
        (
            Subscribe("x", tuple(Subscription("x", ("alien",), ("*",), f"{n}") for n in range(MAX_SUBSCRIPTIONS + 1))),
            "at most 64",
        ),
    ],
)
def test_what_cannot_be_routed_is_refused_and_changes_nothing(routing: Routing, request_: Any, message: str) -> None:
    before = routing.snapshot()
    with pytest.raises(BadInput, match=message):
        routing.handle(request_)
    assert routing.snapshot() == before
    assert routing.wake_ns is None


_names = st.sampled_from(["alien", "wormhole", "hierarchy", "reader"])
_stimuli = st.one_of(
    st.builds(Place, _names, st.sampled_from(["", "a", "b"])),
    st.builds(
        lambda name, producers: Subscribe(name, tuple(Subscription(name, (p,), ("Concept*",)) for p in producers)),
        _names,
        st.lists(_names, max_size=3),
    ),
)


@given(st.lists(_stimuli, max_size=20))
def test_holders_that_only_hear_of_changes_know_the_whole_table(stimuli: list[Any]) -> None:
    routing = Routing(VirtualClock())
    known: dict[str, Any] = {}
    for stimulus in stimuli:
        for grant in routing.handle(stimulus):
            assert grant.lease.version > known.get(grant.holder, routing.lease("nobody")).version or not known.get(
                grant.holder
            )
            known[grant.holder] = grant.lease
        routing.validate()
    fresh = Routing(VirtualClock())
    for name in ("alien", "wormhole", "hierarchy", "reader"):
        fresh.handle(Subscribe(name, tuple(s for s in routing.subscriptions() if s.subscriber == name)))
        fresh.handle(Place(name, routing._places.get(name, "")))
    for holder in {*known, *fresh._leases}:
        one, other = known.get(holder), fresh.lease(holder)
        assert (one.routes, one.demands) == (other.routes, other.demands)


# -- the modules and the table ----------------------------------------------------------------------------------------


def test_the_modules_declare_a_whole_table(routing: Routing) -> None:
    """Every module's declaration routes; the graph has cycles, and that is allowed."""
    for name in (*START_ORDER, "clients", "orchestrator"):
        give(routing, Place(name, "a"))
        subscription = subscription_of(module_class(name))
        if subscription is not None:
            give(routing, Subscribe(name, (subscription,)))
    for name in (*START_ORDER, "orchestrator"):
        assert {r.journal for r in routing.lease(name).routes} == (
            set(FOLLOWS[name]) if module_class(name).inputs else set()
        )
    assert "alien" in {r.journal for r in routing.lease("hierarchy").routes}
    assert "hierarchy" in {r.journal for r in routing.lease("alien").routes}


@pytest.mark.parametrize("rule", CASCADE, ids=lambda r: f"{r.causes[0]}-{r.module}")
def test_a_rule_of_the_cascade_is_what_its_module_does(rule: Any) -> None:
    inputs = {payload.__name__ for payload in module_class(rule.module).inputs}
    assert set(rule.causes) <= inputs, "it takes what sets it off"
    assert set(rule.producers) <= set(FOLLOWS[rule.module]), "from journals it follows"
    for cause in rule.causes:
        assert set(BY_NAME[cause].emitters) & set(rule.producers), f"nobody of {rule.producers} emits {cause}"
    if rule.effects:
        folder = Path(tori.modules.__file__).parent / rule.module
        source = "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py")))
        for effect in rule.effects:
            assert rule.module in BY_NAME[effect].emitters, (
                f"the catalogue does not know that {rule.module} emits {effect}"
            )
            assert effect in source, f"{rule.module} never names {effect}"


@pytest.mark.parametrize("name", ["clients", *START_ORDER])
def test_the_inputs_of_a_module_are_its_rules(name: str) -> None:
    told = {cause for rule in CASCADE if rule.module == name for cause in rule.causes}
    assert {p.__name__ for p in module_class(name).inputs} == told


def test_everybody_follows_who_the_rules_name_and_nobody_else() -> None:
    assert {
        "clients": (),
        "orchestrator": ("clients", *START_ORDER),
        "reader": ("clients",),
        "hierarchy": ("clients", "reader", "alien"),
        "braid": ("clients", "reader", "wormhole"),
        "wormhole": ("clients", "reader", "hierarchy", "alien"),
        "alien": ("clients", "reader", "hierarchy"),
        "scars": ("clients", "reader", "hierarchy"),
        "fuzzing": (),
    } == FOLLOWS


def test_what_follows_from_what() -> None:
    assert {rule.module for rule in rules_of("AlienDetected")} == {"hierarchy", "wormhole", "orchestrator"}
    assert {rule.module for rule in rules_of("ConceptAdded")} >= {"alien", "wormhole"}
    assert "braid" in {rule.module for rule in rules_of("WormholeCreated")}
    assert "orchestrator" in {rule.module for rule in rules_of("ScarDetected")}
    assert "WormholeSuggested" in reach("DocumentIngested")
    assert "ScarDetected" not in reach("AlienDetected")
    assert len(markdown().splitlines()) == len(CASCADE) + 2
    with pytest.raises(BadInput, match="no event type 'Concept'"):
        rules_of("Concept")
