"""What a disk may hold after a crash.

A file is sectors of 512 bytes. A write goes to the cache; each sector it touched may be on the disk in any version it has had
since its last sync: so an unsynced write persists whole, not at all, torn, and in any order. A successful sync makes the present version
the only one. A failed sync calls the sectors clean while the disk may hold any version: no later sync changes that, until they
are written again. A file's size is certain after its first successful sync. A change of a directory is certain
after the directory's sync, and may be there or not before it, whatever became of the other changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

SECTOR = 512
Pick = Callable[[int], int]
"""Given a number of choices, returns one: at random, or the next of all."""


class File:
    """Content as programs see it (``live``), and what the disk may hold."""

    def __init__(self, content: bytes, *, sized: bool) -> None:
        self.live = bytearray(content)
        self.disk = bytearray(content)
        self.is_sized = sized
        self.is_mapped = False
        self.versions: dict[int, list[bytes]] = {}
        """Sector to its versions since the certain one, oldest first."""
        self.dirty: set[int] = set()

    def write(self, at: int, data: bytes) -> None:
        self.live[at : at + len(data)] = data
        for sector in range(at // SECTOR, (at + len(data) + SECTOR - 1) // SECTOR):
            self.versions.setdefault(sector, []).append(self._sector(sector))
            self.dirty.add(sector)

    def _sector(self, sector: int) -> bytes:
        return bytes(self.live[sector * SECTOR : (sector + 1) * SECTOR])

    def sync(self) -> None:
        for sector in self.dirty:
            self.disk[sector * SECTOR : (sector + 1) * SECTOR] = self._sector(sector)
            del self.versions[sector]
        self.dirty.clear()
        self.is_sized = True

    def fail_sync(self) -> None:
        self.dirty.clear()

    @property
    def doubtful(self) -> list[int]:
        """Return the sectors that a failed sync left: the cache may forget them."""
        return sorted(set(self.versions) - self.dirty)

    def content(self, pick: Pick) -> bytes:
        """Return what the disk holds after a crash."""
        if not self.is_sized and not pick(2):
            return b""
        found = bytearray(self.disk)
        if self.is_mapped and self.versions:  # words, not frames: the first and the last state stand for all
            versions = [self.disk, self.live]
            return bytes(versions[pick(2)])
        for sector, versions_of in sorted(self.versions.items()):
            which = pick(len(versions_of) + 1)
            if which:
                found[sector * SECTOR : (sector + 1) * SECTOR] = versions_of[which - 1]
        return bytes(found)


class Folder:
    """Names as programs see them, names on the disk, and the changes between them."""

    def __init__(self) -> None:
        self.live: dict[str, File | Folder] = {}
        self.disk: dict[str, File | Folder] = {}


class Change:
    """One change of names: a rename is one change of two."""

    def __init__(self, removed: tuple[Folder, str] | None, added: tuple[Folder, str, File | Folder] | None) -> None:
        self.removed = removed
        self.added = added

    def folders(self) -> list[Folder]:
        return [c[0] for c in (self.removed, self.added) if c is not None]

    def apply(self) -> None:
        if self.removed is not None:
            self.removed[0].disk.pop(self.removed[1], None)
        if self.added is not None:
            self.added[0].disk[self.added[1]] = self.added[2]


Tree = dict[str, Any]
"""A disk after a crash: name to bytes or to another tree."""


class Model:
    """One disk, driven by the operations of a trace."""

    def __init__(self, tree: Tree | None = None) -> None:
        self.top = Folder()
        self.pending: list[Change] = []
        self.lost: list[Change] = []
        """Changes whose directory failed to sync: nothing makes them certain any more."""
        _plant(self.top, tree or {})

    def find(self, parts: tuple[str, ...]) -> File | Folder | None:
        found: File | Folder | None = self.top
        for name in parts:
            found = found.live.get(name) if isinstance(found, Folder) else None
        return found

    def folder(self, parts: tuple[str, ...]) -> Folder:
        found = self.find(parts)
        if not isinstance(found, Folder):
            raise FileNotFoundError(2, "No such directory", "/".join(parts))
        return found

    def add(self, parts: tuple[str, ...], entry: File | Folder) -> None:
        folder = self.folder(parts[:-1])
        folder.live[parts[-1]] = entry
        self.pending.append(Change(None, (folder, parts[-1], entry)))

    def rename(self, old: tuple[str, ...], new: tuple[str, ...]) -> None:
        source, target = self.folder(old[:-1]), self.folder(new[:-1])
        entry = source.live.pop(old[-1])
        target.live[new[-1]] = entry
        self.pending.append(Change((source, old[-1]), (target, new[-1], entry)))

    def remove(self, parts: tuple[str, ...]) -> None:
        folder = self.folder(parts[:-1])
        del folder.live[parts[-1]]
        self.pending.append(Change((folder, parts[-1]), None))

    def sync_folder(self, parts: tuple[str, ...], *, fails: bool = False) -> None:
        folder = self.folder(parts)
        mine = [c for c in self.pending if folder in c.folders()]
        self.pending = [c for c in self.pending if folder not in c.folders()]
        if fails:
            self.lost += mine
            return
        for change in mine:
            change.apply()

    def settle(self) -> None:
        """Bring everything to the disk: what comes next is looked at from here."""
        for change in (*self.lost, *self.pending):
            change.apply()
        self.lost, self.pending = [], []
        for folder in _folders(self.top):
            for entry in folder.live.values():
                if isinstance(entry, File):
                    entry.dirty.update(entry.versions)
                    entry.sync()

    def after_power_loss(self, pick: Pick) -> Tree:
        """Return what the disk holds: each uncertain thing is one ``pick``."""
        kept = {id(folder): dict(folder.disk) for folder in _folders(self.top)}
        for change in (*self.lost, *self.pending):
            if pick(2):
                if change.removed is not None:
                    kept.setdefault(id(change.removed[0]), {}).pop(change.removed[1], None)
                if change.added is not None:
                    kept.setdefault(id(change.added[0]), {})[change.added[1]] = change.added[2]
        return self._tree(self.top, kept, pick)

    def _tree(self, folder: Folder, kept: dict[int, dict[str, File | Folder]], pick: Pick) -> Tree:
        entries = kept.get(id(folder), folder.disk)
        return {
            name: entry.content(pick) if isinstance(entry, File) else self._tree(entry, kept, pick)
            for name, entry in sorted(entries.items())
        }

    def after_death(self) -> Tree:
        """Return what the next process finds in the cache when only this one died."""
        return _live(self.top)


def _folders(folder: Folder) -> Iterator[Folder]:
    yield folder
    for entry in {id(e): e for e in (*folder.live.values(), *folder.disk.values())}.values():
        if isinstance(entry, Folder):
            yield from _folders(entry)


def _plant(folder: Folder, tree: Tree) -> None:
    for name, content in tree.items():
        if isinstance(content, bytes):
            folder.live[name] = folder.disk[name] = File(content, sized=True)
        else:
            below = Folder()
            folder.live[name] = folder.disk[name] = below
            _plant(below, content)


def _live(folder: Folder) -> Tree:
    return {name: bytes(entry.live) if isinstance(entry, File) else _live(entry) for name, entry in folder.live.items()}
