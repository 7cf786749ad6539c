"""Rewinding: the mind as it was at a moment, beside the one that runs.

    <home>/rewinds/<id>/            a home of its own: journals cut at that moment, and ``rewound.json``, which says of what
    <home>/rewinds/.new-<id>/       being made; whoever makes the next one removes what a crash left

Nothing of the running mind is touched: its journals are read below their durable positions, whole segments are shared by
hard links (ADR 21), and the copy is written by nobody but its own reader, in files of its own.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tori.checkpoint.codec import SnapshotDamaged
from tori.checkpoint.cut import Cut, copy_journal, cut_at, sync_directory
from tori.checkpoint.disk import LocalDisk
from tori.checkpoint.lineage import JOURNALS, REWINDS, is_strange
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.errors import BadInput, JournalError
from tori.events.filter import parse_moment
from tori.home import open_home
from tori.journal.follower import Readable
from tori.journal.ownership import journals_in
from tori.journal.reader import JournalReader
from tori.modules.host_state import HostSnapshot
from tori.modules.open import LEDGER, mirrors_of
from tori.orchestrator.placement import berths_in

NOTE = "rewound.json"
MAX_REWINDS = 16
"""Copies kept beside a mind; a person removes one by removing its folder."""


class Moment(msgspec.Struct, frozen=True):
    """What a person asked to go back to."""

    text: str
    time_ns: int
    checkpoint_id: str = ""
    """The checkpoint that was named; empty: a time was."""


class Rewound(msgspec.Struct, frozen=True):
    """What a copy is a copy of."""

    rewind_id: str
    moment: Moment
    made_ns: int
    source: str
    """The home of the mind it was made of."""
    cuts: dict[str, Cut]
    starts: dict[str, str]
    """By module, the checkpoint its state is taken from; a module that is missing is replayed from its first entry."""
    mirrored: tuple[str, ...] = ()
    """Modules of other nodes: what their mirrors here had of them by then, which may be a little less than they had."""


def moment_of(text: str, store: CheckpointStore, now_ns: int) -> Moment:
    """Return the moment that a person means: an ISO time, an age (``2h`` or ``-2h``), or the id of a checkpoint."""
    if text.startswith("checkpoint-"):
        return Moment(text, store.manifest(text).created_ns, text)
    time_ns = parse_moment(text.removeprefix("-"), now_ns)
    if time_ns > now_ns:
        raise BadInput(f"{text} is in the future.", remedy="Name a time that has been.")
    return Moment(text, time_ns)


@contextlib.contextmanager
def journals_of(home: Path) -> Iterator[dict[str, Readable]]:
    """Yield readers of all journals of a mind: those that lie in the home, and the mirrors of those that lie on other nodes.

    Raises BadInput when there are none, or not all of them.
    """
    readers: dict[str, Readable] = {}
    try:
        for path in (*journals_in(home / JOURNALS), *journals_in(mirrors_of(home))):
            if path.name not in readers:
                readers[path.name] = JournalReader(path)
        if not readers:
            raise BadInput(f"there are no journals in {home}.", remedy="Give the home of a mind: --home.")
        _check_whole(home, readers)
        yield readers
    finally:
        for reader in readers.values():
            reader.close()


def mirrored_in(home: Path) -> tuple[str, ...]:
    """Return the journals of which a home has the mirror only."""
    own = {path.name for path in journals_in(home / JOURNALS)}
    return tuple(path.name for path in journals_in(mirrors_of(home)) if path.name not in own)


def _check_whole(home: Path, readers: Mapping[str, Readable]) -> None:
    """Raise BadInput when the journal of a module that the orchestrator knows of is not here, or when no orchestrator is."""
    ledger = readers.get(LEDGER)
    if LEDGER in mirrored_in(home) or (ledger is None and mirrored_in(home)):
        raise BadInput(
            f"{home} holds a part of a mind whose orchestrator lives on another node.", remedy="Rewind on that node."
        )
    missing = sorted(berths_in(ledger).all().keys() - readers.keys()) if ledger is not None else []
    if missing:
        raise BadInput(
            f"the journals of {', '.join(missing)} lie on other nodes, and no mirror of them is here.",
            remedy="Start the mind and its nodes (tori up), then again: what the orchestrator follows is mirrored.",
        )


def cuts_of(readers: Mapping[str, Readable], moment: Moment, store: CheckpointStore) -> dict[str, Cut]:
    """Return where each journal is cut; raises BadInput when there was nothing yet."""
    limits = {}
    if moment.checkpoint_id:
        manifest = store.manifest(moment.checkpoint_id)
        store.check(moment.checkpoint_id)
        loaded = {n: _decoded(store.load(manifest, n).data) for n in manifest.modules if n in readers}
        limits = {name: min(snapshot.offset, readers[name].limit()) for name, snapshot in loaded.items()}
    cuts = cut_at(readers, moment.time_ns, limits)
    if not any(cut.time_ns for cut in cuts.values()):
        raise BadInput(
            f"nothing is kept of {moment.text}: the mind began later, or retention removed it.",
            remedy="Name a later time; tori checkpoint list shows some.",
        )
    return cuts


def starts_of(
    readers: Mapping[str, Readable], cuts: Mapping[str, Cut], store: CheckpointStore
) -> dict[str, tuple[str, HostSnapshot]]:
    """Return by module the newest kept snapshot that lies wholly before the cuts, with its checkpoint.

    Raises BadInput for a module that has none and whose journal does not reach back to its beginning.
    """
    found: dict[str, tuple[str, HostSnapshot]] = {}
    for checkpoint_id in store.list():
        with contextlib.suppress(SnapshotDamaged, BadInput):
            manifest = store.manifest(checkpoint_id)
            for name in manifest.modules.keys() & cuts.keys() - found.keys():
                if manifest.modules[name].sequence <= cuts[name].sequence:
                    with contextlib.suppress(SnapshotDamaged):
                        stored = store.load(manifest, name)
                        snapshot = _decoded(stored.data)
                        if is_before(snapshot, cuts) and not is_strange(store.root.parent, stored):
                            found[name] = checkpoint_id, snapshot
    for name, reader in readers.items():
        if name not in found and reader.first_offset():
            raise BadInput(
                f"the journal of {name} does not reach back that far, and no kept checkpoint of it does.",
                remedy="Name a later time; checkpoint.keep and journal.keep_s say how much is kept.",
            )
    return found


def is_before(snapshot: HostSnapshot, cuts: Mapping[str, Cut]) -> bool:
    """Say whether a snapshot knows nothing of what lies beyond the cuts."""
    reached = {snapshot.module: snapshot.offset}
    for journal, cursor in snapshot.cursors.items():
        reached[journal] = cursor.reached
    return all(offset <= cuts[journal].offset for journal, offset in reached.items() if journal in cuts)


def _decoded(data: bytes) -> HostSnapshot:
    return msgspec.msgpack.decode(data, type=HostSnapshot)


def rewind_copy(home: Path, moment: Moment, now_ns: int) -> tuple[Path, Rewound, dict[str, HostSnapshot]]:
    """Make a home that holds the mind as it was; return it, what it is, and the snapshots its modules start from."""
    store = CheckpointStore(home / FOLDER)
    rewind_id = f"rewind-{now_ns:016x}"
    root = home / REWINDS
    for old in root.glob(".new-*"):
        shutil.rmtree(old)
    if sum(1 for _ in root.glob("rewind-*")) >= MAX_REWINDS:
        raise BadInput(
            f"there are {MAX_REWINDS} copies in {root}.", remedy="Remove the folders of those you are done with."
        )
    with journals_of(home) as readers:
        cuts = cuts_of(readers, moment, store)
        starts = starts_of(readers, cuts, store)
        rewound = Rewound(
            rewind_id,
            moment,
            now_ns,
            str(home),
            cuts,
            {name: checkpoint_id for name, (checkpoint_id, _) in starts.items()},
            mirrored_in(home),
        )
        target = root / f".new-{rewind_id}"
        build(home, target, rewound)
    target.rename(root / rewind_id)
    sync_directory(root)
    return root / rewind_id, rewound, {name: snapshot for name, (_, snapshot) in starts.items()}


def build(home: Path, target: Path, rewound: Rewound) -> None:
    """Write the journals of a copy, and the note that says what it is; the note comes last."""
    open_home(target)
    for name, cut in rewound.cuts.items():
        source = mirrors_of(home) if name in rewound.mirrored else home / JOURNALS
        copy_journal(source / name, target / JOURNALS / name, cut)
    for path in (target / JOURNALS, target):
        sync_directory(path)
    LocalDisk().write(target / NOTE, msgspec.json.format(msgspec.json.encode(rewound)) + b"\n")
    sync_directory(target)


def note_of(home: Path) -> Rewound | None:
    """Return what a home is a copy of; None: it is no copy. Raises JournalError when its note does not decode."""
    try:
        return msgspec.json.decode((home / NOTE).read_bytes(), type=Rewound)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise JournalError(
            f"{home / NOTE} does not decode: {error}.", remedy="Make the copy again: tori rewind."
        ) from error


def row_of(copy: Path, rewound: Rewound) -> dict[str, Any]:
    """Return what is known of a copy as plain JSON values."""
    return {
        "rewind_id": rewound.rewind_id,
        "home": str(copy),
        "asked": rewound.moment.text,
        "time_ns": rewound.moment.time_ns,
        "checkpoint_id": rewound.moment.checkpoint_id,
        "cuts": {name: msgspec.to_builtins(cut) for name, cut in sorted(rewound.cuts.items())},
        "starts": dict(sorted(rewound.starts.items())),
        "mirrored": list(rewound.mirrored),
    }
