"""The fuzzing module as its host sees it: verdicts become events, failures stay to be seen, nothing is said twice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.modules import Bench, ingested
from tests.support.tiny_reader import read
from tori.errors import BadInput, BadSettings
from tori.events.document import Document
from tori.events.system import CoverageUpdated, FuzzTestCompleted, FuzzTestStarted
from tori.modules.fuzzing import Fuzzing, FuzzTarget
from tori.modules.fuzzing import module as subject
from tori.modules.fuzzing.check import Verdict
from tori.modules.fuzzing.relations import RELATIONS
from tori.modules.reader import Reader
from tori.scheduler.spec import Resources, TaskSpec

ALIEN = "tori.modules.alien:Alien"


def alien_target() -> FuzzTarget:
    """The alien module over five years of notes with a burst in the last but one."""
    documents = []
    for year in range(2001, 2006):
        for i in range(12):
            topic = "steering council election" if year == 2004 and i < 10 else f"garden topic {'abc'[i % 3]}"
            time_ns = int(datetime(year, i + 1, 3, tzinfo=UTC).timestamp()) * 10**9
            documents.append(Document(f"{year}-{i}", topic, f"We speak of {topic}. It is {topic}.", time_ns))
    told = ingested(documents)
    return FuzzTarget("alien", ALIEN, b"", tuple(told + read(documents, told)))


def conclude(bench: Bench, *verdicts: Verdict) -> list[str]:
    import msgspec

    result = msgspec.msgpack.encode(list(verdicts))
    return [e.type for e in bench.commit(bench.module.conclude("concept_fuzz_test", result, bench.context()))]


def verdict(test_id: str, result: str, relation: str = "event_order") -> Verdict:
    return Verdict(test_id, "alien", relation, result, 7, {"events": 3.0, "a": 1.0})


def fuzzing() -> tuple[Bench, Fuzzing]:
    module = Fuzzing()
    return Bench(module), module


def test_a_run_over_a_real_module_passes_and_is_told() -> None:
    bench, module = fuzzing()
    data = module.prepare_targets([alien_target()], 11)
    result = Fuzzing.run("concept_fuzz_test", data)
    events = bench.commit(module.conclude("concept_fuzz_test", result, bench.context()))
    done = [e for e in events if isinstance(e.payload, FuzzTestCompleted)]
    assert {e.payload.result for e in done} == {"passed"}  # type: ignore[union-attr]  # filtered above
    assert [e.payload.target for e in done] == [f"alien/{r}" for r in sorted(RELATIONS)]  # type: ignore[union-attr]  # as above
    assert all(len(e.causes) == 1 for e in done)
    assert sum(isinstance(e.payload, FuzzTestStarted) for e in events) == len(done)
    coverage = events[-1].payload
    assert isinstance(coverage, CoverageUpdated)
    assert coverage.metrics["pairs"] == coverage.metrics["passed"] == len(RELATIONS)
    assert module.conclude("concept_fuzz_test", result, bench.context()) == []
    module.validate()


def test_failures_stay_to_be_seen_after_a_later_pass() -> None:
    bench, module = fuzzing()
    assert conclude(bench, verdict("t1", "failed: x")) == ["FuzzTestStarted", "FuzzTestCompleted", "CoverageUpdated"]
    conclude(bench, verdict("t2", "passed"))
    answer = module.query("findings", {"limit": 5})
    assert [(i["id"], i["module"], i["relation"], i["seed"]) for i in answer["items"]] == [
        ("t1", "alien", "event_order", 7)
    ]
    assert answer["covered"] == {"alien/event_order": "passed"}
    assert module.query("summary", {}) == {"checks": 2, "pairs": 1, "failing": 0, "failures": 1}
    completed = [e for e in bench.events.values() if isinstance(e.payload, FuzzTestCompleted)]
    assert module.query("find", {"id": "t1"}) == {"event_id": completed[0].id.hex()}
    assert module.query("find", {"id": "t2"}) == {"event_id": completed[1].id.hex()}
    assert module.query("find", {"id": "t3"}) == {}


def test_a_snapshot_is_the_whole_state() -> None:
    bench, module = fuzzing()
    conclude(bench, verdict("t1", "failed: x"), verdict("t2", "skipped: y", "batch_borders"))
    copy = Fuzzing()
    copy.restore(module.snapshot())
    assert copy.snapshot() == module.snapshot()
    replayed = Fuzzing()
    for fact in bench.facts:
        replayed.apply(fact)
    assert replayed.snapshot() == module.snapshot()
    assert module.section() is None


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FAILURES_MAXIMUM", 3)
    monkeypatch.setattr(subject, "CHECKS_MAXIMUM", 4)
    bench, module = fuzzing()
    for i in range(9):
        conclude(bench, verdict(f"t{i}", "failed: x", f"relation-{i}"))
    module.validate()
    assert [i["id"] for i in module.query("findings", {})["items"]] == ["t8", "t7", "t6"]
    assert module.query("summary", {})["pairs"] == 4


def test_a_pass_without_targets_says_nothing() -> None:
    bench, _ = fuzzing()
    assert bench.scan("concept_fuzz_test") == []


def test_fuzzing_itself_can_be_a_target() -> None:
    _, module = fuzzing()
    own = FuzzTarget("fuzzing", "tori.modules.fuzzing:Fuzzing", module.snapshot())
    bench, _ = fuzzing()
    result = Fuzzing.run("concept_fuzz_test", module.prepare_targets([own], 1))
    events = bench.commit(bench.module.conclude("concept_fuzz_test", result, bench.context()))
    assert events[-1].payload.metrics["passed"] == len(RELATIONS)  # type: ignore[union-attr]  # CoverageUpdated


def test_limits_are_refused_with_their_numbers() -> None:
    module = Fuzzing()
    target = alien_target()
    with pytest.raises(BadInput, match="At most 16"):
        module.prepare_targets([target] * 17, 0)
    many = FuzzTarget("alien", ALIEN, b"", target.events[:1] * 5001)
    with pytest.raises(BadInput, match="At most 5000"):
        module.prepare_targets([many], 0)


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("gaps", {}, "find, findings, summary"),
        ("findings", {"limit": -1}, "limit"),
        ("findings", {"limit": "5"}, "limit"),
        ("summary", {"limit": 1}, "no arguments"),
    ],
)
def test_a_wrong_question_is_refused_by_name(name: str, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Fuzzing().query(name, arguments)


def test_a_wrong_task_is_refused() -> None:
    with pytest.raises(BadInput, match="concept_fuzz_test"):
        Fuzzing().prepare("alien_audit")


def test_shards_together_say_what_one_run_says() -> None:
    data = Fuzzing().prepare_targets([alien_target()], 11)
    whole = Fuzzing.run("concept_fuzz_test", data)
    for count in (2, 3, 2 * len(RELATIONS)):
        shards = [Fuzzing.run_shard("concept_fuzz_test", data, index, count) for index in range(count)]
        assert Fuzzing.merge("concept_fuzz_test", shards) == whole, count
    with pytest.raises(BadInput, match="cannot be split"):
        Reader.run_shard("concept_selection", b"", 0, 2)
    with pytest.raises(BadInput, match="cannot be split"):
        Reader.merge("concept_selection", [])


def test_parts_of_resources_add_up() -> None:
    part = Resources(num_cpus=3, memory_bytes=900, custom={"disk": 1.0}).part(3)
    assert part == Resources(num_cpus=1, memory_bytes=300, custom={"disk": 0.3333})
    with pytest.raises(BadSettings, match="shards"):
        TaskSpec(task_id="x", task_type="x", shards=0)
