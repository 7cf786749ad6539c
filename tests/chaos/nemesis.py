"""The faults: each is done once, to the arena under load, and measured until everything works again.

The bounds are those of CONTRACT.md's table. A fault function returns the ``Fault`` it noted in the history.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time

from actors.cast import actor_name
from actors.cluster import restart_gcs
from actors.names import NAMESPACE, ORCHESTRATOR
from tests.chaos.arena import MODULES, Arena
from tests.chaos.history import Fault
from tests.chaos.worker_fault import (
    FULL_S,
    KILL_S,
    SPACE_S,
    ZOMBIE_WAIT_S,
    Kind,
    bytes_of_epoch,
    failures_since,
    full_disk,
    kill_observer,
    kill_producer,
    kill_worker,
    wake_producer,
    was_left_alone,
)
from tests.support.system import kill
from tori.resources.process import is_alive, mark_process

CLIENTS, GCS = "clients", "gcs_server"
FLOW_S = 1.0
"""'Event flow never stops': no silence longer than this while the orchestrator is away (a busy 2-core machine pauses for itself)."""
NODE_S = 45.0
"""The contract's bound for a cold restart. Its 12 s for a raylet are for a cluster whose other nodes live on."""
GCS_S, GCS_AWAY_S = 5.0, 0.5


def kill_module(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 a module actor, a follower of the clients' journal."""
    return _kill_owner(arena, "kill_module", chance.choice(MODULES))


def kill_relay(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the relay, which owns the clients' journal: recovered when a client is answered again."""
    arena.client()
    old = arena.owner(CLIENTS)
    began = time.monotonic_ns()
    kill(old.pid)
    dead = time.monotonic_ns()
    back = arena.await_owner(CLIENTS, old)
    return arena.note("kill_relay", CLIENTS, began, max(back, arena.await_ok(dead)), KILL_S)


def _kill_owner(arena: Arena, kind: str, module: str) -> Fault:
    arena.client()
    old = arena.owner(module)
    began = time.monotonic_ns()
    kill(old.pid)
    return arena.note(kind, module, began, arena.await_owner(module, old), KILL_S)


def kill_orchestrator(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the orchestrator: the recovery noted is the longest silence of the event flow until it is back."""
    arena.client()
    old = arena.owner(ORCHESTRATOR)
    began = time.monotonic_ns()
    kill(old.pid)
    back = arena.await_owner(ORCHESTRATOR, old)
    back = max(back, arena.await_ok(back))
    silence_s = arena.silence_s(began, back)
    target = f"{ORCHESTRATOR} (back after {(back - began) / 1e9:.2f} s)"
    return arena.note("kill_orchestrator", target, began, began + int(silence_s * 1e9), FLOW_S)


def kill_client(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 a client that ingests through the orchestrator; another takes its place."""
    return kill_worker(arena, "kill_client", f"client-{chance.randrange(arena.slots)}", KILL_S)


def kill_gcs(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the GCS and start it again: recovered, counted from its restart, when names are found and clients are answered."""
    arena.client()
    info = arena.cluster_info()
    pid = arena.head_pid(GCS)
    kill(pid)
    time.sleep(GCS_AWAY_S)
    began = time.monotonic_ns()
    restart_gcs(info)
    found = arena.await_true("an actor's name", lambda: arena.is_ready(CLIENTS))
    return arena.note("kill_gcs", GCS, began, max(found, arena.await_ok(began)), GCS_S)


def kill_raylet(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 the raylet: on one node every actor and driver goes with it, and ``tori up`` brings all back, as after a cold restart."""
    pid = arena.head_pid("raylet")
    arena.disconnect()
    began = time.monotonic_ns()
    kill(pid)
    return _start_again(arena, "kill_raylet", began)


def cold_restart(arena: Arena, chance: random.Random) -> Fault:
    """kill -9 everything of Ray and TORI at once, then start."""
    began = time.monotonic_ns()
    arena.kill_cluster()
    return _start_again(arena, "cold_restart", began)


def _start_again(arena: Arena, kind: str, began: int) -> Fault:
    """Start the node again; its clients are new processes too, for a driver does not outlive its raylet."""
    for name in arena.drivers():
        arena.kill_worker(name)
    dead = time.monotonic_ns()
    arena.up()
    up = time.monotonic_ns()
    back = arena.await_ok(dead)
    target = f"everything (dead in {(dead - began) / 1e9:.1f} s, up in {(up - dead) / 1e9:.1f} s)"
    return arena.note(kind, target, began, back, NODE_S)


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
    before = bytes_of_epoch(arena, module, old.epoch)
    with contextlib.suppress(ProcessLookupError):
        os.kill(old.pid, signal.SIGCONT)
    time.sleep(ZOMBIE_WAIT_S)
    assert not is_alive(zombie), f"the zombie of {module} lives on"
    assert was_left_alone(before, bytes_of_epoch(arena, module, old.epoch)), f"the zombie of {module} wrote"
    return arena.note("wake_module", module, began, back, KILL_S)


def fill_disk(arena: Arena, chance: random.Random) -> Fault:
    """Fill the small disk under the journals, let publishers and a module, relay or orchestrator that was killed meet it, give the
    space back.
    """
    arena.client()
    began = time.monotonic_ns()
    module = chance.choice((*MODULES, CLIENTS, ORCHESTRATOR))
    old = arena.owner(module)
    with full_disk(arena.home / "journals"):
        kill(old.pid)
        time.sleep(FULL_S)
    space_back = time.monotonic_ns()
    refusals = failures_since(arena, began)
    assert refusals, "nobody met the full disk"
    back = arena.await_owner(module, old)
    back = max(back, arena.await_ok(space_back, "producer"), arena.await_ok(space_back))
    return arena.note("fill_disk", f"{module}, {refusals} refusals", space_back, back, SPACE_S)


KINDS: dict[str, Kind] = {
    "kill_module": Kind(kill_module, KILL_S),
    "kill_relay": Kind(kill_relay, KILL_S),
    "kill_orchestrator": Kind(kill_orchestrator, FLOW_S),
    "kill_client": Kind(kill_client, KILL_S),
    "kill_producer": Kind(kill_producer, KILL_S),
    "kill_observer": Kind(kill_observer, KILL_S),
    "kill_gcs": Kind(kill_gcs, GCS_S),
    "kill_raylet": Kind(kill_raylet, NODE_S),
    "cold_restart": Kind(cold_restart, NODE_S),
    "wake_module": Kind(wake_module, KILL_S),
    "wake_producer": Kind(wake_producer, KILL_S),
    "fill_disk": Kind(fill_disk, SPACE_S),
}
