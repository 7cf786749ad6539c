"""A further copy of the checkpoints under a URL: a bucket, a share, another disk; whatever fsspec has a driver for.

    <url>/<checkpoint id>/<module>.snapshot  ...  manifest.json

Objects cannot be renamed in one step everywhere, so what makes a checkpoint whole is its manifest: it is written last and removed
first. A folder without one is a copy that did not come to its end. Whatever is read is verified as on the disk.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from errno import EIO
from pathlib import Path
from typing import Any

from tori.checkpoint.codec import PIECE_BYTES, ModuleSnapshot, SnapshotDamaged
from tori.checkpoint.manifest import Manifest, encode_manifest
from tori.checkpoint.retention import RetentionPolicy
from tori.checkpoint.store import MANIFEST, CheckpointStore, Problem
from tori.errors import BadSettings, TemporaryError

_SECRET = re.compile(r"(?<=://)[^/@]+@")


class UrlUnreachable(TemporaryError):
    """What lies behind the URL refused or did not answer; the checkpoints on the disk are untouched."""


def shown(url: str) -> str:
    """Return a URL without what may be a password."""
    return _SECRET.sub("", url)


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """Turn what drivers raise (each its own kinds) into OSError: that of a file which is not there, or EIO for no answer about it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise
    except OSError as error:
        raise OSError(EIO, error.strerror or str(error) or type(error).__name__) from error
    except Exception as error:
        raise OSError(EIO, f"{type(error).__name__}: {error}") from error


class UrlDisk:
    """The file system behind a URL, as the store needs it."""

    def __init__(self, files: Any) -> None:
        self._files = files

    def make_directory(self, path: Path) -> None:
        with _as_os_error():
            self._files.makedirs(str(path), exist_ok=True)

    def write(self, path: Path, content: bytes) -> None:
        with _as_os_error():
            self._files.pipe_file(str(path), content)

    def sync_directory(self, path: Path) -> None:
        """What was written is as durable as the service behind the URL makes it."""

    def rename(self, old: Path, new: Path) -> None:
        with _as_os_error():
            self._files.mv(str(old), str(new), recursive=True)

    def read(self, path: Path) -> bytes:
        with _as_os_error():
            content: bytes = self._files.cat_file(str(path))
        return content

    def names(self, path: Path) -> list[str]:
        with _as_os_error():
            self._files.invalidate_cache()
            if not self._files.isdir(str(path)):
                return []
            return sorted(str(name).rstrip("/").rpartition("/")[2] for name in self._files.ls(str(path), detail=False))

    def exists(self, path: Path) -> bool:
        with _as_os_error():
            self._files.invalidate_cache()
            return bool(self._files.exists(str(path)))

    def remove(self, path: Path) -> None:
        with _as_os_error():
            if self._files.exists(str(path)):
                self._files.rm(str(path), recursive=True)

    def upload(self, source: Path, target: Path) -> None:
        """Copy a file of this machine there, a piece at a time."""
        with _as_os_error(), source.open("rb") as file, self._files.open(str(target), "wb") as out:
            while piece := file.read(PIECE_BYTES):
                out.write(piece)


class UrlStore(CheckpointStore):
    """The checkpoints under a URL. Reads like any store; what is damaged is reported and stays where it is."""

    def __init__(self, url: str, *, retention: RetentionPolicy | None = None) -> None:
        self.url = shown(url)
        files, root = self._open(url)
        self._files = UrlDisk(files)
        super().__init__(Path(root), disk=self._files, retention=retention)

    def _open(self, url: str) -> tuple[Any, str]:
        import fsspec

        try:
            files, root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise BadSettings(
                f"checkpoint.url {self.url} cannot be used: {error}",
                remedy="Install the driver that fsspec names for it, or correct the URL.",
            ) from error
        except Exception as error:
            raise self._unreachable(error) from error
        return files, str(root)

    def put(self, store: CheckpointStore, manifest: Manifest) -> None:
        """Copy a checkpoint from a disk to the URL, the manifest last; raises UrlUnreachable."""
        folder = self.root / manifest.checkpoint_id
        try:
            self._files.make_directory(folder)
            for part in manifest.modules.values():
                self._files.upload(store.root / manifest.checkpoint_id / part.file, folder / part.file)
            self._files.write(folder / MANIFEST, encode_manifest(manifest))
        except OSError as error:
            raise self._unreachable(error) from error

    def fetch(self, store: CheckpointStore, checkpoint_id: str) -> Manifest:
        """Bring a checkpoint to the disk under its own name, every byte verified; raises SnapshotDamaged, UrlUnreachable."""
        manifest = self.manifest(checkpoint_id)
        store.adopt(manifest, {name: self.load(manifest, name) for name in manifest.modules})
        return manifest

    def manifest(self, checkpoint_id: str) -> Manifest:
        """Return what any store does; raises UrlUnreachable where nobody can say what is there."""
        with self.reached():
            return super().manifest(checkpoint_id)

    def load(self, manifest: Manifest, module: str) -> ModuleSnapshot:
        """Return what any store does; raises UrlUnreachable where nobody can say what is there."""
        with self.reached():
            return super().load(manifest, module)

    @contextlib.contextmanager
    def reached(self) -> Iterator[None]:
        """Raise UrlUnreachable for what the driver cannot do inside."""
        try:
            yield
        except SnapshotDamaged as error:
            if error.fields.get("errno") == EIO:
                raise self._unreachable(error) from error
            raise
        except OSError as error:
            raise self._unreachable(error) from error

    def prune(self) -> tuple[str, ...]:
        """Remove what the retention policy does not keep, and copies that never came to their end; return the ids."""
        with self.reached():
            kept = [one for one in self.list() if self._files.exists(self.root / one / MANIFEST)]
            removable = self._removable()
            unfinished = [one for one in self.list() if one not in kept and (not kept or one < kept[0])]
            for one in (*removable, *unfinished):
                self._files.remove(self.root / one / MANIFEST)
                self._files.remove(self.root / one)
        return removable

    def _set_aside(self, checkpoint_id: str, module: str, file: str, error: SnapshotDamaged) -> Problem:
        place = f"{self.url.rstrip('/')}/{checkpoint_id}/{file}".rstrip("/")
        return Problem(checkpoint_id, module, error.message, place)

    def _unreachable(self, error: Exception) -> UrlUnreachable:
        reason = shown(str(getattr(error, "strerror", None) or error))
        return UrlUnreachable(
            f"the checkpoints at {self.url} cannot be reached: {reason.rstrip('.')}.",
            remedy="Those on the disk are untouched; the next checkpoint is copied again. Check checkpoint.url and the network.",
        )
