"""One check: a relation on a target under a seed; and a run: every relation on every target."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from tori.errors import BadInput
from tori.ids import content_name
from tori.modules.fuzzing.relations import RELATIONS, Trial
from tori.modules.fuzzing.shadow import Unread
from tori.modules.fuzzing.target import FuzzTarget, Plan

MESSAGE_MAXIMUM = 400
PASSED = "passed"


class Verdict(msgspec.Struct, array_like=True, frozen=True):
    """What one check said. ``check(target, relation, seed)`` says it again."""

    test_id: str
    """Derived from the target's state and sample, the relation and the seed."""
    target: str
    relation: str
    result: str
    """``passed``, ``failed: ...`` or ``skipped: ...``."""
    seed: int
    metrics: dict[str, float]


def seed_for(seed: int, target: FuzzTarget, relation: str) -> int:
    """Return the seed of one check of a run: 63 bits from the run's seed and the names."""
    digest = hashlib.sha256(f"{seed}\x1f{target.name}\x1f{relation}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def check(target: FuzzTarget, relation: str, seed: int) -> Verdict:
    """Return the verdict of one relation on a shadow copy of ``target``; the module's own errors are its findings.

    Raises BadInput when the relation is unknown or the target's class may not be imported.
    """
    if relation not in RELATIONS:
        raise BadInput(
            f"there is no relation {relation!r}.", remedy=f"Relations: {', '.join(RELATIONS)}.", field="relation"
        )
    trial = Trial(target, seed)
    try:
        broken = RELATIONS[relation](trial)
        result = f"failed: {broken}" if broken else PASSED
    except Unread as missing:
        result = f"skipped: {missing.message}"
    except Exception as error:
        result = f"failed: raised {type(error).__name__}: {error}"
    content = hashlib.sha256(msgspec.msgpack.encode((target, seed))).hexdigest()
    metrics = {"events": float(len(trial.events)), "state_bytes": float(len(target.snapshot))}
    test_id = content_name("fuzz", target.name, relation, content)
    return Verdict(test_id, target.name, relation, result[:MESSAGE_MAXIMUM], seed, metrics)


def run_plan(plan: Plan, index: int = 0, count: int = 1) -> list[Verdict]:
    """Return the verdicts of all relations on all targets, sorted by target and relation; or every ``count``-th from ``index``.

    A check depends on its own seed alone, so it says the same wherever it runs.
    """
    targets = sorted(plan.targets, key=lambda t: t.name)
    checks = [(t, r) for t in targets for r in sorted(RELATIONS)][index::count]
    return [check(t, r, seed_for(plan.seed, t, r)) for t, r in checks]


def merge_verdicts(shards: Sequence[Sequence[Verdict]]) -> list[Verdict]:
    """Return the verdicts of all shards of a plan as ``run_plan`` sorts them."""
    return sorted((v for shard in shards for v in shard), key=lambda v: (v.target, v.relation))
