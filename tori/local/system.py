"""The in-process runtime: every module host stepped by the caller's thread.

    with LocalSystem() as mind:                 # in memory; LocalSystem(Path("...")) keeps journals on disk
        mind.ingest(documents)
        mind.quiesce()
        mind.query("braid", "ask", {"question": "why?"})

Deterministic: nothing runs unless ``pump`` is called, and the order of steps is the order of start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from tori.bus.transport import CHUNK_BYTES, chunks
from tori.clock import Clock, SystemClock
from tori.digest import mind_digest, section_digest
from tori.errors import BadInput
from tori.events.document import Document, Receipt
from tori.home import open_home
from tori.journal.archive import Archive
from tori.journal.follower import Readable
from tori.journal.memory import MemoryJournal
from tori.journal.reader import JournalReader
from tori.journal.writer import JournalWriter
from tori.modules.base import Module
from tori.modules.host import HostSnapshot, ModuleHost, Writable
from tori.modules.registry import FOLLOWS, FULL_PASS, START_ORDER, create_module

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
    ) -> None:
        self.home = home if home is None else open_home(home)
        self.names = tuple(modules)
        self._clock = clock or SystemClock()
        self._journals: dict[str, Writable] = {}
        self.archive = Archive()
        self.hosts: dict[str, ModuleHost] = {}
        for name in self.names:
            self._journals[name] = self._open_journal(name)
            self.archive.add(self._reader(name))
        for name in self.names:
            host = self._create_host(name, create(name))
            host.recover((snapshots or {}).get(name))
            self.hosts[name] = host

    def _open_journal(self, name: str) -> Writable:
        if self.home is None:
            return MemoryJournal(name)
        return JournalWriter(self.home / "journals" / name, segment_bytes=SEGMENT_BYTES, fallback_s=None)

    def _reader(self, name: str) -> Readable:
        journal = self._journals[name]
        if isinstance(journal, MemoryJournal):
            return journal
        return JournalReader(Path(str(self.home)) / "journals" / name)

    def _create_host(self, name: str, module: Module) -> ModuleHost:
        inputs = [self._reader(j) for j in FOLLOWS.get(name, ()) if j in self._journals]
        incarnation = None if self.home is not None else name.encode()
        return ModuleHost(
            module,
            self._journals[name],
            self._reader(name),
            inputs,
            self._clock,
            self.archive.read,
            incarnation=incarnation,
        )

    # -- work --------------------------------------------------------------------------------------------------

    def ingest(self, documents: Iterable[Document], batch: int = 32) -> Receipt:
        """Put documents in; the same content under the same id counts as a duplicate."""
        accepted = duplicates = 0
        refused: list[tuple[str, str]] = []
        pending: list[Document] = []

        def flush() -> None:
            nonlocal accepted, duplicates
            receipt = self.submit(msgspec.msgpack.encode(pending))
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
        """Hand a batch (msgpack of list[Document]) to the ``clients`` journal: the ``Transport`` port."""
        receipt: Receipt = self.hosts["clients"].command("ingest", {"documents": documents})
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

    def scan(self, module: str, task: str) -> int:
        """Run one scan to its end; return how many events it made."""
        host = self.hosts[module]
        return host.conclude(task, type(host.module).run(task, host.module.prepare(task)))

    def quiesce(self) -> str:
        """Settle, run one full pass of every scan, settle; return the digest."""
        self.pump()
        for module, task in FULL_PASS:
            if module in self.hosts:
                self.scan(module, task)
                self.pump()
        return self.digest()

    # -- questions ---------------------------------------------------------------------------------------------

    def query(self, module: str, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Ask one module."""
        return self._host(module).module.query(name, arguments or {})

    def command(self, module: str, name: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Ask one module to do something."""
        return self._host(module).command(name, arguments or {})

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

    def close(self) -> None:
        """Give every journal up."""
        for host in self.hosts.values():
            host.close()
        self.archive.close()

    def __enter__(self) -> LocalSystem:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
