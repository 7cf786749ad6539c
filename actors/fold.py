"""Snapshots folded in Ray tasks at low priority: the living actors are asked for their positions and go on.

One task folds all modules whose journals lie on this node and writes each file itself into the folder of the checkpoint, so a
large state passes through no object store and no other process. A module of another node is folded there, where its journal
is; its snapshot comes back by ref.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import ray
from ray.exceptions import RayError

from actors.failure import brief_error
from actors.names import node_home
from actors.snapshot import decode_host
from tori.checkpoint.fold import fold
from tori.checkpoint.manifest import Part
from tori.checkpoint.store import FOLDER, CheckpointStore, Problem, write_snapshot
from tori.errors import Unavailable
from tori.journal.reader import JournalReader
from tori.modules.host_state import HostSnapshot, snapshot_pieces
from tori.modules.need import module_snapshot
from tori.modules.open import journal_directory, mirrors_of
from tori.modules.registry import FOLLOWS, create_module
from tori.modules.source import source_version
from tori.modules.user import load_modules
from tori.resources.background import leave_session

NICENESS = 10
"""A tenth of a core beside work that saturates it; at 19 it would be a hundredth, and a large fold would come to no end."""
FOLD_TIMEOUT_S = 900.0
HOT_BYTES = 16 << 20
"""A larger snapshot stays on the disk: the object store is small, and shared with all that is under way."""


class Order(msgspec.Struct, frozen=True):
    """One module to be folded."""

    position: HostSnapshot
    mirrored: dict[str, bytes]
    """Journals it follows whose mirrors it reads, with their ids."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of an order."""

    part: Part | None = None
    """The file that was written; None: it was not."""
    error: str = ""
    problems: tuple[Problem, ...] = ()
    """Earlier snapshots that were found damaged on the way."""


def make_way() -> None:
    """Leave the cores to whoever wants them; for a process that ends with its task. Ray's session holds who must not wait for it."""
    leave_session(NICENESS)
    os.nice(max(0, NICENESS - os.nice(0)))
    gc.disable()  # a fold makes no garbage in cycles, and a collector would walk over a large state again and again


def fold_order(home: Path, order: Order, previous: HostSnapshot | None, settings: Mapping[str, Any]) -> HostSnapshot:
    """Return the snapshot of a module whose journal lies in this home."""
    load_modules(settings)
    name, code = order.position.module, order.position.code
    position = msgspec.structs.replace(order.position, code="")  # that is of the process, not of the state
    if code and code != source_version(name):
        raise Unavailable(f"{name} runs other code than is installed: it gives its snapshot itself.")
    own = JournalReader(journal_directory(home, name))
    inputs = [
        JournalReader(mirrors_of(home) / j if j in order.mirrored else journal_directory(home, j))
        for j in FOLLOWS[name]
    ]
    return fold(create_module(name, settings), position, previous, own, inputs)


def fold_here(home: str, folder: str, orders: Sequence[Order], settings: Mapping[str, Any]) -> list[Any]:
    """Fold modules of this node one after the other and write their files; return the outcomes, then the hot copies or None.

    What fails harms only its own module.
    """
    make_way()
    store = CheckpointStore(Path(home) / FOLDER)
    outcomes, hot = [], []
    for order in orders:
        try:
            outcome, data = _fold_one(Path(home), Path(folder), order, settings, store)
        except Exception as error:
            outcome, data = Outcome(error=brief_error(error)), None
        outcomes.append(outcome)
        hot.append(data)
    return [outcomes, *hot]


def _fold_one(
    home: Path, folder: Path, order: Order, settings: Mapping[str, Any], store: CheckpointStore
) -> tuple[Outcome, bytes | None]:
    stored, problems = store.newest(order.position.module)
    previous = None if stored is None else decode_host(stored.data)
    del stored
    found = fold_order(home, order, previous, settings)
    pieces = snapshot_pieces(found)
    part = write_snapshot(folder, module_snapshot(found, b""), pieces)
    return Outcome(part, "", problems), b"".join(pieces) if part.size_bytes <= HOT_BYTES else None


def fold_away(order: Order, previous: bytes | None, settings: Mapping[str, Any]) -> bytes:
    """Fold a module on its own node; return its snapshot."""
    make_way()
    return msgspec.msgpack.encode(fold_order(node_home(), order, decode_host(previous), settings))


class Places(Protocol):
    """Where modules live (``actors.nodes.Nodes``)."""

    here: str

    def node_of(self, name: str) -> str: ...
    def mirrored(self, name: str) -> dict[str, bytes]: ...
    def strategy(self, name: str) -> Any: ...


class Folding:
    """Starts the tasks and gathers what they made."""

    def __init__(self, home: Path, settings: Mapping[str, Any], nodes: Places, store: CheckpointStore) -> None:
        self._home = home
        self._settings = dict(settings)
        self._nodes = nodes
        self._store = store

    def run(
        self, folder: Path, positions: Mapping[str, HostSnapshot], keep: Callable[[str, Any], None]
    ) -> tuple[dict[str, Outcome], dict[str, bytes]]:
        """Return the outcomes by module, and the snapshots of modules of other nodes, which are still to be written.

        ``keep`` is given the refs of hot copies; their owner is this process. A task that dies or takes too long is an error of
        all its modules.
        """
        orders = {name: Order(position, self._nodes.mirrored(name)) for name, position in positions.items()}
        here = [name for name in orders if self.is_here(name)]
        away = {name: self._start_away(name, orders[name]) for name in orders if name not in here}
        outcomes = self._fold_here(folder, {name: orders[name] for name in here}, keep) if here else {}
        found: dict[str, bytes] = {}
        for name, ref in away.items():
            try:
                found[name] = ray.get(ref, timeout=FOLD_TIMEOUT_S)
                keep(name, ref)
            except RayError as error:
                outcomes[name] = Outcome(error=brief_error(error))
        return outcomes, found

    def is_here(self, name: str) -> bool:
        """Say whether a module lives on the node whose disk holds the checkpoints."""
        return self._nodes.node_of(name) == self._nodes.here

    def _options(self, what: str, strategy: Any) -> dict[str, Any]:
        """Return how such a task runs: it takes no CPU from scans, once, in a process that ends with it, its memory and niceness too."""
        return {
            "num_cpus": 0,
            "max_retries": 0,
            "max_calls": 1,
            "name": f"checkpoint.{what}",
            "scheduling_strategy": strategy,
        }

    def _fold_here(
        self, folder: Path, orders: Mapping[str, Order], keep: Callable[[str, Any], None]
    ) -> dict[str, Outcome]:
        names = list(orders)
        options = self._options("fold", self._nodes.strategy(names[0])) | {"num_returns": 1 + len(names)}
        task = ray.remote(**options)(fold_here)
        first, *hot = task.remote(str(self._home), str(folder), list(orders.values()), self._settings)
        try:
            outcomes: list[Outcome] = ray.get(first, timeout=FOLD_TIMEOUT_S)
        except RayError as error:
            ray.cancel(first, force=True)
            return dict.fromkeys(names, Outcome(error=brief_error(error)))
        for name, outcome, ref in zip(names, outcomes, hot, strict=True):
            if outcome.part is not None and outcome.part.size_bytes <= HOT_BYTES:
                keep(name, ref)
        return dict(zip(names, outcomes, strict=True))

    def _start_away(self, name: str, order: Order) -> Any:
        stored, _ = self._store.newest(name)
        previous = None if stored is None else ray.put(stored.data)
        return ray.remote(**self._options(f"fold.{name}", self._nodes.strategy(name)))(fold_away).remote(
            order, previous, self._settings
        )
