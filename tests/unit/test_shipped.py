"""Tasks that travel: what a bundle is, what is refused of one, and where it is kept."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.scheduling import Rig
from tori.errors import BadInput, BadSettings
from tori.scheduler import signal as sig
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.shipped import (
    MAX_BUNDLE_BYTES,
    Bundle,
    CodeDamaged,
    CodeShipped,
    CodeStore,
    newest,
    pack,
    python_version,
    unpack,
)
from tori.scheduler.spec import Fallback, Priority, Resources, TaskSpec
from tori.scheduler.trigger import AfterTrigger, CronTrigger, EventTrigger, IntervalTrigger

SPECS = (
    TaskSpec(task_id="a", task_type="user", trigger=CronTrigger("30 6 * * 1-5", "Europe/Berlin"), timeout_s=60),
    TaskSpec(task_id="b", task_type="user", trigger=EventTrigger(("alien:AlienDetected",)), priority=Priority.LOW),
    TaskSpec(
        task_id="c",
        task_type="user",
        trigger=AfterTrigger(("a",)),
        resources=Resources(num_cpus=0.5, custom={"gpu": 1.0}),
        retry=RetryPolicy(retries=1),
        fallback=Fallback(resources=Resources(num_cpus=0.1)),
    ),
)


def bundle(**changes: Any) -> bytes:
    specs = changes.pop("specs", SPECS)
    functions = {spec.task_id: spec.task_id.encode() for spec in specs}
    whole = Bundle("jobs", python_version(), pickle.dumps(tuple(specs)), functions)
    return msgspec.msgpack.encode(msgspec.structs.replace(whole, **changes))


def test_specs_arrive_as_they_left_each_with_its_function() -> None:
    data = pack("jobs", SPECS, {spec.task_id: spec.task_id.encode() for spec in SPECS})
    tasks = unpack(data)
    assert tuple(task.spec for task in tasks) == SPECS
    assert [task.function for task in tasks] == [b"a", b"b", b"c"]
    assert len({task.sha256 for task in tasks}) == 1
    assert pack("jobs", reversed(SPECS), {"c": b"c", "b": b"b", "a": b"a"}) == data, "content decides the name"


class Evil:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('ran')",)


class Traversing:
    def __reduce__(self) -> Any:
        return getattr, (TaskSpec, "__init__")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x00", "no bundle of tasks"),
        (b"", "no bundle of tasks"),
        (bundle(specs=()), "not one function a spec"),
        (bundle(functions={"a": b""}), "not one function a spec"),
        (bundle(python="2.7"), "packed by Python 2.7"),
        (msgspec.msgpack.encode(Bundle("j", python_version(), pickle.dumps(Evil()), {})), "speak of builtins.exec"),
        (msgspec.msgpack.encode(Bundle("j", python_version(), pickle.dumps(Traversing()), {})), "builtins.getattr"),
        (msgspec.msgpack.encode(Bundle("j", python_version(), pickle.dumps(("a",)), {"a": b""})), "no user's tasks"),
        (bundle(specs=[TaskSpec(task_id="x", task_type="alien_audit")]), "no user's tasks"),
        (b"\x00" * (MAX_BUNDLE_BYTES + 1), "more than"),
    ],
)
def test_what_is_no_bundle_is_refused_and_runs_nothing(data: bytes, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        unpack(data)


def test_specs_are_checked_again_where_they_arrive() -> None:
    greedy = TaskSpec(task_id="x", task_type="user", resources=Resources())
    msgspec.structs.force_setattr(greedy.resources, "num_cpus", 1e9)
    with pytest.raises(BadSettings, match="more than any cluster has"):
        unpack(bundle(specs=[greedy]))
    cron = CronTrigger("* * * * *")
    object.__setattr__(cron, "expression", "0 0 31 2 *")
    with pytest.raises(BadSettings, match="cron|never|fires"):
        unpack(bundle(specs=[TaskSpec(task_id="x", task_type="user", trigger=cron)]))


def old(**fields: Any) -> TaskSpec:
    """Return a spec as an earlier version took it, unchecked."""
    spec = TaskSpec(task_id="x", task_type="user")
    for name, value in fields.items():
        object.__setattr__(spec, name, value)
    return spec


@pytest.mark.parametrize(
    "fields", [{"trigger": "30 6 * * *"}, {"retry": 3}, {"resources": {"num_cpus": 1}}, {"trigger": IntervalTrigger}]
)
def test_of_a_bundle_that_was_taken_before_only_the_bad_tasks_are_left_out(fields: dict[str, Any]) -> None:
    data = bundle(specs=[*SPECS, old(**fields)])
    with pytest.raises((BadSettings, BadInput)):
        unpack(data)
    left_out: dict[str, Any] = {}
    assert tuple(task.spec for task in unpack(data, left_out.__setitem__)) == SPECS
    assert list(left_out) == ["x"]


def test_a_word_in_an_old_bundle_is_taken_for_what_it_means() -> None:
    (task,) = unpack(bundle(specs=[old(priority="low")]))
    assert task.spec.priority is Priority.LOW


def test_a_spec_that_lacks_a_field_is_no_spec() -> None:
    torn = TaskSpec(task_id="x", task_type="user", timeout_s=5)
    data = bundle(specs=[torn])
    object.__delattr__(torn, "retry")
    with pytest.raises(BadInput, match="the specs of the bundle are damaged"):
        unpack(bundle(specs=[torn]))
    object.__delattr__(torn, "task_type")
    with pytest.raises(BadInput, match="no user's tasks"):
        unpack(msgspec.msgpack.encode(Bundle("j", python_version(), pickle.dumps((torn,)), {"x": b""})))
    assert unpack(data)


@pytest.mark.parametrize("count", [0, 300])
def test_a_bundle_has_a_task_and_not_too_many(count: int) -> None:
    with pytest.raises(BadInput, match=f"has {count} tasks"):
        pack("jobs", [TaskSpec(task_id=str(n), task_type="user") for n in range(count)], {})


def test_code_is_kept_by_content_and_damage_is_found(tmp_path: Path) -> None:
    store = CodeStore(tmp_path)
    digest = store.put(b"code")
    assert store.put(b"code") == digest
    assert store.get(digest) == b"code"
    (tmp_path / "code" / digest).write_bytes(b"c0de")
    with pytest.raises(CodeDamaged, match="Ship its file again"):
        store.get(digest)
    assert store.put(b"code") == digest
    assert store.get(digest) == b"code", "shipping it again mends it"
    with pytest.raises(CodeDamaged):
        store.get("0" * 64)


def test_the_last_bundle_of_a_file_decides_which_tasks_it_has() -> None:
    records = [CodeShipped("1", "jobs", ("a", "b")), CodeShipped("2", "more", ("c",)), CodeShipped("3", "jobs", ("b",))]
    assert newest(records) == {"c": "2", "b": "3"}


def test_the_scheduler_takes_tasks_in_while_it_runs() -> None:
    rig = Rig(TaskSpec(task_id="old", task_type="user", trigger=IntervalTrigger(60)))
    new = TaskSpec(task_id="new", task_type="user", trigger=IntervalTrigger(10))
    rig.specs = (*rig.specs, new)
    rig.give(sig.SpecsAdded((new,)))
    (started,) = [i for i in rig.after(10.5) if isinstance(i, sig.StartRun)]
    assert started.spec == new
    circle = tuple(
        TaskSpec(task_id=one, task_type="user", trigger=AfterTrigger((other,))) for one, other in ("xy", "yx")
    )
    with pytest.raises(BadSettings, match="in a circle"):
        rig.give(sig.SpecsAdded(circle))
    assert set(rig.machine.specs) == {"old", "new"}, "nothing changed"
    dearer = dataclasses.replace(new, priority=Priority.HIGH)
    rig.give(sig.SpecsAdded((dearer,)))
    assert rig.machine.specs["new"] == dearer
    assert rig.machine.task("new").run_ids == [started.run_id], "what runs goes on"
