"""Opens a module on a home directory: its journal, its inputs, its newest snapshot."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tori.bus.credit import CreditPolicy, CursorBoard, CursorView, Gate
from tori.bus.mark import MappedMark
from tori.bus.policy import DeliveryPolicy
from tori.bus.watchdog import ProcessWatchdog
from tori.clock import SECOND_NS, Clock, SystemClock
from tori.errors import BadInput, JournalMissing, Unavailable
from tori.events.envelope import Event
from tori.journal.ack import open_writer
from tori.journal.archive import Archive
from tori.journal.files import SYSTEM_FILES, Files
from tori.journal.mirror import create_mirror
from tori.journal.ownership import create_journal, journals_in, read_identity
from tori.journal.reader import JournalReader
from tori.journal.recovery import Begun, begun_after
from tori.journal.retention import KEPT_JOURNALS, KeepEverythingPolicy, RetentionPolicy, WindowPolicy
from tori.modules.base import Module
from tori.modules.host import HostSnapshot, ModuleHost, Writable
from tori.modules.migration import migrated
from tori.modules.registry import FOLLOWS, create_module, remember_journal

LATE_S = 20.0
LATE_POLL_S = 0.005
HANDLER_TIMEOUT_S = 30.0
REQUEST_TIMEOUT_S = 300.0
LEDGER = "orchestrator"
"""Its journal is where the scheduler reads what ran, from the first frame on: it never goes."""


def journal_directory(home: Path, name: str) -> Path:
    """Return where the journal of a module lies."""
    return home / "journals" / name


def remember_journals(home: Path) -> None:
    """Have the orchestrator follow every journal in a home: its record speaks also of modules that are gone, or not loaded here."""
    for directory in journals_in(home / "journals"):
        if directory.name != LEDGER:
            remember_journal(directory.name)


def mirrors_of(home: Path) -> Path:
    """Return where the mirrors of other nodes' journals lie."""
    return home / "mirrors"


def archive_of(home: Path, files: Files = SYSTEM_FILES) -> Archive:
    """Return everything that can be read on this node: its own journals, and the mirrors of others'."""
    return Archive(home / "journals", mirrors_of(home), files=files)


def input_directories(
    home: Path, name: str, mirrored: Mapping[str, bytes] | None = None, *, files: Files = SYSTEM_FILES
) -> list[Path]:
    """Return the journals a module follows.

    ``mirrored``: those of other nodes, with their ids: what is followed of them is their mirror on this node. Given at all, it says
    that every journal was made before, so one that is not there is missing; else new ones are made.
    """
    directories = []
    for journal in FOLLOWS[name]:
        if mirrored is not None and journal in mirrored:
            directories.append(mirrors_of(home) / journal)
            create_mirror(directories[-1], mirrored[journal], files=files)
            continue
        directories.append(journal_directory(home, journal))
        if mirrored is None:
            create_journal(directories[-1], files=files)
        else:
            read_identity(directories[-1], files=files)
    return directories


class LateReader:
    """Reads events by id where some of their journals are mirrors: what an event refers to may arrive a moment after it.

    Raises Unavailable when it has not come in ``patience_s``: its node is gone; the module tries again then.
    """

    def __init__(
        self,
        read: Callable[[bytes], Event],
        patience_s: float = LATE_S,
        *,
        clock: Clock | None = None,
        wait: Callable[[float], None] = SYSTEM_FILES.processes.wait,
    ) -> None:
        self._read = read
        self._patience_s = patience_s
        self._clock = clock or SystemClock()
        self._wait = wait

    def __call__(self, event_id: bytes) -> Event:
        deadline_ns = self._clock.monotonic_ns() + round(self._patience_s * SECOND_NS)
        while True:
            try:
                return self._read(event_id)
            except (BadInput, JournalMissing) as error:
                if self._clock.monotonic_ns() >= deadline_ns:
                    raise Unavailable(
                        f"event {event_id.hex()} has not arrived on this node in {self._patience_s:g} s.",
                        remedy="Its node is away, or the stream from it: see tori status.",
                    ) from error
            self._wait(LATE_POLL_S)


def projection_path(home: Path) -> Path:
    """Return where the projection of dead letters lies; it can be removed at any time."""
    return home / "projections" / "dead-letters.sqlite"


def delivery_policy(limits: Mapping[str, Any]) -> DeliveryPolicy:
    """Return the policy that the section ``limits`` of the settings asks for."""
    default = DeliveryPolicy()
    return DeliveryPolicy(
        retries=limits.get("retries", default.retries),
        max_held=limits.get("held_deliveries", default.max_held),
        crash_budget=max(1, limits.get("restarts", default.crash_budget + 1) - 1),
        crash_window_s=limits.get("restart_window_s", default.crash_window_s),
    )


def credit_policy(limits: Mapping[str, Any]) -> CreditPolicy:
    """Return the policy that the section ``limits`` of the settings asks for."""
    default = CreditPolicy()
    return CreditPolicy(
        credit=limits.get("credit_events", default.credit), alarm=limits.get("lag_alarm_events", default.alarm)
    )


def retention_policy(settings: Mapping[str, Any] | None) -> RetentionPolicy:
    """Return the policy that the section ``journal`` of the settings asks for; the record of runs is always kept."""
    asked = (settings or {}).get("journal", {})
    keep_s, keep_bytes = asked.get("keep_s") or None, asked.get("keep_size_bytes") or None
    if keep_s is None and keep_bytes is None:
        return KeepEverythingPolicy()
    whole = asked["keep_whole"].split(",") if "keep_whole" in asked else KEPT_JOURNALS
    return WindowPolicy(keep_s, keep_bytes, (*whole, LEDGER))


