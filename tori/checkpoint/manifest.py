"""The manifest: which snapshots make up a checkpoint, where they stand, and what each file must hash to."""

from __future__ import annotations

import hashlib
import re

import msgspec

from tori.checkpoint.codec import SnapshotDamaged

FORMAT = 1
_SAFE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,100}")


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One module's snapshot in a checkpoint."""

    file: str
    sha256: str
    size_bytes: int
    state_version: int
    journal: str
    epoch: int
    sequence: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The index of one checkpoint. ``checkpoint_id`` sorts by time; a checkpoint may hold some modules only."""

    checkpoint_id: str
    created_ns: int
    """Wall clock."""
    modules: dict[str, Part]
    format: int = FORMAT

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes for part in self.modules.values())

    @property
    def digest(self) -> str:
        """Return the sha256 of the manifest, which covers every file by its own."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    manifest: Manifest
    sha256: str


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the content of ``manifest.json``: indented for people, sealed with its own digest."""
    encoded = msgspec.json.encode(_Sealed(manifest, manifest.digest), order="sorted")
    return msgspec.json.format(encoded) + b"\n"


def decode_manifest(content: bytes) -> Manifest:
    """Return a manifest; raises SnapshotDamaged when one byte of the file is not what was written."""
    try:
        sealed = msgspec.json.decode(content, type=_Sealed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SnapshotDamaged(f"the manifest does not decode: {error}.") from error
    if sealed.manifest.format != FORMAT:
        raise SnapshotDamaged(
            f"the manifest has format {sealed.manifest.format}.",
            remedy="A newer version wrote it: upgrade tori-orchestrator.",
        )
    if sealed.manifest.digest != sealed.sha256 or encode_manifest(sealed.manifest) != content:
        raise SnapshotDamaged("the manifest does not match its own sha256.")
    for name in (sealed.manifest.checkpoint_id, *(part.file for part in sealed.manifest.modules.values())):
        check_name(name)
    return sealed.manifest


def check_name(name: str) -> str:
    """Return ``name`` when it is safe as the name of a file; raises SnapshotDamaged otherwise."""
    if not _SAFE_NAME.fullmatch(name):
        raise SnapshotDamaged(f"{name!r} is no name for a file of a checkpoint.")
    return name
