"""Rewinding in place: a past moment takes the place of the present, and nothing is erased.

    prepare rewinds/.new-<id>  →  intent  →  journals → rewinds/<id>/past  →  the cut ones → journals
                               →  later checkpoints → past  →  projections go  →  MindRewound is written  →  intent goes

Whatever interrupts it before the intent leaves a hidden folder; after it, whoever opens the home next finishes it first.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from tori.checkpoint.codec import SnapshotDamaged
from tori.checkpoint.cut import Cut, cut_at, sync_directory
from tori.checkpoint.disk import LocalDisk
from tori.checkpoint.lineage import JOURNALS, PLACED_NOTE, REWINDS
from tori.checkpoint.rewind import (
    NOTE,
    Moment,
    Rewound,
    build,
    cuts_of,
    is_before,
    journals_of,
    mirrored_in,
    starts_of,
)
from tori.checkpoint.store import FOLDER, CheckpointStore
from tori.errors import BadInput, JournalError
from tori.events.system import MindRewound
from tori.home import REWIND_INTENT
from tori.journal.archive import Archive
from tori.journal.files import SYSTEM_FILES
from tori.journal.follower import Readable
from tori.journal.ownership import journals_in
from tori.journal.unit import units
from tori.modules.host_state import HostSnapshot
from tori.modules.open import LEDGER, open_host, remember_journals
from tori.orchestrator.placement import JournalsReached, LedgerRecord

PAST = "past"
SEGMENT_BYTES = 1 << 20
LOOKED_BACK = 64
"""Among so many of the ledger's newest entries stands the record of a rewind that was interrupted right after it."""
_records: msgspec.msgpack.Decoder[list[LedgerRecord]] = msgspec.msgpack.Decoder(list[LedgerRecord])


class Intent(msgspec.Struct, frozen=True):
    """A rewind that is under way."""

    rewound: Rewound
    later: tuple[str, ...]
    """Checkpoints that know of something beyond the cuts."""


def rewind_in_place(home: Path, moment: Moment, now_ns: int) -> Rewound:
    """Put the mind of a moment in the place of the present one; nothing may run in the home.

    Raises BadInput while a module's journal has a writer, or when a journal lies on another node.
    """
    store = CheckpointStore(home / FOLDER)
    rewind_id = f"rewind-{now_ns:016x}"
    target = home / REWINDS / f".new-{rewind_id}"
    _check_alone(home)
    with _locked(home):
        with journals_of(home) as readers:
            cuts = _cuts(readers, moment, store)
            starts = {name: checkpoint_id for name, (checkpoint_id, _) in starts_of(readers, cuts, store).items()}
            rewound = Rewound(rewind_id, moment, now_ns, str(home), cuts, starts)
            later = tuple(one for one in store.list() if not _is_earlier(store, one, cuts))
            for old in (home / REWINDS).glob(".new-*"):
                shutil.rmtree(old)
            build(home, target, rewound)
        intent = msgspec.json.format(msgspec.json.encode(Intent(rewound, later)))
        _replace(home / REWIND_INTENT, intent)
    finish_rewind(home)
    return rewound


def _cuts(readers: Mapping[str, Readable], moment: Moment, store: CheckpointStore) -> dict[str, Cut]:
    """Return the cuts; the ledger's lies before any word of sequences that the cut journals do not have."""
    cuts = cuts_of(readers, moment, store)
    ledger = readers.get(LEDGER)
    if ledger is None:
        return cuts
    limit = ledger.first_offset()
    for unit in units(ledger, limit, cuts[LEDGER].offset):
        reached = [r.sequences for r in unit.records(_records) if isinstance(r, JournalsReached)]
        if any(m in cuts and sequence > cuts[m].sequence for told in reached for m, sequence in told.items()):
            break
        limit = unit.end
    return cuts | cut_at({LEDGER: ledger}, moment.time_ns, {LEDGER: limit})


def _is_earlier(store: CheckpointStore, checkpoint_id: str, cuts: Mapping[str, Cut]) -> bool:
    """Say whether nothing in a checkpoint is later than the cuts; a damaged one counts as later."""
    try:
        manifest = store.manifest(checkpoint_id)
        if any(part.sequence > cuts[m].sequence for m, part in manifest.modules.items() if m in cuts):
            return False
        loaded = (store.load(manifest, name).data for name in manifest.modules)
        return all(is_before(msgspec.msgpack.decode(data, type=HostSnapshot), cuts) for data in loaded)
    except (SnapshotDamaged, BadInput, msgspec.DecodeError):
        return False


