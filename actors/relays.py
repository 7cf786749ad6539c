"""The relays of all nodes, as the orchestrator uses them: grants, counts, and whether the mirrors hold what was written."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.exceptions import RayError

from actors.answers import Answers
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
        return self.heard(self.ask(), time.monotonic() + VIEW_TIMEOUT_S)

    def ask(self) -> Answers:
        """Ask every relay what it carried."""
        handles = self._handles()
        return Answers({name: handles[name] for name in self.names if name in handles}, "carried")

    def heard(self, answers: Answers, deadline: float) -> dict[str, CarrierView]:
        """Return what was answered before ``deadline``, by the name of the relay's node."""
        return {self._node(name): view for name, view in answers.until(deadline).items()}

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

    def marks(self) -> dict[str, dict[str, int | None]]:
        """Return by journal how far the mirrors of it are, by the nodes that keep them; None where the relay does not answer."""
        carried = self.views()
        found: dict[str, dict[str, int | None]] = {}
        for name in self.names:
            view = carried.get(self._node(name))
            for journal in (j for journals in self._nodes.supplies(name).values() for j in journals):
                offset = None if view is None else view.positions.get(journal, (0, 0))[0]
                found.setdefault(journal, {})[self._node(name)] = offset
        return found

    def rows(self, routed: int, carried: Mapping[str, CarrierView]) -> list[dict[str, Any]]:
        """Return a row a node: who it is, who lives there, refs routed to it, what its mirrors hold.

        ``routed``: refs of documents; ``carried``: what the relays answered. A node whose relay did not is unreachable, or very busy.
        """
        living = self._nodes.look()
        mute = {self._node(name) for name in self.names} - set(carried)
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
                    "answers": node in living and node not in mute,
                    "is_head": node == self._nodes.here,
                    "modules": sorted(homes.get(node, ())),
                    "refs_routed": (routed if node == self._nodes.here else 0) + (view.refs if view else 0),
                    "mirrored_bytes": view.bytes if view else 0,
                    "mirrors": {j: sequence for j, (_, sequence) in view.positions.items()} if view else {},
                    "problems": dict(view.problems) if view else {},
                }
            )
        return rows
