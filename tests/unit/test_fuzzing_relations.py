"""The harness is proven on planted defects: each is caught by a relation made for it, and a correct module passes all."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.modules import ingested
from tori.clock import VirtualClock
from tori.errors import BadInput
from tori.events.document import Document
from tori.events.envelope import Event
from tori.events.mind import ConceptAdded, DocumentEmbedded, DocumentIngested, ThreadCreated
from tori.ids import IdSource, source_suffix
from tori.modules.base import Context, Fact, Module
from tori.modules.fuzzing import FuzzTarget, allow
from tori.modules.fuzzing.check import Verdict, check, run_plan, seed_for
from tori.modules.fuzzing.relations import RELATIONS, difference, shuffled, subject_of
from tori.modules.fuzzing.target import Plan, resolve


class Reported(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """Private record: the lengths last reported."""

    lengths: dict[str, int]


class Honest(Module):
    """Reports the length of every document, and which pairs of vectors are near; correct in every respect."""

    name = "honest"
    inputs: ClassVar[tuple[type, ...]] = (DocumentIngested, DocumentEmbedded)
    records = Reported
    tasks = ("measure",)

    def __init__(self) -> None:
        self.events: dict[str, bytes] = {}
        self.lengths: dict[str, int] = {}
        self.vectors: dict[str, bytes] = {}
        self.reported: dict[str, int] = {}

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return ()

    def apply(self, fact: Fact) -> None:
        payload = fact.payload if isinstance(fact, Event) else fact
        if isinstance(payload, DocumentIngested):
            assert isinstance(fact, Event)
            self.events[payload.document_id] = fact.id
            self.lengths[payload.document_id] = len(payload.text)
        elif isinstance(payload, DocumentEmbedded):
            self.vectors[payload.document_id] = payload.vector
        elif isinstance(payload, Reported):
            self.reported = payload.lengths

    def state(self) -> list[Any]:
        return [sorted(held.items()) for held in (self.events, self.lengths, self.vectors, self.reported)]

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self.state())

    def restore(self, data: bytes) -> None:
        self.events, self.lengths, self.vectors, self.reported = map(dict, msgspec.msgpack.decode(data))

    def validate(self) -> None:
        assert set(self.reported) <= set(self.lengths), "a length was reported of nothing"

    def section(self) -> Any:
        import numpy as np

        vectors = {d: np.frombuffer(v, dtype="<f2").astype(np.float32) for d, v in self.vectors.items()}
        near = [[a, b, float(f"{vectors[a] @ vectors[b]:.6g}")] for a, b in itertools.combinations(sorted(vectors), 2)]
        return {"lengths": sorted([k, v] for k, v in self.reported.items()), "near": near}

    def prepare(self, task: str) -> bytes:
        return msgspec.msgpack.encode(self.lengths, order="sorted")

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        return data

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        now: dict[str, int] = msgspec.msgpack.decode(result)
        for document_id in now:
            context.read(self.events[document_id])
        new = [d for d in sorted(now) if self.reported.get(d) != now[d]]
        events = [context.event(ThreadCreated(d), key=d, causes=(self.events[d],)) for d in new]
        return [Reported(now), *events] if events else []


class DecideWrites(Honest):
    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        for event in batch:
            self.apply(event)
        return ()


class ConcludeWrites(Honest):
    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        facts = super().conclude(task, result, context)
        self.reported = msgspec.msgpack.decode(result)
        return facts


class PrepareWrites(Honest):
    def prepare(self, task: str) -> bytes:
        self.lengths.setdefault("prepared", 0)
        return super().prepare(task)


class ForgetsInSnapshot(Honest):
    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode([*self.state()[:3], []])


class ForgetsInRestore(Honest):
    def restore(self, data: bytes) -> None:
        super().restore(data)
        self.reported = {}


class RestoreAdds(Honest):
    def restore(self, data: bytes) -> None:
        old = dict(self.lengths)
        super().restore(data)
        self.lengths = {k: v + (k in old) for k, v in self.lengths.items()}


class ForgetsVectors(Honest):
    """Forgets a field on both sides: a round trip alone cannot see it."""

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode([*self.state()[:2], [], self.state()[3]])


class Counts(Honest):
    """Counts deliveries instead of documents."""

    def apply(self, fact: Fact) -> None:
        super().apply(fact)
        if isinstance(fact, Event) and isinstance(fact.payload, DocumentIngested):
            self.lengths["total"] = self.lengths.get("total", 0) + 1
            self.events["total"] = fact.id


class OrderDependent(Honest):
    """Its section follows the order of arrival."""

    def state(self) -> list[Any]:
        return [list(held.items()) for held in (self.events, self.lengths, self.vectors, self.reported)]

    def section(self) -> Any:
        return list(self.events)


class FirstOfBatch(Honest):
    """Sees only what stands first in a batch."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return [context.event(ThreadCreated("first"), key=batch[0].key)]

    def apply(self, fact: Fact) -> None:
        super().apply(fact)
        if isinstance(fact, Event) and isinstance(fact.payload, ThreadCreated) and fact.payload.thread_id == "first":
            self.noted.append(fact.key)

    def section(self) -> Any:
        return sorted(self.noted)


