"""The actor around one module: decodes, calls the loop, returns. Nothing here knows what the module is about."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.logging import configure_from, event_logger
from actors.names import node_home
from actors.snapshot import Origin, decode_host, find_snapshot, load_exactly
from actors.succession import Succeeding
from actors.watch import Watch
from tori.clock import SystemClock
from tori.digest import section_digest
from tori.errors import Unavailable
from tori.interpreter import tune
from tori.journal.archive import Archive
from tori.journal.retention import Guards, Trimmed
from tori.journal.scrub import PIECE_BYTES, Damage, Patrol
from tori.modules.host import HostSnapshot, ModuleHost
from tori.modules.loop import LoopView, ModuleLoop
from tori.modules.need import Need, need_of, trim_host
from tori.modules.open import archive_of, input_directories, journal_directory, open_host, retention_policy
from tori.modules.source import source_version
from tori.modules.successor import Successor
from tori.modules.user import load_modules
from tori.orchestrator.berth import Berth, check_journal

STATS_TIMEOUT_S = 2.0
SCRUB_AGAIN_S = 86_400.0


class ShellConfig(msgspec.Struct, frozen=True):
    """What an actor must know to start."""

    home: str
    """Empty: the home of the node the actor finds itself on."""
    name: str
    segment_bytes: int
    incarnation: int = 1
    """Counts the starts of the module under one orchestrator's care."""
    start_timeout_s: float = 30.0
    settings: dict[str, Any] | None = None
    """``Settings.plain()``; None = the defaults."""
    mirrored: dict[str, bytes] | None = None
    """Journals of other nodes that the module follows, with their ids: a relay keeps their mirrors. None = make what is not there."""
    berth: Berth | None = None
    """What is recorded of the module's own journal: it must be there."""
    supplies: dict[str, dict[str, bytes]] = {}
    """For a relay: what to mirror, by peer."""
    code: str = ""
    """Tells the processes of one code from those of another; empty = the code that was there when the cluster started."""
    succeeds: bool = False
    """Begin as the successor of the actor that has the module."""
    is_paused: bool = False
    """Take no input before it is resumed."""


class Conclusion(msgspec.Struct, frozen=True):
    """What concluding a scan did."""

    emitted: int
    incarnation: int
    covers: int
    """Version of the module's state that the result speaks for."""


