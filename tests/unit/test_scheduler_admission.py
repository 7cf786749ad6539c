"""Admission: what of the cluster a run may have, what no moment would give it, and who may not pass it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.scheduling import Rig, started
from tori.clock import SECOND_NS
from tori.resources.pressure import Pressure
from tori.scheduler import signal as sig
from tori.scheduler.admission import AdmitDecision, Candidate, HoldDecision, SlotPolicy, Usage, group_slots
from tori.scheduler.spec import Overlap, Priority, Resources, TaskSpec

TWO_NODES = ({"CPU": 2.0, "memory": 8.0}, {"CPU": 2.0, "memory": 4.0, "GPU": 1.0})
BUDGET = {"CPU": 4.0, "memory": 12.0, "GPU": 1.0}


def task(task_id: str, **fields: Any) -> TaskSpec:
    return TaskSpec(task_id=task_id, task_type=task_id, **fields)


def said(policy: SlotPolicy, resources: Resources, shards: int = 1) -> str:
    """Return what holds a run that wants these resources of a cluster where nothing runs; empty = nothing."""
    candidate = Candidate(Priority.NORMAL, 0, "r", "", resources, shards=shards)
    [decision] = policy.decide([candidate], 0, Pressure.NONE)
    return decision.reason if isinstance(decision, HoldDecision) else ""


# -- what there is not ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "reason"),
    [
        (Resources(custom={"accel": 1}), "it asks for 1 accel, and no node has any: it cannot start here"),
        (Resources(num_cpus=5), "it asks for 5 CPU, and the budget is 4: it cannot start here"),
        (Resources(num_cpus=3), "it asks for 3 CPU on one node, and the largest has 2: it cannot start here"),
        (
            Resources(memory_bytes=6, custom={"GPU": 1}),
            "it asks for 1 CPU and 6 memory and 1 GPU on one node, and none has them together: it cannot start here",
        ),
        (Resources(num_cpus=2, custom={"GPU": 1}), ""),
        (Resources(num_cpus=2, memory_bytes=8), ""),
        (Resources(num_cpus=0), ""),
    ],
)
def test_what_no_node_can_give_is_held_and_says_so(resources: Resources, reason: str) -> None:
    assert said(SlotPolicy(budget=BUDGET, nodes=TWO_NODES), resources) == reason


def test_before_the_cluster_is_measured_nothing_is_limited() -> None:
    assert said(SlotPolicy(), Resources(num_cpus=99, custom={"accel": 1})) == ""


def test_a_scan_that_is_split_may_lie_on_several_nodes() -> None:
    policy = SlotPolicy(budget=BUDGET, nodes=TWO_NODES)
    assert said(policy, Resources(num_cpus=4), shards=2) == ""
    assert "on one node" in said(policy, Resources(num_cpus=4))


def test_a_run_that_waits_for_a_node_begins_when_it_comes() -> None:
    budget, nodes = {"CPU": 2.0}, [{"CPU": 2.0}]
    rig = Rig(
        task("big", resources=Resources(num_cpus=3)), task("small"), admission=SlotPolicy(budget=budget, nodes=nodes)
    )
    assert started(rig.give(sig.RunRequested("big", "big"))) == []
    assert rig.machine.holds() == [("big", "it asks for 3 CPU, and the budget is 2: it cannot start here")]
    budget["CPU"] = 6.0
    nodes.append({"CPU": 4.0})
    rig.give(sig.RunRequested("small", "small"))
    assert rig.machine.run("big").is_active, "whatever happens next looks again"


def test_what_is_under_way_is_counted() -> None:
    policy = SlotPolicy(budget={"CPU": 2.0, "memory": 10.0})
    wants = [
        Candidate(Priority.NORMAL, n, f"r{n}", "", Resources(num_cpus=1, memory_bytes=memory))
        for n, memory in enumerate((4, 8, 6))
    ]
    found = policy.decide(wants, 0, Pressure.NONE)
    assert [isinstance(decision, AdmitDecision) for decision in found] == [True, False, True]
    assert found[1] == HoldDecision("r1", "it needs 8 memory, 6 of 10 are free")


# -- groups -----------------------------------------------------------------------------------------------------------


def test_tasks_of_a_group_take_turns_unless_it_has_more_slots() -> None:
    specs = (task("a", group="etl"), task("b", group="etl"), task("c"), task("d"))
    for groups, begun in (({}, ["a", "c", "d"]), ({"etl": 2}, ["a", "b", "c", "d"])):
        rig = Rig(*specs, admission=SlotPolicy(groups=groups))
        out = rig.give(*(sig.RunRequested(spec.task_id, spec.task_id) for spec in specs))
        assert [run.run_id for run in started(out)] == begun
    rig = Rig(*specs)
    rig.give(sig.RunRequested("a", "a"), sig.RunRequested("b", "b"))
    assert [run.run_id for run in started(rig.give(sig.RunFinished("a", 1)))] == ["b"]


def test_slots_by_group_are_read_as_they_are_written() -> None:
    assert group_slots("") == {}
    assert group_slots(" disk=2 ,mail server= 1") == {"disk": 2, "mail server": 1}


# -- who may not be passed --------------------------------------------------------------------------------------------


def overlapping(rig: Rig, seconds: float, until: str) -> float:
    """Let small tasks run in turns, one of two CPUs always taken; return when run ``until`` began, in seconds."""
    live = [run.run_id for run in started(rig.give(sig.RunRequested("s1", "first")))]
    rig.give(sig.RunRequested(until, until))
    for number in range(round(seconds / 10)):
        live += [run.run_id for run in started(rig.give(sig.RunRequested(f"s{number % 2}", f"{number}")))]
        rig.after(10)
        live += [run.run_id for run in started(rig.give(sig.RunFinished(live.pop(0), 1)))]
        if rig.machine.run(until).is_active:
            return rig.clock.monotonic_ns() / SECOND_NS
    return 0.0


def small(number: int) -> TaskSpec:
    return task(f"s{number}", overlap=Overlap.QUEUE, priority=Priority.HIGH)


@pytest.mark.parametrize(
    ("priority", "begins_s"), [(Priority.CRITICAL, (0, 40)), (Priority.HIGH, (300, 340)), (Priority.LOW, (600, 640))]
)
def test_a_large_run_is_passed_by_small_ones_only_until_it_is_urgent(
    priority: Priority, begins_s: tuple[float, float]
) -> None:
    large = task("large", priority=priority, resources=Resources(num_cpus=2))
    rig = Rig(large, small(0), small(1), admission=SlotPolicy(budget={"CPU": 2.0}, ageing_s=300))
    begun_s = overlapping(rig, 1200, "large")
    assert begins_s[0] < begun_s <= begins_s[1]


def test_who_is_held_for_it_is_told() -> None:
    large = task("large", priority=Priority.CRITICAL, resources=Resources(num_cpus=2))
    gpu = task("gpu", resources=Resources(num_cpus=0, custom={"GPU": 1}))
    policy = SlotPolicy(budget={"CPU": 2.0, "GPU": 1.0}, ageing_s=300)
    rig = Rig(large, small(0), small(1), gpu, admission=policy)
    rig.give(*(sig.RunRequested(task_id, task_id) for task_id in ("s0", "large", "s1", "gpu")))
    assert dict(rig.machine.holds()) == {
        "large": "it needs 2 CPU, 1 of 2 are free",
        "s1": "the CPU that is free is kept for run large, which is more urgent or has waited for long",
    }
    assert rig.machine.run("gpu").is_active, "it takes nothing of what large waits for"


@pytest.mark.parametrize("resources", [Resources(num_cpus=3), Resources(custom={"accel": 1})])
def test_nothing_is_kept_for_what_can_never_begin(resources: Resources) -> None:
    large = task("large", priority=Priority.CRITICAL, resources=resources)
    rig = Rig(large, small(0), small(1), admission=SlotPolicy(budget={"CPU": 4.0}, nodes=[{"CPU": 2.0}] * 2))
    rig.give(*(sig.RunRequested(task_id, task_id) for task_id in ("large", "s0", "s1")))
    assert [run_id for run_id, _ in rig.machine.holds()] == ["large"]


GPU_AND_CPUS = Resources(num_cpus=7, custom={"GPU": 1})


def test_what_a_pressing_run_cannot_use_yet_is_not_kept_for_it() -> None:
    policy = SlotPolicy(budget={"CPU": 8.0, "GPU": 1.0}, ageing_s=300)
    used = Usage([("", Resources(custom={"GPU": 1}))])
    now_ns = 600 * SECOND_NS
    wants = [Candidate(Priority.LOW, 0, "big", "", GPU_AND_CPUS)]
    wants += [Candidate(Priority.NORMAL, now_ns, f"n{n}", "", Resources(num_cpus=1)) for n in range(3)]
    found = policy.decide(wants, 1, Pressure.NONE, used, now_ns)
    assert found == [HoldDecision("big", "it needs 1 GPU, 0 of 1 are free"), *map(AdmitDecision, ("n0", "n1", "n2"))]


def test_a_run_that_lacks_two_kinds_in_turn_gets_both() -> None:
    """Small runs of either kind follow each other without a gap: were what it has given away, it would never have both."""
    both = Resources(num_cpus=2, custom={"GPU": 2})
    kinds = {"c": Resources(num_cpus=1), "g": Resources(num_cpus=0, custom={"GPU": 1})}
    policy = SlotPolicy(budget={"CPU": 2.0, "GPU": 2.0}, ageing_s=300)
    live = ["c", "g", "c", "g"]
    for second in range(600, 640):
        ended = live.pop(0)
        used = Usage([("", kinds[kind]) for kind in live])
        now_ns = second * SECOND_NS
        wants = [Candidate(Priority.LOW, 0, "both", "", both)]
        wants += [Candidate(Priority.NORMAL, now_ns, kind, "", kinds[kind]) for kind in (ended, *kinds)]
        begun = [
            d.run_id for d in policy.decide(wants, len(live), Pressure.NONE, used, now_ns) if type(d) is AdmitDecision
        ]
        if "both" in begun:
            return
        live += begun
        assert live
    pytest.fail("it was passed for ever")