class WatchesTheClock(Honest):
    """Keeps only what was told in its first hour."""

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        return super().conclude(task, result, context) if context.now_ns < 1_700_003_600 * 10**9 else ()


class Repeats(Honest):
    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        return [Reported(msgspec.msgpack.decode(result))]


class Random(Honest):
    made = itertools.count()

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        return msgspec.msgpack.encode(msgspec.msgpack.decode(data) | {"total": next(cls.made)})

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        return ()


class WarmStart(Honest):
    """The first report stays: an interim pass shows in the last one."""

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        return () if self.reported else super().conclude(task, result, context)


class BreaksInvariant(Honest):
    def validate(self) -> None:
        assert not self.lengths, "there are lengths"


class HiddenWrite(Honest):
    """Changes state outside apply: living and replaying part ways."""

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        self.lengths["hidden"] = len(batch)
        self.events.setdefault("hidden", batch[0].id)
        return ()


class NamesEvents(Honest):
    def section(self) -> Any:
        return {d: e.hex() for d, e in self.events.items()}


class NotJson(Honest):
    def section(self) -> Any:
        return {"lengths": float("nan")}


class Tuples(Honest):
    def section(self) -> Any:
        return {"lengths": tuple(self.lengths)}


class Coordinates(Honest):
    """Reads meaning into single coordinates of a vector."""

    def section(self) -> Any:
        return [[d, v[:2].hex()] for d, v in sorted(self.vectors.items())]


class Raises(Honest):
    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        if any("7" in e.key for e in batch):
            raise KeyError("seven")
        return ()


PLANTED = [
    (DecideWrites, "decide_reads_only"),
    (ConcludeWrites, "decide_reads_only"),
    (PrepareWrites, "decide_reads_only"),
    (ForgetsInSnapshot, "snapshot_roundtrip"),
    (ForgetsInRestore, "snapshot_roundtrip"),
    (RestoreAdds, "snapshot_roundtrip"),
    (ForgetsVectors, "checkpoint_anywhere"),
    (Counts, "duplicate_delivery"),
    (OrderDependent, "event_order"),
    (FirstOfBatch, "batch_borders"),
    (WatchesTheClock, "clock_shift"),
    (Repeats, "conclude_idempotent"),
    (Random, "scan_repeatable"),
    (WarmStart, "interim_passes"),
    (BreaksInvariant, "invariants_hold"),
    (HiddenWrite, "replay_equals_living"),
    (NamesEvents, "section_is_content"),
    (NotJson, "section_is_content"),
    (Tuples, "section_is_content"),
    (Coordinates, "vector_rotation"),
    (Raises, "event_order"),
]


def sample(documents: int = 24) -> list[Event]:
    """Documents, some replaced by a newer text, and their vectors."""
    texts = [Document(f"d{i:02d}", f"title {i}", "words " * (i + 1)) for i in range(documents)]
    texts += [Document(f"d{i:02d}", f"title {i}", "newer " * (i + 3)) for i in range(0, documents, 5)]
    events = ingested(texts)
    ids = IdSource(source_suffix("reader", b"test"), VirtualClock().wall_ns)
    source = random.Random(4)
    for event in events[:documents]:
        name = event.key
        import numpy as np

        vector = np.array([source.gauss(0, 1) for _ in range(16)])
        payload = DocumentEmbedded(name, (vector / np.linalg.norm(vector)).astype("<f2").tobytes(), "test")
        events.append(Event(ids.next(), payload, name, b"", (event.id,)))
    return events


