"""The machines of a world as one system: which module lives where, and who lives at all."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from tests.sim.files import Process, SimFiles
from tests.sim.node import Node, Running
from tori.journal.reader import JournalReader
from tori.modules.base import Module


class System:
    """One node, or several of which each holds the journals of its own modules."""

    def __init__(self, nodes: Sequence[Node], places: Mapping[str, Node], rng: random.Random) -> None:
        self.nodes = tuple(nodes)
        self.rng = rng
        self.plan = nodes[0].plan
        self.trouble = nodes[0].trouble
        self.names = tuple(places)
        self._places = dict(places)

    @property
    def running(self) -> dict[str, Running]:
        """Return the modules that live, by name, in the order in which they were started on each node."""
        return {name: one for node in self.nodes for name, one in node.running.items()}

    def of(self, name: str) -> Node:
        """Return the node of a module and its journal."""
        return self._places[name]

    def any(self) -> Node:
        """Return a node, as the seed decides."""
        return self.rng.choice(self.nodes) if len(self.nodes) > 1 else self.nodes[0]

    def home_of(self, process: Process) -> Node:
        """Return the node a process lives on, or lived."""
        return next(node for node in self.nodes if node.cpu is process.cpu)

    def get(self, name: str) -> Running | None:
        """Return a module that lives, None when it does not."""
        node = self._places.get(name)
        return None if node is None else node.running.get(name)

    def pop(self, name: str) -> Running:
        """Take a module off those that live; its process goes on."""
        return self._places[name].running.pop(name)

    # -- what a node does for its modules ----------------------------------------------------------------------------

    def create(self, name: str, process: Process | None = None) -> Module:
        return self.nodes[0].create(name, process)

    def start(self, name: str, prime: Callable[[Process], None], *, use_snapshot: bool) -> list[str]:
        return self._places[name].start(name, prime, use_snapshot=use_snapshot)

    def bury(self, process: Process) -> list[str]:
        """End a process; return the modules that lived in it."""
        return self.home_of(process).bury(process)

    def bury_dead(self) -> list[str]:
        """Forget the modules whose process is gone; return their names."""
        return [name for node in self.nodes for name in node.bury_dead()]

    def reader(self, name: str) -> JournalReader:
        """Return a new reader of a journal, in a process of its node that meets no faults."""
        return self._places[name].reader(name)

    def watching(self, name: str) -> SimFiles:
        """Return the files of the node of a module, as a process sees them that meets no faults."""
        return self._places[name].watcher.files

    def digest(self) -> str:
        """Return what tells the disks of two systems apart."""
        return " ".join(node.disk.digest() for node in self.nodes)
