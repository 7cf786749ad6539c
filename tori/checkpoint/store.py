"""The store: checkpoints in one directory, complete or not there at all, verified whenever they are read.

    <root>/<checkpoint id>/<module>.snapshot  ...  manifest.json
    <root>/quarantine/                          what failed its checksum, each with the reason beside it
    <root>/.new-<id>, .old-<id>                 being written, being deleted; ``sweep`` removes what a crash left

A checkpoint is written under a hidden name, file by file, the manifest last, everything synced; one rename makes it
visible. So no crash leaves a half checkpoint. Several processes may save and load; one of them prunes and sweeps.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from errno import ENOENT
from pathlib import Path

import msgspec

from tori.checkpoint.codec import (
    ModuleSnapshot,
    SnapshotDamaged,
    decode_snapshot,
    digests_of,
    encode_snapshot,
    snapshot_file,
)
from tori.checkpoint.disk import Disk, LocalDisk
from tori.checkpoint.lineage import check_known, is_put_away, placed_cuts
from tori.checkpoint.manifest import Manifest, Part, check_name, decode_manifest, encode_manifest
from tori.checkpoint.retention import Holding, KeepNewestPolicy, RetentionPolicy
from tori.clock import Clock, SystemClock
from tori.errors import BadInput, TemporaryError

MANIFEST = "manifest.json"
QUARANTINE = "quarantine"
KEPT_QUARANTINED = 32
_ID = re.compile(r"checkpoint-([0-9a-f]{16})-[0-9a-f]{8}")


class CheckpointNotWritten(TemporaryError):
    """The disk refused; the checkpoints that were there are untouched."""


class Problem(msgspec.Struct, frozen=True):
    """Something in the store was not what was written."""

    checkpoint_id: str
    module: str
    """Empty: the manifest, and with it the whole checkpoint."""
    reason: str
    path: str
    """Where it is now: in quarantine, or where it was if it could not be moved."""


FOLDER = "checkpoints"
"""Of a home: where its checkpoints lie."""


class CheckpointStore:
    """Saves and finds checkpoints under ``root``. Holds no state but the directory."""

    def __init__(
        self,
        root: Path,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
        retention: RetentionPolicy | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self.root = root
        self._home = root.parent
        self._clock = clock or SystemClock()
        self._disk: Disk = disk or LocalDisk()
        self._retention = retention or KeepNewestPolicy()
        self._random = random

    # -- save ----------------------------------------------------------------------------------------------------

    def save(self, modules: Mapping[str, ModuleSnapshot]) -> Manifest:
        """Write one checkpoint of these modules, all or some; when it returns, it is on disk.

        Raises CheckpointNotWritten when the disk refuses (nothing half-written stays), BadInput for no or misnamed modules.
        """
        for name, snapshot in modules.items():
            _check_module(name, snapshot)
        if not modules:
            raise BadInput("a checkpoint of no module was asked for.", remedy="Name at least one.")
        checkpoint_id = self.begin()
        return self.seal(checkpoint_id, {n: self.add(checkpoint_id, s) for n, s in sorted(modules.items())})

    def begin(self) -> str:
        """Begin a checkpoint that is written piece by piece; return its id. ``seal`` or ``abandon`` ends it."""
        checkpoint_id = self._next_id()
        try:
            self._open_root()
            self._disk.make_directory(self.staging(checkpoint_id))
        except OSError as error:
            raise self._not_written(checkpoint_id, error) from error
        return checkpoint_id

    def staging(self, checkpoint_id: str) -> Path:
        """Return the folder in which the files of a checkpoint are written until it is sealed."""
        return self.root / f".new-{checkpoint_id}"

    def add(self, checkpoint_id: str, snapshot: ModuleSnapshot) -> Part:
        """Write one snapshot of a checkpoint that was begun."""
        content = encode_snapshot(snapshot)
        part = part_of(snapshot, len(content), hashlib.sha256(content).hexdigest())
        try:
            self._disk.write(self.staging(checkpoint_id) / part.file, content)
        except OSError as error:
            raise self._not_written(checkpoint_id, error) from error
        return part

    def seal(self, checkpoint_id: str, parts: Mapping[str, Part]) -> Manifest:
        """Make a checkpoint visible whose files are written and synced; when it returns, it is on disk for good.

        Raises CheckpointNotWritten when the disk refuses, BadInput when it holds no module; nothing half-written stays.
        """
        if not parts:
            self.abandon(checkpoint_id)
            raise BadInput("a checkpoint of no module was asked for.", remedy="Name at least one.")
        manifest = Manifest(checkpoint_id, self._clock.wall_ns(), dict(sorted(parts.items())))
        self._publish(manifest)
        return manifest

    def _publish(self, manifest: Manifest) -> None:
        checkpoint_id, staging = manifest.checkpoint_id, self.staging(manifest.checkpoint_id)
        try:
            self._disk.write(staging / MANIFEST, encode_manifest(manifest))
            self._disk.sync_directory(staging)
            self._disk.rename(staging, self.root / checkpoint_id)
            self._disk.sync_directory(self.root)
        except OSError as error:
            raise self._not_written(checkpoint_id, error) from error

    def adopt(self, manifest: Manifest, modules: Mapping[str, ModuleSnapshot]) -> None:
        """Write a checkpoint that was made elsewhere, under its own name; one that is here already stays.

        Raises BadInput when it knows of entries that the journals of the home do not hold, such as a rewind in place put away.
        """
        checkpoint_id = manifest.checkpoint_id
        if self._disk.exists(self.root / checkpoint_id):
            return
        for snapshot in modules.values():
            check_known(self._home, checkpoint_id, snapshot)
        try:
            self._open_root()
            self._disk.make_directory(self.staging(checkpoint_id))
        except OSError as error:
            raise self._not_written(checkpoint_id, error) from error
        for name in manifest.modules:
            self.add(checkpoint_id, modules[name])
        self._publish(manifest)

    def abandon(self, checkpoint_id: str) -> None:
        """Remove what was written of a checkpoint that is not to be."""
        with contextlib.suppress(OSError):
            self._disk.remove(self.staging(checkpoint_id))

    def _not_written(self, checkpoint_id: str, error: OSError) -> CheckpointNotWritten:
        self.abandon(checkpoint_id)
        return CheckpointNotWritten(
            f"checkpoint {checkpoint_id} was not written: {error.strerror or error}.",
            remedy="The ones before it are untouched; make room on the disk and try again.",
            checkpoint_id=checkpoint_id,
            errno=error.errno,
        )

    def _open_root(self) -> None:
        if not self._disk.exists(self.root):
            self._disk.make_directory(self.root)
            self._disk.sync_directory(self.root.parent)

    def _next_id(self) -> str:
        """Return an id that sorts after every other, even when the wall clock went back."""
        newest = next(iter(self.list()), "")
        match = _ID.fullmatch(newest)
        last_ns = int(match[1], 16) if match else 0
        return f"checkpoint-{max(self._clock.wall_ns(), last_ns + 1):016x}-{self._random(4).hex()}"

    # -- look ----------------------------------------------------------------------------------------------------

    def list(self) -> tuple[str, ...]:
        """Return the ids of all checkpoints, newest first."""
        return tuple(name for name in reversed(self._disk.names(self.root)) if _ID.fullmatch(name))

    def manifest(self, checkpoint_id: str) -> Manifest:
        """Return the manifest of a checkpoint; raises SnapshotDamaged, or BadInput when there is no such checkpoint."""
        folder = self.root / checkpoint_id
        if not (_ID.fullmatch(checkpoint_id) and self._disk.exists(folder)):
            raise BadInput(
                f"there is no checkpoint {checkpoint_id!r}.", remedy=f"Newest: {', '.join(self.list()[:3]) or 'none'}."
            )
        try:
            manifest = decode_manifest(self._disk.read(folder / MANIFEST))
        except OSError as error:
            raise _unreadable("manifest", error) from error
        if manifest.checkpoint_id != checkpoint_id:
            raise SnapshotDamaged(f"the manifest is that of {manifest.checkpoint_id}.")
        return manifest

    def load(self, manifest: Manifest, module: str) -> ModuleSnapshot:
        """Return one module's snapshot; raises SnapshotDamaged when it is not, byte by byte, what was saved."""
        part = manifest.modules[module]
        try:
            content = self._disk.read(self.root / manifest.checkpoint_id / part.file)
        except OSError as error:
            raise _unreadable("file", error) from error
        if len(content) != part.size_bytes:
            raise SnapshotDamaged(f"the file has {len(content)} bytes, the manifest says {part.size_bytes}.")
        digests = digests_of(content)
        if digests.file != part.sha256:
            raise SnapshotDamaged("the sha256 of the file is not that of the manifest.")
        snapshot = decode_snapshot(content, digests)
        if snapshot.module != module or part_of(snapshot, len(content), digests.file) != part:
            raise SnapshotDamaged("the file is not the one that the manifest describes.")
        return snapshot

    def verify(self, checkpoint_id: str, *, is_quarantining: bool = False) -> tuple[Problem, ...]:
        """Return what is wrong with a checkpoint, every byte of it read. Raises BadInput when there is no such checkpoint.

        ``is_quarantining``: what is damaged is moved; what was moved before is reported again, as gone.
        """
        folder = self.root / checkpoint_id
        try:
            manifest = self.manifest(checkpoint_id)
        except SnapshotDamaged as error:
            if is_quarantining:
                return (self._set_aside(checkpoint_id, "", "", error),)
            return (Problem(checkpoint_id, "", error.message, str(folder)),)
        problems = []
        for module, part in sorted(manifest.modules.items()):
            try:
                self.load(manifest, module)
            except SnapshotDamaged as error:
                if is_quarantining and not self._is_gone(checkpoint_id, part):
                    problems.append(self._set_aside(checkpoint_id, module, part.file, error))
                else:
                    problems.append(Problem(checkpoint_id, module, error.message, str(folder / part.file)))
        return tuple(problems)

    def check(self, checkpoint_id: str) -> None:
        """Raise BadInput when a checkpoint knows of entries that the journals of the home do not hold, SnapshotDamaged as ``load``."""
        manifest = self.manifest(checkpoint_id)
        for name in manifest.modules:
            check_known(self._home, checkpoint_id, self.load(manifest, name))

    def newest(self, module: str) -> tuple[ModuleSnapshot | None, tuple[Problem, ...]]:
        """Return the newest good snapshot of ``module`` and what had to be passed over on the way to it.

        What is damaged is moved to quarantine and reported once; what a rewind in place put away is passed over in silence.
        None: start from the beginning of the journal.
        """
        _, snapshot, problems = self.find(module)
        return snapshot, problems

    def find(self, module: str) -> tuple[Manifest | None, ModuleSnapshot | None, tuple[Problem, ...]]:
        """Return what ``newest`` does, and the manifest of the checkpoint it is from."""
        problems: list[Problem] = []
        for checkpoint_id in self.list():
            try:
                manifest = self.manifest(checkpoint_id)
            except BadInput:  # another process has just moved or deleted it
                continue
            except SnapshotDamaged as error:
                problems.append(self._set_aside(checkpoint_id, "", "", error))
                continue
            part = manifest.modules.get(module)
            if part is None or self._is_gone(checkpoint_id, part):
                continue
            try:
                snapshot = self.load(manifest, module)
            except SnapshotDamaged as error:
                problems.append(self._set_aside(checkpoint_id, module, part.file, error))
                continue
            if not is_put_away(self._home, snapshot, placed_cuts(self._home, self._disk)):
                return manifest, snapshot, tuple(problems)
        return None, None, tuple(problems)

    # -- quarantine ----------------------------------------------------------------------------------------------

    def _is_gone(self, checkpoint_id: str, part: Part) -> bool:
        """Whether a snapshot is known to be bad: it, or the note about it, is in quarantine and the file is not in its place."""
        is_noted = self._disk.exists(self._refuge(checkpoint_id, part.file, ".reason.json"))
        return is_noted and not self._disk.exists(self.root / checkpoint_id / part.file)

    def _refuge(self, checkpoint_id: str, file: str, suffix: str = "") -> Path:
        return self.root / QUARANTINE / (f"{checkpoint_id}.{file}{suffix}" if file else f"{checkpoint_id}{suffix}")

    def _set_aside(self, checkpoint_id: str, module: str, file: str, error: SnapshotDamaged) -> Problem:
        """Move a snapshot, or a whole checkpoint when ``file`` is empty, to quarantine, with the reason beside it.

        What could not be read for a reason that may pass stays in its place.
        """
        source = self.root / checkpoint_id / file if file else self.root / checkpoint_id
        if error.fields.get("errno") not in (None, ENOENT):
            return Problem(checkpoint_id, module, error.message, str(source))
        target = self._refuge(checkpoint_id, file)
        problem = Problem(checkpoint_id, module, error.message, str(target))
        note = msgspec.json.format(
            msgspec.json.encode({"reason": error.message, "module": module, "found_ns": self._clock.wall_ns()})
        )
        try:
            self._disk.make_directory(target.parent)
            self._disk.write(self._refuge(checkpoint_id, file, ".reason.json"), note)
            if self._disk.exists(source):
                self._disk.rename(source, target)
            self._disk.sync_directory(target.parent)
            self._disk.sync_directory(source.parent)
        except OSError:  # it stays where it is, and is passed over the next time as well
            return msgspec.structs.replace(problem, path=str(source))
        return problem

    # -- delete --------------------------------------------------------------------------------------------------

    def prune(self) -> tuple[str, ...]:
        """Delete what the retention policy does not keep; return the ids, oldest first."""
        removable = self._removable()
        try:
            for checkpoint_id in removable:
                self._disk.rename(self.root / checkpoint_id, self.root / f".old-{checkpoint_id}")
                self._disk.sync_directory(self.root)
                self._disk.remove(self.root / f".old-{checkpoint_id}")
        except OSError as error:
            raise CheckpointNotWritten(f"old checkpoints were not deleted: {error.strerror or error}.") from error
        return removable

    def _removable(self) -> tuple[str, ...]:
        holdings = []
        for checkpoint_id in self.list():
            with contextlib.suppress(SnapshotDamaged, BadInput):
                manifest = self.manifest(checkpoint_id)
                there = [
                    n for n, p in manifest.modules.items() if self._disk.exists(self.root / checkpoint_id / p.file)
                ]
                holdings.append(Holding(checkpoint_id, tuple(sorted(there))))
        return self._retention.decide(holdings)

    def sweep(self) -> tuple[str, ...]:
        """Remove what crashes left half-written or half-deleted, and the oldest of a long quarantine; return the names.

        For the one process that prunes, at its start, before anybody saves.
        """
        left = [name for name in self._disk.names(self.root) if name.startswith((".new-", ".old-"))]
        quarantined = self._disk.names(self.root / QUARANTINE)
        old = [f"{QUARANTINE}/{name}" for name in quarantined[: max(0, len(quarantined) - 2 * KEPT_QUARANTINED)]]
        for name in (*left, *old):
            with contextlib.suppress(OSError):
                self._disk.remove(self.root / name)
        return (*left, *old)