def target_of(module_class: type[Module], events: Sequence[Event] | None = None) -> FuzzTarget:
    """A target whose live state has seen half of the sample."""
    path = f"{module_class.__module__}:{module_class.__qualname__}"
    allow(path)
    events = sample() if events is None else events
    live = module_class()
    for event in events[: len(events) // 2]:
        live.apply(event)
    return FuzzTarget(module_class.name, path, live.snapshot(), tuple(events))


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this file importable under its own name, as a user's module would be."""
    import sys

    monkeypatch.setitem(sys.modules, __name__, sys.modules.get(__name__) or _this())


def _this() -> Any:
    import types

    module = types.ModuleType(__name__)
    module.__dict__.update(globals())
    return module


@pytest.mark.parametrize("relation", sorted(RELATIONS))
def test_a_correct_module_passes(relation: str) -> None:
    for seed in range(5):
        assert check(target_of(Honest), relation, seed).result == "passed"


@pytest.mark.parametrize(("defect", "relation"), PLANTED, ids=[f"{d.__name__}" for d, _ in PLANTED])
def test_a_planted_defect_is_caught(defect: type[Module], relation: str) -> None:
    results = [check(target_of(defect), relation, seed).result for seed in range(3)]
    assert all(r.startswith("failed: ") for r in results), results


def test_every_relation_has_a_planted_defect() -> None:
    assert {relation for _, relation in PLANTED} == set(RELATIONS)


def test_a_seed_replays_its_verdict() -> None:
    target = target_of(Counts)
    verdicts = run_plan(Plan(42, (target,)))
    failed = [v for v in verdicts if v.result != "passed"]
    assert failed
    for verdict in failed:
        assert verdict.seed == seed_for(42, target, verdict.relation)
        assert check(target, verdict.relation, verdict.seed) == verdict
    assert run_plan(Plan(42, (target,))) == verdicts
    assert {v.test_id for v in run_plan(Plan(43, (target,)))}.isdisjoint(v.test_id for v in verdicts)


def test_a_finding_travels_as_bytes() -> None:
    verdict = check(target_of(Honest), "event_order", 1)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(verdict), type=Verdict) == verdict


def test_an_event_outside_the_sample_skips_the_check() -> None:
    events = sample()
    whole = target_of(Honest, events)
    partial = msgspec.structs.replace(whole, events=())
    assert check(partial, "conclude_idempotent", 1).result.startswith("skipped: event ")


def test_a_defect_names_where_it_broke() -> None:
    assert check(target_of(Raises), "event_order", 1).result == "failed: raised KeyError: 'seven'"
    assert check(target_of(DecideWrites), "decide_reads_only", 1).result == "failed: decide changed the state"
    assert "prepare(measure)" in check(target_of(PrepareWrites), "decide_reads_only", 1).result
    assert "second time" in check(target_of(Repeats), "conclude_idempotent", 1).result


@pytest.mark.parametrize(
    "path",
    [
        "os:system",
        "os.path:join",
        "tests.unit.nowhere:Thing",
        "tori.modules.base:Context",
        "tori.modules.nothing:Thing",
        "tori.modules.base:Nothing",
        "tori.modules.base",
        "tori.modules../x:Y",
        "tori.journal.writer:JournalWriter",
    ],
)
def test_only_named_modules_are_imported(path: str) -> None:
    with pytest.raises(BadInput):
        resolve(path)


def test_an_unknown_relation_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="event_order"):
        check(target_of(Honest), "magic", 1)


@given(st.integers(0, 2**32), st.integers(0, 30))
def test_a_shuffle_keeps_causes_and_subjects_in_order(seed: int, size: int) -> None:
    source = random.Random(seed)
    ids = IdSource(source_suffix("x", b"test"), VirtualClock().wall_ns)
    events: list[Event] = []
    for _ in range(size):
        causes = tuple(e.id for e in source.sample(events, min(len(events), source.randrange(3))))
        events.append(Event(ids.next(), ConceptAdded(f"c{source.randrange(5)}", "x"), "", b"", causes))
    mixed = shuffled(events, source)
    place = {e.id: i for i, e in enumerate(mixed)}
    assert sorted(place) == sorted(e.id for e in events)
    for one, other in itertools.combinations(events, 2):
        if subject_of(one) == subject_of(other) or one.id in other.causes:
            assert place[one.id] < place[other.id]


def test_differences_name_the_place() -> None:
    assert difference({"a": [1, 2.0]}, {"a": [1, 2.0]}) == ""
    assert difference({"a": [1, 2.0]}, {"a": [1, 3.0]}) == "section['a'][1] is '2.0' or '3.0'"
    assert difference({"a": 1}, {"b": 1}) == "section has 'a' on one side only"
    assert difference([1], []) == "section has 1 entries or 0"
    assert difference([1.0], [1.00001], 1e-4) == ""
    assert difference([1.0], [1.1], 1e-4) == "section[0] is 1.0 or 1.1"
