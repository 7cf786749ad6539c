"""The relays of all nodes, as the orchestrator uses them: grants, counts, and whether the mirrors hold what was written."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.exceptions import RayError

from actors.carrier import CarrierView
from actors.cast import CLIENTS
from actors.nodes import Nodes
from tori.modules.loop import LoopView

VIEW_TIMEOUT_S = 5.0


class Relays:
    """Talks to the head's relay and to those of the other nodes with modules; on a single node it says nothing to nobody."""

    def __init__(self, nodes: Nodes, handles: Callable[[], Mapping[str, Any]]) -> None:
        self._nodes = nodes
        self._handles = handles

    @property
    def names(self) -> tuple[str, ...]:
        """Return the relays that carry something."""
        return (CLIENTS, *self._nodes.relays) if self._nodes.relays else ()

    def grant(self) -> None:
        """Tell every relay its lease; one that starts later is created with it."""
        handles = self._handles()
        for name in self.names:
            if name in handles:
                with contextlib.suppress(RayError):
                    handles[name].grant.remote(self._nodes.supplies(name))

    def views(self) -> dict[str, CarrierView]:
        """Return what every relay answers in time, by the name of its node."""
        handles = self._handles()
        refs = {handles[name].carried.remote(): name for name in self.names if name in handles}
        done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=VIEW_TIMEOUT_S) if refs else ([], [])
        found = {}
        for ref in done:
            with contextlib.suppress(RayError):
                found[self._node(refs[ref])] = ray.get(ref)
        return found

    def _node(self, name: str) -> str:
        return self._nodes.here if name == CLIENTS else self._nodes.node_of(name)

    def behind(self, views: Mapping[str, LoopView]) -> int:
        """Return how many bytes of journals are written (``views`` says how far) and not yet on the disks that want them.

        Raises KeyError when a relay or a writer does not answer: nothing is known then.
        """
        if not self.names:
            return 0
        carried = self.views()
        missing = 0
        for name in self.names:
            positions = carried[self._node(name)].positions
            for journals in self._nodes.supplies(name).values():
                missing += sum(views[j].offset - positions.get(j, (0, 0))[0] for j in journals)
        return missing

    def rows(self, routed: int) -> list[dict[str, Any]]:
        """Return a row a node: who it is, who lives there, refs routed to it, what its mirrors hold; ``routed``: documents' refs."""
        living, carried = self._nodes.look(), self.views()
        homes: dict[str, list[str]] = {}
        for module, berth in self._nodes.berths.items():
            homes.setdefault(berth.node, []).append(module)
        rows = []
        for node in sorted({*living, *homes}, key=lambda n: (n != self._nodes.here, n)):
            view = carried.get(node)
            rows.append(
                {
                    "node": node,
                    "id": living[node].ray_id if node in living else "",
                    "address": living[node].address if node in living else "",
                    "alive": node in living,
                    "is_head": node == self._nodes.here,
                    "modules": sorted(homes.get(node, ())),
                    "refs_routed": (routed if node == self._nodes.here else 0) + (view.refs if view else 0),
                    "mirrored_bytes": view.bytes if view else 0,
                    "mirrors": {j: sequence for j, (_, sequence) in view.positions.items()} if view else {},
                    "problems": dict(view.problems) if view else {},
                }
            )
        return rows
