"""One simulated machine: a disk, processes, and the modules that live in them.

In the layout ``actors`` every module has a process of its own, opened as the actors open it; in ``local`` one process holds a
``LocalSystem``.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.sim.disk import Disk
from tests.sim.files import Cpu, Process
from tests.sim.modules import SMALL, SmallModule, create_real, create_small
from tests.sim.plan import Plan
from tests.sim.trouble import Trouble
from tori.checkpoint.codec import ModuleSnapshot
from tori.checkpoint.manifest import Manifest
from tori.checkpoint.store import CheckpointStore
from tori.clock import VirtualClock
from tori.journal.reader import JournalReader
from tori.local import LocalSystem
from tori.local.system import DEFAULT_MODULES
from tori.modules.base import Module
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.open import journal_directory, open_host

HOME = Path("/tori")


class Running(NamedTuple):
    """A module that lives, and the process it lives in."""

    host: ModuleHost
    process: Process


class Node:
    """A machine with a home. Processes die by exceptions that come out of what one asks of them; the caller names the dead."""

    def __init__(
        self, plan: Plan, rng: random.Random, clock: VirtualClock, name: str = "node", trouble: Trouble | None = None
    ) -> None:
        self.name = name
        self.plan = plan
        self.rng = rng
        self.clock = clock
        self.disk = Disk(rng)
        self.disk.make_directory(HOME)
        self.disk.sync_directory(Path("/"))
        self.cpu = Cpu(self.disk, rng)
        self.trouble = trouble or Trouble(is_on=plan.is_hard)
        self.mirrored: dict[str, bytes] | None = None
        """The journals of other nodes that modules follow here, with their ids; None in a world of one node."""
        self.wait: Callable[[float], None] | None = None
        """What a module does that waits for an event of another node."""
        self.names: tuple[str, ...] = DEFAULT_MODULES if plan.is_real else tuple(SMALL)
        self.running: dict[str, Running] = {}
        self.watcher = self.cpu.spawn("watcher")
        """A process that meets no faults, through which the checker reads."""

    def create(self, name: str, process: Process | None = None) -> Module:
        """Return a new module, for a process in which it may meet trouble."""
        if self.plan.is_real:
            return create_real(name)
        module = create_small(name)
        if isinstance(module, SmallModule):
            module.meet = self.trouble.handler(name, process)
        return module

    # -- starting and ending ---------------------------------------------------------------------------------------

    def start(self, name: str, prime: Callable[[Process], None], *, use_snapshot: bool) -> list[str]:
        """Start a module, or in the layout ``local`` all of them; return the names. Raises what keeps it from starting."""
        if self.plan.layout == "local":
            return self._start_all(prime, use_snapshot=use_snapshot)
        process = self.cpu.spawn(name)
        prime(process)
        try:
            host = open_host(
                HOME,
                name,
                segment_bytes=self.plan.segment_bytes,
                load_snapshot=lambda module: self.load(process, module) if use_snapshot else None,
                mirrored=self.mirrored,
                create=lambda module, settings: self.create(module, process),
                clock=self.clock,
                files=process.files,
                incarnation=self.rng.randbytes(4),
                rng=random.Random(self.rng.getrandbits(64)),
                wait=self.wait,
            )
        except BaseException:
            process.die()
            raise
        self.running[name] = Running(host, process)
        return [name]

    def _start_all(self, prime: Callable[[Process], None], *, use_snapshot: bool) -> list[str]:
        process = self.cpu.spawn("system")
        prime(process)
        try:
            snapshots: dict[str, HostSnapshot] = {}
            for name in self.names if use_snapshot else ():
                snapshot = self.load(process, name)
                if snapshot is not None:
                    snapshots[name] = snapshot
            system = LocalSystem(
                HOME,
                modules=self.names,
                clock=self.clock,
                create=lambda module: self.create(module, process),
                snapshots=snapshots,
                files=process.files,
                segment_bytes=self.plan.segment_bytes,
                incarnation=self.rng.randbytes(4),
                rng=random.Random(self.rng.getrandbits(64)),
                wait=self.clock.advance,
            )
        except BaseException:
            process.die()
            raise
        self.running.update({name: Running(host, process) for name, host in system.hosts.items()})
        return list(self.names)

    def bury(self, process: Process) -> list[str]:
        """End a process; return the modules that lived in it."""
        process.die()
        dead = [name for name, one in self.running.items() if one.process is process]
        for name in dead:
            del self.running[name]
        return dead

    def bury_dead(self) -> list[str]:
        """Forget the modules whose process is gone; return their names."""
        dead = [name for name, one in self.running.items() if not one.process.is_alive]
        for name in dead:
            del self.running[name]
        return dead

    def cut_power(self) -> None:
        """Lose every process and what the disk had not got."""
        self.cpu.cut_power()
        self.bury_dead()
        self.watcher = self.cpu.spawn("watcher")

    # -- checkpoints -----------------------------------------------------------------------------------------------

    def store(self, process: Process) -> CheckpointStore:
        return CheckpointStore(HOME / "checkpoints", clock=self.clock, disk=process.files, random=process.random)

    def save(self, process: Process, snapshots: Mapping[str, HostSnapshot]) -> Manifest:
        """Write a checkpoint of these snapshots."""
        store = self.store(process)
        manifest = store.save({name: _stored(name, snapshot) for name, snapshot in snapshots.items()})
        store.prune()
        return manifest

    def load(self, process: Process, name: str) -> HostSnapshot | None:
        """Return the newest good snapshot of a module."""
        stored, _ = self.store(process).newest(name)
        return None if stored is None else msgspec.msgpack.decode(stored.data, type=HostSnapshot)

    def newest(self, name: str) -> HostSnapshot | None:
        """Return what ``load`` would, in a process that meets no faults."""
        return self.load(self.watcher, name)

    # -- reading ---------------------------------------------------------------------------------------------------

    def reader(self, name: str) -> JournalReader:
        """Return a new reader of a journal, in the process that meets no faults."""
        return JournalReader(journal_directory(HOME, name), files=self.watcher.files)


def _stored(name: str, snapshot: HostSnapshot) -> ModuleSnapshot:
    data = msgspec.msgpack.encode(snapshot)
    return ModuleSnapshot(
        name, snapshot.state_version, snapshot.journal_id.hex(), snapshot.epoch, snapshot.sequence, data
    )
