"""What the fields of a spec may be: a word is taken for what it means, anything else is refused where it is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tori.errors import BadSettings
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Fallback, Missed, Overlap, Priority, Resources, TaskSpec
from tori.scheduler.trial import try_out
from tori.scheduler.trigger import AfterTrigger, CronTrigger, EventTrigger, IntervalTrigger


def spec(**fields: Any) -> TaskSpec:
    return TaskSpec(task_id="t", task_type="user", **fields)


@pytest.mark.parametrize(
    ("fields", "meant"),
    [
        ({"priority": "high"}, Priority.HIGH),
        ({"priority": "BACKGROUND"}, Priority.BACKGROUND),
        ({"priority": 0}, Priority.CRITICAL),
        ({"overlap": "skip"}, Overlap.SKIP),
        ({"overlap": "Replace"}, Overlap.REPLACE),
        ({"missed": "skip"}, Missed.SKIP),
        ({"watches": ["reader"]}, ("reader",)),
        ({"max_queued": 5.0}, 5),
    ],
)
def test_a_word_is_taken_for_what_it_means(fields: dict[str, Any], meant: object) -> None:
    [name] = fields
    found = getattr(spec(**fields), name)
    assert found == meant
    assert type(found) is type(meant)
    assert isinstance(found, (tuple, int)) or found is meant


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"trigger": "30 6 * * *"}, 'Write CronTrigger("30 6 * * *")'),
        ({"trigger": IntervalTrigger}, "trigger of task t"),
        ({"trigger": 30}, "IntervalTrigger"),
        ({"priority": "hihg"}, "'hihg' is no such word. Write one of critical, high, normal, low, background."),
        ({"priority": 5}, "5 is no such word"),
        ({"priority": True}, "True is no such word"),
        ({"priority": None}, "None is no such word"),
        ({"overlap": "both"}, "Write one of skip, queue, replace, allow."),
        ({"missed": "never"}, "Write one of one, skip, all."),
        ({"resources": {"num_cpus": 1}}, "Write Resources"),
        ({"retry": 3}, "Write RetryPolicy"),
        ({"fallback": "small"}, "Write Fallback"),
        ({"group": None}, "group: None cannot stand there"),
        ({"timeout_s": "60"}, "timeout_s of task t: '60' is no number. Write one, without quotes."),
        ({"timeout_s": float("inf")}, "inf is no number"),
        ({"timeout_s": 1e300}, "is too much"),
        ({"deadline_s": float("nan")}, "nan is no number"),
        ({"jitter_s": None}, "None is no number"),
        ({"max_queued": "5"}, "'5' is no whole number"),
        ({"max_at_once": 1.5, "overlap": "allow"}, "1.5 is no whole number"),
        ({"watches": "reader"}, 'Write ("name",), with the comma.'),
    ],
)
def test_a_spec_of_another_type_is_refused_and_says_what_to_write(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(BadSettings) as refused:
        spec(**fields)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: IntervalTrigger("30"), "'30' is no number"),  # type: ignore[arg-type]  # what people write
        (lambda: IntervalTrigger(float("inf")), "inf is no number"),
        (lambda: IntervalTrigger(1e-12), "0.001 is the least"),
        (lambda: CronTrigger(30), "cron: 30 cannot stand there"),  # type: ignore[arg-type]  # what people write
        (lambda: CronTrigger("* * * * *", None), "timezone: None"),  # type: ignore[arg-type]  # what people write
        (lambda: EventTrigger("alien:*"), "with the comma"),  # type: ignore[arg-type]  # its letters would be topics
        (lambda: EventTrigger(("*",), min_gap_s=float("nan")), "nan is no number"),
        (lambda: AfterTrigger("other"), "with the comma"),  # type: ignore[arg-type]  # its letters would be tasks
        (lambda: Resources(num_cpus="2"), "'2' is no number"),  # type: ignore[arg-type]  # what people write
        (lambda: Resources(memory_bytes=0.5), "0.5 is no whole number"),  # type: ignore[arg-type]  # what people write
        (lambda: Resources(custom=["gpu"]), 'Write custom={"name": 1}'),  # type: ignore[arg-type]  # what people write
        (lambda: Resources(custom={1: 1}), "Name a resource by a text"),  # type: ignore[dict-item]  # what people write
        (lambda: Resources(custom={"CPU": 1}), "CPU is no custom resource. CPUs stand in num_cpus"),
        (lambda: Resources(custom={"memory": 1e9}), "memory is no custom resource"),
        (lambda: Resources(custom={"GPU": 1.5}), "1.5 GPU is no amount that Ray can reserve"),
        (lambda: Resources(num_cpus=0.00001), "1e-05 CPU is no amount that Ray can reserve. 0.0001 is the least"),
        (lambda: RetryPolicy(retries="3"), "'3' is no whole number"),  # type: ignore[arg-type]  # what people write
        (lambda: RetryPolicy(max_backoff_s=float("inf")), "inf is no number"),
        (lambda: RetryPolicy(backoff_factor=1e6), "1,000 is the most"),
        (lambda: Fallback(variant=None), "variant: None"),  # type: ignore[arg-type]  # what people write
        (lambda: Fallback(resources=0.5), "Write Resources"),  # type: ignore[arg-type]  # what people write
        (lambda: Fallback(timeout_s=float("inf")), "inf is no number"),
    ],
)
def test_parts_of_another_type_are_refused(make: Callable[[], object], says: str) -> None:
    with pytest.raises(BadSettings) as refused:
        make()
    assert says in str(refused.value)


def test_lists_and_whole_floats_are_taken() -> None:
    assert AfterTrigger(["a"]).task_ids == ("a",)  # type: ignore[arg-type]  # what people write
    assert EventTrigger(["alien:*"]) == EventTrigger(("alien:*",))  # type: ignore[arg-type]  # what people write
    assert Resources(memory_bytes=1e9).memory_bytes == 10**9  # type: ignore[arg-type]  # what people write


@pytest.mark.parametrize(
    "one",
    [
        spec(),
        spec(trigger=IntervalTrigger(30), overlap="queue", missed="all", deadline_s=5, jitter_s=2),
        spec(trigger=CronTrigger("30 6 * * *"), fallback=Fallback(after_hold_s=3), retry=RetryPolicy(retries=0)),
        spec(trigger=AfterTrigger(("somebody",)), priority="low"),
        spec(trigger=EventTrigger(("*",))),
    ],
)
def test_a_trial_lets_good_tasks_pass(one: TaskSpec) -> None:
    try_out(one)


def test_a_trial_refuses_what_the_scheduler_would_die_of() -> None:
    bad = spec(trigger=IntervalTrigger(30))
    object.__setattr__(bad.trigger, "interval_s", "thirty")
    with pytest.raises(BadSettings, match=r"the scheduler cannot work with task t: TypeError: .* Correct its options"):
        try_out(bad)
