"""What is still needed of every journal: the guards of retention, built from facts.

A module restarts from a kept snapshot and replays its own journal after it, which reads again the recorded runs of its inputs; it
may deliver what it holds, and a person may redrive its dead letters. And every ``why`` must end in documents: the
events that states name, those that no follower has taken yet, and all they follow from. Whoever cannot say what it needs
keeps everything.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import msgspec

from tori.bus.dead_letter import DeadLetterBook
from tori.checkpoint.codec import ModuleSnapshot, SnapshotDamaged
from tori.checkpoint.manifest import Manifest
from tori.checkpoint.store import CheckpointStore
from tori.errors import BadInput, ToriError, Unavailable
from tori.journal.archive import Archive
from tori.journal.frame import EVENTS
from tori.journal.retention import Guards, RetentionPolicy, Trimmed, trim
from tori.journal.writer import JournalWriter
from tori.modules.host import ModuleHost
from tori.modules.host_state import HostSnapshot

LEAST_SNAPSHOTS = 2
"""A module with fewer good snapshots keeps everything: after one damaged checkpoint its journal must still reach back to another."""
MAX_BEHIND_BYTES = 64 * 1024 * 1024
"""Of what followers have not taken, in one journal; with more of it nothing is removed this time."""


class Need(msgspec.Struct, array_like=True):
    """What one living module needs."""

    module: str
    cursors: dict[str, int]
    """By journal it follows, where it stands."""
    offsets: dict[str, int]
    """By journal, the lowest offset that it will read again."""
    events: list[bytes]
    """Events that must stay, with everything they follow from."""


def need_of(host: ModuleHost) -> Need:
    """Return what a host needs as of now; only ever grows less for what is on the journals already."""
    courier = host.courier
    events = set(host.module.standing())
    for letter in courier.book.letters():
        events |= {letter.id, letter.payload.event_id}
    events |= {host.event_of(held.entry).id for held in courier.pending}
    return Need(host.module.name, host.offsets(), host.needed(), sorted(events - {b""}))


def trim_host(host: ModuleHost, policy: RetentionPolicy, guards: Guards) -> Trimmed:
    """Remove what nobody needs of the host's own journal: between two batches, by its only writer. Raises OSError."""
    journal = host.journal
    if not isinstance(journal, JournalWriter):
        return Trimmed(journal.name, kept_because="it lies in memory")
    return trim(journal, policy, guards, host.now_ns())


def snapshot_need(snapshot: HostSnapshot) -> dict[str, int]:
    """Return by journal the lowest offset that a restart from this snapshot reads."""
    found = {snapshot.module: snapshot.offset}
    found |= {name: cursor.offset for name, cursor in snapshot.cursors.items()}
    book = DeadLetterBook()
    book.restore(snapshot.letters)
    held = [(entry.journal, entry.offset) for entry in snapshot.held]
    return _lowest([*held, *book.lowest().items()], found)


def module_snapshot(snapshot: HostSnapshot, data: bytes | None = None) -> ModuleSnapshot:
    """Return a snapshot as a checkpoint stores it; ``data`` is the same, encoded."""
    return ModuleSnapshot(
        snapshot.module,
        snapshot.state_version,
        snapshot.journal_id.hex(),
        snapshot.epoch,
        snapshot.sequence,
        msgspec.msgpack.encode(snapshot) if data is None else data,
    )


def kept_needs(
    store: CheckpointStore, modules: Iterable[str], known: dict[tuple[str, str], dict[str, int]] | None = None
) -> dict[str, list[dict[str, int]]]:
    """Return by module what each of its kept, good snapshots needs.

    ``known``: by (checkpoint, module), what was read before; snapshots do not change, so each is read once.
    """
    cache = {} if known is None else known
    wanted = set(modules)
    found: dict[str, list[dict[str, int]]] = {}
    there: set[tuple[str, str]] = set()
    for checkpoint_id in store.list():
        with contextlib.suppress(SnapshotDamaged, BadInput):  # nothing can restart from it
            manifest = store.manifest(checkpoint_id)
            for module in wanted & manifest.modules.keys():
                need = cache.get((checkpoint_id, module)) or _stored(store, manifest, module)
                if need is not None:
                    cache[checkpoint_id, module] = need
                    there.add((checkpoint_id, module))
                    found.setdefault(module, []).append(need)
    for gone in cache.keys() - there:
        del cache[gone]
    return found


