"""What befalls a world: faults, and the housekeeping between them. One method a kind; ``strike`` calls it by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.sim.disk import File
from tests.sim.files import Fault, Process
from tests.sim.node import HOME, Node, Running
from tests.sim.story import Violation
from tests.sim.upkeep import Upkeep
from tori.journal.control import open_epoch
from tori.journal.frame import HEADER_BYTES
from tori.journal.segment import list_segments
from tori.modules.open import journal_directory

if TYPE_CHECKING:
    from tests.sim.world import World

_FUSES: tuple[Fault, ...] = ("crash", "crash", "cut", "fail", "refuse", "short", "pause")
LONGEST_FUSE = 30


class Incidents:
    """The faults of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.replaced: set[Process] = set()
        """Processes whose journal was taken over while they lived: they may be fenced."""
        self.upkeep = Upkeep(world)
        self.is_over = False
        self._rotten: tuple[Path, File, int, int] | None = None
        self._ends: dict[str, int] = {}
        """Step at which a lasting fault is over."""

    def strike(self, kind: str) -> None:
        """Let one thing of a kind happen, and end what has lasted long enough."""
        self._end_what_is_over()
        (getattr(self, f"_{kind}", None) or getattr(self.upkeep, kind))()

    def prime(self, process: Process) -> None:
        """Now and then a process has a fuse from its very start."""
        rng = self.world.rng
        if not self.is_over and rng.random() < 0.25:
            self._light(process, rng.choice(_FUSES), rng.randint(1, 2 * LONGEST_FUSE))

    def repair(self) -> None:
        """End every lasting fault, put out every fuse, and let no zombie live: from now on there is peace."""
        self.is_over = True
        for end in ("full_disk", "partition", "rot"):
            getattr(self, f"_end_{end}")()
        for node in self.world.system.nodes:
            for process in node.cpu.living.values():
                process.fuse = None
        for zombie in self.world.zombies:
            zombie.process.die()
        self.world.zombies.clear()
        self.world.network.loss = self.world.network.doubling = 0.0

    # -- fuses -----------------------------------------------------------------------------------------------------

    def _light(self, process: Process, fault: Fault, operations: int) -> None:
        actions: dict[str, Callable[[], None]] = {"cut": lambda: self._cut(process), "pause": self._meanwhile(process)}
        process.light(fault, operations, actions.get(fault, lambda: None))
        self.world.story.tell("fuse", f"{process.name} {process.pid}: {fault} in {operations}")

    def _fuse(self, fault: Fault) -> None:
        process = self._process()
        if process is not None:
            self._light(process, fault, self.world.rng.randint(1, LONGEST_FUSE))

    def _anybody(self) -> Running | None:
        running = self.world.system.running
        return self.world.rng.choice(list(running.values())) if running else None

    def _process(self) -> Process | None:
        """Return a process that faults may befall."""
        living = self.world.processes()
        return self.world.rng.choice(living) if living else None

    def _crash(self) -> None:
        self._fuse("crash")

    def _power_cut(self) -> None:
        self._fuse("cut")

    def _failed_sync(self) -> None:
        self._fuse("fail")

    def _refused_write(self) -> None:
        self._fuse("refuse")

    def _short_write(self) -> None:
        self._fuse("short")

    def _standstill(self) -> None:
        self._fuse("pause")

    def _meanwhile(self, process: Process) -> Callable[[], None]:
        """Return what others do while ``process`` stands still in the middle of an operation."""
        world = self.world

        def act() -> None:
            world.story.tell("standstill", f"{process.name} {process.pid}")
            for _ in range(world.rng.randint(1, 4)):
                way = world.rng.random()
                if way < 0.15 and process.is_alive:
                    self._usurp(process)
                elif way < 0.7:
                    world.work()
                else:
                    world.deliver()
                world.look()

        return act

    # -- at once ---------------------------------------------------------------------------------------------------

    def _crash_at_once(self) -> None:
        process = self._process()
        if process is not None:
            self.world.story.tell("kill", f"{process.name} {process.pid}")
            self.world.system.bury(process)

    def _power_cut_at_once(self) -> None:
        self.cut_power(self.world.system.any())

    def _cut(self, process: Process) -> None:
        self.cut_power(self.world.system.home_of(process))

    def cut_power(self, node: Node) -> None:
        """Let a machine lose its power."""
        world = self.world
        world.story.tell("power cut", node.name)
        node.cut_power()
        world.zombies = [zombie for zombie in world.zombies if zombie.process.is_alive]
        world.checker.power_was_cut(node)

    def _eviction(self) -> None:
        """The kernel drops clean pages: what a failed sync lost is gone from sight."""
        changed = [str(path) for path, file in self.world.system.any().disk.files() if file.evict()]
        self.world.story.tell("eviction", " ".join(changed))

    def _write_back(self) -> None:
        self.world.system.any().disk.write_back()
        self.world.story.tell("write back")

    def _clock_jump(self) -> None:
        seconds = self.world.rng.choice((-86_400.0, -1.0, 1.0, 3_600.0, 86_400.0))
        self.world.system.any().clock.jump_wall(seconds)
        self.world.story.tell("clock jump", f"{seconds:+.0f} s")

    def _restart(self) -> None:
        """Close a module in good order; somebody will start it again."""
        world = self.world
        name = world.rng.choice(world.system.names)
        one = world.system.get(name)
        if one is None or one.process in world.busy:
            return
        together = {n: other.host for n, other in world.system.running.items() if other.process is one.process}
        for other, host in together.items():  # it may be taken for dead, and replaced, while it closes
            done, _ = world.ask(one.process, f"close of {other}", host.close, dies_of_errors=True)
            if not done:
                break
        world.system.bury(one.process)
        world.story.tell("stop", ", ".join(together))

    # -- lasting ---------------------------------------------------------------------------------------------------

    def _last(self, kind: str) -> None:
        self._ends[kind] = self.world.story.step + self.world.rng.randint(2, 60)

    def _end_what_is_over(self) -> None:
        for kind, step in list(self._ends.items()):
            if step <= self.world.story.step:
                getattr(self, f"_end_{kind}")()

    def _full_disk(self) -> None:
        self.world.system.any().disk.is_full = True
        self.world.story.tell("disk full")
        self._last("full_disk")

    def _end_full_disk(self) -> None:
        self._ends.pop("full_disk", None)
        for node in self.world.system.nodes:
            node.disk.is_full = False

    def _partition(self) -> None:
        clients = list(self.world.clients)
        self.world.network.cut = frozenset(self.world.rng.sample(clients, self.world.rng.randint(1, len(clients))))
        self.world.story.tell("partition", ", ".join(sorted(self.world.network.cut)))
        self._last("partition")

    def _end_partition(self) -> None:
        self._ends.pop("partition", None)
        self.world.network.cut = frozenset()

    def _end_rot(self) -> None:
        """Somebody restores the damaged file from a copy."""
        self._ends.pop("rot", None)
        if self._rotten is not None:
            path, file, at, mask = self._rotten
            file.flip(at, mask)
            self._rotten = None
            self.world.checker.is_rotten = False
            self.world.story.tell("restored", str(path))

    def _rot(self) -> None:
        """A byte of a durable frame rots: whoever reads the journal is told, and nobody is served it."""
        world = self.world
        found = self._sound_frames()
        if self._rotten is not None or not found:
            return
        name, start, end = world.rng.choice(found)
        files = world.system.watching(name)
        directory = journal_directory(HOME, name)
        segment = [s for s in list_segments(directory, files) if s.base <= start][-1]
        path = segment.file(directory)
        file, at, mask = world.system.of(name).disk.file(path), start - segment.base, 1 << world.rng.randrange(8)
        at += world.rng.randrange(end - start)
        file.flip(at, mask)
        self._rotten = (path, file, at, mask)
        world.checker.is_rotten = True
        world.story.tell("rot", f"{path} byte {at} ^ {mask}")
        if self.upkeep.is_sound(name):
            raise Violation(f"byte {at} of {path} rotted, and nobody can tell")
        self._last("rot")

    def _sound_frames(self) -> list[tuple[str, int, int]]:
        """Return (journal, start, end of the body) of frames that a later one calls durable: their damage must be found."""
        found = []
        for name, watch in self.world.checker.watches.items():
            known = watch.marks[-1].durable_sequence if watch.marks else 0
            found += [
                (name, m.offset, m.offset + HEADER_BYTES + m.body_bytes)
                for m in watch.marks
                if m.count and m.first_sequence + m.count <= known
            ]
        return found

    # -- two writers -----------------------------------------------------------------------------------------------

    def _zombie(self) -> None:
        """A process is taken for dead and replaced, and lives; or one of those tries to go on."""
        world = self.world
        zombies = [z for z in world.zombies if z.process.is_alive and z.process not in world.busy]
        if zombies and world.rng.random() < 0.7:
            self._haunt(world.rng.choice(zombies))
            return
        one = self._anybody()
        if one is not None and one.process not in world.busy:
            self._usurp(one.process)

    def _haunt(self, zombie: Running) -> None:
        world = self.world
        world.story.tell("zombie", f"{zombie.process.name} {zombie.process.pid} acts")
        before, is_fenced = zombie.host.counters.units, self._is_fenced(zombie)
        name = zombie.host.module.name
        if name == "clients":
            client = world.rng.choice(list(world.clients.values()))
            request = client.act(world.clock.monotonic_ns(), is_hasty=True)
            if request is not None:
                world.sent.update(client.sent)
                world.serve(zombie, client.name, request)
        else:
            world.ask(zombie.process, f"step of the zombie of {name}", zombie.host.step, dies_of_errors=True)
        if is_fenced and zombie.host.counters.units != before:
            raise Violation(f"a fenced writer of {name} went on as if nothing had happened")

    def _is_fenced(self, zombie: Running) -> bool:
        directory = journal_directory(HOME, zombie.host.module.name)
        epoch = open_epoch(directory, files=self.world.system.watching(zombie.host.module.name))
        return int(epoch.words[0]) != zombie.host.journal.epoch

    def _usurp(self, old: Process) -> None:
        """The kernel gives the locks of a living process away, and its modules are started anew."""
        world = self.world
        names = [name for name, one in world.system.running.items() if one.process is old]
        if not names:
            return
        world.story.tell("taken for dead", f"{old.name} {old.pid}")
        old.files.give_up_locks()
        self._replace(old, names)

    def _take_over(self) -> None:
        """A second writer comes while the first lives and holds its lock: the first is killed."""
        one = self._anybody()
        if one is None or one.process in self.world.busy:
            return
        names = [name for name, other in self.world.system.running.items() if other.process is one.process]
        self.world.story.tell("take-over", f"{one.process.name} {one.process.pid}")
        self._replace(one.process, names)

    def _replace(self, old: Process, names: list[str]) -> None:
        world = self.world
        self.replaced.add(old)
        world.zombies += [world.system.pop(name) for name in names]
        world.zombies = world.zombies[-8:]
        world.start(names[0])