def _check_alone(home: Path) -> None:
    elsewhere = mirrored_in(home)
    if elsewhere:
        raise BadInput(
            f"{', '.join(elsewhere)} live on other nodes, whose journals cannot be rewound from here.",
            remedy="Open a copy instead, of what their mirrors here hold: tori rewind TIME, without --in-place.",
        )


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Hold every journal, so that nothing starts meanwhile; raises BadInput for one that is written."""
    with contextlib.ExitStack() as stack:
        for directory in journals_in(home / JOURNALS):
            try:
                lock = SYSTEM_FILES.lock(directory / "lock")
            except BlockingIOError as error:
                raise BadInput(f"{directory.name} is running.", remedy="Stop the mind first: tori down.") from error
            stack.callback(lock.close)
        yield


def finish_rewind(home: Path) -> None:
    """Do what is left of a rewind whose intent stands; nothing when none does. Safe to repeat after any interruption."""
    path = home / REWIND_INTENT
    if not path.exists():
        return
    try:
        intent = msgspec.json.decode(path.read_bytes(), type=Intent)
    except msgspec.DecodeError as error:
        raise JournalError(
            f"{path} does not decode: {error}.", remedy="Keep the home as it is and ask for help."
        ) from error
    rewind_id = intent.rewound.rewind_id
    target, past = home / REWINDS / f".new-{rewind_id}", home / REWINDS / rewind_id / PAST
    past.mkdir(parents=True, exist_ok=True)
    _swap(home, target, past)
    _move_checkpoints(home, past, intent.later)
    shutil.rmtree(home / "projections", ignore_errors=True)
    _record(home, intent.rewound, past)
    if (target / NOTE).exists():
        (target / NOTE).rename(past.parent / PLACED_NOTE)
    shutil.rmtree(target, ignore_errors=True)
    sync_directory(past.parent)
    path.unlink()
    sync_directory(home)


def _swap(home: Path, target: Path, past: Path) -> None:
    if not (target / JOURNALS).exists():
        return  # done before the interruption
    if (home / JOURNALS).exists():
        if (past / JOURNALS).exists():
            raise JournalError(
                f"{home / JOURNALS} was made anew in the middle of a rewind.",
                remedy=f"What was there before lies in {past / JOURNALS}; put one of them away.",
            )
        (home / JOURNALS).rename(past / JOURNALS)
        sync_directory(past)
    (target / JOURNALS).rename(home / JOURNALS)
    sync_directory(home)


def _move_checkpoints(home: Path, past: Path, later: tuple[str, ...]) -> None:
    (past / FOLDER).mkdir(exist_ok=True)
    for checkpoint_id in later:
        if (home / FOLDER / checkpoint_id).exists():
            (home / FOLDER / checkpoint_id).rename(past / FOLDER / checkpoint_id)
    for directory in (past / FOLDER, past, home / FOLDER):
        if directory.is_dir():
            sync_directory(directory)


def _record(home: Path, rewound: Rewound, past: Path) -> None:
    """Write what was done as the first word of the new epoch, once."""
    store = CheckpointStore(home / FOLDER)

    def load(name: str) -> HostSnapshot | None:
        stored = store.newest(name)[0]
        return None if stored is None else msgspec.msgpack.decode(stored.data, type=HostSnapshot)

    remember_journals(home)
    host = open_host(home, LEDGER, segment_bytes=SEGMENT_BYTES, load_snapshot=load)
    try:
        archive = Archive(home / JOURNALS)
        newest = [found.event.payload for found in archive.newest(LEDGER, LOOKED_BACK)]
        archive.close()
        if not any(isinstance(p, MindRewound) and p.rewind_id == rewound.rewind_id for p in newest):
            sequences = {name: cut.sequence for name, cut in sorted(rewound.cuts.items())}
            moment = rewound.moment
            told = MindRewound(
                rewound.rewind_id,
                moment.text,
                moment.time_ns,
                moment.checkpoint_id,
                sequences,
                str(past.relative_to(home)),
            )
            host.emit([], [(told, "")])
    finally:
        host.close()


def _replace(path: Path, content: bytes) -> None:
    """Write a file in one step, durably."""
    disk, fresh = LocalDisk(), path.with_suffix(".new")
    disk.write(fresh, content)
    disk.rename(fresh, path)
    disk.sync_directory(path.parent)
