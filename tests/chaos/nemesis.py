"""The faults: each is done once, to the arena under load, and measured until everything works again.

The bounds are those of CONTRACT.md's table. A fault function returns the ``Fault`` it noted in the history.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from actors.cast import actor_name
from actors.cluster_gcs import GCS, restart_gcs
from actors.names import NAMESPACE, ORCHESTRATOR
from tests.chaos.arena import MODULES, Arena
from tests.chaos.history import Fail, Fault, Ok, read_history
from tests.support.system import kill
from tori.resources.process import is_alive, mark_process

CLIENTS = "clients"
FLOW_S = 1.0
"""'Event flow never stops': no silence longer than this while the orchestrator is away (a busy 2-core machine pauses for itself)."""
GCS_AWAY_S = 0.5
FULL_S = 1.5
ZOMBIE_WAIT_S = 0.3
BALLAST = "ballast"


def kill_module(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 a module actor, a follower of the clients' journal."""
    return _kill_owner(arena, "kill_module", chance.choice(MODULES))


def kill_relay(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the relay, which owns the clients' journal: recovered when a client is answered again."""
    arena.client()
    old = arena.owner(CLIENTS)
    began = time.monotonic_ns()
    kill(old.pid)
    arena.await_owner(CLIENTS, old)
    return arena.note("kill_relay", CLIENTS, began, arena.await_ok(began), 6.0)


def _kill_owner(arena: Arena, kind: str, module: str) -> Fault:
    arena.client()
    old = arena.owner(module)
    began = time.monotonic_ns()
    kill(old.pid)
    return arena.note(kind, module, began, arena.await_owner(module, old), 6.0)


def kill_orchestrator(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the orchestrator: the recovery noted is the longest silence of the event flow until it is back."""
    arena.client()
    old = arena.owner(ORCHESTRATOR)
    began = time.monotonic_ns()
    kill(old.pid)
    back = arena.await_owner(ORCHESTRATOR, old)
    arena.await_ok(began)
    silence_s = arena.silence_s(began, back)
    target = f"{ORCHESTRATOR} (back after {(back - began) / 1e9:.2f} s)"
    return arena.note("kill_orchestrator", target, began, began + int(silence_s * 1e9), FLOW_S)


def kill_client(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 a client that ingests through the orchestrator; another takes its place."""
    return _kill_worker(arena, "kill_client", f"client-{chance.randrange(arena.slots)}", 6.0)


def kill_producer(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the client without a gateway; its successor takes the journal over."""
    return _kill_worker(arena, "kill_producer", "producer", 6.0)


def _kill_worker(arena: Arena, kind: str, worker: str, bound_s: float) -> Fault:
    began = time.monotonic_ns()
    arena.kill_worker(worker)
    arena.spawn(worker)
    return arena.note(kind, worker, began, arena.await_ok(began, arena.name_of(worker)), bound_s)


def kill_observer(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the follower outside Ray; its successor goes on from the stored cursor."""
    began = time.monotonic_ns()
    arena.kill_worker("observer")
    arena.spawn("observer")
    path = arena.history_path / f"{arena.name_of('observer')}.jsonl"
    back = arena.await_true("the observer", lambda: path.exists() and path.stat().st_size > 0)
    return arena.note("kill_observer", "observer", began, back, 6.0)


def kill_gcs(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the GCS and start it again: recovered, counted from its restart, when names are found and clients are answered."""
    arena.client()
    info = arena.cluster_info()
    pid = arena.head_pid(GCS)
    kill(pid)
    time.sleep(GCS_AWAY_S)
    began = time.monotonic_ns()
    restart_gcs(info)
    arena.await_true("an actor's name", lambda: arena.is_ready(CLIENTS))
    return arena.note("kill_gcs", GCS, began, arena.await_ok(began), 5.0)


def kill_raylet(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the raylet; on one node that takes every actor along, and ``tori up`` brings the node back."""
    pid = arena.head_pid("raylet")
    arena.disconnect()
    began = time.monotonic_ns()
    kill(pid)
    arena.up()
    return arena.note("kill_raylet", "raylet", began, arena.await_ok(began), 12.0)


def cold_restart(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 everything of Ray and TORI at once, then start."""
    began = time.monotonic_ns()
    arena.kill_cluster()
    arena.up()
    return arena.note("cold_restart", "everything", began, arena.await_ok(began), 45.0)


def wake_module(arena: Arena, chance: random.Random) -> Fault:
    """SIGSTOP a module's process, have it taken for dead and replaced, SIGCONT it: it may write and acknowledge nothing."""
    import ray

    arena.client()
    module = chance.choice((*MODULES, CLIENTS))
    old = arena.owner(module)
    zombie = mark_process(module, old.pid)
    os.kill(old.pid, signal.SIGSTOP)
    time.sleep(ZOMBIE_WAIT_S)
    began = time.monotonic_ns()
    ray.kill(ray.get_actor(actor_name(module), namespace=NAMESPACE), no_restart=True)
    back = arena.await_owner(module, old)
    before = _bytes_of_epoch(arena, module, old.epoch)
    with contextlib.suppress(ProcessLookupError):
        os.kill(old.pid, signal.SIGCONT)
    time.sleep(ZOMBIE_WAIT_S)
    assert not is_alive(zombie), f"the zombie of {module} lives on"
    assert _bytes_of_epoch(arena, module, old.epoch) == before, f"the zombie of {module} wrote"
    return arena.note("wake_module", module, began, back, 6.0)


def wake_producer(arena: Arena, chance: random.Random) -> Fault:
    """SIGSTOP the producer, let a successor take its journal over, SIGCONT it: all its writes are refused, none is acknowledged."""
    zombie, name = arena.worker("producer"), arena.name_of("producer")
    zombie.send_signal(signal.SIGSTOP)
    time.sleep(ZOMBIE_WAIT_S)
    began = time.monotonic_ns()
    arena.spawn("producer")
    back = arena.await_ok(began, arena.name_of("producer"))
    zombie.send_signal(signal.SIGCONT)
    time.sleep(ZOMBIE_WAIT_S)
    assert zombie.poll() is not None, "the zombie lives on"
    late = [
        line
        for line in read_history(arena.history_path)
        if isinstance(line, Ok) and line.process == name and line.time_ns > began
    ]
    assert late == [], f"the zombie acknowledged {len(late)} calls"
    return arena.note("wake_producer", "producer", began, back, 6.0)


def _bytes_of_epoch(arena: Arena, journal: str, epoch: int) -> list[tuple[str, int, bytes]]:
    """Return the segments of one epoch with what they hold: a zombie could change these only."""
    paths = sorted((arena.home / "journals" / journal).glob(f"*-{epoch:08x}.seg"))
    return [(path.name, path.stat().st_mtime_ns, path.read_bytes()) for path in paths]


def fill_disk(arena: Arena, chance: random.Random) -> Fault:
    """Fill the small disk under the journals, let publishers and a restarting module meet it, give the space back."""
    journals = arena.home / "journals"
    assert os.path.ismount(journals), "fill_disk needs journals on a file system of their own"
    arena.client()
    began = time.monotonic_ns()
    _fill(journals / BALLAST)
    module = chance.choice(MODULES)
    old = arena.owner(module)
    kill(old.pid)
    time.sleep(FULL_S)
    refusals = _failures_since(arena, began)
    assert refusals, "nobody met the full disk"
    (journals / BALLAST).unlink()
    space_back = time.monotonic_ns()
    arena.await_owner(module, old)
    arena.await_ok(space_back, "producer")
    back = arena.await_ok(space_back)
    return arena.note("fill_disk", f"{module}, {refusals} refusals", space_back, back, 5.0)


def _fill(path: Path) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    block = 1 << 20
    try:
        while block >= 4096:
            try:
                os.write(fd, b"\1" * block)
            except OSError:
                block //= 2
    finally:
        os.close(fd)


def _failures_since(arena: Arena, since_ns: int) -> int:
    return sum(isinstance(line, Fail) and line.time_ns > since_ns for line in read_history(arena.history_path))


class Kind(NamedTuple):
    """A fault that can be asked for by name."""

    do: Callable[[Arena, random.Random], Fault]
    bound_s: float


KINDS = {
    "kill_module": Kind(kill_module, 6.0),
    "kill_relay": Kind(kill_relay, 6.0),
    "kill_orchestrator": Kind(kill_orchestrator, FLOW_S),
    "kill_client": Kind(kill_client, 6.0),
    "kill_producer": Kind(kill_producer, 6.0),
    "kill_observer": Kind(kill_observer, 6.0),
    "kill_gcs": Kind(kill_gcs, 5.0),
    "kill_raylet": Kind(kill_raylet, 12.0),
    "cold_restart": Kind(cold_restart, 45.0),
    "wake_module": Kind(wake_module, 6.0),
    "wake_producer": Kind(wake_producer, 6.0),
    "fill_disk": Kind(fill_disk, 5.0),
}
