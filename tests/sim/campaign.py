"""Many worlds, one after the other or on several cores, and what came of them."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tests.sim.nodes import NodesWorld
from tests.sim.schedule import Schedule
from tests.sim.world import Outcome, World

STEPS_A_WORLD = 1000
FEWEST_WORLDS = 200
NODES_SHARE = 0.2
"""Of the worlds of a system: how many have two nodes."""


def system(seed: int) -> World:
    """Return the world of a seed: some have two nodes."""
    return NodesWorld(seed) if random.Random(f"nodes {seed}").random() < NODES_SHARE else World(seed)


KINDS: dict[str, Callable[[int], World | Schedule]] = {"nodes": NodesWorld, "scheduler": Schedule, "system": system}
TOLD_LINES = 60
"""Lines of a story that are shown when nothing went wrong."""


class Violated(NamedTuple):
    """A world in which a promise was broken."""

    seed: int
    step: int
    what: str
    replay: str
    """The command that shows it again."""


class Report(NamedTuple):
    """The outcome of all worlds; the same request gives the same report."""

    steps: int
    worlds: int
    violations: list[Violated]
    digest: str
    """sha256 over the digests of the worlds, in order."""
    story: list[str]
    """Of the first violation, else the end of the first world."""
    counts: dict[str, int]
    """How often each kind of thing happened."""


def world_seeds(seed: int, worlds: int) -> list[int]:
    """Return the seeds of the worlds; a single world has the seed itself, so that one world is replayed by its own number."""
    if worlds == 1:
        return [seed]
    rng = random.Random(f"worlds of {seed}")
    return [rng.randrange(1 << 48) for _ in range(worlds)]


def simulate(
    steps: int,
    seed: int,
    *,
    worlds: int = 0,
    jobs: int = 1,
    kind: str = "system",
    progress: Callable[[int, int, Outcome], None] = lambda done, count, outcome: None,
) -> Report:
    """Walk ``steps`` steps in all, in ``worlds`` worlds of a kind (0: as many as are usual for that many steps).

    ``progress`` is told after each world: how many are done, of how many, and what came of it.
    """
    count = worlds or max(FEWEST_WORLDS, steps // STEPS_A_WORLD)
    shares = [steps // count + (index < steps % count) for index in range(count)]
    work = [(kind, one, share) for one, share in zip(world_seeds(seed, count), shares, strict=True) if share]
    outcomes: list[Outcome] = []
    for outcome in _walk_all(work, jobs):
        outcomes.append(outcome)
        progress(len(outcomes), len(work), outcome)
    counts: Counter[str] = Counter()
    digest = hashlib.sha256()
    for outcome in outcomes:
        counts.update(outcome.counts)
        digest.update(outcome.digest.encode())
    broken = [outcome for outcome in outcomes if outcome.violation]
    violated = [
        Violated(o.seed, o.steps, o.violation, _replay(kind, o.seed, share))
        for o, (_, _, share) in zip(outcomes, work, strict=True)
        if o.violation
    ]
    story = broken[0].story if broken else outcomes[0].story[-TOLD_LINES:]
    total = sum(outcome.steps for outcome in outcomes)
    return Report(total, len(outcomes), violated, digest.hexdigest(), story, dict(sorted(counts.items())))


def _replay(kind: str, seed: int, steps: int) -> str:
    world = "" if kind == "system" else f" --world {kind}"
    return f"scripts/simulate.py --steps {steps} --seed {seed} --seeds 1{world}"


def _walk_all(work: list[tuple[str, int, int]], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(_walk, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_walk, work, chunksize=4)


def _walk(one: tuple[str, int, int]) -> Outcome:
    kind, seed, steps = one
    logging.getLogger("tori").setLevel(logging.CRITICAL)  # disks fail here all the time
    return KINDS[kind](seed).run(steps)
