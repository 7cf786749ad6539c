"""A rewound copy behind the port that every door speaks: it answers, and takes nothing in."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from tori.bus.producer import PublishReceipt
from tori.checkpoint.lineage import JOURNALS
from tori.checkpoint.rewind import Rewound, moment_of, note_of, rewind_copy, row_of
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.clock import Clock, SystemClock
from tori.errors import BadInput
from tori.events.document import Receipt
from tori.local.answers import LocalAnswers
from tori.local.system import LocalSystem
from tori.modules.host import HostSnapshot
from tori.modules.open import remember_journals
from tori.modules.registry import PATHS, create_module
from tori.modules.user import load_modules


def open_copy(
    home: Path, settings: Mapping[str, Any] | None = None, snapshots: Mapping[str, HostSnapshot] | None = None
) -> LocalSystem:
    """Return the mind in a rewound home; without ``snapshots`` from the newest checkpoints there, or from the journals alone.

    Of a module that the settings no longer name, the journal is there and is followed; the module is not.
    """
    load_modules(settings)
    remember_journals(home)
    names = [name for name in PATHS if (home / JOURNALS / name).is_dir()]
    if snapshots is None:
        store = CheckpointStore(home / FOLDER)
        stored = {name: store.newest(name)[0] for name in names}
        snapshots = {n: msgspec.msgpack.decode(s.data, type=HostSnapshot) for n, s in stored.items() if s is not None}
    return LocalSystem(home, modules=names, create=lambda name: create_module(name, settings), snapshots=snapshots)


def rewind(
    home: Path,
    text: str,
    settings: Mapping[str, Any] | None = None,
    *,
    is_settled: bool = False,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Make a copy of the mind in ``home`` as it was at a moment; return where it lies and its digest.

    ``is_settled``: let it take what it had not taken by then and run one full pass, so that the digest is canonical.
    """
    load_modules(settings)
    now_ns = (clock or SystemClock()).wall_ns()
    moment = moment_of(text, CheckpointStore(home / FOLDER), now_ns)
    copy, rewound, snapshots = rewind_copy(home, moment, now_ns)
    try:
        with open_copy(copy, settings, snapshots) as mind:
            if is_settled:
                mind.quiesce()
            mind.checkpoint(CheckpointStore(copy / FOLDER))
            return row_of(copy, rewound) | {"digest": mind.digest(), "sections": mind.digests(), "settled": is_settled}
    except BaseException:
        shutil.rmtree(copy)  # it is of use to nobody
        raise


def _note(home: Path) -> Rewound:
    rewound = note_of(home)
    if rewound is None:
        raise BadInput(f"{home} is no rewound copy.", remedy="Make one: tori rewind TIME.")
    return rewound


def source_of(home: Path) -> Path:
    """Return the home of the mind that a copy is made of; raises BadInput when it is no copy."""
    return Path(_note(home).source)


class RewoundClient(LocalAnswers):
    """A ``SystemClient`` over a copy, open in this process: questions are answered, everything else is refused."""

    def __init__(self, home: Path, settings: Mapping[str, Any] | None = None) -> None:
        self.rewound = _note(home)
        self.home = home
        super().__init__(open_copy(home, settings))

    def status(self) -> dict[str, Any]:
        modules = [
            {
                "name": name,
                "state": "rewound",
                "node": "",
                "restarts": 0,
                "lag": host.lag,
                "events": host.counters.events,
                "consumed": 0,
                "busy_s": 0.0,
                "late_wakes": 0,
                "held": len(host.courier.pending),
                "dead_letters": len(host.courier.book),
                "dead_letters_ever": host.courier.book.total,
                "summary": host.module.query("summary", {}),
            }
            for name, host in self.mind.hosts.items()
            if name != "orchestrator"
        ]
        return {
            "state": "rewound",
            "doing": f"stands where {self.rewound.source} stood at {self.rewound.moment.text}",
            "modules": modules,
            "nodes": [],
            "events": sum(host.counters.events for host in self.mind.hosts.values()),
            "events_per_s": 0.0,
            "refs_routed": 0,
            "uptime_s": 0.0,
            "problems": [],
        }

    def tasks(self) -> dict[str, Any]:
        return {"tasks": [], "runs": [], "active": []}

    def checkpoints(self) -> list[dict[str, Any]]:
        return []

    # -- what a copy does not do -------------------------------------------------------------------------------

    def ingest(self, documents: bytes) -> Receipt:
        self._refuse("takes no documents")

    def open_producer(self, origin: str) -> tuple[int, int]:
        self._refuse("takes no events")

    def publish(self, origin: str, incarnation: int, seq: int, payloads: bytes) -> PublishReceipt:
        self._refuse("takes no events")

    def command(self, module: str, name: str, arguments: Mapping[str, Any]) -> Any:
        self._refuse("takes no commands")

    def quiesce(self) -> dict[str, Any]:
        self._refuse("stands still; rewind with --settle for a canonical digest")

    def run_task(self, task: str, *, force: bool = False) -> dict[str, Any]:
        self._refuse("runs no tasks")

    def throttle(self, level: str, reason: str = "") -> dict[str, Any]:
        self._refuse("has no work in the background")

    def run_story(self, run_id: str) -> dict[str, Any]:
        self._refuse("runs no tasks")

    def run_logs(self, run_id: str) -> dict[str, Any]:
        self._refuse("runs no tasks")

    def cancel_run(self, run_id: str) -> dict[str, Any]:
        self._refuse("runs no tasks")

    def pause_task(self, task: str, *, paused: bool) -> dict[str, Any]:
        self._refuse("runs no tasks")

    def pause(self, module: str | None, *, paused: bool) -> dict[str, Any]:
        self._refuse("stands still")

    def ship(self, data: bytes, name: str) -> dict[str, Any]:
        self._refuse("runs no tasks")

    def reload(self, module: str) -> dict[str, Any]:
        self._refuse("stands still")

    def checkpoint(self) -> dict[str, Any]:
        self._refuse("needs no checkpoints")

    def restore(self, checkpoint_id: str | None) -> dict[str, Any]:
        self._refuse("is restored by making it again")

    def _refuse(self, why: str) -> NoReturn:
        raise BadInput(
            f"{self.home} is a read-only copy of a past moment: it {why}.",
            remedy=f"Talk to the mind itself: --home {self.rewound.source}.",
        )

    def close(self) -> None:
        self.mind.close()
