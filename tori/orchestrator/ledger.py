"""The orchestrator's memory: what ran, what failed, what was found, as a projection of everybody's events.

Its journal is where the orchestrator's machines speak (system, module, task, recovery and checkpoint events); it also follows
the modules' journals for what a status line and the morning report need.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

import msgspec

from tori.alerts.outbox import AlertRecord, Outbox, OutboxState
from tori.events import mind, system
from tori.events.catalogue import ENTRIES
from tori.events.envelope import Event
from tori.ids import source_suffix
from tori.modules.base import Context, Fact, Module
from tori.modules.registry import FOLLOWS
from tori.orchestrator.placement import LedgerRecord
from tori.orchestrator.record import CHECK_ENDED, CHECKED, HELD, READY
from tori.orchestrator.state import State
from tori.scheduler.hearing import Hearing
from tori.scheduler.recent import Recent
from tori.scheduler.signal import TaskTriggered
from tori.scheduler.trigger import Trigger
from tori.trends.book import TrendBook, TrendsSampled, TrendState, alert_row, sentence

KEPT_RUNS = 2_000
KEPT_OF_TASK = 50
"""Runs of one task: what runs every few seconds does not push out what runs once a night."""
KEPT_PROBLEMS = 200
KEPT_FINDINGS = 200
KEPT_CHECKPOINTS = 100
KEPT_FAILURES = 16
"""A module; more than supervision allows within its window."""

_TASKS = (system.TaskStarted, system.TaskCompleted, system.TaskFailed, system.TaskCancelled)
_PROBLEMS = (
    system.ErrorOccurred,
    system.RecoveryAttempted,
    system.RecoverySucceeded,
    system.RecoveryFailed,
    system.StateCorrupted,
    system.StateRecovered,
    system.ResourceThresholdExceeded,
    system.ResourceRecovered,
    system.MemoryPressure,
    system.CPUPressure,
    system.PerformanceAlert,
    system.SubscriptionLagged,
    system.DeliveryDeadLettered,
)
_FINDINGS = (
    mind.WormholeCreated,
    mind.WormholeRemoved,
    mind.WormholeSuggested,
    mind.AlienDetected,
    mind.AlienResolved,
    mind.ScarDetected,
    mind.ScarHealed,
    mind.SuggestionAccepted,
    mind.SuggestionRejected,
    mind.BraidFormed,
    mind.BraidDissolved,
    mind.ThreadCreated,
    mind.ThreadAppended,
    mind.ThreadClosed,
    mind.IngestProgressed,
    system.FuzzTestStarted,
    system.FuzzTestCompleted,
    system.CoverageUpdated,
    system.ChaosInjected,
    system.BenchmarkCompleted,
    system.ClientConnected,
    system.ClientDisconnected,
    system.ClientMessage,
    system.CustomEvent,
)
_OWN = (
    system.SystemStarted,
    system.SystemShutdown,
    system.ModuleInitialized,
    system.ModuleShutdown,
    system.ModuleStateChanged,
    system.CheckpointCreated,
    system.CheckpointLoaded,
    system.MindRewound,
    system.MetricsCollected,
    system.HotReloadTriggered,
    system.HotReloadCompleted,
    system.HotReloadFailed,
    system.WorkThrottled,
    system.AlertUndelivered,
)


@lru_cache(maxsize=8)
def _sources(names: tuple[str, ...]) -> dict[bytes, str]:
    return {source_suffix(name, b"")[:4]: name for name in names}


def source_of(event: Event) -> str:
    """Return the journal that an event's id names, also a user's module's; empty when it is none that the ledger follows."""
    return _sources((*FOLLOWS["orchestrator"], "orchestrator")).get(event.id[8:12], "")


class RunLine(msgspec.Struct, array_like=True):
    """One run of a task, as a person wants to see it."""

    run_id: str
    task_id: str
    task_type: str
    state: str
    attempt: int
    started_ns: int
    duration_s: float | None = None
    error: str | None = None
    event_id: bytes = b""
    """Its latest event."""


