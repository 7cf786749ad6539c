"""A scheduler on a virtual clock, checked after every stimulus."""

from __future__ import annotations

from typing import Any

import msgspec

from tori.clock import VirtualClock
from tori.ids import IdSource, source_suffix
from tori.machine import Emit, Tick
from tori.scheduler import signal as sig
from tori.scheduler.machine import Scheduler
from tori.scheduler.retry import RetryPolicy
from tori.scheduler.spec import Priority, TaskSpec
from tori.scheduler.trigger import IntervalTrigger

SCAN = TaskSpec(
    task_id="wormhole_scan",
    task_type="wormhole_scan",
    module="wormhole",
    trigger=IntervalTrigger(30),
    timeout_s=100,
    retry=RetryPolicy(retries=2, first_backoff_s=1, max_backoff_s=8, jitter=0),
    watches=("wormhole",),
)
METRICS = TaskSpec(
    task_id="metrics", task_type="performance_metrics", trigger=IntervalTrigger(10), priority=Priority.HIGH
)
ASKED = TaskSpec(task_id="asked", task_type="asked", priority=Priority.LOW)


class Rig:
    """A scheduler with its clock; after every stimulus all invariants hold and the snapshot comes back the same."""

    def __init__(self, *specs: TaskSpec, **options: Any) -> None:
        self.clock = VirtualClock()
        self.specs = specs or (SCAN,)
        self.options = options
        self.machine = self.create()
        self.facts: list[tuple[Any, int]] = []

    def create(self) -> Scheduler:
        ids = IdSource(source_suffix("scheduler", b"t"), self.clock.wall_ns)
        return Scheduler(self.specs, self.clock, ids=ids, **self.options)

    def give(self, *stimuli: Any) -> list[Any]:
        out: list[Any] = []
        for stimulus in stimuli:
            new = self.machine.handle(stimulus)
            out += new
            self.facts += [(i.record, self.clock.wall_ns()) for i in new if isinstance(i, sig.Keep)]
            self.facts += [(i.payload, self.clock.wall_ns()) for i in new if isinstance(i, Emit)]
            self.machine.validate()
            other = self.create()
            other.restore(self.machine.snapshot())
            other.validate()
            assert other.snapshot() == self.machine.snapshot()
        return out

    def after(self, seconds: float, *stimuli: Any) -> list[Any]:
        self.clock.advance(seconds)
        return self.give(Tick(), *stimuli)

    def wait(self) -> float:
        """Return how long the machine may sleep, in seconds."""
        assert self.machine.wake_ns is not None
        return (self.machine.wake_ns - self.clock.monotonic_ns()) / 1e9

    def crash(self) -> None:
        """Start again from the facts alone."""
        self.machine = self.create()
        for fact, time_ns in self.facts:
            self.machine.apply(roundtrip(fact), time_ns)


def roundtrip(fact: Any) -> Any:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(fact), type=type(fact))


def acts(out: list[Any]) -> list[Any]:
    """Return what is to be done, without what is written."""
    return [i for i in out if not isinstance(i, (Emit, sig.Keep))]


def kept(out: list[Any]) -> list[Any]:
    """Return the private records that are written."""
    return [i.record for i in out if isinstance(i, sig.Keep)]


def started(out: list[Any]) -> list[sig.StartRun]:
    return [i for i in out if isinstance(i, sig.StartRun)]


def names(out: list[Any]) -> list[str]:
    return [type(i.payload).__name__ if isinstance(i, Emit) else type(i).__name__ for i in out]


def begin(rig: Rig, seconds: float = 30) -> sig.StartRun:
    [run] = started(rig.after(seconds))
    rig.give(sig.RunStarted(run.run_id, run.attempt))
    return run
