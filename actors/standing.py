"""How the system stands: one row a module and a node, counts and rates; asked of everybody at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import ray

from actors.answers import Answers
from actors.conductor import Conductor
from actors.nodes import Nodes
from actors.relays import Relays
from tori.modules.loop import LoopView, ModuleLoop
from tori.orchestrator.lifecycle import Lifecycle

VIEW_TIMEOUT_S = 5.0
SUMMARY_TIMEOUT_S = 2.0
_NOTHING = LoopView("")
"""What is shown of a module that does not answer."""


class Traffic:
    """Refs that came through the door, and the rate of what followed. Safe to use from many threads."""

    def __init__(self, refs_routed: int) -> None:
        self._lock = threading.Lock()
        self.refs_routed = refs_routed
        self._first_ref: float | None = None
        self._grown: tuple[float, int] = (0.0, 0)

    def count(self, refs: int) -> None:
        with self._lock:
            self.refs_routed += refs
            if self._first_ref is None:
                self._first_ref = time.monotonic()

    def events_per_s(self, emitted: int) -> float:
        """Return the mean rate of the modules' events from the first ref routed until they last grew."""
        if emitted != self._grown[1]:
            self._grown = (time.monotonic(), emitted)
        if self._first_ref is None:
            return 0.0
        return round(emitted / max(0.5, self._grown[0] - self._first_ref), 1)


class Standing:
    """Asks everybody how they are."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        conductor: Conductor,
        nodes: Nodes,
        relays: Relays,
        ledger: ModuleLoop,
        traffic: Traffic,
    ) -> None:
        self._lifecycle, self._conductor, self._nodes, self._relays = lifecycle, conductor, nodes, relays
        self._ledger = ledger
        self._traffic = traffic
        self._started = time.monotonic()

    def look(self) -> dict[str, Any]:
        """Return ``state``, ``modules``, ``nodes``, counts, rates; who does not answer in time has zeros."""
        handles, deadline = self._conductor.handles, time.monotonic() + VIEW_TIMEOUT_S
        asked = Answers(handles, "view"), Answers(handles, "query", "summary", {}, SUMMARY_TIMEOUT_S)
        carriers = self._relays.ask()
        views, summaries = (answers.until(deadline) for answers in asked)
        states = self._lifecycle.states()
        modules = [self._row(name, states[name], views, summaries) for name in self._lifecycle.modules]
        resources = {n["NodeID"]: n.get("Resources", {}) for n in ray.nodes()}
        nodes = self._relays.rows(self._traffic.refs_routed, self._relays.heard(carriers, deadline))
        return {
            "state": str(states["system"]),
            "modules": modules,
            "nodes": [n | {"resources": resources.get(n["id"], {})} for n in nodes],
            "events": sum(m["events"] for m in modules) + self._ledger.view.events,
            "events_per_s": self._traffic.events_per_s(sum(view.emitted for view in views.values())),
            "refs_routed": sum(n["refs_routed"] for n in nodes),
            "uptime_s": round(time.monotonic() - self._started, 1),
        }

    def _row(
        self, name: str, state: str, views: Mapping[str, LoopView], summaries: Mapping[str, dict[str, Any]]
    ) -> dict[str, Any]:
        view = views.get(name, _NOTHING)
        return {
            "name": name,
            "state": state,
            "node": self._nodes.node_of(name),
            "restarts": self._conductor.restarts[name],
            "lag": view.lag,
            "events": view.events,
            "consumed": view.consumed,
            "busy_s": round(view.busy_s, 3),
            "waited_s": round(view.waited_s, 3),
            "late_wakes": view.late_wakes,
            "held": view.held,
            "waits_for": view.waits_for or self._conductor.waits.get(name, ""),
            "dead_letters": view.letters,
            "dead_letters_ever": view.letters_ever,
            "summary": summaries.get(name) or {},
        }