class Problem(msgspec.Struct, array_like=True, frozen=True):
    """Something that went wrong or came back."""

    event_id: bytes
    type: str
    subject: str
    message: str


class _State(msgspec.Struct, array_like=True):
    runs: list[RunLine]
    problems: list[Problem]
    findings: list[tuple[bytes, str]]
    counts: list[tuple[str, int]]
    modules: list[tuple[str, str]]
    metrics: list[tuple[str, float]]
    checkpoint_id: str
    starts: list[tuple[str, int]] = []
    checkpoints: list[tuple[str, bytes]] = []
    trends: TrendState | None = None
    outbox: OutboxState | None = None
    codes: list[tuple[str, str]] = []
    failures: list[tuple[str, list[int]]] = []
    checked: list[str] = []


class Ledger(Module):
    """Keeps runs, problems, findings, module states and the last value of every metric, all bounded."""

    name = "orchestrator"
    records = LedgerRecord
    inputs: ClassVar[tuple[type, ...]] = (*_TASKS, *_PROBLEMS, *_FINDINGS, *_OWN)

    def __init__(self, triggers: Mapping[str, Trigger] | None = None) -> None:
        self.on_trigger: Callable[[str, str], None] = lambda task_id, cause: None
        """Called with a task and the id of the event that makes it due, when that is written."""
        self.listen(triggers or {})
        self.runs: Recent[RunLine] = Recent(KEPT_RUNS)
        self.problems: deque[Problem] = deque(maxlen=KEPT_PROBLEMS)
        self.findings: deque[tuple[bytes, str]] = deque(maxlen=KEPT_FINDINGS)
        self.counts: Counter[str] = Counter()
        self.modules: dict[str, str] = {}
        self.starts: dict[str, int] = {}
        """Incarnation of every module that was started and has not been stopped since."""
        self.failures: dict[str, list[int]] = {}
        """By module, when it failed last, wall ns; forgotten when a person, or its node's return, starts it again."""
        self.checked: set[str] = set()
        """Modules that are paused for nothing but a check of their recovery."""
        self.metrics: dict[str, float] = {}
        self.checkpoint_id = ""
        self.checkpoints: dict[str, bytes] = {}
        """By id, the event that tells of it."""
        self.trends = TrendBook()
        self.outbox = Outbox()
        self.on_alert: Callable[[], None] = lambda: None
        """Called when an alert waits."""
        self.codes: dict[str, str] = {}
        """By module that was reloaded since the cluster was started, what tells its code from that of the processes before."""

    def listen(self, triggers: Mapping[str, Trigger]) -> None:
        """Note from now on which tasks events make due; ``triggers``: of all tasks."""
        self._hearing = Hearing(triggers)
        wanted = [e.payload for e in ENTRIES if self._hearing.types >> e.number & 1]
        self.inputs = tuple(dict.fromkeys((*type(self).inputs, *wanted)))  # type: ignore[misc]  # this one follows more

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Note which tasks the batch makes due, in the unit that consumes it: each event counts exactly once."""
        return self.witness(batch)

    def witness(self, events: Sequence[Event]) -> Sequence[Fact]:
        """Note which tasks events make due, those of the own journal in the unit that writes them."""
        if not self._hearing.types:
            return []
        return [
            TaskTriggered(task_id, event.id.hex())
            for event in events
            for task_id in self._hearing.due(event, source_of(event))
        ]

    def apply(self, fact: Fact) -> None:
        if not isinstance(fact, Event):
            self._apply_record(fact)
            return
        if self.outbox.take(fact):
            self.on_alert()
        payload = fact.payload
        self.counts[fact.type] += 1
        if isinstance(payload, _TASKS):
            self._apply_task(fact, payload)
        elif isinstance(payload, _PROBLEMS):
            self.problems.append(Problem(fact.id, fact.type, *_describe(payload)))
            if isinstance(payload, system.PerformanceAlert):
                self.trends.told(fact)
        elif isinstance(payload, system.ModuleStateChanged):
            self._apply_state(payload, fact.time_ns)
        elif isinstance(payload, system.MetricsCollected):
            self.metrics[payload.metric] = payload.value
        elif isinstance(payload, system.CheckpointCreated):
            self.checkpoint_id = payload.checkpoint_id
            self._remember(payload.checkpoint_id, fact.id)
        elif isinstance(payload, system.MindRewound):
            self._remember(payload.rewind_id, fact.id)
        elif isinstance(payload, (system.SystemStarted, system.HotReloadCompleted)):
            self._apply_code(payload)
        elif isinstance(payload, (mind.WormholeCreated, mind.AlienDetected, mind.ScarDetected)):
            self.findings.append((fact.id, fact.type))

    def _apply_record(self, fact: Fact) -> None:
        if isinstance(fact, TaskTriggered):
            self.on_trigger(fact.task_id, fact.cause)
        elif isinstance(fact, TrendsSampled):
            self.trends.apply(fact)
        elif isinstance(fact, AlertRecord):
            self.outbox.apply(fact)

    def _remember(self, identifier: str, event_id: bytes) -> None:
        """Know a checkpoint, or a rewind, by its id."""
        self.checkpoints[identifier] = event_id
        while len(self.checkpoints) > KEPT_CHECKPOINTS:
            del self.checkpoints[next(iter(self.checkpoints))]

    def _apply_code(self, payload: system.SystemStarted | system.HotReloadCompleted) -> None:
        if isinstance(payload, system.HotReloadCompleted):
            self.codes[payload.module] = f"{payload.to_version}.{payload.incarnation}"
        elif payload.status == "cold":  # with a new cluster, whose processes all have the code that is installed
            self.codes = {}

    def _apply_state(self, payload: system.ModuleStateChanged, time_ns: int) -> None:
        self.modules[payload.module] = payload.new
        if payload.new == State.FAILED:
            self.failures[payload.module] = [*self.failures.get(payload.module, []), time_ns][-KEPT_FAILURES:]
        elif payload.new == State.STOPPED or payload.old in (State.DEGRADED, State.OFFLINE):
            self.failures.pop(payload.module, None)
        if payload.reason == CHECKED:
            self.checked.add(payload.module)
        elif payload.reason in (HELD, CHECK_ENDED, READY) or payload.new in (State.RUNNING, State.STOPPED):
            self.checked.discard(payload.module)
        if payload.new == State.STOPPED:
            self.starts.pop(payload.module, None)
        elif payload.incarnation:
            self.starts[payload.module] = payload.incarnation

    def _apply_task(self, event: Event, payload: Any) -> None:
        state = {
            "TaskStarted": "running",
            "TaskCompleted": "succeeded",
            "TaskFailed": "failed",
            "TaskCancelled": "cancelled",
        }
        old = self.runs.get(payload.run_id)
        started_ns = old.started_ns if old is not None else event.time_ns
        line = RunLine(
            payload.run_id,
            payload.task_id,
            payload.task_type,
            state[event.type],
            payload.attempt,
            started_ns,
            payload.duration_s,
            payload.error,
            event.id,
        )
        self.runs.put(line.run_id, line, line.task_id, KEPT_OF_TASK)

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(
            _State(
                list(self.runs),
                list(self.problems),
                list(self.findings),
                sorted(self.counts.items()),
                sorted(self.modules.items()),
                sorted(self.metrics.items()),
                self.checkpoint_id,
                sorted(self.starts.items()),
                list(self.checkpoints.items()),
                self.trends.snapshot(),
                self.outbox.snapshot(),
                sorted(self.codes.items()),
                sorted(self.failures.items()),
                sorted(self.checked),
            )
        )

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self.runs.clear()
        for line in state.runs:
            self.runs.put(line.run_id, line, line.task_id, KEPT_OF_TASK)
        self.problems = deque(state.problems, maxlen=KEPT_PROBLEMS)
        self.findings = deque(state.findings, maxlen=KEPT_FINDINGS)
        self.counts = Counter(dict(state.counts))
        self.modules = dict(state.modules)
        self.metrics = dict(state.metrics)
        self.checkpoint_id = state.checkpoint_id
        self.starts = dict(state.starts)
        self.checkpoints = dict(state.checkpoints)
        self.trends.restore(state.trends or TrendState())
        self.outbox.restore(state.outbox or OutboxState())
        self.codes = dict(state.codes)
        self.failures = dict(state.failures)
        self.checked = set(state.checked)

    def _find(self, identifier: str) -> bytes:
        """Return the latest event about a run, a problem or a checkpoint; empty when none is called so."""
        run = self.runs.get(identifier)
        if run is not None:
            return run.event_id
        problems = (p.event_id for p in self.problems if p.event_id.hex() == identifier)
        return self.checkpoints.get(identifier, b"") or next(problems, b"")

    def _latest(self, limit: int) -> list[RunLine]:
        """Return runs, newest last; nobody's second before everybody's last."""
        seen: Counter[str] = Counter()
        ranked = []
        for age, line in enumerate(reversed(self.runs)):
            ranked.append((seen[line.task_id], age, line))
            seen[line.task_id] += 1
        chosen = sorted(ranked, key=lambda row: row[:2])[:limit]
        return [line for _, _, line in sorted(chosen, key=lambda row: -row[1])]

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """``summary``; ``runs`` {limit}, the last of each task first; ``problems`` {limit}; ``counts``; ``metrics``; ``starts``.

        ``states``; ``codes``; ``trends`` {limit}; ``failures``: by module, wall ns; ``find`` {id}: a run, a problem or a checkpoint.

        ``checked``: modules that are paused for a check only.
        """
        limit = int(arguments.get("limit", 50))
        if name == "summary":
            return {"events": sum(self.counts.values()), "types": len(self.counts), "runs": len(self.runs)}
        if name == "runs":
            rows = [msgspec.structs.asdict(r) for r in self._latest(limit)]
            return [row | {"event_id": row["event_id"].hex()} for row in rows]
        if name == "problems":
            return [
                {"id": p.event_id.hex(), "type": p.type, "subject": p.subject, "message": p.message}
                for p in list(self.problems)[-limit:]
            ]
        tables: dict[str, Mapping[str, Any]] = {
            "counts": self.counts,
            "metrics": self.metrics,
            "starts": self.starts,
            "states": self.modules,
            "failures": self.failures,
            "codes": self.codes,
        }
        if name in tables:
            return dict(sorted(tables[name].items()))
        if name == "checked":
            return sorted(self.checked)
        if name == "trends":
            return self.trends.rows(limit)
        if name == "find":
            found = self._find(str(arguments.get("id", "")))
            return {"event_id": found.hex()} if found else {}
        return super().query(name, arguments)


def _describe(payload: Any) -> tuple[str, str]:
    """Return (subject, message) of a problem."""
    if isinstance(payload, system.DeliveryDeadLettered):
        return payload.subscriber, f"{payload.event_type} {payload.key}: {payload.error_type}: {payload.error}"
    if isinstance(payload, system.SubscriptionLagged):
        return payload.subscriber, f"{payload.state}, {payload.lag} events behind {payload.journal}"
    if isinstance(payload, system.StateCorrupted):
        return ", ".join(payload.modules), f"{payload.digest or 'damaged'} ({payload.path or payload.checkpoint_id})"
    if isinstance(payload, system.PerformanceAlert):
        return payload.metric, sentence(alert_row(payload, b""))
    subject = getattr(payload, "module", None) or getattr(payload, "resource", None) or ""
    message = getattr(payload, "message", None)
    if message is None:
        usage, threshold = getattr(payload, "usage", None), getattr(payload, "threshold", None)
        message = f"{usage:.3g} against {threshold:g}" if usage is not None else str(getattr(payload, "path", "") or "")
    return str(subject), str(message)
