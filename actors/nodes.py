"""Which node is which, who lives where, and what each relay mirrors.

Nodes are named by their homes; Ray knows the names as labels. Modules are placed once and their places are facts in the orchestrator's
journal. The routing machine turns places into leases; a relay is granted what its lease says. A thread looks at Ray's list of nodes
only while something is amiss: after a death on another node, and while a node is away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import ray
from ray.exceptions import RayError

from actors.cast import CLIENTS, is_relay
from actors.cluster_head import NODE_LABEL
from actors.names import RELAY, node_home, relay_name
from actors.options import on_node
from tori.clock import Clock
from tori.errors import Unavailable
from tori.modules.open import journal_directory
from tori.modules.registry import FOLLOWS
from tori.node import node_id
from tori.orchestrator import routing
from tori.orchestrator.berth import Berth
from tori.orchestrator.placement import (
    JournalPlaced,
    SpreadPolicy,
    held_journals,
    make_journals,
    recorded_berths,
)

LOOK_S = 0.25
SUSPICION_S = 30.0
"""After a death on another node its end is looked for this long: Ray notices a lost node in 5 s, behind a partition in 50."""
AWAY_LOOK_S = 1.0
CLAIM_TIMEOUT_S = 60.0


class RayNode(msgspec.Struct, frozen=True):
    """One living node."""

    ray_id: str
    address: str


class Nodes:
    """The places of one system, as its orchestrator sees them."""

    def __init__(self, home: Path, modules: Sequence[str], clock: Clock) -> None:
        self.here = node_id(home)
        self.away: set[str] = set()
        """Nodes that have modules and are not there."""
        self.on_lost: Callable[[str, tuple[str, ...]], None] = lambda node, modules: None
        self.on_returned: Callable[[str, tuple[str, ...]], None] = lambda node, modules: None
        self._home = home
        self._ray_id = ray.get_runtime_context().get_node_id()
        self._is_labelled = self.here in self.look()
        self._berths = recorded_berths(journal_directory(home, "orchestrator"))
        self.fresh = self._place([m for m in modules if m not in self._berths.all()])
        """Records of places that were chosen now; to be written before anything runs."""
        for record in self.fresh:
            self._berths.apply(record)
        self.away = {b.node for b in self.berths.values()} - set(self.look())
        self._routing = routing.Routing(clock, FOLLOWS)
        self._suspected_until = 0.0
        self._left: set[str] = set()
        self._change = threading.Lock()
        self._wake = threading.Event()
        self._route()

    # -- who is there ------------------------------------------------------------------------------------------

    def look(self) -> dict[str, RayNode]:
        """Return the nodes that live, by their names; this one is always among them."""
        found = {self.here: RayNode(self._ray_id, "")}
        for node in ray.nodes():
            name = node["Labels"].get(NODE_LABEL)
            if node["Alive"] and (name or node["NodeID"] == self._ray_id):
                found[name or self.here] = RayNode(node["NodeID"], node["NodeManagerAddress"])
        return found

    @property
    def berths(self) -> dict[str, Berth]:
        return self._berths.all()

    @property
    def relays(self) -> tuple[str, ...]:
        """Return the relays of the other nodes that have modules."""
        return tuple(relay_name(node) for node in sorted({b.node for b in self.berths.values()} - {self.here}))

    def node_of(self, name: str) -> str:
        """Return the node of a module or relay."""
        return name.removeprefix(f"{RELAY}@") if is_relay(name) else self.berths[name].node

    def residents(self, node: str) -> tuple[str, ...]:
        """Return the relay and the modules of another node."""
        return (relay_name(node), *(m for m, berth in self.berths.items() if berth.node == node))

    def strategy(self, name: str) -> Any:
        """Return where the actor of a module or relay must be created; raises Unavailable when its node is away."""
        node = self.node_of(name)
        found = self.look().get(node)
        if found is None:
            raise Unavailable(f"node {node} is away.", remedy="Its modules start again when it is back.")
        return on_node(found.ray_id)

    @property
    def shell_home(self) -> str:
        """Return what a shell is told of its home: nothing, unless this node was not started by TORI and does not know it."""
        return "" if self._is_labelled else str(self._home)

    # -- placing -----------------------------------------------------------------------------------------------

    def _place(self, modules: Sequence[str]) -> list[JournalPlaced]:
        """Decide where modules live that have no record, and make their journals there."""
        if not modules:
            return []
        living = self.look()
        names = [self.here, *sorted(set(living) - {self.here})]
        settled = {module: berth.node for module, berth in self.berths.items()}
        held = {node: self._claim(living, node, held_journals, modules) for node in names}
        for node in names:  # journals of before there were records stay where they are
            settled |= {m: node for m in held[node] if m not in settled}
        chosen = settled | SpreadPolicy().decide([m for m in modules if m not in settled], names, settled)
        records = []
        for node in names:
            mine = [m for m in modules if chosen[m] == node]
            ids = self._claim(living, node, make_journals, mine)
            records += [JournalPlaced(m, node, ids[m]) for m in mine]
        return records

    def _claim(
        self,
        living: Mapping[str, RayNode],
        node: str,
        work: Callable[[Path, Sequence[str]], dict[str, bytes]],
        modules: Sequence[str],
    ) -> dict[str, bytes]:
        """Have ``work`` done on a node's journals, on that node: nobody opens another's files."""
        if node == self.here:
            return work(self._home / "journals", modules)
        if not modules:
            return {}
        options = {"num_cpus": 0, "scheduling_strategy": on_node(living[node].ray_id), "name": f"tori.{work.__name__}"}
        remote = ray.remote(**options)(at_home)
        found: dict[str, bytes] = ray.get(remote.remote(work, list(modules)), timeout=CLAIM_TIMEOUT_S)
        return found

    # -- routes ------------------------------------------------------------------------------------------------

    def _route(self) -> None:
        places = {m: b.node for m, b in self.berths.items()} | {"orchestrator": self.here}
        for name, producers in FOLLOWS.items():
            if producers and name in places:
                kept = tuple(p for p in producers if p in places)
                wanted = (routing.Subscription(name, kept),) if kept else ()
                self._routing.handle(routing.Subscribe(name, wanted))
        for name, node in places.items():
            self._routing.handle(routing.Place(name, "" if node in self.away else node))

    def mirrored(self, name: str) -> dict[str, bytes]:
        """Return the journals of other nodes that a module follows, with their ids."""
        berths, here = self.berths, self.here if name == "orchestrator" else self.node_of(name)
        return {j: berths[j].journal_id for j in FOLLOWS.get(name, ()) if j in berths and berths[j].node != here}

    def supplies(self, relay: str) -> dict[str, dict[str, bytes]]:
        """Return what a relay has to mirror: its lease by peer, causes before effects."""
        node = self.here if relay == CLIENTS else self.node_of(relay)
        lease = self._routing.lease(f"{routing.RELAY}{node}")
        order = list(FOLLOWS)
        found: dict[str, dict[str, bytes]] = {}
        for demand in sorted(lease.demands, key=lambda d: order.index(d.journal)):
            peer = RELAY if demand.node == self.here else relay_name(demand.node)
            found.setdefault(peer, {})[demand.journal] = self.berths[demand.journal].journal_id
        return found

    # -- coming and going --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to notice nodes that come and go; on a single node there is nothing to notice."""
        if self.relays:
            threading.Thread(target=self._watch, name="tori-nodes", daemon=True).start()

    def suspect(self, name: str) -> None:
        """Look whether the node of a module that died is still there."""
        if self.node_of(name) != self.here:
            self._suspected_until = time.monotonic() + SUSPICION_S
            self._wake.set()

    def joined(self, node: str) -> None:
        """Look for a node that says it has come."""
        self._left.discard(node)
        self._compare(set(self.look()))

    def leave(self, node: str) -> None:
        """Let a node go that says it goes; until it comes again it is away, even while Ray still knows it."""
        with self._change:
            self._left.add(node)
            if node in {berth.node for berth in self.berths.values()} - self.away:
                self._lose(node)

    def _watch(self) -> None:
        while True:
            is_suspicious = time.monotonic() < self._suspected_until
            pause_s = LOOK_S if is_suspicious else AWAY_LOOK_S if self.away else None
            if not is_suspicious:
                self._wake.wait(pause_s)
                self._wake.clear()
            else:
                time.sleep(LOOK_S)
            try:
                self._compare(set(self.look()))
            except RayError:
                continue  # the GCS is away: nothing is known, and nothing changes

    def _compare(self, living: set[str]) -> None:
        homes = {berth.node for berth in self.berths.values()}
        with self._change:
            for node in sorted((homes - living) - self.away):
                self._lose(node)
            for node in sorted((self.away & living) - self._left):
                self.away.discard(node)
                self._move(node, node)
                self.on_returned(node, self.residents(node))

    def _lose(self, node: str) -> None:
        """Note that a node is gone."""
        self.away.add(node)
        self._move(node, "")
        self.on_lost(node, self.residents(node))

    def _move(self, node: str, place: str) -> None:
        for module, berth in self.berths.items():
            if berth.node == node:
                self._routing.handle(routing.Place(module, place))

    def reached(self, record: Any) -> None:
        """Take a record of sequences into the picture."""
        self._berths.apply(record)


def at_home(work: Callable[[Path, Sequence[str]], dict[str, bytes]], modules: Sequence[str]) -> dict[str, bytes]:
    """Do something with the journals of the node this runs on."""
    return work(node_home() / "journals", modules)