def _stored(store: CheckpointStore, manifest: Manifest, module: str) -> dict[str, int] | None:
    """Return what a snapshot on disk needs; None when it is damaged."""
    try:
        data = store.load(manifest, module).data
        return snapshot_need(msgspec.msgpack.decode(data, type=HostSnapshot))
    except (SnapshotDamaged, msgspec.DecodeError):
        return None


def _lowest(pairs: Iterable[tuple[str, int]], found: dict[str, int]) -> dict[str, int]:
    for journal, offset in pairs:
        found[journal] = min(offset, found.get(journal, offset))
    return found


def guards_of(
    journals: Collection[str],
    needs: Sequence[Need],
    snapshots: Mapping[str, Sequence[dict[str, int]]],
    archive: Archive,
    marks: Mapping[str, Mapping[str, int | None]] | None = None,
) -> dict[str, Guards]:
    """Return the guards by journal. ``snapshots``: by module, what each kept one needs (``snapshot_need``).

    ``journals`` names all modules that have one, alive or not. ``marks``: by journal, how far the mirrors of it are on other
    nodes, None for one that does not say.
    """
    alive = {need.module: need for need in needs}
    findings, reason = _chains(needs, archive)
    silent = {name for name in journals if name not in alive or len(snapshots.get(name, ())) < LEAST_SNAPSHOTS}
    if not reason and alive.keys() < set(journals):
        reason = f"{min(set(journals) - alive.keys())} does not run, so nobody knows what it names"
    guards = {}
    for journal in journals:
        offsets: dict[str, int] = {}
        for name, need in alive.items():
            named = [*snapshots.get(name, ()), need.offsets]
            offsets = _lowest([(name, one[journal]) for one in named if journal in one], offsets)
        holders = {n for n in silent if n == journal or n not in alive or journal in alive[n].offsets}
        mirrors = {f"the mirror on {node}": mark for node, mark in (marks or {}).get(journal, {}).items()}
        offsets |= {name: mark for name, mark in mirrors.items() if mark is not None}
        guards[journal] = Guards(
            {k: v for k, v in offsets.items() if k not in holders},
            {"the oldest": findings[journal]} if journal in findings else {},
            frozenset(holders | mirrors.keys()),
            reason,
        )
    return guards


def _chains(needs: Sequence[Need], archive: Archive) -> tuple[dict[str, int], str]:
    """Return by journal the lowest offset of an event that must stay, or why that cannot be told."""
    lowest: dict[str, int] = {}
    try:
        ahead = {event for need in needs for event in need.events}
        ahead |= set(_untaken(needs, archive))
        seen: set[bytes] = set()
        while ahead:
            seen |= ahead
            causes: set[bytes] = set()
            for one in sorted(ahead):  # by time: frame after frame
                event, journal, offset = archive.locate(one)
                _lowest([(journal, offset)], lowest)
                causes.update(event.causes)
            ahead = causes - seen
    except ToriError as error:
        return {}, str(error)
    return lowest, ""


def _untaken(needs: Sequence[Need], archive: Archive) -> Iterator[bytes]:
    """Yield the events that a follower has yet to take: what it makes of them will name them."""
    start = _lowest([pair for need in needs for pair in need.cursors.items()], {})
    readers = archive.readers
    for journal, begin in start.items():
        limit = readers[journal].limit("written")
        if limit - begin > MAX_BEHIND_BYTES:
            raise Unavailable(
                f"a follower of {journal} is {limit - begin} bytes behind.", remedy="Retention waits until it is not."
            )
        for frame in readers[journal].frames(begin, limit):
            if frame.header.kind == EVENTS:
                yield from (event.id for event in frame.events)