def open_gate(
    home: Path, name: str, policy: CreditPolicy, *, clock: Clock | None = None, files: Files = SYSTEM_FILES
) -> Gate:
    """Return the gate of a door's journal: it sees the boards of all that follow it on this node."""
    followers = {other: journal_directory(home, other) for other, journals in FOLLOWS.items() if name in journals}
    view = CursorView(name, followers, files=files)
    return Gate(name, view.cursors, clock or SystemClock(), policy, lives=view.lives, close=view.close)


def _watchdog(directory: Path, limits: Mapping[str, Any]) -> ProcessWatchdog:
    return ProcessWatchdog(
        limits.get("handler_timeout_s", HANDLER_TIMEOUT_S),
        limits.get("request_timeout_s", REQUEST_TIMEOUT_S),
        directory / "timeout.trace",
    )


def check_journals(home: Path) -> None:
    """Raise JournalError when a journal of this home cannot be one of this version: said before anything is started."""
    for name in FOLLOWS:
        directory = journal_directory(home, name)
        if (directory / "journal.json").exists() or any(directory.glob("*.seg")):
            read_identity(directory)


def open_host(
    home: Path,
    name: str,
    *,
    segment_bytes: int,
    load_snapshot: Callable[[str], HostSnapshot | None],
    settings: Mapping[str, Any] | None = None,
    watched: bool = False,
    mirrored: Mapping[str, bytes] | None = None,
    create: Callable[[str, Mapping[str, Any] | None], Module] = create_module,
    clock: Clock | None = None,
    files: Files = SYSTEM_FILES,
    incarnation: bytes | None = None,
    rng: random.Random | None = None,
    wait: Callable[[float], None] | None = None,
    progress: Callable[[int], None] = lambda _: None,
    is_loaded: bool = False,
) -> ModuleHost:
    """Return a recovered host of module ``name``; takes its journal over from a writer that is gone.

    ``watched``: kill this process when the module's code runs past its time-out; for a process of the module's own. ``mirrored``: as
    for ``input_directories``. ``progress`` is told how many units were replayed so far. ``is_loaded``: the module that ``create``
    returns holds the state of the snapshot already.
    The parameters from ``create`` on are what a simulation puts in place of the machine.
    """
    module = create(name, settings)
    with ExitStack() as opened:  # what is open when something fails is given up: whoever waits for room comes again
        inputs = [JournalReader(path, files=files) for path in input_directories(home, name, mirrored, files=files)]
        for reader in inputs:
            opened.callback(reader.close)
        journal = open_writer(
            journal_directory(home, name),
            segment_bytes=segment_bytes,
            settings=(settings or {}).get("journal"),
            files=files,
        )
        opened.callback(journal.close)
        archive = archive_of(home, files)
        limits = dict((settings or {}).get("limits", {}))
        mark = MappedMark(journal.directory, files=files)
        opened.callback(mark.close)
        board = CursorBoard(journal.directory, FOLLOWS[name], files=files)
        opened.callback(board.close)
        gate = open_gate(home, name, credit_policy(limits), clock=clock, files=files) if module.doors else None
        host = ModuleHost(
            module,
            journal,
            JournalReader(journal.directory, files=files),
            inputs,
            clock or SystemClock(),
            LateReader(archive.read, clock=clock, wait=wait or files.processes.wait) if mirrored else archive.read,
            incarnation=incarnation,
            policy=delivery_policy(limits),
            mark=mark,
            watchdog=_watchdog(journal.directory, limits) if watched else None,
            rng=rng,
            board=board,
            gate=gate,
        )
        opened.pop_all()
        opened.callback(host.close)
        snapshot = load_snapshot(name)
        if snapshot is not None:
            check_snapshot(snapshot, journal, begun_after(journal.directory, journal.journal_id, snapshot.epoch, files))
            if not is_loaded:
                snapshot = migrated(module, snapshot, first_offset=host.first_offset)
        progress(0)  # the journal is open: from here on time counts
        host.recover(snapshot, progress, is_loaded=is_loaded)
        opened.pop_all()
    return host


def check_snapshot(snapshot: HostSnapshot, journal: Writable, begun: Begun | None = None) -> None:
    """Raise JournalMissing when a snapshot was not taken of this journal, or of more of it than there is.

    ``begun``: where the journal went on in a later epoch than the snapshot's.
    """
    remedy = (
        f"Put journals/{journal.name} back from a copy. To begin again without it, remove the checkpoints too: "
        "what only that journal held is then lost."
    )
    if snapshot.journal_id and snapshot.journal_id != journal.journal_id:
        raise JournalMissing(
            f"the checkpoint of {journal.name} is of journal {snapshot.journal_id.hex()}, here is {journal.journal_id.hex()}.",
            remedy=remedy,
            journal=journal.name,
        )
    if snapshot.offset > journal.written_offset:
        raise JournalMissing(
            f"the checkpoint of {journal.name} speaks of offset {snapshot.offset}, its journal ends at {journal.written_offset}.",
            remedy=remedy,
            journal=journal.name,
        )
    if begun is not None and snapshot.journal_id and snapshot.offset > begun.offset:
        raise JournalMissing(
            f"the checkpoint of {journal.name} is of epoch {snapshot.epoch} and speaks of offset {snapshot.offset}; "
            f"a later epoch went on at {begun.offset}, after a rewind in place or a loss.",
            remedy=f"Restore one that was taken since (tori checkpoint list), or put journals/{journal.name} back from a copy.",
            journal=journal.name,
        )
