"""Task specs: what is to run, when, how urgent, on what, for how long, and how often again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from hashlib import blake2b

import msgspec

from tori.clock import SECOND_NS
from tori.errors import BadSettings
from tori.modules.registry import START_ORDER
from tori.scheduler.field import check_kind, check_number, read_names, read_whole, read_word
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.trigger import DemandTrigger, IntervalTrigger, Trigger


class Priority(IntEnum):
    """Urgency of a task; smaller goes first."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3
    BACKGROUND = 4


MOST_OF_A_RESOURCE = 100_000
"""Ray's largest published clusters have tens of thousands of CPUs; more is a slip of the pen, and would wait for ever."""
LEAST_OF_A_RESOURCE = 0.0001
"""Ray counts in such steps."""
_NAMED_ELSEWHERE = {"CPU", "memory", "object_store_memory"}
MOST_MEMORY_BYTES = 1 << 45
"""32 TiB, more than one node has."""


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """What Ray reserves for an attempt."""

    num_cpus: float = 1.0
    memory_bytes: int = 0
    """0 = not limited."""
    custom: dict[str, float] = {}
    """By name; ``GPU`` means Ray's GPUs."""

    def __post_init__(self) -> None:
        check_kind("custom", self.custom, dict, 'Write custom={"name": 1}.')
        if elsewhere := sorted(_NAMED_ELSEWHERE & self.custom.keys()):
            raise BadSettings(
                f"{elsewhere[0]} is no custom resource.", remedy="CPUs stand in num_cpus, memory in memory_bytes."
            )
        msgspec.structs.force_setattr(self, "memory_bytes", read_whole("memory_bytes", self.memory_bytes))
        for name, amount in (("CPU", self.num_cpus), *self.custom.items()):
            check_kind("custom", name, str, "Name a resource by a text.")
            check_number(name, amount, float("inf"))
            if 0 < amount < LEAST_OF_A_RESOURCE or (name == "GPU" and amount > 1 and amount != int(amount)):
                raise BadSettings(
                    f"{amount:g} {name} is no amount that Ray can reserve.",
                    remedy=f"{LEAST_OF_A_RESOURCE} is the least, and more than one GPU is a whole number.",
                )
            if not 0 <= amount <= MOST_OF_A_RESOURCE:
                raise BadSettings(
                    f"{amount:g} {name} is more than any cluster has, or less than nothing.",
                    remedy=f"Ask for 0 to {MOST_OF_A_RESOURCE:,}.",
                )
        if not 0 <= self.memory_bytes <= MOST_MEMORY_BYTES:
            raise BadSettings(
                f"{self.memory_bytes} bytes of memory is more than any node has, or less than nothing.",
                remedy=f"Ask for 0 to {MOST_MEMORY_BYTES:,}.",
            )

    def part(self, count: int) -> Resources:
        """Return one of ``count`` equal parts; Ray counts CPUs and custom resources in steps of 0.0001."""
        custom = {name: round(amount / count, 4) for name, amount in self.custom.items()}
        return Resources(
            num_cpus=round(self.num_cpus / count, 4), memory_bytes=self.memory_bytes // count, custom=custom
        )


class Overlap(StrEnum):
    """What becomes of a run that is due while an earlier one of its task has not ended."""

    SKIP = "skip"
    """It is skipped, and counted."""
    QUEUE = "queue"
    """It waits; up to ``max_queued`` do."""
    REPLACE = "replace"
    """The earlier one is cancelled, and it begins when that has ended."""
    ALLOW = "allow"
    """Up to ``max_at_once`` run side by side."""


class Missed(StrEnum):
    """What becomes of due times that passed while nobody could look."""

    ONE = "one"
    """All of them become one run."""
    SKIP = "skip"
    """None is made up for."""
    ALL = "all"
    """Each becomes a run; ``max_queued`` bounds them, so it goes with ``queue`` or ``allow``."""