class ModuleActor(Succeeding):
    """A module with its loop. Threads of the actor only wait on the loop."""

    def __init__(self, config: ShellConfig, snapshot: bytes | None = None) -> None:
        super().__init__()
        tune()
        if config.settings is not None:
            configure_from(config.settings)
        load_modules(config.settings)
        self.config = config
        self.code = source_version(config.name)
        self.home = Path(config.home) if config.home else node_home()
        self._watch = Watch()
        again_s = (config.settings or {}).get("journal", {}).get("scrub_again_s", SCRUB_AGAIN_S)
        self._patrol = Patrol(journal_directory(self.home, config.name), again_s, SystemClock())
        self._patrol_lock = threading.Lock()
        self._origin = Origin(None)
        self._prepared: dict[str, int] = {}
        self._told: ModuleLoop | None = None
        self.loop = self._open(snapshot)
        if not config.succeeds:
            self.loop.pause(paused=config.is_paused)
            self._begin()
            return
        self._successor = Successor(
            self.home,
            config.name,
            load_snapshot=lambda name: find_snapshot(self.home, name, snapshot).snapshot,
            settings=config.settings,
            mirrored=config.mirrored,
        )

    def _begin(self) -> None:
        self._watch.guard(self.loop, self.loop.join)
        self.loop.start()

    def _open(self, snapshot: bytes | None, *, exactly: bool = False) -> ModuleLoop:
        """Return a loop that starts from the hot snapshot, or from the newest on disk; ``exactly``: from the given one only."""

        def load(name: str) -> HostSnapshot | None:
            self._origin = Origin(decode_host(snapshot)) if exactly else find_snapshot(self.home, name, snapshot)
            return self._origin.snapshot

        def open_it() -> ModuleHost:
            if self.config.berth is not None:
                check_journal(journal_directory(self.home, self.config.name), self.config.berth)
            return self._open_host(load, progress=loop.replayed)

        loop = self._new_loop(open_it)  # named: the host tells it how far it is
        return loop

    def _open_host(self, snapshot: Callable[[str], HostSnapshot | None], **options: Any) -> ModuleHost:
        return open_host(
            self.home,
            self.config.name,
            segment_bytes=self.config.segment_bytes,
            load_snapshot=snapshot,
            settings=self.config.settings,
            watched=True,
            mirrored=self.config.mirrored,
            **options,
        )

    def _new_loop(self, open_host: Callable[[], ModuleHost], *, is_patient: bool = True) -> ModuleLoop:
        config = self.config
        directories = input_directories(self.home, config.name, config.mirrored)
        return ModuleLoop(config.name, open_host, directories, on_wait=(lambda reason: None) if is_patient else None)

    def __repr__(self) -> str:
        return f"tori.{self.config.name}"

    def ready(self) -> dict[str, Any]:
        """Return the pid and the view once the module has recovered; raises Unavailable while another actor has the module."""
        if self.is_out:
            raise Unavailable(f"another actor has the module {self.config.name}.")
        view = self.loop.wait_ready(self.config.start_timeout_s)
        if self.loop is not self._told:
            self._told = self.loop
            event_logger(self.config.name).info(
                "ready: start %d, %d units replayed", self.config.incarnation, view.replayed_units
            )
        return {
            "pid": os.getpid(),
            "incarnation": self.config.incarnation,
            "view": view,
            "events": self._origin.events,
            "code": self.code,
        }

    def watch(self, watcher: int = 0, turn: int = 0) -> bool:
        """Return True when the module was stopped, False when a newer watcher waits; raises when its loop died.

        The caller learns of a killed process by the same call.
        """
        return self._watch.wait(watcher, turn)

    def view(self) -> LoopView:
        return self.loop.view

    def version(self) -> tuple[int, int]:
        """Return (incarnation, version of the state): differs whenever the state may differ."""
        return self.config.incarnation, self.loop.view.version

    def settle(self) -> LoopView:
        """Return a view taken between two batches: exact, for termination detection."""
        self.loop.call(lambda host: None)
        return self.loop.call(lambda host: self.loop.view)

    def query(self, name: str, arguments: Mapping[str, Any], timeout_s: float | None = None) -> Any:
        return self.loop.call(lambda host: host.query(name, arguments), timeout_s)

    def command(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return self.loop.call(lambda host: host.command(name, arguments))

    def prepare(self, task: str) -> bytes:
        """Return the immutable input of a scan, and remember which version of the state it speaks for."""

        def work(host: ModuleHost) -> bytes:
            self._prepared[task] = host.counters.version
            return host.module.prepare(task)

        return self.loop.call(work)

    def conclude(self, task: str, result: bytes) -> Conclusion:
        """Turn a scan's result into facts."""

        def work(host: ModuleHost) -> Conclusion:
            before = host.counters.version
            emitted = host.conclude(task, result)
            covers = self._prepared.get(task, before) + host.counters.version - before
            return Conclusion(emitted, self.config.incarnation, covers)

        return self.loop.call(work)

    def prepare_targets(self, targets: Sequence[Any], seed: int) -> bytes:
        """Return the input of a fuzz run over shadow copies of other modules (the fuzzing module only)."""
        plan: bytes = self.loop.call(lambda host: host.module.prepare_targets(targets, seed))  # type: ignore[attr-defined]  # only the fuzzing module has it
        return plan

    def section(self) -> str | None:
        """Return the digest of the module's section."""
        section = self.loop.call(lambda host: host.module.section())
        return None if section is None else section_digest(section)

    def snapshot(self) -> bytes:
        """Return a HostSnapshot, msgpack. What it stands on is on disk, also where acknowledgements do not wait for that."""

        def work(host: ModuleHost) -> HostSnapshot:
            host.journal.commit()
            return host.snapshot()

        return msgspec.msgpack.encode(self.loop.call(work))

    def position(self) -> HostSnapshot:
        """Return where the module stands, durably, without its state: what a fold beside it needs."""

        def work(host: ModuleHost) -> HostSnapshot:
            host.journal.commit()
            return msgspec.structs.replace(host.position(), code=self.code)

        return self.loop.call(work)

    def need(self) -> Need:
        """Return what this module needs of the journals."""
        return self.loop.call(need_of)

    def trim(self, guards: Guards) -> Trimmed:
        """Remove what nobody needs of this module's own journal."""
        policy = retention_policy(self.config.settings)
        return self.loop.call(lambda host: trim_host(host, policy, guards))

    def scrub(self) -> list[Damage]:
        """Read a piece of the own journal again; return damage nobody was told of."""
        journal = (self.config.settings or {}).get("journal", {})
        with self._patrol_lock:
            return self._patrol.run(journal.get("scrub_size_bytes", PIECE_BYTES))

    def pause(self, *, paused: bool) -> None:
        self.loop.pause(paused=paused)

    def restore(self, snapshot: bytes | None) -> LoopView:
        """Start again from ``snapshot`` (None: from nothing) and the journal after it, in this process."""
        self._watch.release()
        self.loop.stop()
        self.loop = self._open(snapshot, exactly=True)
        self._begin()
        return self.loop.wait_ready(self.config.start_timeout_s)

    def restore_from(self, checkpoint_id: str) -> LoopView:
        """Do what ``restore`` does, from a checkpoint on the disk of this node."""
        return self.restore(load_exactly(self.home, checkpoint_id, self.config.name))

    def stop(self) -> None:
        """Finish the batch in hand and give the journal up; ``watch`` returns."""
        self.loop.stop()
        self.give_up()

    def archive(self) -> Archive:
        return archive_of(self.home)