def _unreadable(what: str, error: OSError) -> SnapshotDamaged:
    return SnapshotDamaged(f"the {what} cannot be read: {error.strerror or error}.", errno=error.errno)


def _check_module(name: str, snapshot: ModuleSnapshot) -> None:
    if snapshot.module != name:
        raise BadInput(f"the snapshot given for {name!r} is one of {snapshot.module!r}.")
    try:
        check_name(f"{name}.snapshot")
    except SnapshotDamaged as error:
        raise BadInput(f"module {name!r} cannot name a file.", remedy="Use small letters, digits, - _ and .") from error


def part_of(snapshot: ModuleSnapshot, size_bytes: int, sha256: str) -> Part:
    """Return what a manifest says of a snapshot whose file has this size and sha256."""
    return Part(
        f"{snapshot.module}.snapshot",
        sha256,
        size_bytes,
        snapshot.state_version,
        snapshot.journal,
        snapshot.epoch,
        snapshot.sequence,
    )


def write_snapshot(folder: Path, snapshot: ModuleSnapshot, data: Sequence[bytes]) -> Part:
    """Write one snapshot into the folder of a checkpoint that another process has begun, its data in pieces; raises OSError."""
    digest, size = hashlib.sha256(), 0

    def counted() -> Iterator[bytes | memoryview]:
        nonlocal size
        for piece in snapshot_file(snapshot, data):
            digest.update(piece)
            size += len(piece)
            yield piece

    LocalDisk().write_pieces(folder / f"{snapshot.module}.snapshot", counted())
    return part_of(snapshot, size, digest.hexdigest())