class Fallback(msgspec.Struct, frozen=True, kw_only=True):
    """A cheaper variant of a task: run when the last attempt failed, or when admission has held a run for too long."""

    variant: str = "fallback"
    """Name of the variant; whoever runs it gets it with the order."""
    resources: Resources = Resources()
    timeout_s: float = 300.0
    after_hold_s: float | None = None
    """How long admission may hold a run before the variant takes its place; None = as long as it likes."""

    def __post_init__(self) -> None:
        check_kind("variant", self.variant, str, "Name it by a text.")
        check_kind("resources of a fallback", self.resources, Resources, "Write Resources(num_cpus=0.5).")
        check_number("timeout_s of a fallback", self.timeout_s)
        check_number("after_hold_s", self.after_hold_s or 0)
        if not self.variant or not self.timeout_s > 0 or (self.after_hold_s is not None and not self.after_hold_s > 0):
            raise BadSettings("a fallback needs a variant, and positive numbers of seconds.")


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """One task. A run is one time it is due; an attempt is one try of a run. Raises BadSettings for what makes no sense."""

    task_id: str
    """Unique name; the default tasks are named after their type."""
    task_type: str
    module: str = ""
    """Whose scan it is; empty = the orchestrator's own work."""
    trigger: Trigger = field(default_factory=DemandTrigger)
    priority: Priority = Priority.NORMAL
    resources: Resources = field(default_factory=Resources)
    timeout_s: float = 300.0
    """For each attempt, from its admission."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    watches: tuple[str, ...] = ()
    """Modules whose versions it reads: a due run is skipped while none has moved. Empty = it always runs."""
    deadline_s: float | None = None
    """For a whole run, all attempts and pauses, from when it was due; None = none."""
    jitter_s: float = 0.0
    """Due times come up to this much later, each by its own share, so that tasks of one interval do not begin together."""
    overlap: Overlap = Overlap.SKIP
    missed: Missed = Missed.ONE
    max_queued: int = 100
    """Runs that wait at a time (``queue``, ``allow``); what is due beyond is skipped."""
    max_at_once: int = 1
    """Runs under way at a time, with ``allow``."""
    group: str = ""
    """Tasks of one group share the slots that the admission policy gives it."""
    fallback: Fallback | None = None
    shards: int = 1
    """Ray tasks an attempt is spread over, where its module can split the work; together they take ``resources``."""
    is_interruptible: bool = True
    """Whether an attempt ends when it is asked to, or killed; the orchestrator's own work does not: it is done in its process."""

    def __post_init__(self) -> None:
        self._read_fields()
        if not self.task_id or not self.task_type:
            raise BadSettings("a task spec needs a task_id and a task_type.")
        for name in ("timeout_s", "deadline_s"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise BadSettings(f"{name}: {value} of task {self.task_id} is not a positive number of seconds.")
        if not self.jitter_s >= 0 or min(self.max_queued, self.max_at_once, self.shards) < 1:
            raise BadSettings(
                f"task {self.task_id} needs jitter_s >= 0, and max_queued, max_at_once and shards of at least 1."
            )
        if isinstance(self.trigger, IntervalTrigger) and self.jitter_s > self.trigger.interval_s:
            raise BadSettings(
                f"jitter_s: {self.jitter_s:g} of task {self.task_id} is more than its interval of {self.trigger.interval_s:g} s.",
                remedy="A due time would come after the next one: make it smaller.",
            )
        if self.max_at_once > 1 and self.overlap is not Overlap.ALLOW:
            raise BadSettings(f"max_at_once of task {self.task_id} needs overlap = 'allow'.")
        if self.missed is Missed.ALL and self.overlap not in (Overlap.QUEUE, Overlap.ALLOW):
            raise BadSettings(f"missed = 'all' of task {self.task_id} needs overlap = 'queue' or 'allow'.")

    def _read_fields(self) -> None:
        """Take words for what they mean, and refuse what is of another type: the machine would stumble over it much later."""
        for name in ("task_id", "task_type", "module", "group"):
            check_kind(name, getattr(self, name), str, "Write a text.")
        of = f"of task {self.task_id}"
        for name, kind, remedy in _KINDS:
            check_kind(f"{name} {of}", getattr(self, name), kind, remedy)
        if self.fallback is not None:
            check_kind(f"fallback {of}", self.fallback, Fallback, 'Write Fallback(variant="small").')
        for name, seconds in (
            ("timeout_s", self.timeout_s),
            ("jitter_s", self.jitter_s),
            ("deadline_s", self.deadline_s or 0),
        ):
            check_number(f"{name} {of}", seconds)
        for name, words in (("priority", Priority), ("overlap", Overlap), ("missed", Missed)):
            object.__setattr__(self, name, read_word(f"{name} {of}", getattr(self, name), words))
        for name in ("max_queued", "max_at_once", "shards"):
            object.__setattr__(self, name, read_whole(f"{name} {of}", getattr(self, name)))
        object.__setattr__(self, "watches", read_names(f"watches {of}", self.watches))

    def resources_of(self, variant: str) -> Resources:
        """Return what Ray reserves for an attempt of a variant; empty = the task itself."""
        return self.fallback.resources if variant and self.fallback is not None else self.resources

    def timeout_of(self, variant: str) -> float:
        """Return the time-out of an attempt of a variant, in seconds."""
        return self.fallback.timeout_s if variant and self.fallback is not None else self.timeout_s

    def jitter_ns(self, due_ns: int) -> int:
        """Return how much later than ``due_ns`` the task begins: a share of ``jitter_s`` that follows from both alone."""
        if not self.jitter_s:
            return 0
        digest = blake2b(f"{self.task_id}/{due_ns}".encode(), digest_size=4).digest()
        return round(self.jitter_s * SECOND_NS * int.from_bytes(digest, "big") / 2**32)


_KINDS = (
    (
        "trigger",
        Trigger,
        'Write CronTrigger("30 6 * * *"), IntervalTrigger(30), EventTrigger(...) or AfterTrigger(...).',
    ),
    ("resources", Resources, "Write Resources(num_cpus=2)."),
    ("retry", RetryPolicy, "Write RetryPolicy(retries=3)."),
)
"""(field, what it has to be, how it is written)."""

_SCANS = (
    ("concept_selection", "reader", 30.0, Priority.HIGH),
    ("wormhole_scan", "wormhole", 30.0, Priority.NORMAL),
    ("alien_audit", "alien", 60.0, Priority.HIGH),
    ("hierarchy_optimization", "hierarchy", 120.0, Priority.NORMAL),
    ("scar_scan", "scars", 120.0, Priority.LOW),
    ("memory_cleanup", "braid", 180.0, Priority.BACKGROUND),
)
"""(task type, module, interval in seconds, priority)."""

_HOUSE = (
    ("performance_metrics", 10.0, Priority.CRITICAL),  # cheap, and wanted most when the machine is short of something
    ("state_persistence", 300.0, Priority.CRITICAL),
)


_ON_DEMAND = (
    ("concept_fuzz_test", "fuzzing", Priority.BACKGROUND),
    ("chaos_recovery", "", Priority.BACKGROUND),
    ("hot_reload", "", Priority.HIGH),
)
"""(task type, module or the orchestrator's own work, priority): nobody needs them by the clock."""
DEMANDED = tuple(name for name, _, _ in _ON_DEMAND)
RELOAD_TIMEOUT_S = 600.0
"""Several modules one after the other, each with a replay."""

SCANS = "scans"
"""Group of all scans of modules."""


def demand_specs(
    modules: Sequence[str] = START_ORDER, intervals: Mapping[str, float] | None = None, *, shards: int = 1
) -> tuple[TaskSpec, ...]:
    """Return the tasks of a system with these modules that run only when they are asked for, unless ``intervals`` names them.

    ``shards``: how many Ray tasks a scan among them is spread over.
    """
    specs = []
    for name, module, priority in _ON_DEMAND:
        if module and module not in modules:
            continue
        every_s = (intervals or {}).get(name, 0.0)
        trigger = IntervalTrigger(every_s) if every_s else DemandTrigger()
        spec = TaskSpec(
            task_id=name,
            task_type=name,
            module=module,
            trigger=trigger,
            priority=priority,
            group=SCANS if module else "",
            shards=shards if module else 1,
        )
        own = Resources(num_cpus=0)
        specs.append(
            spec if module else replace(spec, resources=own, timeout_s=RELOAD_TIMEOUT_S, is_interruptible=False)
        )
    return tuple(specs)


def default_specs(
    modules: Sequence[str] = START_ORDER, intervals: Mapping[str, float] | None = None
) -> tuple[TaskSpec, ...]:
    """Return the periodic tasks of a system with these modules; ``intervals`` replaces intervals (seconds) by task type.

    Raises BadSettings for an interval of a task that does not exist.
    """
    chosen = dict(intervals or {})
    names = [row[0] for row in (*_SCANS, *_HOUSE)]
    unknown = sorted(set(chosen) - set(names))
    if unknown:
        raise BadSettings(f"intervals: there is no periodic task {unknown[0]!r}.", remedy=f"Tasks: {', '.join(names)}.")
    scans = [
        TaskSpec(
            task_id=name,
            task_type=name,
            module=module,
            trigger=IntervalTrigger(chosen.get(name, interval_s)),
            priority=priority,
            watches=(module,),
            group=SCANS,
        )
        for name, module, interval_s, priority in _SCANS
        if module in modules
    ]
    house = [
        TaskSpec(
            task_id=name,
            task_type=name,
            trigger=IntervalTrigger(chosen.get(name, interval_s)),
            priority=priority,
            resources=Resources(num_cpus=0),
            timeout_s=60.0,
            watches=tuple(modules) if name == "state_persistence" else (),
            is_interruptible=False,
        )
        for name, interval_s, priority in _HOUSE
    ]
    return (*scans, *house)
