"""A disk behind a page cache: what programs see, and what a power cut leaves of it.

Content is durable in sectors of 512 bytes. A sector that was written and not synced is lost, kept or kept while its neighbours
are lost, as the seeded ``rng`` of the cut decides; so writes are lost, torn and reordered. The *size* of a file is durable
with its first sync. A *name* is durable once its directory was synced; before that, any of the pending changes may have
reached the disk and any may not (one rename is one change). A failed sync marks the pages clean: some reached the disk, the
cache still shows all of them, no later sync will write them, and the next power cut, or an eviction, shows what the disk has.
"""

from __future__ import annotations

import errno
import hashlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SECTOR = 512


class File:
    """One inode. ``live`` is the page cache (mapped readers look into it), ``disk`` what the platters hold."""

    __slots__ = ("_clean", "_dirty", "disk", "is_sized", "live", "lock_owner")

    def __init__(self, size: int) -> None:
        self.live = bytearray(size)
        self.disk = bytearray(size)
        self.is_sized = False
        self.lock_owner: object | None = None
        self._dirty: set[int] = set()
        self._clean: bytes | None = None
        """Of a file that is mapped for writing: its content when it was last synced, since stores leave no other trace."""

    def pwrite(self, data: bytes | memoryview, at: int) -> None:
        end = at + len(data)
        if end > len(self.live):
            raise AssertionError(f"a write of bytes {at}..{end} goes beyond the {len(self.live)} that are reserved")
        self.live[at:end] = data
        self._dirty.update(range(at // SECTOR, (end + SECTOR - 1) // SECTOR))

    def set_content(self, content: bytes) -> None:
        """Replace the whole content, as a temporary file that is written once."""
        self.live = bytearray(content)
        self.disk = bytearray(len(content))
        self.is_sized = False
        self._dirty = set(range((len(content) + SECTOR - 1) // SECTOR))

    def grow(self, size: int) -> None:
        """Give the file zero bytes up to ``size``; nobody has it mapped yet."""
        added = size - len(self.live)
        self.live = self.live + bytearray(added)
        self.disk = self.disk + bytearray(added)
        self.is_sized = False

    def note_mapping(self) -> None:
        """From now on look for stores through a mapping."""
        if self._clean is None:
            self._clean = bytes(self.live)

    def dirty(self) -> list[int]:
        """Return the sectors that differ from what was last synced, in order."""
        if self._clean is not None and self._clean != self.live:
            for at in range(0, len(self.live), SECTOR):
                if self._clean[at : at + SECTOR] != self.live[at : at + SECTOR]:
                    self._dirty.add(at // SECTOR)
        return sorted(self._dirty)

    def sync(self) -> None:
        """Bring everything that is dirty to the disk."""
        for sector in self.dirty():
            self._store(sector)
        self._settle(is_sized=True)

    def fail_sync(self, rng: random.Random) -> None:
        """Lose some of what is dirty, and call all of it clean."""
        for sector in self.dirty():
            if rng.random() < 0.5:
                self._store(sector)
        self._settle(is_sized=self.is_sized or rng.random() < 0.5)

    def write_back(self, rng: random.Random) -> None:
        """Bring some of what is dirty to the disk, as the kernel does when it likes."""
        dirty = self.dirty()
        if dirty:
            kept = [sector for sector in dirty if rng.random() < 0.5]
            for sector in kept:
                self._store(sector)
            self._dirty.difference_update(kept)
            if self._clean is not None:
                self._clean = bytes(self.live)
            self.is_sized = True

    def evict(self) -> bool:
        """Drop what the cache calls clean; return whether that changed what programs see."""
        dirty = set(self.dirty())
        is_changed = False
        for at in range(0, len(self.live), SECTOR):
            if at // SECTOR not in dirty and self.live[at : at + SECTOR] != self.disk[at : at + SECTOR]:
                self.live[at : at + SECTOR] = self.disk[at : at + SECTOR]
                is_changed = True
        if self._clean is not None:
            self._clean = bytes(self.live)
        return is_changed

    def cut_power(self, rng: random.Random) -> None:
        """Keep what the disk has, and those dirty sectors that were on their way far enough."""
        dirty = self.dirty()
        if dirty:
            for sector in _survivors(dirty, rng):
                self._store(sector)
            self.is_sized = self.is_sized or rng.random() < 0.5
        elif not self.is_sized:
            self.is_sized = rng.random() < 0.5
        if not self.is_sized:
            self.disk = bytearray(0)
        self.live = bytearray(self.disk)
        self.lock_owner = None
        self._clean = None
        self._settle(is_sized=True)

    def flip(self, at: int, mask: int) -> None:
        """Rot one byte, on the disk and for whoever reads it from now on."""
        self.live[at] ^= mask
        self.disk[at] ^= mask
        if self._clean is not None:
            self._clean = bytes(self.live)

    def _store(self, sector: int) -> None:
        at = sector * SECTOR
        self.disk[at : at + SECTOR] = self.live[at : at + SECTOR]

    def _settle(self, *, is_sized: bool) -> None:
        self._dirty.clear()
        if self._clean is not None:
            self._clean = bytes(self.live)
        self.is_sized = is_sized


def _survivors(dirty: list[int], rng: random.Random) -> list[int]:
    """Return the sectors that reached the disk: none, all, the first ones, the last ones, or some."""
    way = rng.randrange(5)
    if way < 2:
        return dirty if way else []
    if way < 4:
        cut = rng.randint(0, len(dirty))
        return dirty[:cut] if way == 2 else dirty[cut:]
    return [sector for sector in dirty if rng.random() < 0.5]


class Folder:
    """A directory: its names as programs see them, and as the disk has them."""

    __slots__ = ("disk", "live")

    def __init__(self) -> None:
        self.live: dict[str, File | Folder] = {}
        self.disk: dict[str, File | Folder] = {}


class Change(NamedTuple):
    """One change of names, kept whole or not at all."""

    removed_from: Folder | None
    old: str
    added_to: Folder | None
    new: str
    entry: File | Folder

    def apply(self) -> None:
        if self.removed_from is not None:
            self.removed_from.disk.pop(self.old, None)
        if self.added_to is not None:
            self.added_to.disk[self.new] = self.entry


class Disk:
    """The file system of one node. Has no faults of its own: processes meet them in ``tests.sim.files``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.top = Folder()
        self.is_full = False
        self._pending: list[Change] = []

    # -- names ---------------------------------------------------------------------------------------------------

    def folder(self, path: Path) -> Folder:
        """Return a directory; raises FileNotFoundError or NotADirectoryError."""
        found = self.find(path)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        if isinstance(found, File):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return found

    def find(self, path: Path) -> File | Folder | None:
        """Return what is at a path, or None."""
        found: File | Folder | None = self.top
        for name in path.parts[1:]:
            if not isinstance(found, Folder):
                return None
            found = found.live.get(name)
        return found

    def file(self, path: Path) -> File:
        """Return a file; raises FileNotFoundError."""
        found = self.find(path)
        if not isinstance(found, File):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return found

    def make_directory(self, path: Path) -> None:
        """Make a directory and its parents; each is durable once the one above it was synced."""
        folder = self.top
        for name in path.parts[1:]:
            found = folder.live.get(name)
            if isinstance(found, File):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            if found is None:
                found = Folder()
                self._add(folder, name, found)
            folder = found

    def create(self, path: Path, size: int) -> File:
        """Make a new file of ``size`` zero bytes; raises FileExistsError."""
        folder = self.folder(path.parent)
        if path.name in folder.live:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        file = File(size)
        self._add(folder, path.name, file)
        return file

    def _add(self, folder: Folder, name: str, entry: File | Folder) -> None:
        folder.live[name] = entry
        self._pending.append(Change(None, "", folder, name, entry))

    def rename(self, old: Path, new: Path) -> None:
        source, target = self.folder(old.parent), self.folder(new.parent)
        if old.name not in source.live:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(old))
        there = target.live.get(new.name)
        if isinstance(there, Folder) and there.live:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(new))
        entry = source.live.pop(old.name)
        target.live[new.name] = entry
        self._pending.append(Change(source, old.name, target, new.name, entry))

    def remove(self, path: Path) -> None:
        """Remove a file, or a directory with all in it; raises FileNotFoundError."""
        folder = self.folder(path.parent)
        if path.name not in folder.live:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        entry = folder.live.pop(path.name)
        self._pending.append(Change(folder, path.name, None, "", entry))

    def sync_directory(self, path: Path) -> None:
        """Bring every pending change of one directory to the disk, in order."""
        folder = self.folder(path)
        rest = []
        for change in self._pending:
            if folder in (change.removed_from, change.added_to):
                change.apply()
            else:
                rest.append(change)
        self._pending = rest

    # -- what a machine does to it -------------------------------------------------------------------------------

    def files(self) -> Iterator[tuple[Path, File]]:
        """Yield every file that programs can see, in order of its path."""
        yield from _walk(Path("/"), self.top)

    def write_back(self) -> None:
        for _, file in self.files():
            file.write_back(self.rng)

    def sync(self) -> None:
        """Bring everything to the disk."""
        for change in self._pending:
            change.apply()
        self._pending = []
        for _, file in self.files():
            file.sync()

    def cut_power(self) -> None:
        """Lose the page cache: from now on programs see what the disk has."""
        way = self.rng.randrange(3)
        for change in self._pending:
            if way == 1 or (way == 2 and self.rng.random() < 0.5):
                change.apply()
        self._pending = []
        self._cut(self.top)

    def _cut(self, folder: Folder) -> None:
        folder.live = dict(sorted(folder.disk.items()))
        folder.disk = dict(folder.live)
        for entry in folder.live.values():
            if isinstance(entry, Folder):
                self._cut(entry)
            else:
                entry.cut_power(self.rng)

    def digest(self) -> str:
        """Return the sha256 of every name and byte that programs see, and of every byte on the disk."""
        total = hashlib.sha256()
        for path, file in self.files():
            total.update(f"{path}\0{len(file.live)}\0".encode())
            total.update(file.live)
            total.update(file.disk)
        return total.hexdigest()


def _walk(path: Path, folder: Folder) -> Iterator[tuple[Path, File]]:
    for name, entry in sorted(folder.live.items()):
        if isinstance(entry, Folder):
            yield from _walk(path / name, entry)
        else:
            yield path / name, entry
