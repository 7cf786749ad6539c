"""The housekeeping of a world, under the same faults: checkpoints, their corruption, scrubs, and audits of replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.files import Gone
from tests.sim.node import HOME, Node
from tests.sim.story import Violation
from tori.checkpoint.store import QUARANTINE, CheckpointNotWritten
from tori.errors import JournalDamaged
from tori.modules.host import HostSnapshot

if TYPE_CHECKING:
    from tests.sim.world import World


class Upkeep:
    """What somebody does in every system now and then."""

    def __init__(self, world: World) -> None:
        self.world = world

    def checkpoint(self) -> None:
        """A process of its own saves every module; now and then something befalls it."""
        world = self.world
        node = world.system.any()
        snapshots = self._snapshots(node)
        if not snapshots:
            return
        process = node.cpu.spawn("checkpoints")
        world.busy.append(process)
        world.incidents.prime(process)
        try:
            manifest = node.save(process, snapshots)
            world.story.tell("checkpoint", f"{manifest.checkpoint_id}: {', '.join(sorted(manifest.modules))}")
        except CheckpointNotWritten as error:
            world.story.tell("no checkpoint", str(error))
            if not process.has_suffered:
                raise Violation(f"a checkpoint failed without a cause: {error}") from error
        except Gone as death:
            world.story.tell("gone", f"a checkpoint: {death}")
        finally:
            world.busy.remove(process)
            process.die()

    def _snapshots(self, node: Node) -> dict[str, HostSnapshot]:
        world, found = self.world, {}
        for name, one in list(node.running.items()):
            if one.process.is_alive and one.process not in world.busy:
                done, snapshot = world.ask(one.process, f"snapshot of {name}", one.host.snapshot, dies_of_errors=False)
                if done:
                    found[name] = snapshot
        return found

    def corrupt_checkpoint(self) -> None:
        """A byte of a checkpoint changes: verification says so, and a start takes another one."""
        world = self.world
        node, root = world.system.any(), HOME / "checkpoints"
        found = [
            (path, file)
            for path, file in node.disk.files()
            if root in path.parents and QUARANTINE not in path.parts and path.parts[3].startswith("checkpoint-")
        ]
        if not found:
            return
        path, file = world.rng.choice(found)
        if not file.live:
            raise Violation(f"{path} is visible and empty")
        at, mask = world.rng.randrange(len(file.live)), 1 << world.rng.randrange(8)
        file.flip(at, mask)
        world.story.tell("corrupted", f"{path} byte {at} ^ {mask}")
        if not node.store(node.watcher).verify(path.parts[3]):
            raise Violation(f"byte {at} of {path} changed, and nobody can tell")

    def scrub(self) -> None:
        """Read a whole journal: it is sound, unless it was made to rot."""
        world = self.world
        name = world.rng.choice(world.system.names)
        world.story.tell("scrub", name)
        if self.is_sound(name) is False and not world.checker.is_rotten:
            raise Violation(f"{name} is damaged, and nobody did it")

    def is_sound(self, name: str) -> bool | None:
        """Return whether everything that was durable in a journal is what it was; None while nobody can read it."""
        try:
            return self.world.checker.reread(name) or None
        except JournalDamaged:
            return False

    def audit(self) -> None:
        """A second host recovers from the journal, with or without a snapshot, and is compared with the one that lives."""
        world = self.world
        name = world.rng.choice(world.system.names)
        one = world.system.get(name)
        if one is None or one.process in world.busy or world.checker.is_rotten:
            return
        snapshot = world.system.of(name).newest(name) if world.rng.random() < 0.5 else None
        world.story.tell("audit", f"{name}{'' if snapshot is None else f' from offset {snapshot.offset}'}")
        world.checker.audit(name, snapshot)
