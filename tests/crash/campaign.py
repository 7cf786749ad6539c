"""Campaigns over crash states: each counts what it looked at and lists what broke."""

from __future__ import annotations

import hashlib
import itertools
import logging
import random
import traceback
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import msgspec

from tests.crash import checkpoint_trace
from tests.crash.checkpoint_trace import CheckpointWorkload
from tests.crash.journal_trace import STEPS, Promises, Workload, check_after, marks_until
from tests.crash.model import Tree
from tests.crash.recorder import Op, Recorder
from tests.crash.states import every_state, random_pick

MAX_OPERATIONS = 12
"""Of a trace whose crash states are all looked at; stores through a mapping are no operations."""
STATE_LIMIT = 20_000
MAX_LISTED = 20
SAMPLES_A_TRACE = 40
SMALL_STEPS = "aubmocfw"
TAKE_OVERS = ("k", "ak", "ack", "bk", "wk", "afk", "ok", "ock", "aok")


class Outcome(msgspec.Struct):
    """What a campaign looked at and found."""

    name: str
    traces: int = 0
    states: int = 0
    violations: list[str] = []

    def look(self, what: str, check: Callable[[], Any]) -> None:
        """Count one state; keep the story when its check raises."""
        self.states += 1
        try:
            check()
        except Exception as error:
            if len(self.violations) < MAX_LISTED:
                frame = traceback.extract_tb(error.__traceback__)[-1]
                self.violations.append(f"{what}: {type(error).__name__} at {frame.name}: {error}")


def quiet() -> None:
    """Keep the journal's warnings about failing disks out of the output: here they fail on purpose."""
    logging.getLogger("tori.journal").setLevel(logging.ERROR)


def sampled(states: int, seed: int = 0, sabotage: str = "", *, until_one: bool = False) -> Outcome:
    """Random scripts, each crashed at random points in random ways; ``until_one``: stop at the first violation."""
    quiet()
    outcome = Outcome("journal, sampled")
    for number in itertools.count(seed):
        rng = random.Random(number)
        script = "".join(rng.choice(STEPS) for _ in range(rng.randint(2, 14)))
        recorder = Recorder()
        if sabotage:
            recorder.sabotage = frozenset((sabotage,))
        Workload(recorder, number).run(script)
        outcome.traces += 1
        for _ in range(SAMPLES_A_TRACE):
            length = rng.randint(0, len(recorder.trace))
            machine_died = rng.random() < 0.8
            model = recorder.model_at(length)
            tree = model.after_power_loss(random_pick(rng)) if machine_died else model.after_death()
            _look(outcome, f"seed {number} {script} at {length}", recorder, length, tree, machine_died=machine_died)
            if outcome.states == states or (until_one and outcome.violations):
                return outcome
    raise AssertionError("there are always more seeds")


def _look(outcome: Outcome, what: str, recorder: Recorder, length: int, tree: Tree, *, machine_died: bool) -> None:
    promises = Promises(marks_until(recorder, length))
    outcome.look(what, lambda: check_after(tree, promises, machine_died=machine_died))


def exhaustive(steps: int, sabotage: str = "", *, until_one: bool = False) -> Outcome:
    """Every script of up to ``steps`` small steps whose trace is short, crashed after every operation in every way."""
    return _every_crash("journal, exhaustive", _small_scripts(steps), MAX_OPERATIONS, sabotage, until_one=until_one)


def take_overs() -> Outcome:
    """Take-overs after everything that may be left behind; longer traces, all the same looked at in every way."""
    return _every_crash("take-over, exhaustive", TAKE_OVERS, 40, "")


def _every_crash(
    name: str, scripts: Iterable[str], operations: int, sabotage: str, *, until_one: bool = False
) -> Outcome:
    """Look at every crash state of every script, at each state once: scripts that begin alike leave the same ones."""
    quiet()
    outcome = Outcome(name)
    seen: set[bytes] = set()
    for script in scripts:
        recorder = Recorder()
        workload = Workload(recorder, len(script))
        workload.run("ac")
        if sabotage:
            recorder.sabotage = frozenset((sabotage,))
        recorder.do(Op("settle"))
        begin = len(recorder.trace)
        workload.run(script)
        if sum(isinstance(e, Op) and e.kind != "store" for e in recorder.trace[begin:]) > operations:
            continue
        outcome.traces += 1
        for length in range(begin, len(recorder.trace) + 1):
            marks = Promises(marks_until(recorder, length))
            for tree in every_state(recorder.model_at(length), STATE_LIMIT):
                state = msgspec.msgpack.encode((tree, marks.units, marks.durable))
                key = hashlib.blake2b(state, digest_size=16).digest()
                if key not in seen:
                    seen.add(key)
                    _look(outcome, f"{script} at {length - begin}", recorder, length, tree, machine_died=True)
                if until_one and outcome.violations:
                    return outcome
    return outcome


def sampled_checkpoints(states: int, seed: int = 0, sabotage: str = "") -> Outcome:
    """Random scripts of the checkpoint store, crashed at random points in random ways."""
    outcome = Outcome("checkpoints, sampled")
    for number in itertools.count(seed):
        rng = random.Random(number)
        recorder = Recorder()
        if sabotage:
            recorder.sabotage = frozenset((sabotage,))
        script = "".join(rng.choice(checkpoint_trace.STEPS) for _ in range(rng.randint(1, 8)))
        CheckpointWorkload(recorder, number).run(script)
        outcome.traces += 1
        for _ in range(SAMPLES_A_TRACE):
            length = rng.randint(0, len(recorder.trace))
            tree = recorder.model_at(length).after_power_loss(random_pick(rng))
            marks = marks_until(recorder, length)
            outcome.look(f"seed {number} {script} at {length}", partial(checkpoint_trace.check_after, tree, marks))
            if outcome.states == states:
                return outcome
    raise AssertionError("there are always more seeds")


def every_checkpoint_crash(sabotage: str = "") -> Outcome:
    """One save on top of another, crashed after every operation in every way."""
    outcome = Outcome("checkpoints, exhaustive", traces=1)
    recorder = Recorder()
    workload = CheckpointWorkload(recorder)
    workload.run("s")
    recorder.do(Op("settle"))
    begin = len(recorder.trace)
    if sabotage:
        recorder.sabotage = frozenset((sabotage,))
    workload.run("s")
    for length in range(begin, len(recorder.trace) + 1):
        marks = marks_until(recorder, length)
        for tree in every_state(recorder.model_at(length), STATE_LIMIT):
            outcome.look(f"at {length}", partial(checkpoint_trace.check_after, tree, marks))
    return outcome


def _small_scripts(steps: int) -> Iterator[str]:
    for size in range(1, steps + 1):
        for script in itertools.product(SMALL_STEPS, repeat=size):
            yield "".join(script)
