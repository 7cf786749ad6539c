"""The fuzzing module: keeps what the checks of all modules have shown.

The host makes shadow copies and hands them to ``prepare_targets``; ``run`` checks them in any process; ``conclude`` tells.
Its state is made of its own events alone. It is no part of the digest: what was tested is not what is known.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from tori.errors import BadInput
from tori.events.envelope import Event
from tori.events.system import CoverageUpdated, FuzzTestCompleted, FuzzTestStarted
from tori.ids import content_name
from tori.modules.base import Context, Fact, Module
from tori.modules.fuzzing.target import EVENTS_MAXIMUM, TARGETS_MAXIMUM, FuzzTarget, Plan

TASK = "concept_fuzz_test"
FAILURES_MAXIMUM = 200
"""Failures kept for people, newest last; older ones stay in the journal."""
CHECKS_MAXIMUM = 1_000
"""Pairs of target and relation whose latest outcome is kept; the oldest gives way."""


class Outcome(msgspec.Struct, array_like=True, frozen=True):
    """The latest, or a failed, check."""

    test_id: str
    target: str
    """``module/relation``."""
    result: str
    seed: int
    metrics: dict[str, float]
    event_id: bytes


class _State(msgspec.Struct, array_like=True):
    latest: list[Outcome]
    failures: list[Outcome]
    checks: int


class Fuzzing(Module):
    """Reports metamorphic checks as events with a seed that replays them."""

    name = "fuzzing"
    inputs: ClassVar[tuple[type, ...]] = ()
    tasks = (TASK,)
    splits = (TASK,)

    def __init__(self) -> None:
        self._latest: dict[str, Outcome] = {}
        self._failures: list[Outcome] = []
        self._checks = 0

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        """Return nothing: it takes no events."""
        return ()

    def apply(self, fact: Fact) -> None:
        assert isinstance(fact, Event), fact
        payload = fact.payload
        if not isinstance(payload, FuzzTestCompleted):
            return
        metrics = dict(sorted(payload.metrics.items()))
        outcome = Outcome(payload.test_id, payload.target, payload.result, payload.seed, metrics, fact.id)
        self._checks += 1
        self._latest.pop(outcome.target, None)
        self._latest[outcome.target] = outcome
        if len(self._latest) > CHECKS_MAXIMUM:
            del self._latest[next(iter(self._latest))]
        if outcome.result.startswith("failed"):
            self._failures = [*self._failures, outcome][-FAILURES_MAXIMUM:]

    def standing(self) -> Iterator[bytes]:
        yield from (o.event_id for o in (*self._latest.values(), *self._failures))

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(_State(list(self._latest.values()), self._failures, self._checks))

    def restore(self, data: bytes) -> None:
        state = msgspec.msgpack.decode(data, type=_State)
        self._latest = {o.target: o for o in state.latest}
        self._failures = state.failures
        self._checks = state.checks

    def validate(self) -> None:
        """Bounds hold, and every failure kept is one."""
        assert len(self._latest) <= CHECKS_MAXIMUM, len(self._latest)
        assert len(self._failures) <= FAILURES_MAXIMUM, len(self._failures)
        assert all(o.result.startswith("failed") for o in self._failures), "a kept failure did not fail"
        assert self._checks >= len(self._latest), (self._checks, len(self._latest))

    def prepare_targets(self, targets: Sequence[FuzzTarget], seed: int) -> bytes:
        """Return the input of a run over ``targets``; the host calls this in place of ``prepare``.

        The same targets and seed give the same verdicts. Raises BadInput over the limits on targets and events.
        """
        if len(targets) > TARGETS_MAXIMUM:
            raise BadInput(f"{len(targets)} targets.", remedy=f"At most {TARGETS_MAXIMUM} a run.", field="targets")
        for target in targets:
            if len(target.events) > EVENTS_MAXIMUM:
                remedy = f"At most {EVENTS_MAXIMUM} a target."
                raise BadInput(f"{len(target.events)} events for {target.name}.", remedy=remedy, field="events")
        return msgspec.msgpack.encode(Plan(seed, tuple(targets)))

    def prepare(self, task: str) -> bytes:
        """Return a run without targets: a module knows no other one; see ``prepare_targets``."""
        _known(task)
        return self.prepare_targets((), 0)

    @classmethod
    def run(cls, task: str, data: bytes) -> bytes:
        from tori.modules.fuzzing.check import run_plan

        _known(task)
        return msgspec.msgpack.encode(run_plan(msgspec.msgpack.decode(data, type=Plan)))

    @classmethod
    def run_shard(cls, task: str, data: bytes, index: int, count: int) -> bytes:
        from tori.modules.fuzzing.check import run_plan

        _known(task)
        return msgspec.msgpack.encode(run_plan(msgspec.msgpack.decode(data, type=Plan), index, count))

    @classmethod
    def merge(cls, task: str, shards: Sequence[bytes]) -> bytes:
        from tori.modules.fuzzing.check import Verdict, merge_verdicts

        _known(task)
        return msgspec.msgpack.encode(merge_verdicts([msgspec.msgpack.decode(s, type=list[Verdict]) for s in shards]))

    def conclude(self, task: str, result: bytes, context: Context) -> Sequence[Fact]:
        from tori.modules.fuzzing.check import Verdict

        _known(task)
        facts: list[Fact] = []
        seen = {name: outcome.test_id for name, outcome in self._latest.items()}
        for verdict in msgspec.msgpack.decode(result, type=list[Verdict]):
            name = f"{verdict.target}/{verdict.relation}"
            if seen.get(name) == verdict.test_id:
                continue
            seen[name] = verdict.test_id
            started = context.event(FuzzTestStarted(verdict.test_id, name, "", verdict.seed), key=name)
            payload = FuzzTestCompleted(verdict.test_id, name, verdict.result, verdict.seed, verdict.metrics)
            facts += [started, context.event(payload, key=name, causes=(started.id,))]
        if facts:
            facts.append(self._coverage(facts, seen, context))
        return facts

    def _coverage(self, facts: Sequence[Fact], seen: Mapping[str, str], context: Context) -> Event:
        done = [f for f in facts if isinstance(f, Event) and isinstance(f.payload, FuzzTestCompleted)]
        results = [f.payload.result for f in done if isinstance(f.payload, FuzzTestCompleted)]
        metrics = {
            "targets": float(len({name.partition("/")[0] for name in seen})),
            "relations": float(len({name.partition("/")[2] for name in seen})),
            "pairs": float(len(seen)),
            "checks": float(self._checks + len(done)),
        }
        for kind in ("passed", "failed", "skipped"):
            metrics[kind] = float(sum(r.startswith(kind) for r in results))
        test_id = content_name("coverage", *(f"{k}={v}" for k, v in sorted(seen.items())))
        payload = CoverageUpdated(test_id, "all", f"{len(seen)} pairs covered", 0, metrics)
        return context.event(payload, causes=tuple(f.id for f in done))

    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "findings":
            return self._findings(arguments)
        if name == "summary":
            _only(arguments)
            failing = sum(o.result.startswith("failed") for o in self._latest.values())
            return {
                "checks": self._checks,
                "pairs": len(self._latest),
                "failing": failing,
                "failures": len(self._failures),
            }
        if name == "find":
            _only(arguments, "id")
            wanted = arguments.get("id", "")
            for outcome in (*reversed(self._latest.values()), *reversed(self._failures)):
                if wanted == outcome.test_id:
                    return {"event_id": outcome.event_id.hex()}
            return {}
        raise BadInput(f"module fuzzing cannot answer {name!r}.", remedy="It answers: find, findings, summary.")

    def _findings(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        _only(arguments, "limit")
        limit = arguments.get("limit", 20)
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 0:
            raise BadInput(f"limit is {limit!r}.", remedy="Give a whole number of at least 0.", field="limit")
        newest = self._failures[::-1][:limit]
        covered = {name: outcome.result.partition(":")[0] for name, outcome in sorted(self._latest.items())}
        return {"checks": self._checks, "items": [_item(o) for o in newest], "covered": covered}


def _item(outcome: Outcome) -> dict[str, Any]:
    module, _, relation = outcome.target.partition("/")
    return {
        "id": outcome.test_id,
        "module": module,
        "relation": relation,
        "result": outcome.result,
        "seed": outcome.seed,
        "metrics": outcome.metrics,
        "event_id": outcome.event_id.hex(),
    }


def _known(task: str) -> None:
    if task != TASK:
        raise BadInput(f"module fuzzing has no task {task!r}.", remedy=f"It has: {TASK}.", field="task")


def _only(arguments: Mapping[str, Any], *known: str) -> None:
    for name in arguments:
        if name not in known:
            remedy = f"It takes: {', '.join(known) or 'no arguments'}."
            raise BadInput(f"unknown argument {name!r}.", remedy=remedy, field=name)
