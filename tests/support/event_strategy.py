"""Hypothesis strategies for events: any payload of the catalogue, any envelope around it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from msgspec import inspect

from tori.events.catalogue import ENTRIES
from tori.events.envelope import Envelope, Event, FrameContext
from tori.journal.position import Position

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
IDS = st.builds(
    lambda time_ns, suffix: time_ns.to_bytes(8, "big") + suffix,
    st.integers(0, 4 * 10**18),
    st.binary(min_size=8, max_size=8),
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
FREE_JSON = st.recursive(
    st.none() | st.booleans() | INTEGERS | FLOATS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def values_of(node: inspect.Type) -> st.SearchStrategy[Any]:
    """Return a strategy for any value of a payload field's type."""
    match node:
        case inspect.StructType():
            return st.builds(node.cls, *(values_of(field.type) for field in node.fields))
        case inspect.UnionType():
            return st.one_of(*(values_of(t) for t in node.types))
        case inspect.VarTupleType():
            return st.lists(values_of(node.item_type), max_size=3).map(tuple)
        case inspect.DictType():
            return st.dictionaries(values_of(node.key_type), values_of(node.value_type), max_size=3)
    return {
        inspect.StrType: TEXT,
        inspect.IntType: INTEGERS,
        inspect.FloatType: FLOATS,
        inspect.BytesType: st.binary(max_size=20),
        inspect.NoneType: st.none(),
        inspect.CustomType: FREE_JSON,
    }[type(node)]


PAYLOADS = st.sampled_from([entry.payload for entry in ENTRIES]).flatmap(lambda t: values_of(inspect.type_info(t)))

EVENTS = st.builds(
    Event,
    IDS,
    PAYLOADS,
    key=TEXT,
    correlation_id=st.just(b"") | IDS,
    causes=st.lists(IDS, max_size=3).map(tuple),
    depth=st.integers(0, 20),
)

ENVELOPES = st.builds(
    Envelope,
    EVENTS,
    st.builds(FrameContext, NAMES, TEXT, st.integers(0, 2**63), st.integers(1, 9), TEXT),
    st.integers(0, 4),
    st.builds(Position, NAMES, st.integers(0, 2**32), st.integers(0, 2**63)),
)
