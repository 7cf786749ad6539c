"""Faults of processes that meet through journals alone: done to a yard, with or without Ray around it."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.chaos.history import Fail, Fault, Ok, read_history
from tests.chaos.yard import Yard
from tori.resources.process import is_alive, mark_process

ECHO = "echo"
KILL_S, SPACE_S = 6.0, 5.0
"""The contract's bounds: after a kill, and after space is back."""
ZOMBIE_WAIT_S = 0.3
FULL_S = 2.0
BALLAST = "ballast"


def kill_producer(yard: Yard, chance: random.Random) -> Fault:
    """kill -9 the client without a gateway; its successor takes the journal over."""
    return kill_worker(yard, "kill_producer", "producer", KILL_S)


def kill_observer(yard: Yard, chance: random.Random) -> Fault:
    """kill -9 the follower outside Ray; its successor goes on from the stored cursor."""
    began = time.monotonic_ns()
    yard.kill_worker("observer")
    yard.spawn("observer")
    path = yard.history_path / f"{yard.name_of('observer')}.jsonl"
    back = yard.await_true("the observer", lambda: path.exists() and path.stat().st_size > 0)
    return yard.note("kill_observer", "observer", began, back, KILL_S)


def kill_echo(yard: Yard, chance: random.Random) -> Fault:
    """kill -9 the process of a module; its successor goes on from the module's journal."""
    began = time.monotonic_ns()
    yard.kill_worker(ECHO)
    done = yard.entries(ECHO)
    yard.spawn(ECHO)
    back = yard.await_true("an answer of the echo", lambda: yard.entries(ECHO) > done)
    return yard.note("kill_echo", ECHO, began, back, KILL_S)


def wake_producer(yard: Yard, chance: random.Random) -> Fault:
    """SIGSTOP the producer, let a successor take its journal over, SIGCONT it: all its writes are refused, none is acknowledged."""
    zombie, name = yard.worker("producer"), yard.name_of("producer")
    zombie.send_signal(signal.SIGSTOP)
    time.sleep(ZOMBIE_WAIT_S)
    began = time.monotonic_ns()
    yard.spawn("producer")
    back = yard.await_ok(began, yard.name_of("producer"))
    zombie.send_signal(signal.SIGCONT)
    time.sleep(ZOMBIE_WAIT_S)
    assert zombie.poll() is not None, "the zombie lives on"
    late = [
        line
        for line in read_history(yard.history_path)
        if isinstance(line, Ok) and line.process == name and line.time_ns > began
    ]
    assert late == [], f"the zombie acknowledged {len(late)} calls"
    return yard.note("wake_producer", "producer", began, back, KILL_S)


def wake_echo(yard: Yard, chance: random.Random) -> Fault:
    """SIGSTOP the module's process, let a successor take over, SIGCONT it: it may write nothing more."""
    zombie, old = yard.worker(ECHO), yard.owner(ECHO)
    mark = mark_process(ECHO, zombie.pid)
    zombie.send_signal(signal.SIGSTOP)
    time.sleep(ZOMBIE_WAIT_S)
    done, began = yard.entries(ECHO), time.monotonic_ns()
    yard.spawn(ECHO)
    back = yard.await_true("an answer of the echo", lambda: yard.entries(ECHO) > done)
    before = bytes_of_epoch(yard, ECHO, old.epoch)
    zombie.send_signal(signal.SIGCONT)
    time.sleep(ZOMBIE_WAIT_S)
    assert zombie.poll() is not None and not is_alive(mark), "the zombie lives on"
    assert was_left_alone(before, bytes_of_epoch(yard, ECHO, old.epoch)), "the zombie wrote"
    return yard.note("wake_echo", ECHO, began, back, KILL_S)


def fill_under_processes(yard: Yard, chance: random.Random) -> Fault:
    """Fill the disk under producer and echo, give the space back: recovered when both work again."""
    began = time.monotonic_ns()
    with full_disk(yard.home / "journals"):
        time.sleep(FULL_S)
    refused = failures_since(yard, began)
    assert refused, "nobody met the full disk"
    space_back, done = time.monotonic_ns(), yard.entries(ECHO)
    back = yard.await_ok(space_back, "producer")
    back = max(back, yard.await_true("an answer of the echo", lambda: yard.entries(ECHO) > done))
    return yard.note("fill_under_processes", f"{refused} refusals", space_back, back, SPACE_S)


def kill_worker(yard: Yard, kind: str, worker: str, bound_s: float) -> Fault:
    """kill -9 a worker and start it again: recovered with its successor's first answer."""
    began = time.monotonic_ns()
    yard.kill_worker(worker)
    yard.spawn(worker)
    return yard.note(kind, worker, began, yard.await_ok(began, yard.name_of(worker)), bound_s)


def bytes_of_epoch(yard: Yard, journal: str, epoch: int) -> dict[str, bytes]:
    """Return the segments of one epoch with what they hold: a zombie could change these only."""
    found = {}
    for path in (yard.home / "journals" / journal).glob(f"*-{epoch:08x}*.seg"):
        with contextlib.suppress(FileNotFoundError):  # the heir clears away what it hides
            found[path.name] = path.read_bytes()
    return found


def was_left_alone(before: dict[str, bytes], after: dict[str, bytes]) -> bool:
    """Say whether files are as they were; some may be gone, none new."""
    return all(before.get(name) == data for name, data in after.items())


@contextlib.contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Leave no block free on the file system of ``folder``, which must be one of its own, for as long as the block lasts."""
    assert os.path.ismount(folder), f"{folder.name} must lie on a file system of its own"
    ballast = folder / BALLAST
    try:
        _fill(ballast)
        yield
    finally:
        ballast.unlink()


def _fill(path: Path) -> None:
    """Take every block that is free, in pieces that get smaller."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    size, block = 0, 64 << 20
    try:
        while block >= 4096:
            try:
                os.posix_fallocate(fd, size, block)
                size += block
            except OSError:
                block //= 2
    finally:
        os.close(fd)


def failures_since(yard: Yard, since_ns: int) -> int:
    """Return how many calls were refused since a moment."""
    return sum(isinstance(line, Fail) and line.time_ns > since_ns for line in read_history(yard.history_path))


class Kind(NamedTuple):
    """A fault that can be asked for by name."""

    do: Callable[[Any, random.Random], Fault]
    """Takes a ``Yard``, or the ``Arena`` that it needs."""
    bound_s: float


PROCESS_KINDS: dict[str, Kind] = {
    "kill_producer": Kind(kill_producer, KILL_S),
    "kill_observer": Kind(kill_observer, KILL_S),
    "kill_echo": Kind(kill_echo, KILL_S),
    "wake_producer": Kind(wake_producer, KILL_S),
    "wake_echo": Kind(wake_echo, KILL_S),
    "fill_under_processes": Kind(fill_under_processes, SPACE_S),
}
"""Faults that need no Ray."""
