"""The in-process runtime: every module host stepped by the caller's thread.

    with LocalSystem() as mind:                 # in memory; LocalSystem(Path("...")) keeps journals on disk
        mind.ingest(documents)
        mind.quiesce()
        mind.query("braid", "ask", {"question": "why?"})

Deterministic: nothing runs unless ``pump`` is called, and the order of steps is the order of start.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from tori.bus.credit import CreditPolicy, Gate
from tori.bus.mark import MappedMark
from tori.bus.policy import DeliveryPolicy
from tori.bus.producer import PublishReceipt, opened
from tori.bus.projection import DeadLetters
from tori.bus.transport import CHUNK_BYTES, chunks
from tori.checkpoint.store import CheckpointStore
from tori.clock import Clock, SystemClock
from tori.digest import mind_digest, section_digest
from tori.errors import Backpressure, BadInput, ToriError
from tori.events.document import Document, Receipt
from tori.home import open_home
from tori.journal.archive import Archive
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.follower import Readable
from tori.journal.memory import MemoryJournal
from tori.journal.reader import JournalReader
from tori.journal.retention import KeepEverythingPolicy, RetentionPolicy, Trimmed, trim
from tori.journal.view import browse_rows
from tori.journal.writer import JournalWriter
from tori.modules.base import Module
from tori.modules.host import HostSnapshot, ModuleHost, Writable
from tori.modules.need import guards_of, kept_needs, module_snapshot, need_of
from tori.modules.open import projection_path
from tori.modules.registry import FOLLOWS, FULL_PASS, START_ORDER, create_module
from tori.modules.scan import scan

DEFAULT_MODULES = ("clients", *START_ORDER)
SEGMENT_BYTES = 4 * 1024 * 1024


class LocalSystem:
    """All modules of a mind on one clock, in one thread. One home serves one system at a time."""

    def __init__(
        self,
        home: Path | None = None,
        *,
        modules: Sequence[str] = DEFAULT_MODULES,
        clock: Clock | None = None,
        create: Callable[[str], Module] = create_module,
        snapshots: Mapping[str, HostSnapshot] | None = None,
        files: Files = SYSTEM_FILES,
        segment_bytes: int = SEGMENT_BYTES,
        incarnation: bytes | None = None,
        policy: DeliveryPolicy | None = None,
        rng: random.Random | None = None,
        wait: Callable[[float], None] = time.sleep,
        credit: CreditPolicy | None = None,
        retention: RetentionPolicy | None = None,
    ) -> None:
        is_real = files is SYSTEM_FILES
        self.home = open_home(home) if home is not None and is_real else home
        self.names = tuple(modules)
        self._clock = clock or SystemClock()
        self._files = files
        self._segment_bytes = segment_bytes
        self._incarnation = incarnation
        self._policy = policy
        self._rng = rng
        self._credit = credit
        self._wait = wait
        self._retention = retention or KeepEverythingPolicy()
        self._journals: dict[str, Writable] = {}
        self.archive = Archive()
        self.hosts: dict[str, ModuleHost] = {}
        self._dead_letters = DeadLetters(projection_path(home) if home is not None and is_real else None)
        try:
            self._open(create, snapshots or {})
        except Exception:
            if is_real:
                self._abandon()
            raise

    def _open(self, create: Callable[[str], Module], snapshots: Mapping[str, HostSnapshot]) -> None:
        for name in self.names:
            self._journals[name] = self._open_journal(name)
        left = [journal for name in self.names for journal in self._followed(name)]
        for name in dict.fromkeys((*self.names, *left)):
            self.archive.add(self._reader(name))
        for name in self.names:
            host = self.hosts[name] = self._create_host(name, create(name))
            host.recover(snapshots.get(name))

    def _open_journal(self, name: str) -> Writable:
        if self.home is None:
            return MemoryJournal(name)
        directory = self.home / "journals" / name
        return JournalWriter(directory, segment_bytes=self._segment_bytes, fallback_s=None, files=self._files)

    def _followed(self, name: str) -> list[str]:
        """Return the journals that a module follows here: those of the modules that run, and those that others left in the home."""
        return [j for j in FOLLOWS.get(name, ()) if j in self._journals or self._was_left(j)]

    def _was_left(self, journal: str) -> bool:
        return self.home is not None and self._files.exists(self.home / "journals" / journal / "journal.json")

    def _reader(self, name: str) -> Readable:
        journal = self._journals.get(name)
        if isinstance(journal, MemoryJournal):
            return journal
        return JournalReader(Path(str(self.home)) / "journals" / name, files=self._files)

    def _create_host(self, name: str, module: Module) -> ModuleHost:
        inputs = [self._reader(j) for j in self._followed(name)]
        incarnation = self._incarnation if self.home is not None else name.encode()
        return ModuleHost(
            module,
            self._journals[name],
            self._reader(name),
            inputs,
            self._clock,
            self.archive.read,
            incarnation=incarnation,
            policy=self._policy,
            mark=None if self.home is None else MappedMark(self.home / "journals" / name, files=self._files),
            rng=self._rng,
            gate=self._gate(name) if module.doors else None,
        )

    def _gate(self, name: str) -> Gate:
        def cursors() -> dict[str, int]:
            end = self._journals[name].next_sequence
            return {n: end - h.lags()[name] for n, h in self.hosts.items() if name in h.lags()}

        return Gate(name, cursors, self._clock, self._credit)

    # -- work --------------------------------------------------------------------------------------------------

    def ingest(self, documents: Iterable[Document], batch: int = 32) -> Receipt:
        """Put documents in; the same content under the same id counts as a duplicate."""
        accepted = duplicates = 0
        refused: list[tuple[str, str]] = []
        pending: list[Document] = []

        def flush() -> None:
            nonlocal accepted, duplicates
            data = msgspec.msgpack.encode(pending)
            try:
                receipt = self.submit(data)
            except Backpressure:  # the caller's thread is the modules' too: let them catch up
                self.pump()
                receipt = self.submit(data)
            accepted += receipt.accepted
            duplicates += receipt.duplicates
            refused.extend(receipt.refused)
            pending.clear()

        for document in documents:
            pending.append(document)
            if len(pending) >= batch:
                flush()
        if pending:
            flush()
        return Receipt(accepted, duplicates, tuple(refused))

    def submit(self, documents: bytes) -> Receipt:
        """Hand a batch (msgpack of list[Document]) to the ``clients`` journal: the ``Transport`` port.

        Raises Backpressure when a module is too far behind: ``pump``, then again.
        """
        receipt: Receipt = self.hosts["clients"].command("ingest", {"documents": documents})
        return receipt

    def open_producer(self, origin: str) -> tuple[int, int]:
        """Begin an incarnation of an idempotent producer; ``tori.bus.producer.Producer`` does the rest."""
        return opened(self.hosts["clients"].command("open_producer", {"origin": origin}))

    def publish(self, origin: str, incarnation: int, seq: int, payloads: bytes) -> PublishReceipt:
        """Put events in under a producer's number; again with the same number: the same receipt."""
        arguments = {"origin": origin, "incarnation": incarnation, "seq": seq, "payloads": payloads}
        receipt: PublishReceipt = self.hosts["clients"].command("publish", arguments)
        return receipt

    def frames(self, journal: str, start: int, max_bytes: int = CHUNK_BYTES) -> Iterator[bytes]:
        """Yield the durable frames of a journal in chunks: the ``Transport`` port."""
        yield from chunks(self.archive.readers[journal], start, max_bytes)

    def pump(self, max_rounds: int = 1_000_000) -> int:
        """Step every module until nobody has anything left; return how many input events were handled."""
        handled = 0
        for _ in range(max_rounds):
            step = sum(host.step() for host in self.hosts.values())
            handled += step
            if not step and not any(host.has_work for host in self.hosts.values()):
                return handled
        raise BadInput(
            f"the modules did not settle in {max_rounds} rounds.", remedy="Two modules answer each other for ever."
        )

    def settle(self) -> int:
        """Pump until nothing waits for another attempt either; return how many input events were handled.

        Lets time pass through ``wait``: give ``VirtualClock.advance`` with a virtual clock.
        """
        handled = self.pump()
        while (wake_ns := self._wake_ns()) is not None:
            self._wait(max(0.0, (wake_ns - self._clock.monotonic_ns()) / 1e9))
            handled += self.pump()
        return handled

    def _wake_ns(self) -> int | None:
        return min((w for host in self.hosts.values() if (w := host.wake_ns) is not None), default=None)

    def scan(self, module: str, task: str) -> int:
        """Run one scan to its end; return how many events it made."""
        host = self.hosts[module]
        return host.conclude(task, scan(type(host.module), task, host.module.prepare(task)))

    def quiesce(self) -> str:
        """Settle, run one full pass of every scan, settle; return the digest."""
        self.settle()
        for module, task in FULL_PASS:
            if module in self.hosts and task in self.hosts[module].module.tasks:
                self.scan(module, task)
                self.settle()
        return self.digest()

    # -- questions ---------------------------------------------------------------------------------------------

    def query(self, module: str, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Ask one module."""
        return self._host(module).query(name, arguments or {})

    def command(self, module: str, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Ask one module to do something."""
        return self._host(module).command(name, arguments or {})

    def events(self, text: str = "", limit: int = 100) -> dict[str, Any]:
        """Return the newest events that fit a filter (``tori.events.filter``)."""
        return browse_rows(self.archive, text, limit, self._clock.wall_ns())

    def dead_letters(self, text: str = "", limit: int = 100) -> dict[str, Any]:
        """Return the newest dead letters of all modules that fit a filter."""
        self._dead_letters.refresh(self.archive.readers)
        return self._dead_letters.list(text, limit, now_ns=self._clock.wall_ns())

    def _host(self, module: str) -> ModuleHost:
        host = self.hosts.get(module)
        if host is None:
            raise BadInput(f"there is no module {module!r}.", remedy=f"Modules: {', '.join(self.hosts)}.")
        return host

    def digests(self) -> dict[str, str]:
        """Return the digest of every module's section; modules without one are left out."""
        sections = {name: host.module.section() for name, host in self.hosts.items()}
        return {name: section_digest(section) for name, section in sections.items() if section is not None}

    def digest(self) -> str:
        """Return the digest of the mind; meaningful after ``quiesce``."""
        return mind_digest(self.digests())

    def snapshots(self) -> dict[str, HostSnapshot]:
        """Return every module's state as of now."""
        return {name: host.snapshot() for name, host in self.hosts.items()}

    def checkpoint(self, store: CheckpointStore) -> list[Trimmed]:
        """Save every module's state, prune old checkpoints, then the journals as far as nobody needs them; say what went."""
        for journal in self._journals.values():
            journal.commit()
        store.save({name: module_snapshot(snapshot) for name, snapshot in self.snapshots().items()})
        store.prune()
        if self.home is None or isinstance(self._retention, KeepEverythingPolicy):
            return []
        needs = [need_of(host) for host in self.hosts.values()]
        journals = self._files.names(self.home / "journals")
        guards = guards_of(journals, needs, kept_needs(store, journals), self.archive)
        now_ns = self._clock.wall_ns()
        return [
            trim(journal, self._retention, guards[name], now_ns, self._files)
            for name, journal in self._journals.items()
            if isinstance(journal, JournalWriter)
        ]

    def _abandon(self) -> None:
        """Give up what was opened before the start failed; a journal that fails again has said why already."""
        for journal in self._journals.values():
            with contextlib.suppress(ToriError):
                journal.close()
        self.archive.close()
        self._dead_letters.close()

    def close(self) -> None:
        """Give every journal up."""
        for host in self.hosts.values():
            host.close()
        self.archive.close()
        self._dead_letters.close()

    def __enter__(self) -> LocalSystem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
